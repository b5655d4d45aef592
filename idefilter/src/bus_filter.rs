//! The filter device on a PCI root bus. It passes everything down; of bus relations it edits the answer.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicU32, Ordering};

use guard::Event;
use guard::bus_memory::BusMemory;
use guard::controllers::Present;
use wdm::device::Options;
use wdm::mutex::Mutex;
use wdm::{DeviceObject, Disposition, DriverObject, Irp, Result, pool};

use crate::device::{Extension, Filter};
use crate::{controllers, log, root_bus, state};

/// FILE_DEVICE_BUS_EXTENDER.
const BUS_EXTENDER: u32 = 0x2A;

/// Data of the filter of a root bus.
pub(crate) struct Bus {
    /// Number of the root bus, in the order of attachment, by which the guard tells them apart.
    number: u32,
    /// Decisions about its children.
    memory: Mutex<Box<BusMemory<DeviceObject>>>,
}

/// Attaches to the root bus whose PDO is `pdo`, before the bus is started, and tells the guard, which
/// has the emulated disks unplugged at the first bus. Where that fails the guard is told, too, since NT drops the
/// status of a filter's AddDevice and starts the bus unfiltered: no PV disk appears. PASSIVE_LEVEL.
pub(crate) fn attach(driver: DriverObject, pdo: DeviceObject) {
    match try_attach(driver, pdo) {
        Ok(number) => {
            state::tell(Event::BusAttached { bus: number });
            // After the unplug, as it may take controllers away; for each bus anew, as the last count is the one
            // that is compared.
            count();
        }
        Err(status) => {
            log!("not attached to a PCI root bus: {status}");
            state::tell(Event::BusUnfiltered);
        }
    }
}

/// Tells the guard of a device that may be a root bus, and cannot be told from others. PASSIVE_LEVEL.
pub(crate) fn missed() {
    log!("a device of the System class does not say what it is");
    state::tell(Event::BusUnfiltered);
}

/// Attaches to the root bus, and returns the number that it gets.
fn try_attach(driver: DriverObject, pdo: DeviceObject) -> Result<u32> {
    static BUSES: AtomicU32 = AtomicU32::new(0);

    let number = BUSES.fetch_add(1, Ordering::Relaxed);
    let options = Options { name: None, device_type: BUS_EXTENDER, characteristics: 0, auto_name: false };
    let memory = Mutex::new(pool::try_box(BusMemory::new())?)?;
    Filter::add_filter(driver, options, Extension::Bus(Bus { number, memory }), pdo)?;
    Ok(number)
}

/// Counts the emulated controllers in configuration space, and tells the guard.
fn count() {
    state::tell(Event::ControllersCounted(controllers::count()));
}

/// Handles IRP_MN_QUERY_DEVICE_RELATIONS for the bus's children: lets the bus answer, takes emulated disk
/// controllers out of its answer, and tells the guard. PASSIVE_LEVEL.
pub(crate) fn bus_relations(bus: &Bus, irp: Irp, lower: DeviceObject) -> Disposition {
    let (mut irp, status) = irp.forward_and_wait(lower);
    // A bus that answers NOT_SUPPORTED has no children to hide either.
    if status.is_success() {
        let found = {
            let mut memory = bus.memory.lock();
            crate::relations::hide_controllers(&mut irp, state::policy(), &mut memory)
        };
        let bus = bus.number;
        let action = state::step(Event::Relations { bus, seen: found.seen, hidden: found.hidden });
        let counted = state::controllers().map_or(0, Present::total);
        log!("bus={bus} seen={} hidden={} counted={counted}", found.seen, found.hidden);
        state::obey(action);
    }
    irp.complete(status)
}

/// Handles IRP_MN_START_DEVICE: a root bus that is not bus 0 has its number among its resources, and what
/// stands on it is then counted, too. Where the number is not there the count stays too small, and nothing is
/// exposed. PASSIVE_LEVEL.
pub(crate) fn start(irp: Irp, lower: DeviceObject) -> Disposition {
    let number = irp.location().raw_resources().and_then(|resources| resources.bus_number());
    if let Some(number) = number.and_then(|number| u8::try_from(number).ok())
        && root_bus::learn(number)
    {
        count();
    }
    irp.forward(lower)
}
