//! A thin safe layer over WDM: the only crate of this project that names a field of the WDK's
//! bindings. It knows nothing of Xen.
//!
//! # Conventions
//! - A routine's IRQL is in its documentation, and in its types where that is cheap: holding an
//!   [`irql::AtDispatch`] proves that the processor is at DISPATCH_LEVEL.
//! - A failed routine answers with an [`NtStatus`], so `?` works ([`Result`]).
//! - Strings are counted UTF-16 without a terminator (`&[u16]`); [`utf16!`] makes literals.
//! - A driver implements [`Driver`] and names it in [`driver_entry!`]; every dispatch routine gets an [`Irp`]
//!   by value and can only make the [`Disposition`] it has to return by completing, forwarding or pending
//!   that IRP.
//! - Every static import is one that NT 5.2 exports; newer routines are found with [`routine::find`].
//!
//! Begin with [`driver`], which has what every driver is made of, and [`irp`], which a request goes through.
//!
//! The crate also holds what a freestanding driver image needs: the global allocator (non-paged
//! pool, tag `XGrd`), the panic handler (bugcheck [`bugcheck::PANIC`]) and `__chkstk`.
#![no_std]

extern crate alloc;

pub mod arena;
pub mod boot;
pub mod bugcheck;
mod caching;
pub mod cpu;
pub mod debug;
pub mod device;
pub mod dpc;
pub mod driver;
pub mod eject;
pub mod event;
pub mod event_log;
pub mod file;
mod guid;
pub mod image;
pub mod interface;
pub mod interrupt;
pub mod ipi;
pub mod irp;
pub mod irp_queue;
pub mod irql;
pub mod mapping;
pub mod memory;
pub mod mutex;
pub mod no_execute;
pub mod notification;
pub mod pci;
pub mod pnp;
pub mod pool;
pub mod port;
pub mod power;
pub mod processor;
pub mod property;
pub mod registry;
pub mod relations;
pub mod remove_lock;
pub mod request;
pub mod requirements;
pub mod resources;
pub mod routine;
pub mod security;
pub mod shared;
pub mod shutdown;
pub mod spin_lock;
pub mod stack_location;
pub mod status;
pub mod thread;
pub mod time;
pub mod timer;
pub mod unicode;
pub mod version;
pub mod work_item;

mod compiler;
mod layout;

pub use device::{Device, DeviceObject, DeviceReference};
pub use driver::{Driver, DriverObject};
pub use irp::{Disposition, Irp};
pub use shared::Shared;
pub use spin_lock::SpinLock;
pub use stack_location::StackLocation;
pub use status::{NtStatus, Result};

/// The bindings' own types that appear in the signatures NT prescribes (a driver names them, never
/// their fields).
pub mod raw {
    pub use crate::guid::guid;
    pub use wdk_sys::{GUID, NTSTATUS, PDEVICE_OBJECT, PDRIVER_OBJECT, PIRP, PUNICODE_STRING, PVOID, ULONG};
}
