//! The drivers that are part of the executive, where NT has driver files.

use crate::nt::DriverInitialize;
use crate::{disk, ide, io, mountmgr, pci};

/// Service and entry, in the order in which they start: the bus, then storage from the bottom up. They come after
/// the boot-start drivers of earlier groups, as their groups do on NT.
const ALL: [(&str, DriverInitialize); 4] = [
    ("pci", pci::driver_entry),
    ("ide", ide::driver_entry),
    ("disk", disk::driver_entry),
    ("mountmgr", mountmgr::driver_entry),
];

/// Starts them.
///
/// # Safety
/// Called once, at `PASSIVE_LEVEL`.
pub unsafe fn start() {
    for (service, entry) in ALL {
        io::create_builtin_driver(service, entry);
    }
}
