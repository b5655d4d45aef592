//! The INF installer: does to the registry what setup does with a driver package.
//!
//! A package that is not for a device (`DefaultInstall`) is installed at once. One for devices is installed
//! as if setup had run when the device was first seen, in an earlier boot: its services and its
//! critical-device entries are in the registry, and its devices are matched by [`find`].

mod file;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use file::{File, Line};

use crate::cm::{self, Value};
use crate::ke::Lock;
use crate::nt::*;

/// The entry of a package for a device.
#[derive(Clone, Debug)]
pub(crate) struct Match {
    /// Hardware or compatible id.
    pub id: String,
    /// The device's class.
    pub class: String,
    /// Its function driver.
    pub service: Option<String>,
    /// Its description.
    pub description: String,
    /// Values for its hardware key (`.HW` sections): subkey, name, value.
    pub hardware: Vec<(String, String, Value)>,
}

static MATCHES: Lock<Vec<Match>> = Lock::new(Vec::new());

/// Returns the first package's entry for one of these ids, the most exact id first.
pub(crate) fn find(ids: &[String]) -> Option<Match> {
    let matches = MATCHES.lock();
    ids.iter().find_map(|id| matches.iter().find(|m| m.id.eq_ignore_ascii_case(id))).cloned()
}

/// The directory of `%12%`.
const DRIVERS: &str = "\\SystemRoot\\System32\\Drivers";

/// `FLG_ADDREG_NOCLOBBER`.
const NO_CLOBBER: u32 = 2;
/// `FLG_ADDREG_APPEND`.
const APPEND: u32 = 8;
/// `FLG_ADDREG_KEYONLY`.
const KEY_ONLY: u32 = 0x10;
/// The bits that tell a value's type.
const TYPE_MASK: u32 = 0xFFFF_0001;
/// `SPSVCINST_ASSOCSERVICE`: the device's function driver.
const ASSOCIATED: u32 = 2;

/// Installs a package.
///
/// # Errors
/// What is wrong with it, in a line.
pub(crate) fn install(text: &str) -> Result<(), String> {
    let file = File::parse(text)?;
    let signature = file.value("Version", "Signature").unwrap_or_default();
    if !signature.eq_ignore_ascii_case("$WINDOWS NT$") && !signature.eq_ignore_ascii_case("$CHICAGO$") {
        return Err(format!("Signature {signature} is not of Windows"));
    }
    if let Some(section) = file.decorated("DefaultInstall") {
        run(&file, &section, None)?;
    }
    for line in file.lines("Manufacturer") {
        // name = models[, decoration…]: the most exact decoration that fits is .NTamd64.
        let models = line.field(0).ok_or("a manufacturer without models")?;
        let decorated = line.fields.iter().skip(1).any(|d| d.eq_ignore_ascii_case("NTamd64"));
        let section = if decorated { format!("{models}.NTamd64") } else { models.to_string() };
        for model in file.lines(&section) {
            device(&file, model)?;
        }
    }
    Ok(())
}

/// Takes one line of a models section: `description = install-section, id, …`.
fn device(file: &File, model: &Line) -> Result<(), String> {
    let section = model.field(0).ok_or("a model without an install section")?;
    let section = file.decorated(section).ok_or_else(|| format!("no section [{section}]"))?;
    let class = file.value("Version", "ClassGuid").ok_or("no ClassGuid")?;
    let mut hardware = Vec::new();
    let service = run(file, &section, Some(&mut hardware))?;
    for id in model.fields.iter().skip(1) {
        let entry = Match {
            id: id.clone(),
            class: class.clone(),
            service: service.clone(),
            description: model.key.clone().unwrap_or_default(),
            hardware: hardware.clone(),
        };
        MATCHES.lock().push(entry);
    }
    Ok(())
}

/// Carries out an install section: files, registry, services. Returns the associated service.
fn run(
    file: &File,
    section: &str,
    hardware: Option<&mut Vec<(String, String, Value)>>,
) -> Result<Option<String>, String> {
    for copy in file.list(section, "CopyFiles") {
        for line in file.lines(&copy) {
            let name = line.field(0).ok_or("an empty line of files to copy")?;
            if crate::boot::archive().file(name).is_none() {
                // The medium lacks the file: setup would ask for it. It stays away, as a file that was
                // deleted.
                crate::log!("setup: {name} is not on the medium");
            }
        }
    }
    for registry in file.list(section, "AddReg") {
        for line in file.lines(&registry) {
            let (path, name, value, flags) = setting(line, "")?;
            write(&path, &name, value, flags);
        }
    }
    if let Some(hardware) = hardware {
        for registry in file.list(&format!("{section}.HW"), "AddReg") {
            for line in file.lines(&registry) {
                let (path, name, value, _) = setting(line, "")?;
                hardware.extend(value.map(|value| (path, name, value)));
            }
        }
    }
    let mut associated = None;
    for line in file.lines(&format!("{section}.Services")) {
        if line.key.as_deref().is_some_and(|key| key.eq_ignore_ascii_case("AddService")) {
            let name = line.field(0).ok_or("AddService without a name")?;
            if number(line.field(1).unwrap_or("0"))? & ASSOCIATED != 0 {
                associated = Some(name.to_string());
            }
            service(file, name, line.field(2).ok_or("AddService without a section")?)?;
            if let Some(section) = line.field(3).filter(|section| !section.is_empty()) {
                event_source(file, name, section)?;
            }
        }
    }
    Ok(associated)
}

/// Makes a service's key.
fn service(file: &File, name: &str, section: &str) -> Result<(), String> {
    let path = format!("{}\\{name}", cm::SERVICES);
    for (directive, value) in
        [("ServiceType", "Type"), ("StartType", "Start"), ("ErrorControl", "ErrorControl")]
    {
        let text = file.value(section, directive).ok_or_else(|| format!("[{section}] has no {directive}"))?;
        cm::set(&path, value, Value::dword(number(&text)?));
    }
    let binary =
        file.value(section, "ServiceBinary").ok_or_else(|| format!("[{section}] has no ServiceBinary"))?;
    let image = Value { kind: REG_EXPAND_SZ, ..Value::text(&binary.replace("%12%", DRIVERS)) };
    cm::set(&path, "ImagePath", image);
    for (directive, value) in [("LoadOrderGroup", "Group"), ("DisplayName", "DisplayName")] {
        if let Some(text) = file.value(section, directive) {
            cm::set(&path, value, Value::text(&text));
        }
    }
    for registry in file.list(section, "AddReg") {
        for line in file.lines(&registry) {
            let (path, name, value, flags) = setting(line, &path)?;
            write(&path, &name, value, flags);
        }
    }
    Ok(())
}

/// Makes a driver a source of the system's event log.
fn event_source(file: &File, name: &str, section: &str) -> Result<(), String> {
    let path = format!("{}\\EventLog\\System\\{name}", cm::SERVICES);
    for registry in file.list(section, "AddReg") {
        for line in file.lines(&registry) {
            let (path, name, value, flags) = setting(line, &path)?;
            write(&path, &name, value, flags);
        }
    }
    Ok(())
}

/// Returns a line of an AddReg section: `root, subkey, name, flags, value…`. `relative` is what HKR stands
/// for.
fn setting(line: &Line, relative: &str) -> Result<(String, String, Option<Value>, u32), String> {
    let root = line.field(0).unwrap_or_default();
    let root = match root.to_ascii_uppercase().as_str() {
        "HKLM" => "\\Registry\\Machine",
        "HKR" => relative,
        _ => return Err(format!("registry root {root} is not known")),
    };
    let subkey = line.field(1).unwrap_or_default();
    let path = if subkey.is_empty() { root.to_string() } else { format!("{root}\\{subkey}") };
    let name = line.field(2).unwrap_or_default().to_string();
    let flags = number(line.field(3).unwrap_or("0"))?;
    let values = line.fields.get(4..).unwrap_or_default();
    let first = values.first().map_or("", String::as_str);
    let value = match flags & TYPE_MASK {
        _ if flags & KEY_ONLY != 0 => None,
        0x0000_0000 => Some(Value::text(first)),
        0x0002_0000 => Some(Value { kind: REG_EXPAND_SZ, ..Value::text(first) }),
        0x0001_0000 => Some(Value::multi(values)),
        0x0001_0001 => Some(Value::dword(number(first)?)),
        0x0000_0001 => {
            let byte =
                |text: &String| u8::from_str_radix(text, 16).map_err(|_| format!("{text} is not a byte"));
            Some(Value { kind: REG_BINARY, data: values.iter().map(byte).collect::<Result<_, _>>()? })
        }
        other => return Err(format!("registry flags {other:#x} are not known")),
    };
    Ok((path, name, value, flags))
}

fn write(path: &str, name: &str, value: Option<Value>, flags: u32) {
    let Some(value) = value else { return cm::make(path) };
    match cm::get(path, name) {
        Some(_) if flags & NO_CLOBBER != 0 => {}
        Some(old) if flags & APPEND != 0 && value.kind == REG_MULTI_SZ => {
            let mut strings = old.strings();
            for new in value.strings() {
                if !strings.iter().any(|s| s.eq_ignore_ascii_case(&new)) {
                    strings.push(new);
                }
            }
            cm::set(path, name, Value::multi(&strings));
        }
        _ => cm::set(path, name, value),
    }
}

fn number(text: &str) -> Result<u32, String> {
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    if text.is_empty() { Ok(0) } else { parsed.map_err(|_| format!("{text} is not a number")) }
}
