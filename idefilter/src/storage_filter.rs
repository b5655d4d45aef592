//! The filter device on an emulated storage device: a disk controller, a channel of one, or a hard disk that
//! got past the filter of the PCI bus. It asks the guard before the device starts, and fails the start where
//! the guard refuses it; of the relations of controllers and channels it takes out hard disks where that is
//! the policy.
#![expect(unsafe_code, reason = "deletes its device object where it cannot be attached")]

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU8, Ordering};

use guard::controllers::classify;
use guard::machine::MAX_DEVICES;
use guard::pci_id::Parts;
use guard::policy::{Emulated, HidePolicy};
use guard::root_bus::is_root_id;
use guard::storage_id::is_emulated_disk;
use guard::{Action, Event};
use wdm::device::Options;
use wdm::{
    DeviceObject, Disposition, DriverObject, Irp, NtStatus, Result, SpinLock, property, unicode, utf16,
};

use crate::device::{Extension, Filter};
use crate::{log, relations, state, storage_number};

/// FILE_DEVICE_CONTROLLER.
const CONTROLLER: u32 = 0x04;

/// Data of the filter of a storage device.
pub(crate) struct Storage {
    /// The device it is on; none while it is kept in reserve.
    device: SpinLock<Option<Known>>,
    /// The decision about its disks: one of [`UNDECIDED`], [`HIDE`], [`SHOW`].
    disks: AtomicU8,
}

/// The device that a filter is on.
#[derive(Clone, Copy)]
struct Known {
    /// By which the guard knows it.
    number: u32,
    kind: Emulated,
}

/// The device has not been asked for its children yet.
const UNDECIDED: u8 = 0;
/// Its disks are taken out.
const HIDE: u8 = 1;
/// They stay: another policy, or a boot that was turned emulated before the device was asked.
const SHOW: u8 = 2;

impl Storage {
    const fn unused() -> Self {
        Self { device: SpinLock::new(None), disks: AtomicU8::new(UNDECIDED) }
    }

    /// Returns the device it is on. A filter that is in no stack gets no request, so that there is one.
    fn known(&self) -> Known {
        self.device.lock().unwrap_or(Known { number: u32::MAX, kind: Emulated::Disk })
    }

    /// Returns true if its disks are to be taken out. The first answer holds. A disk that was hidden once
    /// does not come back when PV disks are withheld, since the system may by then have found another path to
    /// it.
    fn hides_disks(&self) -> bool {
        let hide = state::policy() == HidePolicy::Disks && state::may_expose();
        let first = if hide { HIDE } else { SHOW };
        match self.disks.compare_exchange(UNDECIDED, first, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => hide,
            Err(decided) => decided == HIDE,
        }
    }
}

/// Filter devices in reserve, for when memory has run out: a filter that cannot be attached cannot refuse a start,
/// and NT starts the device whatever AddDevice answers.
static RESERVE: SpinLock<[Option<Filter>; RESERVED]> = SpinLock::new([None; RESERVED]);

/// Number of filters in reserve: for a controller, its two channels and a disk.
pub(crate) const RESERVED: usize = 4;

/// Fills the reserve. What cannot be had now is tried again after the next device. PASSIVE_LEVEL.
pub(crate) fn reserve(driver: DriverObject) {
    for n in 0..RESERVED {
        if RESERVE.lock()[n].is_some() {
            continue;
        }
        match create(driver) {
            Ok(filter) => RESERVE.lock()[n] = Some(filter),
            Err(status) => return log!("no filter in reserve: {status}"),
        }
    }
}

/// Kind of a device.
pub(crate) enum Kind {
    /// An emulated storage device.
    Emulated(Emulated),
    /// A PCI root bus.
    PciRoot,
    /// None of the filter's business: real hardware, passed through or not, the suite's own adapter, a bus.
    Other,
    /// A storage device that does not say what it is, and may be emulated.
    Unknown,
    /// A device of the System class that does not say what it is, and may be a PCI root bus.
    UnknownSystem,
}

/// Tells what kind of device this is, without allocating anything for ids of common length. PASSIVE_LEVEL; a PDO with
/// a device node.
pub(crate) fn kind_of(pdo: DeviceObject) -> Kind {
    if storage_number::is_channel(pdo) {
        return Kind::Emulated(Emulated::Channel);
    }
    let (mut parts, mut disk, mut root) = (Parts::default(), false, false);
    let hardware = each(pdo, property::hardware_ids_into, property::hardware_ids, |id| {
        disk |= is_emulated_disk(id);
        root |= is_root_id(id);
        parts.read(id);
    });
    let compatible = each(pdo, property::compatible_ids_into, property::compatible_ids, |id| {
        root |= is_root_id(id);
        parts.read(id);
    });
    let controller = parts.function().and_then(|function| classify(&function));
    match (disk, controller, hardware.and(compatible)) {
        _ if root => Kind::PciRoot,
        (true, ..) => Kind::Emulated(Emulated::Disk),
        (_, Some(controller), _) => Kind::Emulated(Emulated::Controller(controller)),
        (_, None, Ok(())) => Kind::Other,
        (_, None, Err(_)) => unknown(pdo),
    }
}

/// Calls `take` for each id of a list. A device may have none.
///
/// # Errors
/// The list cannot be read.
fn each(
    pdo: DeviceObject,
    read_into: impl FnOnce(DeviceObject, &mut [u16]) -> Result<&[u16]>,
    read: impl FnOnce(DeviceObject) -> Result<Vec<u16>>,
    mut take: impl FnMut(&[u16]),
) -> Result {
    let mut room = [0; LONGEST_IDS];
    match read_into(pdo, &mut room) {
        Ok(ids) => unicode::strings(ids).for_each(take),
        Err(NtStatus::OBJECT_NAME_NOT_FOUND) => {}
        Err(NtStatus::BUFFER_TOO_SMALL) => unicode::strings(&read(pdo)?).for_each(&mut take),
        Err(status) => return Err(status),
    }
    Ok(())
}

/// Most UTF-16 units of a list of ids that is read onto the stack.
const LONGEST_IDS: usize = 768;

/// The System setup class, whose devices are buses and bridges.
const SYSTEM_CLASS: &[u16] = utf16!(guard::setup_class::SYSTEM);

/// Returns the kind of a device whose ids cannot be read. Of the classes that the filter is on, one has no
/// storage devices.
fn unknown(pdo: DeviceObject) -> Kind {
    let mut room = [0; 64];
    match property::class_guid_into(pdo, &mut room) {
        Ok(class) if unicode::eq_ignore_case(class, SYSTEM_CLASS) => Kind::UnknownSystem,
        _ => Kind::Unknown,
    }
}

/// Attaches to the device. Where that fails the guard is told, since NT then starts the device unfiltered: no PV
/// disk appears, or the system stops. PASSIVE_LEVEL.
pub(crate) fn attach(driver: DriverObject, pdo: DeviceObject, kind: Emulated) {
    let number = storage_number::take(pdo, matches!(kind, Emulated::Controller(_)));
    match try_attach(driver, pdo, Known { number, kind }) {
        Ok(()) => state::tell(Event::StorageAttached { device: number, kind }),
        Err(status) => {
            log!("not attached to an emulated {}: {status}", name(kind));
            storage_number::release(number);
            state::tell(Event::StorageUnfiltered);
        }
    }
    reserve(driver);
}

fn try_attach(driver: DriverObject, pdo: DeviceObject, known: Known) -> Result {
    let filter = match create(driver) {
        Ok(filter) => filter,
        Err(status) => RESERVE.lock().iter_mut().find_map(Option::take).ok_or(status)?,
    };
    if let Extension::Storage(storage) = filter.extension() {
        *storage.device.lock() = Some(known);
    }
    if let Err(status) = filter.attach_filter(pdo) {
        // SAFETY: the device was never attached, so nobody has seen it.
        unsafe { filter.delete() };
        return Err(status);
    }
    filter.finish_initializing();
    Ok(())
}

/// Makes a filter device that is on no device yet. PASSIVE_LEVEL.
fn create(driver: DriverObject) -> Result<Filter> {
    let options = Options { name: None, device_type: CONTROLLER, characteristics: 0, auto_name: false };
    Filter::create_restricted(driver, options, Extension::Storage(Storage::unused()))
}

/// Handles IRP_MN_START_DEVICE: fails it without passing it down where the guard refuses. A device that was
/// never started holds no resources; PnP removes its stack next. PASSIVE_LEVEL.
pub(crate) fn start(storage: &Storage, irp: Irp, lower: DeviceObject) -> Disposition {
    let Known { number, kind } = storage.known();
    match ask(number, kind) {
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

/// Handles IRP_MN_QUERY_DEVICE_RELATIONS for the device's children: lets the device answer, takes out hard
/// disks where controllers stay, and tells the guard. PASSIVE_LEVEL.
pub(crate) fn bus_relations(storage: &Storage, irp: Irp, lower: DeviceObject) -> Disposition {
    let Known { number, kind } = storage.known();
    let (mut irp, status) = irp.forward_and_wait(lower);
    if !status.is_success() || kind == Emulated::Disk {
        return irp.complete(status);
    }
    let channels = match relations::channels(&irp) {
        Ok(channels) => channels,
        // Without the list its channels would have no filter; the controller goes on without children.
        Err(status) => return irp.complete(status),
    };
    storage_number::set_channels(number, &channels);
    let found = if storage.hides_disks() {
        relations::hide_disks(&mut irp)
    } else {
        relations::Found { seen: relations::count_disks(&irp), hidden: 0 }
    };
    log!(
        "{} {} channels={} disks={} hidden={}",
        name(kind),
        number,
        channels.len(),
        found.seen,
        found.hidden
    );
    state::tell(Event::StorageRelations {
        device: number,
        channels: channels.len() as u32,
        disks: found.seen,
        hidden: found.hidden,
    });
    irp.complete(status)
}

/// Handles the removal of the device. PASSIVE_LEVEL.
pub(crate) fn removed(storage: &Storage) {
    let Known { number, .. } = storage.known();
    // Beyond its table the guard knows no device.
    if (number as usize) < MAX_DEVICES {
        state::tell(Event::StorageDetached { device: number });
        storage_number::release(number);
    }
}

const fn name(kind: Emulated) -> &'static str {
    match kind {
        Emulated::Controller(_) => "controller",
        Emulated::Channel => "channel",
        Emulated::Disk => "disk",
    }
}
