//! The I/O manager: drivers, devices, IRPs, files.

pub(crate) mod cancel;
pub(crate) mod device;
pub(crate) mod driver;
pub(crate) mod error_log;
pub(crate) mod file;
pub(crate) mod irp;
pub(crate) mod named_file;
pub(crate) mod reinitialize;
pub(crate) mod remove_lock;
pub(crate) mod shutdown;
pub(crate) mod work_item;

pub(crate) use cancel::*;
pub(crate) use device::*;
pub(crate) use driver::{IoAllocateDriverObjectExtension, IoGetDriverObjectExtension, create_builtin_driver};
pub(crate) use error_log::*;
pub(crate) use file::{IoGetDeviceObjectPointer, IoGetRelatedDeviceObject};
pub(crate) use irp::*;
pub(crate) use named_file::{
    ZwCreateFile, ZwQueryInformationFile, ZwReadFile, ZwSetInformationFile, ZwWriteFile,
};
pub(crate) use reinitialize::*;
pub(crate) use remove_lock::{
    IoAcquireRemoveLockEx, IoInitializeRemoveLockEx, IoReleaseRemoveLockAndWaitEx, IoReleaseRemoveLockEx,
};
pub(crate) use shutdown::{
    IoRegisterLastChanceShutdownNotification, IoRegisterShutdownNotification,
    IoUnregisterShutdownNotification,
};
pub(crate) use work_item::{IoAllocateWorkItem, IoFreeWorkItem, IoQueueWorkItem};

pub(crate) use crate::ke::{
    IoConnectInterrupt, IoConnectInterruptEx, IoDisconnectInterrupt, IoDisconnectInterruptEx,
};
pub(crate) use crate::mm::{IoAllocateMdl, IoBuildPartialMdl, IoFreeMdl};
pub(crate) use crate::pnp::{
    IoGetDeviceInterfaces, IoGetDeviceProperty, IoInvalidateDeviceRelations, IoInvalidateDeviceState,
    IoOpenDeviceRegistryKey, IoRegisterDeviceInterface, IoRegisterPlugPlayNotification,
    IoSetDeviceInterfaceState, IoUnregisterPlugPlayNotification,
};
