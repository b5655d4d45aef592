//! The numbers that PCI root buses have.

use guard::pci_walk::Buses;
use wdm::SpinLock;

/// Bus 0, and the numbers that further root buses turned out to have.
static ROOTS: SpinLock<Option<Buses>> = SpinLock::new(None);

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
