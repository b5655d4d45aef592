//! Wire types: what is shared with Xen, xenstored or a backend, byte for byte, for a 64-bit guest.
//!
//! Only layouts and constants live here, no behaviour. Each constant and structure names the public header of
//! the Xen tree (`xen/include/public/…`) it comes from. Sizes and offsets are checked at compile time.

pub mod blkif;
pub mod grant;
pub mod hypercall;
pub mod ring;
pub mod shared_info;
pub mod xenstore;
