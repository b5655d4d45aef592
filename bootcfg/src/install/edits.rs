//! Changes that installing and uninstalling make in a SYSTEM hive. A pure function of the hive: what is there
//! already is not set again, what is not ours is not touched.

use anyhow::{Context, Result};
use guard::other_suites;
use hive::{Hive, Key, data_type};

use super::{
    package::{DRIVERS, FILTERED, Package},
    service,
};
use crate::{
    bail_as,
    hive_edit::Edit,
    inf::{self, Kind},
    system::{
        raw_value::RawValue,
        registry::{Registry, next_sets},
    },
};

/// Edits, and what the admin should know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    /// In the order in which they are made.
    pub edits: Vec<Edit>,
    /// Warnings, a line each.
    pub warnings: Vec<String>,
}

/// Beginning of all display names of this suite.
pub(super) const OURS: &str = "Xenguard";
/// Beginnings of the names of our device instances below `Enum\SCSI`, and below `Control\DeviceClasses` behind
/// the name of the enumerator.
const OUR_DISKS: [&str; 2] = ["DISK&VEN_XENGUARD", "CDROM&VEN_XENGUARD"];
const DEVICE_CLASSES: &str = "Control\\DeviceClasses";
/// `CONFIGFLAG_REINSTALL`: PnP looks for a driver at the next start.
const REINSTALL: u32 = 0x20;
const CRITICAL: &str = "Control\\CriticalDeviceDatabase";
/// The platform device's keys below `Enum\PCI` begin like this.
const PLATFORM: [&str; 2] = ["VEN_5853&DEV_0001", "VEN_5853&DEV_0002"];
/// The key of the adapter that xenpci enumerates.
const ADAPTER: &str = "Enum\\XENGUARD";

/// Returns the edits that install `package`.
///
/// # Errors
/// The system is too new to be prepared offline; a filter list is of a type that is none; or the hive is
/// damaged.
pub fn install(hive: &Hive<'_>, package: &Package) -> Result<Edits> {
    if hive.key("DriverDatabase")?.is_some() {
        bail_as!(
            Refused,
            "this is Windows 8 or later, which finds boot drivers in its driver store only: run install.cmd in the guest, in \
             an emulated boot (offline, `uninstall` works)"
        );
    }
    let mut all = Edits::default();
    let of_service = package.service.as_ref().map(|_| service::changes()).unwrap_or_default();
    for set in next_sets(hive)? {
        let mut make = |change: &inf::Change| -> Result<()> {
            if let Some(edit) = edit(hive, &set, change, &all.edits)?
                && !all.edits.contains(&edit)
            {
                all.edits.push(edit);
            }
            Ok(())
        };
        of_service.iter().try_for_each(&mut make)?;
        for installation in &package.installations {
            installation.changes.iter().try_for_each(&mut make)?;
        }
        for installation in &package.installations {
            for device in &installation.devices {
                bind(hive, &set, device, &mut all)?;
            }
        }
    }
    all.warnings.sort();
    all.warnings.dedup();
    Ok(all)
}

/// Returns the edits that take the suite out of every control set: a set that is booted later (last known good)
/// must not name a file that is gone.
///
/// # Errors
/// The hive is damaged.
pub fn uninstall(hive: &Hive<'_>) -> Result<Edits> {
    let mut all = Edits::default();
    for set in all_sets(hive)? {
        let at = |key: &str| format!("{set}\\{key}");
        let of = |ours: bool| -> Vec<&str> {
            DRIVERS
                .into_iter()
                .filter(|name| matches!(owner(hive, &set, name), Ok(Some(is)) if is == ours))
                .collect()
        };
        let (ours, others) = (of(true), of(false));
        // Filters first. Another suite's list that names a service must go on naming it; a name that no service has
        // stops the boot.
        for class in keys(hive, &at("Control\\Class"))? {
            let key = at(&format!("Control\\Class\\{}", class.name()));
            for name in ["UpperFilters", "LowerFilters"] {
                all.edits.extend(without_filters(&class, &key, name, &others)?);
            }
        }
        for service in keys(hive, &at(CRITICAL))? {
            if service.text("Service")?.is_some_and(|name| ours.contains(&name.as_str())) {
                all.edits.push(Edit::DeleteKey { key: at(&format!("{CRITICAL}\\{}", service.name())) });
            }
        }
        for (key, instance) in platform_devices(hive, &set)? {
            if instance.text("Service")?.is_some_and(|name| ours.contains(&name.as_str())) {
                let present = |name: &&str| matches!(instance.value(name), Ok(Some(_)));
                let named = instance.text("DeviceDesc")?.is_some_and(|name| name.contains(OURS));
                let names = ["Service", "ClassGUID", "Class", "Security"].into_iter();
                let names = names.chain(named.then_some("DeviceDesc")).filter(present);
                let names = names.map(str::to_owned).collect();
                all.edits.push(Edit::DeleteValues { key: key.clone(), names });
                let (kind, data) = encode(&inf::Registry::Dword(REINSTALL));
                all.edits.push(Edit::Set { key, name: "ConfigFlags".to_owned(), kind, data });
            }
        }
        let is_disk = |name: &str| {
            let name = name.to_ascii_uppercase();
            OUR_DISKS.iter().any(|own| name.starts_with(own))
        };
        for device in keys(hive, &at("Enum\\SCSI"))?.iter().filter(|key| is_disk(key.name())) {
            all.edits.push(Edit::DeleteKey { key: at(&format!("Enum\\SCSI\\{}", device.name())) });
        }
        for class in keys(hive, &at(DEVICE_CLASSES))? {
            for interface in class.keys()? {
                let name = interface?.name().to_owned();
                let device = name.to_ascii_uppercase();
                let device = device.strip_prefix("##?#").unwrap_or_default();
                if device.starts_with("XENGUARD#") || device.strip_prefix("SCSI#").is_some_and(is_disk) {
                    let key = at(&format!("{DEVICE_CLASSES}\\{}\\{name}", class.name()));
                    all.edits.push(Edit::DeleteKey { key });
                }
            }
        }
        if ours.contains(&"xenpci") && hive.key(&at(ADAPTER))?.is_some() {
            all.edits.push(Edit::DeleteKey { key: at(ADAPTER) });
        }
        let service = matches!(owner(hive, &set, service::NAME), Ok(Some(true))).then_some(service::NAME);
        for name in ours.into_iter().chain(service) {
            for key in [at(&format!("Services\\EventLog\\System\\{name}")), at(&format!("Services\\{name}"))]
            {
                if hive.key(&key)?.is_some() {
                    all.edits.push(Edit::DeleteKey { key });
                }
            }
        }
    }
    // Taking a value away rewrites its key's other values as they were.
    all.edits.sort_by_key(|edit| match edit {
        Edit::DeleteValues { .. } => 0,
        Edit::Set { .. } => 1,
        Edit::DeleteKey { .. } => 2,
    });
    Ok(all)
}

/// Returns whether an edit has been made already by one of these, which removes a key above it.
#[must_use]
pub fn covers(edits: &[Edit], edit: &Edit) -> bool {
    let Edit::DeleteKey { key } = edit else { return edits.contains(edit) };
    edits
        .iter()
        .any(|other| matches!(other, Edit::DeleteKey { key: above } if key.starts_with(above.as_str())))
}

/// Returns the names of this suite's drivers that other vendors' services have, in any control set.
///
/// # Errors
/// The hive is damaged.
pub fn namesakes(hive: &Hive<'_>) -> Result<Vec<&'static str>> {
    let mut found = Vec::new();
    for set in all_sets(hive)? {
        for name in DRIVERS {
            if owner(hive, &set, name)? == Some(false) && !found.contains(&name) {
                found.push(name);
            }
        }
    }
    Ok(found)
}

/// Returns true if a service is ours, in any control set.
///
/// # Errors
/// The hive is damaged.
pub fn has_ours(hive: &Hive<'_>) -> Result<bool> {
    for set in all_sets(hive)? {
        for name in DRIVERS {
            if owner(hive, &set, name)? == Some(true) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

pub(crate) fn all_sets(hive: &Hive<'_>) -> Result<Vec<String>> {
    let names = hive.root()?.keys()?.collect::<Result<Vec<_>, _>>()?;
    let is_set = |name: &str| {
        let number =
            name.get(..10).filter(|start| start.eq_ignore_ascii_case("ControlSet")).map(|_| &name[10..]);
        number.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit()))
    };
    Ok(names.iter().map(|key| key.name().to_owned()).filter(|name| is_set(name)).collect())
}

/// Returns the subkeys of a key; none where it is absent.
pub(crate) fn keys<'a>(hive: &'a Hive<'a>, path: &str) -> Result<Vec<Key<'a>>> {
    match hive.key(path)? {
        Some(key) => Ok(key.keys()?.collect::<Result<_, _>>()?),
        None => Ok(Vec::new()),
    }
}

/// Returns true if a service is there, and ours.
fn owner(hive: &Hive<'_>, set: &str, service: &str) -> Result<Option<bool>> {
    let Some(key) = hive.key(&format!("{set}\\Services\\{service}"))? else { return Ok(None) };
    // Behind the `;` of an indirect string stands the text itself.
    Ok(Some(key.text("DisplayName")?.is_some_and(|name| name.contains(OURS))))
}

/// Looks for other suites where this one is to be installed, offline or in the running system; returns
/// warnings.
///
/// # Errors
/// Another vendor's driver has the name of one of ours; or the registry cannot be read.
pub fn refuse_namesakes(registry: &Registry) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    for set in registry.next_sets()? {
        for name in DRIVERS {
            let key = format!("{set}\\Services\\{name}");
            if registry.keys(&key)?.is_none() {
                continue;
            }
            let display = registry.value(&key, "DisplayName")?.and_then(|value| value.text());
            if !display.is_some_and(|name| name.contains(OURS)) {
                bail_as!(
                    Refused,
                    "another vendor's driver is installed as the service {name}: uninstall that suite first; two suites would \
                     drive the same disks"
                );
            }
        }
        for name in other_suites::SERVICES {
            let start = registry.value(&format!("{set}\\Services\\{name}"), "Start")?;
            if start.and_then(|start| start.dword()).is_some_and(other_suites::is_enabled) {
                warnings.push(format!(
                    "another suite for Xen is installed (service {name}); its filters stay as they are. Two suites may both \
                     show PV disks: uninstall it before a PV boot"
                ));
            }
        }
        for class in FILTERED {
            let key = format!("{set}\\Control\\Class\\{class}");
            let list = registry.value(&key, "UpperFilters")?;
            if list.is_some_and(|list| list.strings().is_none()) {
                bail_as!(
                    Refused,
                    "{key}\\UpperFilters is no list of strings; put it in order first, nothing was changed"
                );
            }
        }
    }
    warnings.sort();
    warnings.dedup();
    Ok(warnings)
}

/// Returns the edit that makes a change of an INF file, unless it is made.
fn edit(hive: &Hive<'_>, set: &str, change: &inf::Change, before: &[Edit]) -> Result<Option<Edit>> {
    let below = change.key.strip_prefix("SYSTEM\\CurrentControlSet\\");
    let key = format!("{set}\\{}", below.with_context(|| format!("{} is not in the hive", change.key))?);
    let old = match hive.key(&key)? {
        Some(found) => match found.value(&change.name)? {
            Some(value) => Some(RawValue { kind: value.data_type(), data: value.data()?.into_owned() }),
            None => None,
        },
        None => None,
    };
    let (kind, data) = match (&change.kind, &old) {
        (Kind::Default(_), Some(_)) => return Ok(None),
        (Kind::Set(value) | Kind::Default(value), _) => encode(value),
        (Kind::Append(new), _) => {
            let mut strings = match pending(before, &key, &change.name) {
                Some(data) => strings_of(data),
                None => match old.as_ref().map(RawValue::strings) {
                    None => Vec::new(),
                    Some(Some(strings)) => strings,
                    Some(None) => bail_as!(
                        Refused,
                        "{key}\\{} is no list of strings; put it in order first, nothing was changed",
                        change.name
                    ),
                },
            };
            for string in new {
                if !strings.iter().any(|own| own.eq_ignore_ascii_case(string)) {
                    strings.push(string.clone());
                }
            }
            (data_type::MULTI_SZ, multi(&strings))
        }
    };
    if old.is_some_and(|old| (old.kind, &old.data) == (kind, &data)) {
        return Ok(None);
    }
    Ok(Some(Edit::Set { key, name: change.name.clone(), kind, data }))
}

/// Returns the value that earlier edits leave.
fn pending<'a>(before: &'a [Edit], key: &str, name: &str) -> Option<&'a [u8]> {
    before.iter().rev().find_map(|edit| match edit {
        Edit::Set { key: k, name: n, data, .. } if k == key && n == name => Some(data.as_slice()),
        _ => None,
    })
}

/// Returns the strings of what [`multi`] encoded.
fn strings_of(data: &[u8]) -> Vec<String> {
    let units: Vec<u16> = data.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    let strings = units.split(|&unit| unit == 0).filter(|string| !string.is_empty());
    strings.map(String::from_utf16_lossy).collect()
}

/// Gives the driver to instances of the device that have none: PnP on NT 5.2 looks into the list of critical
/// devices only for devices that it has not set up before.
fn bind(hive: &Hive<'_>, set: &str, device: &inf::Device, all: &mut Edits) -> Result<()> {
    let Some(id) = device.id.strip_prefix("PCI\\") else { return Ok(()) };
    for (key, instance) in platform_devices(hive, set)? {
        if !key.to_ascii_uppercase().contains(id) {
            continue;
        }
        match instance.text("Service")? {
            Some(service) if service.eq_ignore_ascii_case(&device.service) => {}
            Some(service) => all.warnings.push(format!(
                "the Xen platform device is driven by {service}: no PV boot before that is uninstalled"
            )),
            None => {
                let (class, guid) = &device.class;
                let mut set_text = |name: &str, text: &str| {
                    let (kind, data) = encode(&inf::Registry::Text(text.to_owned()));
                    all.edits.push(Edit::Set { key: key.clone(), name: name.to_owned(), kind, data });
                };
                set_text("Service", &device.service);
                set_text("Class", class);
                set_text("ClassGUID", guid);
                set_text("DeviceDesc", &device.description);
                let (kind, data) = encode(&inf::Registry::Dword(0));
                all.edits.push(Edit::Set { key, name: "ConfigFlags".to_owned(), kind, data });
            }
        }
    }
    Ok(())
}

/// Returns the instances of the Xen platform device that the system has seen.
fn platform_devices<'a>(hive: &'a Hive<'a>, set: &str) -> Result<Vec<(String, Key<'a>)>> {
    let pci = format!("{set}\\Enum\\PCI");
    let mut found = Vec::new();
    for device in keys(hive, &pci)? {
        let name = device.name().to_ascii_uppercase();
        if PLATFORM.iter().any(|id| name.starts_with(id)) {
            for instance in device.keys()? {
                let instance = instance?;
                found.push((format!("{pci}\\{}\\{}", device.name(), instance.name()), instance));
            }
        }
    }
    Ok(found)
}

/// Returns a filter list without this suite's drivers, but with those of the names that are others'; a list that only
/// held ours goes.
fn without_filters(class: &Key<'_>, key: &str, name: &str, others: &[&str]) -> Result<Option<Edit>> {
    let Some(value) = class.value(name)? else { return Ok(None) };
    let value = RawValue { kind: value.data_type(), data: value.data()?.into_owned() };
    Ok(without(&value, key, name, others))
}

/// Returns the edits that take idefilter and idefallback out of the filter lists of every control set.
///
/// # Errors
/// The registry cannot be read.
pub(super) fn filters_out(registry: &Registry) -> Result<Vec<Edit>> {
    /// Other suites have drivers of these names, and theirs need no list of ours.
    const SHARED: [&str; 2] = ["xenpci", "xenvbd"];
    let mut edits = Vec::new();
    for set in registry.all_sets()? {
        for class in FILTERED {
            let key = format!("{set}\\Control\\Class\\{class}");
            let list = registry.value(&key, "UpperFilters")?;
            edits.extend(list.and_then(|list| without(&list, &key, "UpperFilters", &SHARED)));
        }
    }
    Ok(edits)
}

/// Does what [`without_filters`] does, of a value that was read.
fn without(value: &RawValue, key: &str, name: &str, others: &[&str]) -> Option<Edit> {
    let old = value.strings()?;
    let is_in = |names: &[&str], filter: &str| names.iter().any(|name| name.eq_ignore_ascii_case(filter));
    let is_other = |filter: &&String| !is_in(&DRIVERS, filter) || is_in(others, filter);
    let new: Vec<String> = old.iter().filter(is_other).cloned().collect();
    match new.len() {
        count if count == old.len() => None,
        0 => Some(Edit::DeleteValues { key: key.to_owned(), names: vec![name.to_owned()] }),
        _ => Some(Edit::Set {
            key: key.to_owned(),
            name: name.to_owned(),
            kind: data_type::MULTI_SZ,
            data: multi(&new),
        }),
    }
}

/// Type and bytes of a value.
fn encode(value: &inf::Registry) -> (u32, Vec<u8>) {
    match value {
        inf::Registry::Text(text) => (data_type::SZ, utf16(text)),
        inf::Registry::Expand(text) => (data_type::EXPAND_SZ, utf16(text)),
        inf::Registry::Multi(strings) => (data_type::MULTI_SZ, multi(strings)),
        inf::Registry::Dword(number) => (data_type::DWORD, number.to_le_bytes().to_vec()),
        inf::Registry::Binary(bytes) => (data_type::BINARY, bytes.clone()),
    }
}

/// With the NUL that ends it.
fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

/// Each string with its NUL, and an empty one.
pub(crate) fn multi(strings: &[String]) -> Vec<u8> {
    strings.iter().flat_map(|string| utf16(string)).chain([0, 0]).collect()
}
