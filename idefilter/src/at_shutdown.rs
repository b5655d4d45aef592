//! The shutdown in order (IRP_MJ_SHUTDOWN), in every boot: the registry is written to the disk behind it.

use wdm::{Disposition, DriverObject, Irp, NtStatus, shutdown};

use crate::device::{Extension, Filter};
use crate::{activity, boot_count, last_boot, log, start_override};

/// Has a device told of the shutdown. PASSIVE_LEVEL, in DriverEntry.
pub(crate) fn begin(driver: DriverObject) {
    if let Err(status) = Filter::add_for_shutdown(driver, Extension::Shutdown) {
        log!("the shutdown is not heard of, and the boot will count as one that did not come up: {status}");
    }
}

/// Answers a request to that device. PASSIVE_LEVEL.
pub(crate) fn request(irp: Irp) -> Disposition {
    if irp.major() != shutdown::MAJOR {
        return irp.complete(NtStatus::INVALID_DEVICE_REQUEST);
    }
    boot_count::at_shutdown();
    start_override::at_shutdown();
    last_boot::at_shutdown();
    activity::at_shutdown();
    irp.complete(NtStatus::SUCCESS)
}
