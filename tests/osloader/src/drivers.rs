//! The boot-start drivers, in the order in which they are loaded and started.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// The control set as the loader asks for it. Paths begin below `CurrentControlSet`.
pub trait Registry {
    /// Returns the names of a key's keys, in their order.
    fn keys(&self, path: &str) -> Vec<String>;
    /// Returns a value that is a `REG_DWORD`.
    fn number(&self, path: &str, value: &str) -> Option<u32>;
    /// Returns a value that is a string.
    fn text(&self, path: &str, value: &str) -> Option<String>;
}

/// `ServiceGroupOrder`: the order in which boot-start drivers start, as NT 5.2 has it up to the storage
/// groups.
pub const GROUPS: [&str; 9] = [
    "System Reserved",
    "Boot Bus Extender",
    "System Bus Extender",
    "SCSI miniport",
    "Port",
    "Primary Disk",
    "SCSI Class",
    "SCSI CDROM Class",
    "FSFilter Infrastructure",
];
/// The key of the services.
const SERVICES: &str = "Services";
/// `SERVICE_BOOT_START`.
pub const BOOT_START: u32 = 0;
/// `SERVICE_DEMAND_START`.
pub const DEMAND_START: u32 = 3;

/// A boot-start driver.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootDriver {
    /// Its group's place in [`GROUPS`].
    pub rank: usize,
    /// Its place in the group, and after that in the registry.
    tag: u32,
    at: usize,
    /// Its service.
    pub service: String,
}

/// Returns true if NT 6.2 or later leaves the driver of a service out: an earlier boot found no device for it.
pub fn is_left_out(registry: &impl Registry, service: &str) -> bool {
    registry.number(&format!("{SERVICES}\\{service}\\StartOverride"), "0") == Some(DEMAND_START)
}

/// Returns the boot-start drivers by group, then by tag, then as they stand in the registry. Those that `leaves_out`
/// names are not among them.
pub fn boot_drivers(registry: &impl Registry, mut leaves_out: impl FnMut(&str) -> bool) -> Vec<BootDriver> {
    let mut drivers = Vec::new();
    for (at, service) in registry.keys(SERVICES).into_iter().enumerate() {
        let path = format!("{SERVICES}\\{service}");
        if registry.number(&path, "Start") != Some(BOOT_START) || leaves_out(&service) {
            continue;
        }
        let group = registry.text(&path, "Group").unwrap_or_default();
        let rank = GROUPS.iter().position(|known| known.eq_ignore_ascii_case(&group)).unwrap_or(GROUPS.len());
        let tag = registry.number(&path, "Tag").unwrap_or(u32::MAX);
        drivers.push(BootDriver { rank, tag, at, service });
    }
    drivers.sort();
    drivers
}

/// Returns the file name of a service's image: the last part of `ImagePath`, or the service's name with `.sys`.
pub fn file_of(registry: &impl Registry, service: &str) -> String {
    match registry.text(&format!("{SERVICES}\\{service}"), "ImagePath") {
        Some(path) => path.rsplit('\\').next().unwrap_or(&path).to_string(),
        None => format!("{service}.sys"),
    }
}

#[cfg(test)]
mod tests {
    use hive::build::Tree;

    use super::*;
    use crate::control_set::ControlSet;

    fn service(group: &str) -> Tree {
        Tree::new().with_dword("Start", BOOT_START).with_text("Group", group)
    }

    fn order(services: Tree) -> Vec<String> {
        let hive = Tree::new()
            .with_key("Select", Tree::new().with_dword("Current", 1).with_dword("Default", 2))
            .with_key("ControlSet001\\Services\\other", service("Port"))
            .with_key("ControlSet002\\Services", services)
            .hive("SYSTEM");
        let set = ControlSet::new(&hive).unwrap();
        let drivers = boot_drivers(&set, |service| is_left_out(&set, service));
        drivers.into_iter().map(|driver| driver.service).collect()
    }

    #[test]
    fn groups_come_before_tags_and_tags_before_the_registry() {
        let services = Tree::new()
            .with_key("a", service("no such group"))
            .with_key("b", service("Port"))
            .with_key("c", service("port").with_dword("Tag", 2))
            .with_key("d", service("Port").with_dword("Tag", 1))
            .with_key("e", service("System Reserved"))
            .with_key("f", Tree::new().with_dword("Start", 1).with_text("Group", "Port"));
        assert_eq!(order(services), ["e", "d", "c", "b", "a"]);
    }

    #[test]
    fn a_driver_that_start_override_names_is_left_out() {
        let mark = |number| Tree::new().with_dword("0", number);
        let services = Tree::new()
            .with_key("a", service("Port").with_key("StartOverride", mark(DEMAND_START)))
            .with_key("b", service("Port").with_key("StartOverride", mark(BOOT_START)))
            .with_key("c", service("Port"));
        assert_eq!(order(services), ["b", "c"]);
    }
}
