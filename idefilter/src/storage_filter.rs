//! The filter device on an emulated storage device: a disk controller, a channel of one, or a hard disk that
//! got past the filter of the PCI bus. It asks the guard before the device starts, and fails the start where
//! the guard refuses it; of the relations of controllers and channels it takes out hard disks where that is
//! the policy.
#![allow(unsafe_code, reason = "deletes its device object where it cannot be attached")]

use core::sync::atomic::{AtomicU8, Ordering};

use guard::controllers::classify;
use guard::pci_id::Parts;
use guard::policy::{Emulated, HidePolicy};
use guard::storage_id::is_emulated_disk;
use guard::{Action, Event};
use wdm::device::Options;
use wdm::{DeviceObject, Disposition, DriverObject, Irp, NtStatus, Result, property, security, unicode};

use crate::device::{Extension, Filter};
use crate::{log, relations, state, storage_number};

/// FILE_DEVICE_CONTROLLER.
const CONTROLLER: u32 = 0x04;

/// What the filter of a storage device keeps.
pub struct Storage {
    /// By which the guard knows it.
    number: u32,
    kind: Emulated,
    /// What becomes of its disks: one of [`UNDECIDED`], [`HIDE`], [`SHOW`].
    disks: AtomicU8,
}

/// The device has not been asked for its children yet.
const UNDECIDED: u8 = 0;
/// Its disks are taken out.
const HIDE: u8 = 1;
/// They stay: another policy, or a boot that was turned emulated before the device was asked.
const SHOW: u8 = 2;

impl Storage {
    /// Whether its disks are to be taken out. The first answer holds: a disk that was hidden once does not
    /// come back when PV disks are withheld, since the system may by then have found another path to it.
    fn hides_disks(&self) -> bool {
        let hide = state::policy() == HidePolicy::Disks && state::may_expose();
        let first = if hide { HIDE } else { SHOW };
        match self.disks.compare_exchange(UNDECIDED, first, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => hide,
            Err(decided) => decided == HIDE,
        }
    }
}

/// What kind of emulated device this is; `None` for one that the filter leaves alone: real hardware, passed
/// through or not, and the suite's own adapter. PASSIVE_LEVEL; a PDO with a device node.
pub fn kind_of(physical: DeviceObject) -> Option<Emulated> {
    if storage_number::is_channel(physical) {
        return Some(Emulated::Channel);
    }
    let hardware = property::hardware_ids(physical).unwrap_or_default();
    if unicode::strings(&hardware).any(is_emulated_disk) {
        return Some(Emulated::Disk);
    }
    let compatible = property::compatible_ids(physical).unwrap_or_default();
    let mut parts = Parts::default();
    for ids in [&hardware, &compatible] {
        unicode::strings(ids).for_each(|id| parts.read(id));
    }
    classify(&parts.function()?).map(Emulated::Controller)
}

/// Attaches to the device. PASSIVE_LEVEL.
///
/// # Errors
/// Where the filter is not on the device and the guard refuses its start: the error keeps it from starting.
pub fn attach(driver: DriverObject, physical: DeviceObject, kind: Emulated) -> Result {
    let number = storage_number::take(physical, matches!(kind, Emulated::Controller(_)));
    match try_attach(driver, physical, kind, number) {
        Ok(()) => {
            state::tell(Event::StorageAttached { device: number, kind });
            Ok(())
        }
        Err(status) => {
            log!("not attached to an emulated {}: {status}", name(kind));
            // The device is not the guard's to know, and so not one that the policy lets start.
            let refused = ask(u32::MAX, kind);
            storage_number::release(number);
            refused
        }
    }
}

fn try_attach(driver: DriverObject, physical: DeviceObject, kind: Emulated, number: u32) -> Result {
    let options = Options { name: None, device_type: CONTROLLER, characteristics: 0, auto_name: false };
    let filter = Filter::create(
        driver,
        options,
        Extension::Storage(Storage { number, kind, disks: AtomicU8::new(UNDECIDED) }),
    )?;
    let attached =
        security::restrict_to_administrators(filter.object()).and_then(|()| filter.attach(physical));
    if let Err(status) = attached {
        // SAFETY: the device was never attached, so nobody has seen it.
        unsafe { filter.delete() };
        return Err(status);
    }
    filter.finish_initializing();
    Ok(())
}

/// IRP_MN_START_DEVICE: fails it without passing it down where the guard refuses. A device that was never
/// started holds no resources; PnP removes its stack next. PASSIVE_LEVEL.
pub fn start(storage: &Storage, irp: Irp, lower: DeviceObject) -> Disposition {
    match ask(storage.number, storage.kind) {
        Ok(()) => irp.forward(lower),
        Err(status) => irp.complete(status),
    }
}

/// Asks whether a device may start.
///
/// # Errors
/// The status to fail the start with.
fn ask(number: u32, kind: Emulated) -> Result {
    match state::step(Event::StartRequested { device: number }) {
        Action::Deny(reason) => {
            log!("start of an emulated {} refused reason={:#x} {}", name(kind), reason.code(), reason.text());
            Err(NtStatus::ACCESS_DENIED)
        }
        action => {
            state::obey(action);
            Ok(())
        }
    }
}

/// IRP_MN_QUERY_DEVICE_RELATIONS for the device's children: lets the device answer, takes out hard disks
/// where controllers stay, and tells the guard. PASSIVE_LEVEL.
pub fn bus_relations(storage: &Storage, irp: Irp, lower: DeviceObject) -> Disposition {
    let (mut irp, status) = irp.forward_and_wait(lower);
    if !status.is_success() || storage.kind == Emulated::Disk {
        return irp.complete(status);
    }
    let channels = match relations::channels(&irp) {
        Ok(channels) => channels,
        // Without the list its channels would have no filter; the controller goes on without children.
        Err(status) => return irp.complete(status),
    };
    storage_number::set_channels(storage.number, &channels);
    let found = if storage.hides_disks() {
        relations::hide_disks(&mut irp)
    } else {
        relations::Found { seen: relations::count_disks(&irp), hidden: 0 }
    };
    log!(
        "{} {} channels={} disks={} hidden={}",
        name(storage.kind),
        storage.number,
        channels.len(),
        found.seen,
        found.hidden
    );
    state::tell(Event::StorageRelations {
        device: storage.number,
        channels: channels.len() as u32,
        disks: found.seen,
        hidden: found.hidden,
    });
    irp.complete(status)
}

/// The device was removed. PASSIVE_LEVEL.
pub fn removed(storage: &Storage) {
    state::tell(Event::StorageDetached { device: storage.number });
    storage_number::release(storage.number);
}

const fn name(kind: Emulated) -> &'static str {
    match kind {
        Emulated::Controller(_) => "controller",
        Emulated::Channel => "channel",
        Emulated::Disk => "disk",
    }
}
