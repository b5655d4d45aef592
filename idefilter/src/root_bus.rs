//! Devices of the System class that are PCI root buses, and the numbers that those buses have.

use guard::pci_walk::Buses;
use wdm::{DeviceObject, SpinLock, property, unicode};

/// Bus 0, and the numbers that further root buses turned out to have.
static ROOTS: SpinLock<Option<Buses>> = SpinLock::new(None);

/// Returns true if `pdo` is the PDO of a PCI root bus, by its hardware or compatible ids. PASSIVE_LEVEL.
pub(crate) fn is_pci_root(pdo: DeviceObject) -> bool {
    [property::hardware_ids(pdo), property::compatible_ids(pdo)]
        .iter()
        .flatten()
        .any(|ids| unicode::strings(ids).any(guard::root_bus::is_root_id))
}

/// Returns the root buses that are known. IRQL ≤ DISPATCH_LEVEL.
pub(crate) fn known() -> Buses {
    *ROOTS.lock().get_or_insert_with(first)
}

/// Notes that a root bus has this number. Returns true if that is new. IRQL ≤ DISPATCH_LEVEL.
pub(crate) fn learn(bus: u8) -> bool {
    ROOTS.lock().get_or_insert_with(first).add(bus)
}

fn first() -> Buses {
    let mut buses = Buses::none();
    buses.add(0);
    buses
}
