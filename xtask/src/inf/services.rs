//! Rules about devices and services.

use std::collections::BTreeSet;

use bootcfg::inf::{ASSOCIATED, SERVICES, installation, number};

use super::{Package, Suite};

/// The load order group of each driver's place in the stack, before everything that could enumerate a disk.
const GROUPS: [(&str, &str); 4] = [
    ("idefilter", "System Reserved"),
    // Before the first stack that has idefilter in it is built.
    ("idefallback", "System Reserved"),
    ("xenpci", "System Bus Extender"),
    ("xenvbd", "SCSI miniport"),
];
/// The devices of each driver.
const DEVICES: [(&str, &[&str]); 3] = [
    ("idefilter", &[]),
    ("xenpci", &["PCI\\VEN_5853&DEV_0001", "PCI\\VEN_5853&DEV_0002"]),
    ("xenvbd", &["XENGUARD\\VBD"]),
];
/// `SPSVCINST_DELETEEVENTLOGENTRY`.
const DELETE_EVENT_SOURCE: u32 = 4;

pub(super) fn hardware_ids(_: &Suite, package: &Package) -> Vec<String> {
    let ids: BTreeSet<&str> =
        package.models().iter().flat_map(|model| model.fields.iter().skip(1)).map(String::as_str).collect();
    let known = DEVICES.iter().find(|(name, _)| *name == package.name).map_or(&[][..], |(_, ids)| ids);
    let known: BTreeSet<&str> = known.iter().copied().collect();
    let mut breaches: Vec<_> = ids.difference(&known).map(|id| format!("{id} is not ours")).collect();
    breaches.extend(known.difference(&ids).map(|id| format!("{id} is missing")));
    breaches
}

pub(super) fn services(_: &Suite, package: &Package) -> Vec<String> {
    let mut breaches = Vec::new();
    for line in package.services() {
        let (name, section) = (line.field(0).unwrap_or_default(), line.field(2).unwrap_or_default());
        let Some((_, group)) = GROUPS.iter().find(|(driver, _)| *driver == name) else {
            breaches.push(format!("line {}: {name} is no driver of the suite", line.number));
            continue;
        };
        // SERVICE_KERNEL_DRIVER, SERVICE_BOOT_START, SERVICE_ERROR_NORMAL: a driver that fails leaves the
        // boot emulated, it does not stop it.
        let wanted =
            [("ServiceType", "1"), ("StartType", "0"), ("ErrorControl", "1"), ("LoadOrderGroup", group)];
        for (directive, wanted) in wanted {
            let found = package.inf.value(section, directive).unwrap_or_default();
            if found != wanted {
                breaches.push(format!("{name}: {directive} is {found:?}, not {wanted}"));
            }
        }
        if package.inf.value(section, "DisplayName").is_none() {
            breaches.push(format!("{name} has no DisplayName"));
        }
    }
    for section in package.install_sections() {
        let lines = package.inf.lines(&format!("{section}.Services"));
        let adds = lines.iter().filter(|line| line.has_key("AddService"));
        let associated: Vec<_> = adds
            .filter(|line| {
                line.field(1).is_some_and(|flags| number(flags).is_ok_and(|f| f & ASSOCIATED != 0))
            })
            .filter_map(|line| line.field(0))
            .collect();
        let device = !section.starts_with("DefaultInstall");
        let wanted: &[&str] = if device { &[package.name.as_str()] } else { &[] };
        if associated != wanted {
            breaches.push(format!("[{section}.Services]: function drivers {associated:?}, not {wanted:?}"));
        }
    }
    breaches
}

pub(super) fn same_service(suite: &Suite, package: &Package) -> Vec<String> {
    // What a package says of a service of another package's driver, against what that package says.
    let changes = |package: &Package, key: &str| -> Vec<String> {
        let all = installation(&package.inf).map(|all| all.changes).unwrap_or_default();
        let of_service = all.into_iter().filter(|c| format!("{}\\", c.key).starts_with(&format!("{key}\\")));
        of_service.map(|change| format!("{}\\{} = {:?}", change.key, change.name, change.kind)).collect()
    };
    let mut breaches = Vec::new();
    for name in package.services().iter().filter_map(|line| line.field(0)) {
        let Some(owner) = suite.packages.iter().find(|other| other.name == name) else { continue };
        for key in [format!("{SERVICES}\\{name}"), format!("{SERVICES}\\EventLog\\System\\{name}")] {
            let (here, there) = (changes(package, &key), changes(owner, &key));
            let differs = here.iter().filter(|change| !there.contains(change));
            breaches.extend(differs.map(|change| format!("{change}, unlike {name}.inf")));
            let lacks = there.iter().filter(|change| !here.contains(change));
            breaches.extend(lacks.map(|change| format!("lacks {change}, which {name}.inf has")));
        }
    }
    breaches
}

pub(super) fn event_log(_: &Suite, package: &Package) -> Vec<String> {
    let mut breaches = Vec::new();
    for line in package.services() {
        let name = line.field(0).unwrap_or_default();
        let Some(log) = line.field(3) else {
            breaches.push(format!("{name} is no event source"));
            continue;
        };
        let files =
            format!("%SystemRoot%\\System32\\IoLogMsg.dll;%SystemRoot%\\System32\\drivers\\{name}.sys");
        // Errors, warnings and information: 1, 2, 4.
        let wanted =
            [("EventMessageFile", "0x00020000", files.as_str()), ("TypesSupported", "0x00010001", "7")];
        let values = package.listed(log, "AddReg");
        for (value, flags, wanted) in wanted {
            let found = values.iter().find(|line| line.field(2) == Some(value));
            let fields = found.map(|line| (line.field(3), line.field(4)));
            if fields != Some((Some(flags), Some(wanted))) {
                breaches.push(format!("{name}: {value} is {fields:?}, not {flags},{wanted}"));
            }
        }
    }
    let removals = package.inf.sections().iter().flat_map(|section| &section.lines);
    for line in removals.filter(|line| line.has_key("DelService")) {
        if !line.field(1).is_some_and(|flags| number(flags).is_ok_and(|f| f & DELETE_EVENT_SOURCE != 0)) {
            breaches.push(format!("line {}: the event source outlives its service", line.number));
        }
    }
    breaches
}
