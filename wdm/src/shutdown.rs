//! Shutdown notification.
#![expect(unsafe_code, reason = "registers a device object")]

use wdk_sys::ntddk::IoRegisterShutdownNotification;

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
