//! Shutdown notification.
#![expect(unsafe_code, reason = "registers a device object")]

use wdk_sys::ntddk::{
    IoRegisterLastChanceShutdownNotification, IoRegisterShutdownNotification,
    IoUnregisterShutdownNotification,
};

use crate::{DeviceObject, Result, status::check};

/// IRP_MJ_SHUTDOWN.
pub const MAJOR: u8 = 0x10;

/// Has the system send IRP_MJ_SHUTDOWN ([`MAJOR`]) to `device` when it goes down, at PASSIVE_LEVEL, while the
/// registry and the disks can still be written. It holds for one shutdown. PASSIVE_LEVEL.
///
/// # Errors
/// `INSUFFICIENT_RESOURCES`.
pub(crate) fn register(device: DeviceObject) -> Result {
    // SAFETY: a device object of the caller's, which the system references.
    check(unsafe { IoRegisterShutdownNotification(device.as_ptr()) })
}

/// Has the system send IRP_MJ_SHUTDOWN ([`MAJOR`]) to `device` when its file systems are gone: at PASSIVE_LEVEL,
/// where no file and no pageable memory may be touched and the registry answers `TOO_LATE`. PASSIVE_LEVEL.
///
/// # Errors
/// `INSUFFICIENT_RESOURCES`.
pub(crate) fn register_last_chance(device: DeviceObject) -> Result {
    // SAFETY: a device object of the caller's, which the system references.
    check(unsafe { IoRegisterLastChanceShutdownNotification(device.as_ptr()) })
}

/// Ends what [`register`] or [`register_last_chance`] has begun. PASSIVE_LEVEL.
pub(crate) fn unregister(device: DeviceObject) {
    // SAFETY: a device object of the caller's.
    unsafe { IoUnregisterShutdownNotification(device.as_ptr()) };
}
