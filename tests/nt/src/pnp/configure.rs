//! The drivers that a device gets: the critical-device database, installed packages, the executive's own
//! drivers.
//!
//! NT before 6.2 configures in boot a device that it has never seen, by the critical-device database. A later one
//! does not read that: in boot a device has a driver only where an earlier boot has installed it, so that its
//! instance's key names the service; what is new is installed when setup can run ([`setup_runs`]). A package's
//! devices count as installed by an earlier boot unless the command line has `devnodes`, with which the
//! instances' keys alone say so.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use core::sync::atomic::{AtomicBool, Ordering};

use super::enumerate::below;
use super::node::Node;
use crate::cm::{self, Value};
use crate::{boot, inf, pci};

/// Devices of the executive's own drivers: id, service, class.
const BUILT_IN: [(&str, &str, &str); 10] = [
    ("*PNP0C08", "acpi", "{4D36E97D-E325-11CE-BFC1-08002BE10318}"),
    ("*PNP0A03", "pci", "{4D36E97D-E325-11CE-BFC1-08002BE10318}"),
    ("PCI\\CC_0101", "pciide", "{4D36E96A-E325-11CE-BFC1-08002BE10318}"),
    ("PCI\\CC_0106", "storahci", "{4D36E96A-E325-11CE-BFC1-08002BE10318}"),
    ("PCI\\CC_0100", "lsi_scsi", "{4D36E97B-E325-11CE-BFC1-08002BE10318}"),
    ("PCI\\CC_0108", "stornvme", "{4D36E97B-E325-11CE-BFC1-08002BE10318}"),
    ("*PNP0600", "atapi", "{4D36E96A-E325-11CE-BFC1-08002BE10318}"),
    ("GenDisk", "disk", "{4D36E967-E325-11CE-BFC1-08002BE10318}"),
    ("ForeignDisk", "foreigndisk", "{4D36E967-E325-11CE-BFC1-08002BE10318}"),
    ("GenCdRom", "cdrom", "{4D36E965-E325-11CE-BFC1-08002BE10318}"),
];

/// Setup can run: the system has its disk.
static SETUP: AtomicBool = AtomicBool::new(false);

/// Lets devices that are new be installed from now on.
pub(super) fn setup_runs() {
    SETUP.store(true, Ordering::Relaxed);
}

/// Returns true if only the instances' keys say which devices are installed.
pub(super) fn is_strict() -> bool {
    boot::options().nt.is_nt62() && boot::options().devnodes
}

/// Does setup's part in an earlier boot of an NT 6.2 or later that had the suite's devices, unless the
/// command line says that there was none: the instances of the platform device and of the adapter have their
/// drivers.
pub(crate) fn installed_earlier() {
    const ADAPTER: &str = "XENGUARD\\VBD";
    if !boot::options().nt.is_nt62() || boot::options().devnodes {
        return;
    }
    set_up(&[ADAPTER.to_string()], &format!("{ADAPTER}\\0"));
    if let Some(ids) = pci::platform_device() {
        // Root devices that are reported before the bus: ACPI's, and those of the command line.
        let before = 1 + u32::from(boot::options().legacy_ide) + boot::options().empty_roots;
        let bus = format!("ACPI\\PNP0A03\\{}", below("", &format!("{before}")));
        let all: Vec<String> = ids.hardware.iter().chain(&ids.compatible).cloned().collect();
        set_up(&all, &format!("{}\\{}", ids.device, below(&bus, &ids.instance)));
    }
}

/// Gives an instance the driver of the package that has one for these ids.
fn set_up(ids: &[String], instance: &str) {
    if let Some(package) = inf::find(ids) {
        let key = key(instance);
        cm::set(&key, "ClassGUID", Value::text(&package.class));
        if let Some(service) = &package.service {
            cm::set(&key, "Service", Value::text(service));
        }
    }
}

/// Returns the registry key of a device instance.
pub(super) fn key(instance: &str) -> String {
    format!("{}\\{instance}", cm::ENUM)
}

/// Returns true if the admin has disabled the device (problem code 22), in every hardware profile or in the current
/// one: no driver is loaded for it.
pub(super) fn is_disabled(node: &Node) -> bool {
    /// `CONFIGFLAG_DISABLED` and `CSCONFIGFLAG_DISABLED` (regstr.h).
    const DISABLED: u32 = 1;
    let flags = |path: &str, name| cm::get(path, name).and_then(|value| value.as_dword()).unwrap_or(0);
    let profile = format!("{}\\{}", cm::PROFILE, node.instance);
    (flags(&key(&node.instance), "ConfigFlags") | flags(&profile, "CSConfigFlags")) & DISABLED != 0
}

/// Finds a device's function driver and class and writes its hardware key.
pub(super) fn configure(node: &mut Node) {
    let key = key(&node.instance);
    cm::set(&key, "HardwareID", Value::multi(&node.hardware));
    if !node.compatible.is_empty() {
        cm::set(&key, "CompatibleIDs", Value::multi(&node.compatible));
    }
    let ids: Vec<String> = node.hardware.iter().chain(&node.compatible).cloned().collect();
    let text = |name: &str| cm::get(&key, name).and_then(|value| value.as_text());
    let earlier = text("ClassGUID").map(|class| (text("Service"), class));
    let new = is_strict() && earlier.is_none() && !SETUP.load(Ordering::Relaxed);
    let package = inf::find(&ids).filter(|_| !new);
    let database = ids.iter().filter(|_| !boot::options().nt.is_nt62());
    let critical = database.into_iter().find_map(|id| {
        let path = format!("{}\\CriticalDeviceDatabase\\{}", cm::CONTROL, id.replace('\\', "#"));
        let text = |name: &str| cm::get(&path, name).and_then(|value| value.as_text());
        Some((text("Service"), text("ClassGUID")?))
    });
    let built_in = || {
        let fits = |id: &&str| ids.iter().any(|own| own.eq_ignore_ascii_case(id));
        BUILT_IN.iter().find(|(id, ..)| fits(id)).map(|(_, s, c)| (Some(s.to_string()), c.to_string()))
    };
    if let Some(package) = &package {
        for (subkey, name, value) in &package.hardware {
            let path = if subkey.is_empty() { key.clone() } else { format!("{key}\\{subkey}") };
            cm::set(&path, name, value.clone());
        }
        if node.description.is_empty() {
            node.description.clone_from(&package.description);
        }
    }
    let installed = package.map(|package| (package.service, package.class));
    let found = if is_strict() { earlier.or(installed) } else { installed.or(critical) };
    let Some((service, class)) = found.or_else(built_in) else { return };
    cm::set(&key, "ClassGUID", Value::text(&class));
    if let Some(service) = &service {
        cm::set(&key, "Service", Value::text(service));
    }
    node.service = service;
    node.class = Some(class);
}

/// Returns the services of a device's filters: a value of its hardware key, then the same of its class.
pub(super) fn filters(node: &Node, which: &str) -> Vec<String> {
    let of = |path: String| cm::get(&path, which).map(|value| value.strings()).unwrap_or_default();
    let class = node.class.as_ref().map(|class| of(format!("{}\\Class\\{class}", cm::CONTROL)));
    let mut all = of(key(&node.instance));
    all.extend(class.unwrap_or_default());
    all
}
