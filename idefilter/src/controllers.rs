//! Counts emulated disk controllers in PCI configuration space, without asking the bus driver.

use guard::controllers::Present;
use guard::devnode::PlatformDevice;
use guard::pci_walk::{self, ConfigurationSpace};
use wdm::pci::Location;

use crate::root_bus;

/// Counts them on every bus that can be reached from the root buses that are known. About 40 reads of
/// configuration space, a millisecond or two each on an emulated machine. IRQL ≤ DISPATCH_LEVEL.
pub(crate) fn count() -> Present {
    pci_walk::count(&mut Hal, root_bus::known())
}

/// Tells of Xen's platform device, wherever it is on one of them. As many reads. IRQL ≤ DISPATCH_LEVEL.
pub(crate) fn platform_devices(tell: impl FnMut(&PlatformDevice)) {
    pci_walk::platform_devices(&mut Hal, root_bus::known(), tell);
}

/// Configuration space as the HAL gives access to it.
struct Hal;

impl ConfigurationSpace for Hal {
    fn read(&mut self, bus: u8, device: u8, function: u8, offset: u8) -> Option<u32> {
        Location { bus, device, function }.read_u32(offset)
    }
}
