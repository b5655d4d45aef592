//! The filter device on a PCI root bus. It passes everything down; of bus relations it edits the answer.
#![allow(unsafe_code, reason = "deletes its device object at removal")]

use core::sync::atomic::{AtomicU32, Ordering};

use guard::machine::Unplug;
use guard::{Action, Event};
use wdm::device::Options;
use wdm::pnp::{Minor, RelationsType};
use wdm::remove_lock::RemoveGuard;
use wdm::{Device, DeviceObject, Disposition, DriverObject, Irp, NtStatus, Result, security};

use crate::entry::obey;
use crate::{controllers, decision, log, relations, state, unplug};

/// FILE_DEVICE_BUS_EXTENDER.
const BUS_EXTENDER: u32 = 0x2A;

/// A filter device's extension.
pub struct Extension {
    /// Number of the root bus, in the order of attachment, by which the guard tells them apart.
    bus: u32,
}

type Filter = Device<Extension>;

/// Attaches to the root bus whose PDO is `physical`, before the bus is started, and asks for the unplug.
/// PASSIVE_LEVEL.
///
/// # Errors
/// Where the device cannot be made or attached; the bus then has no filter.
pub fn attach(driver: DriverObject, physical: DeviceObject) -> Result {
    static BUSES: AtomicU32 = AtomicU32::new(0);

    let bus = BUSES.fetch_add(1, Ordering::Relaxed);
    let options = Options { name: None, device_type: BUS_EXTENDER, characteristics: 0, auto_name: false };
    let filter = Filter::create(driver, options, Extension { bus })?;
    let attached =
        security::restrict_to_administrators(filter.object()).and_then(|()| filter.attach(physical));
    if let Err(status) = attached {
        // SAFETY: the device was never attached, so nobody has seen it.
        unsafe { filter.delete() };
        return Err(status);
    }
    filter.finish_initializing();

    match state::step(Event::BusAttached { bus }) {
        Action::Unplug => take_away_disks(),
        action => obey(action),
    }
    // After the unplug, as it may take controllers away; for each bus anew, as the last count is the one
    // that is compared.
    obey(state::step(Event::ControllersCounted(controllers::count())));
    Ok(())
}

/// Runs the unplug protocol and reports how it ended.
fn take_away_disks() {
    let end = unplug::run(decision::unplug_wanted());
    let name = match end {
        Unplug::NotAsked => "not-asked",
        Unplug::Acknowledged => "acknowledged",
        Unplug::Refused => "refused",
    };
    log!("unplug={name}");
    obey(state::step(Event::Unplugged(end)));
}

/// IRP_MJ_PNP. PASSIVE_LEVEL.
pub fn pnp(filter: Filter, mut irp: Irp) -> Disposition {
    let (Ok(hold), Some(lower)) = (filter.acquire(), filter.attached_to()) else {
        return irp.complete(NtStatus::DELETE_PENDING);
    };
    let location = irp.location();
    match location.pnp() {
        Some(Minor::QueryDeviceRelations) if location.relations_type() == Some(RelationsType::BUS) => {
            bus_relations(filter, irp, lower)
        }
        Some(Minor::DeviceUsageNotification) => {
            filter.before_usage_notification();
            let (irp, status) = irp.forward_and_wait(lower);
            filter.after_usage_notification();
            irp.complete(status)
        }
        Some(Minor::SurpriseRemoval) => {
            irp.set_status(NtStatus::SUCCESS);
            irp.forward(lower)
        }
        Some(Minor::RemoveDevice) => remove(filter, irp, lower, hold),
        _ => irp.forward(lower),
    }
}

/// IRP_MN_QUERY_DEVICE_RELATIONS for the bus's children: lets the bus answer, takes emulated disk controllers
/// out of its answer, and tells the guard.
fn bus_relations(filter: Filter, irp: Irp, lower: DeviceObject) -> Disposition {
    let (mut irp, status) = irp.forward_and_wait(lower);
    // A bus that answers NOT_SUPPORTED has no children to hide either.
    if status.is_success() {
        let bus = filter.extension().bus;
        let found = relations::hide_controllers(&mut irp, state::policy());
        let action = state::step(Event::Relations { bus, seen: found.seen, hidden: found.hidden });
        log!("bus={bus} seen={} hidden={} counted={}", found.seen, found.hidden, state::controllers());
        obey(action);
    }
    irp.complete(status)
}

/// IRP_MN_REMOVE_DEVICE: the bus goes.
fn remove(filter: Filter, mut irp: Irp, lower: DeviceObject, hold: RemoveGuard<'_>) -> Disposition {
    irp.set_status(NtStatus::SUCCESS);
    let disposition = irp.forward(lower);
    hold.release_and_wait();
    filter.detach();
    // SAFETY: detached, and nobody holds the remove lock, so no IRP is in this driver for the device.
    unsafe { filter.delete() };
    disposition
}
