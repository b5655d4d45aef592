//! Effects of a package on a system: the files it copies, the registry changes it makes, the devices it is
//! for.

use super::{Inf, Line};
use anyhow::{Context, Result, bail, ensure};

/// `FLG_ADDREG_NOCLOBBER`.
pub(super) const NO_CLOBBER: u32 = 0x0000_0002;
/// `FLG_ADDREG_APPEND`.
pub const APPEND: u32 = 0x0000_0008;
/// `FLG_DELREG_MULTI_SZ_DELSTRING`, with its operation and type bits.
pub const DELETE_STRING: u32 = 0x0001_8002;
/// `SPSVCINST_ASSOCSERVICE`: the device's function driver.
pub const ASSOCIATED: u32 = 2;
/// Key of the services.
pub const SERVICES: &str = "SYSTEM\\CurrentControlSet\\Services";
/// Ending of decorated sections for x64.
pub const DECORATION: &str = ".NTamd64";
/// Dirid 12 relative to the system's folder, as boot loaders take it.
const DRIVERS: &str = "system32\\drivers";

/// A registry value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registry {
    /// `REG_SZ`.
    Text(String),
    /// `REG_EXPAND_SZ`.
    Expand(String),
    /// `REG_MULTI_SZ`.
    Multi(Vec<String>),
    /// `REG_DWORD`.
    Dword(u32),
    /// `REG_BINARY`.
    Binary(Vec<u8>),
}

/// Change of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It gets this value.
    Set(Registry),
    /// It gets this value where there is none: what the admin set stays.
    Default(Registry),
    /// Strings are added to a `REG_MULTI_SZ` that lacks them; the others stay.
    Append(Vec<String>),
}

/// A change to the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key below `HKEY_LOCAL_MACHINE`, or below a device's hardware key.
    pub key: String,
    /// The value's name; empty for the default value.
    pub name: String,
    /// Change of it.
    pub kind: Kind,
}

/// A device that a package is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its hardware id.
    pub id: String,
    /// Name for people.
    pub description: String,
    /// Class and its GUID.
    pub class: (String, String),
    /// Its function driver.
    pub service: String,
    /// Values of its hardware key.
    pub hardware: Vec<Change>,
}

/// Effects of a package, in the order in which setup does it: files, then registry, then services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Installation {
    /// Files that go into `System32\drivers`.
    pub files: Vec<String>,
    /// Changes to the registry.
    pub changes: Vec<Change>,
    /// Services, in the order in which they are made.
    pub services: Vec<String>,
    /// Devices.
    pub devices: Vec<Device>,
}

/// Returns the effects of a package on an x64 system: its `DefaultInstall`, or the install section of each of its
/// models.
///
/// # Errors
/// Something that this reader does not take, with the line.
pub fn installation(inf: &Inf) -> Result<Installation> {
    let mut all = Installation::default();
    let default = format!("DefaultInstall{DECORATION}");
    if inf.section(&default).is_some() {
        section(inf, &default, &mut all)?;
    }
    let mut done: Vec<(String, String)> = Vec::new();
    for maker in inf.lines("Manufacturer") {
        let models = format!("{}{DECORATION}", maker.field(0).unwrap_or_default());
        for model in inf.lines(&models) {
            let name =
                format!("{}{DECORATION}", model.field(0).context("a model without an install section")?);
            let service = match done.iter().find(|(section, _)| *section == name) {
                Some((_, service)) => service.clone(),
                None => section(inf, &name, &mut all)?
                    .with_context(|| format!("[{name}] has no function driver"))?,
            };
            done.push((name.clone(), service.clone()));
            let version = |key: &str| inf.value("Version", key).unwrap_or_default().to_owned();
            for id in &model.fields[1..] {
                all.devices.push(Device {
                    id: id.clone(),
                    description: model.key.clone().unwrap_or_default(),
                    class: (version("Class"), version("ClassGuid")),
                    service: service.clone(),
                    hardware: registry(inf, &format!("{name}.HW"), Roots::Hardware)?,
                });
            }
        }
    }
    ensure!(!all.files.is_empty(), "nothing is installed on an x64 system");
    Ok(all)
}

/// Reads an install section; returns the service that is the device's.
fn section(inf: &Inf, name: &str, all: &mut Installation) -> Result<Option<String>> {
    for list in inf.list(name, "CopyFiles") {
        let destination =
            inf.value("DestinationDirs", list).or(inf.value("DestinationDirs", "DefaultDestDir"));
        ensure!(destination == Some("12"), "[{list}] goes to dirid {destination:?}, not to 12");
        for file in inf.lines(list).iter().filter_map(|line| line.field(0)) {
            if !all.files.iter().any(|own| own == file) {
                all.files.push(file.to_owned());
            }
        }
    }
    all.changes.extend(registry(inf, name, Roots::Machine)?);
    let mut associated = None;
    for line in inf.lines(&format!("{name}.Services")).iter().filter(|line| line.has_key("AddService")) {
        let service = line.field(0).context("AddService without a name")?;
        if number(line.field(1).unwrap_or("0"))? & ASSOCIATED != 0 {
            associated = Some(service.to_owned());
        }
        let key = format!("{SERVICES}\\{service}");
        all.changes.extend(service_values(
            inf,
            line.field(2).context("AddService without a section")?,
            &key,
        )?);
        if let Some(log) = line.field(3) {
            all.changes.extend(registry(
                inf,
                log,
                Roots::Key(&format!("{SERVICES}\\EventLog\\System\\{service}")),
            )?);
        }
        all.services.push(service.to_owned());
    }
    Ok(associated)
}

/// Reads a service-install section: the service's own values, then those of its AddReg sections.
fn service_values(inf: &Inf, section: &str, key: &str) -> Result<Vec<Change>> {
    let change =
        |name: &str, value| Change { key: key.to_owned(), name: name.to_owned(), kind: Kind::Set(value) };
    let text = |directive: &str| {
        inf.value(section, directive).with_context(|| format!("[{section}] has no {directive}"))
    };
    let mut changes = Vec::new();
    let numbers = [("ServiceType", "Type"), ("StartType", "Start"), ("ErrorControl", "ErrorControl")];
    for (directive, name) in numbers {
        changes.push(change(name, Registry::Dword(number(text(directive)?)?)));
    }
    let image = text("ServiceBinary")?.replace("%12%", DRIVERS);
    ensure!(!image.contains('%'), "[{section}]: ServiceBinary {image} is not in dirid 12");
    changes.push(change("ImagePath", Registry::Expand(image)));
    for (directive, name) in [("LoadOrderGroup", "Group"), ("DisplayName", "DisplayName")] {
        changes.push(change(name, Registry::Text(text(directive)?.to_owned())));
    }
    changes.extend(registry(inf, section, Roots::Key(key))?);
    Ok(changes)
}

/// The roots that an AddReg line may name.
#[derive(Clone, Copy)]
enum Roots<'a> {
    /// `HKLM` alone. In an install section `HKR` is the driver's software key, whose number setup chooses.
    Machine,
    /// `HKR` alone, for a device's hardware key.
    Hardware,
    /// `HKLM`, and `HKR` for this key below it.
    Key(&'a str),
}

/// Reads the AddReg lines of a section.
fn registry(inf: &Inf, section: &str, roots: Roots<'_>) -> Result<Vec<Change>> {
    let lists = inf.list(section, "AddReg");
    let lines = lists.into_iter().flat_map(|list| inf.lines(list));
    lines.map(|line| change(line, roots).with_context(|| format!("line {}", line.number))).collect()
}

/// Reads an AddReg line: `root, subkey, name, flags, value…`.
fn change(line: &Line, roots: Roots<'_>) -> Result<Change> {
    let subkey = line.field(1).unwrap_or_default();
    let key = match (line.field(0).unwrap_or_default().to_ascii_uppercase().as_str(), roots) {
        ("HKLM", Roots::Machine | Roots::Key(_)) => {
            ensure!(!subkey.is_empty(), "the line names no key below HKLM");
            subkey.to_owned()
        }
        ("HKR", Roots::Hardware) => subkey.to_owned(),
        ("HKR", Roots::Key(key)) if subkey.is_empty() => key.to_owned(),
        ("HKR", Roots::Key(key)) => format!("{key}\\{subkey}"),
        (root, _) => bail!("the registry root {root} is not taken here"),
    };
    let flags = number(line.field(3).unwrap_or("0"))?;
    let values = line.fields.get(4..).unwrap_or_default();
    let first = values.first().cloned().unwrap_or_default();
    let value = match flags & !(NO_CLOBBER | APPEND) {
        0x0000_0000 => Registry::Text(first),
        0x0002_0000 => Registry::Expand(first),
        0x0001_0000 => Registry::Multi(values.to_vec()),
        0x0001_0001 => Registry::Dword(number(&first)?),
        0x0000_0001 => Registry::Binary(
            values.iter().map(|byte| Ok(u8::from_str_radix(byte, 16)?)).collect::<Result<_>>()?,
        ),
        _ => bail!("the registry flags {flags:#x} are not taken"),
    };
    let kind = match (flags & (NO_CLOBBER | APPEND), value) {
        (0, value) => Kind::Set(value),
        (NO_CLOBBER, value) => Kind::Default(value),
        (APPEND, Registry::Multi(strings)) => Kind::Append(strings),
        _ => bail!("the registry flags {flags:#x} are not taken"),
    };
    Ok(Change { key, name: line.field(2).unwrap_or_default().to_owned(), kind })
}

/// Reads a number as INF files have it: decimal, or hexadecimal behind `0x`.
///
/// # Errors
/// It is neither.
pub fn number(text: &str) -> Result<u32> {
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.with_context(|| format!("{text} is not a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str) -> Installation {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../inf/{name}.inf"));
        let text = std::fs::read_to_string(path).expect("readable");
        installation(&Inf::parse(&text).expect("parsed")).expect("understood")
    }

    fn set<'a>(all: &'a Installation, key: &str, name: &str) -> &'a Kind {
        let found = all.changes.iter().find(|change| change.key == key && change.name == name);
        &found.unwrap_or_else(|| panic!("{key}\\{name}")).kind
    }

    #[test]
    fn the_filter_is_appended_after_its_service() {
        let all = read("idefilter");
        assert_eq!(all.files, ["idefallback.sys", "idefilter.sys"]);
        assert_eq!(all.services, ["idefallback", "idefilter"]);
        let last = all.changes.iter().rposition(|c| c.key.starts_with(&format!("{SERVICES}\\idefilter")));
        let filter = all.changes.iter().position(|change| change.name == "UpperFilters").expect("there");
        assert_eq!(all.changes[filter].kind, Kind::Append(vec!["idefilter".to_owned()]));
        assert_eq!(last, Some(filter - 1));
        assert_eq!(
            *set(&all, "SYSTEM\\CurrentControlSet\\Services\\idefilter", "ImagePath"),
            Kind::Set(Registry::Expand("system32\\drivers\\idefilter.sys".to_owned()))
        );
    }

    /// Found by the fuzz target: such a value would be at the root of the registry.
    #[test]
    fn a_value_has_a_key() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../inf/xenvbd.inf");
        let text = std::fs::read_to_string(path).expect("readable");
        let without = text.replacen(
            "HKLM,\"SYSTEM\\CurrentControlSet\\Control\\CriticalDeviceDatabase\\xenguard#vbd\"",
            "HKLM,",
            1,
        );
        assert_ne!(without, text);
        let error = installation(&Inf::parse(&without).expect("parsed")).expect_err("no key");
        assert!(format!("{error:#}").contains("names no key below HKLM"), "{error:#}");
    }

    /// Found by the fuzz target: `HKR` of an install section was taken for the root of the registry, and a value
    /// below `HKLM` for one of the hardware key.
    #[test]
    fn a_root_belongs_to_its_section() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../inf/xenpci.inf");
        let text = std::fs::read_to_string(path).expect("readable");
        let refused = |old: &str, new: &str| {
            let edited = text.replacen(old, new, 1);
            assert_ne!(edited, text, "{old}");
            let error = installation(&Inf::parse(&edited).expect("parsed")).expect_err(new);
            assert!(format!("{error:#}").contains("is not taken here"), "{error:#}");
        };
        refused("HKLM,\"SYSTEM\\CurrentControlSet\\Control\\CriticalDeviceDatabase", "HKR,\"X");
        refused("HKR,,Security", "HKLM,X,Security");
    }

    #[test]
    fn the_platform_device_brings_the_registration_of_its_child() {
        let (platform, child) = (read("xenpci"), read("xenvbd"));
        assert_eq!(platform.files, ["xenpci.sys", "xenvbd.sys"]);
        assert_eq!(platform.devices.len(), 2);
        assert!(platform.devices.iter().all(|device| device.service == "xenpci"));
        assert!(platform.devices.iter().all(|device| device.hardware[0].name == "Security"));
        for change in child.changes {
            assert!(platform.changes.contains(&change), "{change:?}");
        }
        assert_eq!(child.devices[0].id, "XENGUARD\\VBD");
        assert_eq!(
            *set(
                &platform,
                "SYSTEM\\CurrentControlSet\\Services\\EventLog\\System\\xenvbd",
                "EventMessageFile"
            ),
            Kind::Set(Registry::Expand(
                "%SystemRoot%\\System32\\IoLogMsg.dll;%SystemRoot%\\System32\\drivers\\xenvbd.sys".to_owned()
            ))
        );
    }
}
