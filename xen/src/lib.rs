//! Xen for a 64-bit HVM guest, without an operating system: ABI types, hypercalls, grants, event channels,
//! xenstore, the xenbus handshake and a block frontend.
//!
//! The crate is `no_std` and knows nothing of Windows. Only [`blkif`] allocates, when a disk is connected. The
//! crate reaches its surroundings through a few small traits:
//!
//! | trait | who implements it | what for |
//! |---|---|---|
//! | [`cpuid::Platform`] | [`cpuid::Native`], fakes | CPUID |
//! | [`hypercall::Hypercall`] | [`hypercall::VmCall`], fakes | the one raw call |
//! | [`store::Transport`] | a driver, polling or waiting | notify xenstored, wait for it |
//! | [`store::Store`] | [`store::Client`], a driver over another driver's interface table | nodes by name |
//! | [`Hal`] | a driver | grants, notifications, shared pages |
//!
//! Two groups of modules build on them.
//!
//! *Lower layer* (who owns the platform device): [`cpuid`] finds Xen, [`hypercall`] installs the page,
//! [`hvm`] reads the store's frame and port and sets the interrupt, [`grant`] and [`event_channel`] keep the
//! tables, [`store::Client`] speaks to xenstored – by polling before interrupts work, by waiting later.
//!
//! *Frontends* (who owns a device): [`xenbus`] is the handshake, [`blkif`] the block frontend over a [`Hal`]
//! and a [`store::Store`].
//!
//! Nothing read from a page that another domain can write is trusted: it is copied out once, checked against
//! a private record, and then used. [`wire`] holds the layouts.
//!
//! # Levels
//! Functions say from where they may be called: *passive* means that they may wait (NT: `PASSIVE_LEVEL`,
//! unless the transport only polls); *dispatch* means that they never wait and may be called with a spin lock
//! held (NT: up to `DISPATCH_LEVEL`); *any* adds interrupt handlers. Nothing here locks: `&mut self` is the
//! contract.
#![no_std]

extern crate alloc;
#[cfg(any(test, feature = "fake"))]
extern crate std;

pub mod blkif;
pub mod cpuid;
mod domain;
pub mod event_channel;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
pub mod grant;
mod hal;
pub mod hvm;
pub mod hypercall;
mod memory;
pub mod ring;
pub mod sched;
pub mod store;
pub mod wire;
pub mod xenbus;

pub use domain::DomainId;
pub use event_channel::Port;
pub use grant::{Access, GrantRef};
pub use hal::Hal;
pub use memory::{Frame, PAGE_SIZE, SharedMemory, SharedPage};
