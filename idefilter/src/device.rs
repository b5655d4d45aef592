//! Device objects of this driver.

use wdm::Device;

use crate::bus_filter::Bus;
use crate::storage_filter::Storage;

/// Kinds of device objects.
pub(crate) enum Extension {
    /// The filter on a PCI root bus.
    Bus(Bus),
    /// The filter on an emulated storage device.
    Storage(Storage),
    /// The device that is told of the shutdown; on no stack.
    Shutdown,
}

/// A device object of this driver.
pub(crate) type Filter = Device<Extension>;
