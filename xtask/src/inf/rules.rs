//! The rules, and those about the file as a whole.

use bootcfg::inf::installation;

use super::{Package, Suite, outside, registry, sections, services};

/// A rule: its name, what it asks for, and its check.
pub(super) struct Rule {
    /// Name.
    pub name: &'static str,
    /// The rule's demand.
    pub what: &'static str,
    /// Finds the breaches in a package.
    pub check: fn(&Suite, &Package) -> Vec<String>,
}

macro_rules! rules {
    ($($name:literal $check:path: $what:literal;)+) => {
        /// Every rule.
        pub(super) const RULES: &[Rule] = &[$(Rule { name: $name, what: $what, check: $check }),+];
    };
}

rules! {
    "syntax" syntax: "ASCII; every line belongs to a section, every quote is closed, the reader of bootcfg takes it";
    "version" version: "Signature, class with its GUID, Provider as a string, CatalogFile, DriverVer of this version, PnpLockdown = 1";
    "strings" sections::strings: "every %name% is in [Strings], every string is used";
    "sections" sections::references: "every section named is there, every section there is named, none has two heads";
    "architecture" sections::architecture: "models and install sections are decorated NTamd64, and no undecorated ones are there";
    "directives" sections::directives: "only directives that every version of Windows takes for such a package";
    "files" sections::files: "what is copied is a driver of the suite, in SourceDisksFiles, on a disk of SourceDisksNames, in no subfolder and no cabinet, and nothing else is listed";
    "destination" sections::destination: "every file goes to dirid 12, and ServiceBinary is where its file goes";
    "hardware-ids" services::hardware_ids: "exact ids of the suite's own devices, no class of devices";
    "services" services::services: "kernel driver, boot start, error control normal, the load order group of its place in the stack, one function driver per device";
    "same-service" services::same_service: "a service that two packages register is the same in both";
    "event-log" services::event_log: "every service is an event source with the system's message file and its own, and is removed with it";
    "class-filters" registry::class_filters: "class filters are appended (0x00010008) by the service's own section, and taken out one by one (0x00018002)";
    "uninstall-order" registry::uninstall_order: "DefaultUninstall takes the filter and the service away and deletes no file";
    "critical-devices" registry::critical_devices: "every hardware id has its CriticalDeviceDatabase entry with the service and class of its model (NT 5.2), and an entry of another package's device is whole";
    "security" registry::security: "every device has a Security value that lets SYSTEM and Administrators in, and nobody else";
    "parameters" registry::parameters: "every value below Parameters is explained at the head of the file, every one explained is there, and what the admin set stays (0x2)";
}

/// Bytes of the class and its GUID (devguid.h).
const CLASSES: [(&str, &str); 2] = [
    ("System", "{4D36E97D-E325-11CE-BFC1-08002BE10318}"),
    ("SCSIAdapter", "{4D36E97B-E325-11CE-BFC1-08002BE10318}"),
];

fn syntax(_: &Suite, package: &Package) -> Vec<String> {
    let mut breaches = Vec::new();
    for (number, line) in (1..).zip(package.text.lines()) {
        if !line.is_ascii() || line.chars().any(|c| c.is_ascii_control() && c != '\t') {
            breaches.push(format!("line {number} is not plain ASCII"));
        }
    }
    breaches.extend(installation(&package.inf).err().map(|error| format!("{error:#}")));
    breaches
}

fn version(suite: &Suite, package: &Package) -> Vec<String> {
    let value = |key: &str| package.inf.value("Version", key).unwrap_or_default();
    let mut breaches = Vec::new();
    let mut expect = |key: &str, good: bool, wanted: &str| {
        if !good {
            breaches.push(format!("{key} is {:?}, expected {wanted}", value(key)));
        }
    };
    expect("Signature", value("Signature") == "$WINDOWS NT$", "$WINDOWS NT$");
    let guid = CLASSES.iter().find(|(class, _)| *class == value("Class")).map(|(_, guid)| *guid);
    expect("Class", guid.is_some(), "System or SCSIAdapter");
    expect("ClassGuid", guid.is_none_or(|guid| guid == value("ClassGuid")), guid.unwrap_or_default());
    expect("CatalogFile", value("CatalogFile") == "xenguard.cat", "xenguard.cat");
    expect("PnpLockdown", value("PnpLockdown") == "1", "1");
    expect("Provider", value("Provider") == "Xenguard", "Xenguard");
    let of_version = package.inf.list("Version", "DriverVer");
    let wanted = format!("{}.0", suite.version);
    expect(
        "DriverVer",
        matches!(of_version[..], [date, version] if is_date(date) && version == wanted),
        &format!("mm/dd/yyyy,{wanted}"),
    );
    let lines = package.inf.lines("Version").iter();
    let from_strings = |key: &str| lines.clone().any(|line| line.has_key(key) && !line.tokens.is_empty());
    if !from_strings("Provider") {
        breaches.push("Provider is not a string of [Strings], which can be translated".to_owned());
    }
    let known = ["Signature", "Class", "ClassGuid", "Provider", "CatalogFile", "DriverVer", "PnpLockdown"];
    breaches.extend(outside(lines.clone().filter_map(|line| line.key.as_deref()), &known, "unknown"));
    breaches
}

/// Returns true for `mm/dd/yyyy`, as setup wants it whatever the system's language.
fn is_date(text: &str) -> bool {
    let parts: Vec<_> = text.split('/').map(|part| (part.len(), part.parse::<u32>())).collect();
    matches!(parts[..], [(2, Ok(1..=12)), (2, Ok(1..=31)), (4, Ok(2000..))])
}
