//! PnP requests to the filter's devices.
#![expect(unsafe_code, reason = "deletes its device object at removal")]

use wdm::pnp::{Minor, RelationsType};
use wdm::remove_lock::RemoveGuard;
use wdm::{DeviceObject, Disposition, Irp, NtStatus};

use crate::device::{Extension, Filter};
use crate::{bus_filter, storage_filter};

/// Handles IRP_MJ_PNP. PASSIVE_LEVEL.
pub(crate) fn dispatch(filter: Filter, mut irp: Irp) -> Disposition {
    let (Ok(hold), Some(lower)) = (filter.acquire(), filter.attached_to()) else {
        return irp.complete(NtStatus::DELETE_PENDING);
    };
    let location = irp.location();
    let is_bus_relations = location.relations_type() == Some(RelationsType::BUS);
    match (location.pnp(), filter.extension()) {
        (Some(Minor::StartDevice), Extension::Bus(_)) => bus_filter::start(irp, lower),
        (Some(Minor::StartDevice), Extension::Storage(storage)) => storage_filter::start(storage, irp, lower),
        (Some(Minor::QueryDeviceRelations), Extension::Bus(bus)) if is_bus_relations => {
            bus_filter::bus_relations(bus, irp, lower)
        }
        (Some(Minor::QueryDeviceRelations), Extension::Storage(storage)) if is_bus_relations => {
            storage_filter::bus_relations(storage, irp, lower)
        }
        (Some(Minor::DeviceUsageNotification), _) => {
            filter.before_usage_notification();
            let (irp, status) = irp.forward_and_wait(lower);
            filter.after_usage_notification();
            irp.complete(status)
        }
        (Some(Minor::SurpriseRemoval), _) => {
            irp.set_status(NtStatus::SUCCESS);
            irp.forward(lower)
        }
        (Some(Minor::RemoveDevice), _) => remove(filter, irp, lower, hold),
        _ => irp.forward(lower),
    }
}

/// Handles IRP_MN_REMOVE_DEVICE: the device goes, or its start was refused.
fn remove(filter: Filter, mut irp: Irp, lower: DeviceObject, hold: RemoveGuard<'_>) -> Disposition {
    irp.set_status(NtStatus::SUCCESS);
    let disposition = irp.forward(lower);
    hold.release_and_wait();
    if let Extension::Storage(storage) = filter.extension() {
        storage_filter::removed(storage);
    }
    filter.detach();
    // SAFETY: detached, and nobody holds the remove lock, so no IRP is in this driver for the device.
    unsafe { filter.delete() };
    disposition
}
