//! The I/O manager: drivers, devices, IRPs, files.

pub mod cancel;
pub mod device;
pub mod driver;
pub mod error_log;
pub mod file;
pub mod irp;
pub mod reinitialize;
pub mod remove_lock;
pub mod shutdown;
pub mod work_item;

pub use cancel::*;
pub use device::*;
pub use driver::{IoAllocateDriverObjectExtension, IoGetDriverObjectExtension, create_builtin_driver};
pub use error_log::*;
pub use file::{IoGetDeviceObjectPointer, IoGetRelatedDeviceObject};
pub use irp::*;
pub use reinitialize::*;
pub use remove_lock::{
    IoAcquireRemoveLockEx, IoInitializeRemoveLockEx, IoReleaseRemoveLockAndWaitEx, IoReleaseRemoveLockEx,
};
pub use shutdown::{IoRegisterShutdownNotification, IoUnregisterShutdownNotification};
pub use work_item::{IoAllocateWorkItem, IoFreeWorkItem, IoQueueWorkItem};

pub use crate::ke::{
    IoConnectInterrupt, IoConnectInterruptEx, IoDisconnectInterrupt, IoDisconnectInterruptEx,
};
pub use crate::mm::{IoAllocateMdl, IoBuildPartialMdl, IoFreeMdl};
pub use crate::pnp::{
    IoGetDeviceInterfaces, IoGetDeviceProperty, IoInvalidateDeviceRelations, IoInvalidateDeviceState,
    IoOpenDeviceRegistryKey, IoRegisterDeviceInterface, IoRegisterPlugPlayNotification,
    IoSetDeviceInterfaceState, IoUnregisterPlugPlayNotification,
};
