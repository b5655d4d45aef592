//! Rules about the registry.

use std::collections::BTreeSet;

use bootcfg::inf::{APPEND, DELETE_STRING, Kind, Line, Registry, installation, number};

use super::{Package, Suite};

const CRITICAL: &str = "SYSTEM\\CurrentControlSet\\Control\\CriticalDeviceDatabase";
/// Owner and group as they are, protected, SYSTEM and Administrators may do anything.
const SECURITY: &str = "D:P(A;;GA;;;SY)(A;;GA;;;BA)";

/// Returns true if a line of an AddReg or DelReg section is about filters of a class or a device.
fn is_filter(line: &Line) -> bool {
    let value = line.field(2).unwrap_or_default();
    ["UpperFilters", "LowerFilters"].iter().any(|filters| filters.eq_ignore_ascii_case(value))
}

/// Returns the key, the value and the string of a filter's line.
fn filter(line: &Line) -> [String; 3] {
    [1, 2, 4].map(|at| line.field(at).unwrap_or_default().to_ascii_lowercase())
}

fn has_flags(line: &Line, flags: u32) -> bool {
    line.field(3).is_some_and(|text| number(text).is_ok_and(|own| own == flags))
}

pub(super) fn class_filters(_: &Suite, package: &Package) -> Vec<String> {
    let mut breaches = Vec::new();
    let sections = package.inf.sections().iter();
    let of = |directive: &'static str| -> Vec<&Line> {
        let names: BTreeSet<&str> =
            sections.clone().flat_map(|section| package.inf.list(&section.name, directive)).collect();
        let lines = names.into_iter().flat_map(|name| package.inf.lines(name));
        lines.filter(|line| is_filter(line)).collect()
    };
    let (added, removed) = (of("AddReg"), of("DelReg"));
    for line in &added {
        if !has_flags(line, 0x0001_0000 | APPEND) {
            breaches.push(format!("line {}: not appended: the class's other filters would go", line.number));
        }
        if !removed.iter().any(|removal| filter(removal) == filter(line)) {
            breaches.push(format!("line {}: nothing takes this filter away again", line.number));
        }
    }
    for line in &removed {
        if !has_flags(line, DELETE_STRING) {
            breaches.push(format!("line {}: the class's other filters would go", line.number));
        }
    }
    // Setup does files, then registry, then services: only what the service's section adds comes behind the
    // service.
    let by_services: Vec<&Line> = package
        .services()
        .iter()
        .filter_map(|line| line.field(2))
        .flat_map(|section| package.listed(section, "AddReg"))
        .collect();
    for line in added.iter().filter(|line| !by_services.contains(line)) {
        breaches.push(format!("line {}: the filter is there before its service is", line.number));
    }
    breaches
}

pub(super) fn uninstall_order(_: &Suite, package: &Package) -> Vec<String> {
    let mut breaches = Vec::new();
    let has_filter = package
        .inf
        .sections()
        .iter()
        .flat_map(|section| &section.lines)
        .any(|line| is_filter(line) && has_flags(line, 0x0001_0000 | APPEND));
    if !has_filter {
        return breaches;
    }
    let uninstall = "DefaultUninstall.NTamd64";
    if package.inf.section(uninstall).is_none() {
        breaches.push(format!("no section [{uninstall}]"));
    }
    if !package.inf.list(uninstall, "DelFiles").is_empty() {
        breaches.push(format!(
            "[{uninstall}] deletes files, and setup does that before it takes the filter away"
        ));
    }
    if !package.listed(uninstall, "DelReg").into_iter().any(is_filter) {
        breaches.push(format!("[{uninstall}] leaves the filter"));
    }
    let services = package.inf.list(&format!("{uninstall}.Services"), "DelService");
    for name in package.services().iter().filter_map(|line| line.field(0)) {
        if !services.contains(&name) {
            breaches.push(format!("[{uninstall}.Services] leaves the service {name}"));
        }
    }
    if package.inf.value(uninstall, "LegacyUninstall") != Some("1") {
        breaches.push(format!("[{uninstall}] lacks LegacyUninstall = 1, which Windows 10 asks for"));
    }
    breaches
}

pub(super) fn critical_devices(suite: &Suite, package: &Package) -> Vec<String> {
    let Ok(all) = installation(&package.inf) else { return Vec::new() };
    let mut breaches = Vec::new();
    let others: Vec<_> = suite.packages.iter().filter_map(|other| installation(&other.inf).ok()).collect();
    // Of another package's devices all of an entry, or none.
    let named = |key: &str| all.changes.iter().any(|change| change.key.eq_ignore_ascii_case(key));
    let key_of = |id: &str| format!("{CRITICAL}\\{}", id.replace('\\', "#"));
    let others = others.iter().flat_map(|other| &other.devices).filter(|device| named(&key_of(&device.id)));
    for device in all.devices.iter().chain(others) {
        let key = key_of(&device.id);
        for (name, wanted) in [("Service", &device.service), ("ClassGUID", &device.class.1)] {
            let found = all
                .changes
                .iter()
                .find(|change| change.key.eq_ignore_ascii_case(&key) && change.name == name)
                .map(|change| &change.kind);
            if found != Some(&Kind::Set(Registry::Text(wanted.clone()))) {
                breaches.push(format!("{key}\\{name} is {found:?}, not {wanted}"));
            }
        }
    }
    breaches
}

pub(super) fn security(_: &Suite, package: &Package) -> Vec<String> {
    let Ok(all) = installation(&package.inf) else { return Vec::new() };
    let secured = |device: &&bootcfg::inf::Device| {
        device.hardware.iter().any(|change| {
            change.key.is_empty()
                && change.name == "Security"
                && change.kind == Kind::Set(Registry::Text(SECURITY.to_owned()))
        })
    };
    let open = all.devices.iter().filter(|device| !secured(device));
    open.map(|device| format!("{} has not Security = {SECURITY}", device.id)).collect()
}

pub(super) fn parameters(_: &Suite, package: &Package) -> Vec<String> {
    let Ok(all) = installation(&package.inf) else { return Vec::new() };
    let below = format!("SYSTEM\\CurrentControlSet\\Services\\{}\\Parameters", package.name);
    let written: BTreeSet<&str> = all
        .changes
        .iter()
        .filter_map(|change| {
            let rest = change.key.strip_prefix(&below)?;
            Some(rest.strip_prefix('\\').unwrap_or(&change.name))
        })
        .collect();
    let explained: BTreeSet<&str> = package
        .inf
        .remarks
        .iter()
        .skip_while(|remark| !remark.starts_with("Parameters ("))
        .skip(1)
        .map_while(|remark| {
            let mut words = remark.split_whitespace();
            let (name, kind) = (words.next()?, words.next()?);
            let explained = kind.starts_with("REG_") || kind == "key";
            // What the driver itself writes is not there before.
            explained.then_some((name, remark.contains("written by the driver")))
        })
        .filter_map(|(name, by_driver)| (!by_driver).then_some(name))
        .collect();
    // xenvbd's are the port driver's, and not to be changed.
    let admins = all.changes.iter().filter(|change| change.key == below && package.name == "idefilter");
    let mut breaches: Vec<_> = admins
        .filter(|change| !matches!(change.kind, Kind::Default(_)))
        .map(|change| format!("{} would be reset by an upgrade", change.name))
        .collect();
    breaches.extend(written.difference(&explained).map(|name| format!("{name} is not explained")));
    breaches.extend(explained.difference(&written).map(|name| format!("{name} is explained and not there")));
    breaches
}
