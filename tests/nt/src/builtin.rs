//! The drivers that are part of the executive, where NT has driver files.

use alloc::format;
use alloc::string::String;

use crate::ldr::modules;
use crate::nt::{DriverInitialize, DriverObject};
use crate::{cdrom, disk, ide, io, ke, mountmgr, pci, storage};

/// Service, load order group and entry of those that are boot-start. The mount manager registers for volumes
/// before there is one: of one that is there already it would hear twice.
const ALL: [(&str, &str, DriverInitialize); 7] = [
    ("acpi", "Core", storage::empty::driver_entry),
    ("pci", "Boot Bus Extender", pci::driver_entry),
    ("pciide", "System Bus Extender", ide::pciide_entry),
    ("mountmgr", "System Bus Extender", mountmgr::driver_entry),
    ("atapi", "SCSI miniport", ide::atapi_entry),
    ("disk", "SCSI Class", disk::driver_entry),
    ("cdrom", "SCSI CDROM Class", cdrom::driver_entry),
];

/// Drivers that are in memory only once a device needs them.
const ON_DEMAND: [(&str, DriverInitialize); 4] = [
    ("storahci", storage::empty::driver_entry),
    ("lsi_scsi", storage::empty::driver_entry),
    ("stornvme", storage::empty::driver_entry),
    ("foreigndisk", disk::foreign::driver_entry),
];

/// Returns the boot-start drivers among them that serve emulated controllers.
pub(crate) fn storage() -> impl Iterator<Item = String> {
    ["pciide", "atapi"].into_iter().map(String::from)
}

/// Does the boot loader's part: they are in memory, but for those that `late` names, or NT's loader leaves
/// out.
pub(crate) fn load_at_boot(late: &[String]) {
    if let Some(unknown) = late.iter().find(|name| ALL.iter().all(|(service, ..)| name != service)) {
        ke::panicked(format_args!("late={unknown}: there is no such driver"));
    }
    for (service, ..) in ALL {
        if !late.iter().any(|name| name == service) && !crate::pnp::leaves_out(service) {
            modules::built_in(&format!("{service}.sys"), true);
        }
    }
}

/// Returns true if the boot is still to start a driver: boot-start, in memory, and of a later group.
pub(crate) fn is_to_come(service: &str, late: &[String]) -> bool {
    let known = ALL.iter().any(|(name, ..)| name.eq_ignore_ascii_case(service));
    known && !late.iter().any(|name| name == service) && io::driver::find(service).is_none()
}

/// Starts those of a group that are in memory.
///
/// # Safety
/// Called once for each group, at `PASSIVE_LEVEL`.
pub(crate) unsafe fn start(group: &str, late: &[String]) {
    // SAFETY: by this function's contract, it is called once for each group, at `PASSIVE_LEVEL`.
    unsafe {
        for (service, _, entry) in ALL.into_iter().filter(|(_, own, _)| *own == group) {
            if !late.iter().any(|name| name == service) && !crate::pnp::is_left_out(service) {
                io::create_builtin_driver(service, entry);
            }
        }
    }
}

/// Loads one that was not loaded at boot, because a device needs it; `None` if there is none of that name.
///
/// # Safety
/// At `PASSIVE_LEVEL`, at a point where NT would load the driver.
pub(crate) unsafe fn load(service: &str) -> Option<*mut DriverObject> {
    let mut known = ALL.into_iter().map(|(name, _, entry)| (name, entry)).chain(ON_DEMAND);
    let (name, entry) = known.find(|(name, _)| name.eq_ignore_ascii_case(service))?;
    modules::built_in(&format!("{name}.sys"), false);
    // SAFETY: by this function's contract, at `PASSIVE_LEVEL`, at a point where NT would load the driver.
    unsafe { Some(io::create_builtin_driver(name, entry)) }
}
