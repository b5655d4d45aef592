//! The NT kernel's public structures as an x64 driver sees them, written from the WDK documentation.
//!
//! Every structure a driver reads or writes directly has its size and the offsets a compiled driver relies
//! on checked at compile time. Names are NT's own, in Rust case for types and NT's case for constants.

mod bus;
mod def;
mod device;
mod irp;
mod ke;
mod major;
mod mdl;
mod object;
mod pnp;
mod requirements;
mod resource;
pub(crate) mod status;

pub(crate) use bus::*;
pub(crate) use def::*;
pub(crate) use device::*;
pub(crate) use irp::*;
pub(crate) use ke::*;
pub(crate) use major::*;
pub(crate) use mdl::*;
pub(crate) use object::*;
pub(crate) use pnp::*;
pub(crate) use requirements::*;
pub(crate) use resource::*;
pub(crate) use status::NtStatus;

/// Asserts at compile time that a type has the size NT documents and that fields lie where drivers expect.
#[macro_export]
macro_rules! layout {
    ($t:ty, $size:literal $(, $field:ident @ $off:literal)* $(,)?) => {
        const _: () = assert!(core::mem::size_of::<$t>() == $size);
        $(const _: () = assert!(core::mem::offset_of!($t, $field) == $off);)*
    };
}
