//! The drivers that are part of the executive, where NT has driver files.

use alloc::format;
use alloc::string::String;

use crate::ldr::modules;
use crate::nt::{DriverInitialize, DriverObject};
use crate::{cdrom, disk, ide, io, ke, mountmgr, pci, storage};

/// Service and entry, in the order in which they start: the bus, then storage from the bottom up. They come
/// after the boot-start drivers of earlier groups, as their groups do on NT.
const ALL: [(&str, DriverInitialize); 6] = [
    ("pci", pci::driver_entry),
    ("pciide", ide::pciide_entry),
    ("atapi", ide::atapi_entry),
    ("disk", disk::driver_entry),
    ("cdrom", cdrom::driver_entry),
    ("mountmgr", mountmgr::driver_entry),
];

/// Those that are in memory only once a device needs them.
const ON_DEMAND: [(&str, DriverInitialize); 3] = [
    ("storahci", storage::empty::driver_entry),
    ("lsi_scsi", storage::empty::driver_entry),
    ("stornvme", storage::empty::driver_entry),
];

/// The boot loader's part: they are in memory, but for those that `late` names.
pub fn load_at_boot(late: &[String]) {
    if let Some(unknown) = late.iter().find(|name| ALL.iter().all(|(service, _)| name != service)) {
        ke::panicked(format_args!("late={unknown}: there is no such driver"));
    }
    for (service, _) in ALL {
        if !late.iter().any(|name| name == service) {
            modules::built_in(&format!("{service}.sys"), true);
        }
    }
}

/// Starts them, but for those that `late` names.
///
/// # Safety
/// Called once, at `PASSIVE_LEVEL`.
pub unsafe fn start(late: &[String]) {
    for (service, entry) in ALL {
        if !late.iter().any(|name| name == service) {
            io::create_builtin_driver(service, entry);
        }
    }
}

/// Loads one that was not loaded at boot, because a device needs it; `None` if there is none of that name.
///
/// # Safety
/// At `PASSIVE_LEVEL`, at a point where NT would load the driver.
pub unsafe fn load(service: &str) -> Option<*mut DriverObject> {
    let mut known = ALL.into_iter().chain(ON_DEMAND);
    let (name, entry) = known.find(|(name, _)| name.eq_ignore_ascii_case(service))?;
    modules::built_in(&format!("{name}.sys"), false);
    Some(io::create_builtin_driver(name, entry))
}
