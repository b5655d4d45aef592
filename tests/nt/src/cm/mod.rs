//! The configuration manager: the registry in memory, and the `Zw` routines over it.
//!
//! Paths are those of the kernel (`\Registry\Machine\System\…`). Case is ignored. `CurrentControlSet` is the
//! one control set there is, so it is a plain key.

mod hive;
mod reg_file;
mod routines;

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use hive::refusal;
pub(crate) use hive::{close, flush, loaded, session_manager};
pub(crate) use reg_file::apply as apply_reg_file;
pub(crate) use routines::*;

use crate::ke::Lock;
use crate::nt::*;

/// A value's type and bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    pub kind: u32,
    pub data: Vec<u8>,
}

impl Value {
    /// Returns a `REG_DWORD`.
    pub(crate) fn dword(number: u32) -> Self {
        Self { kind: REG_DWORD, data: number.to_le_bytes().to_vec() }
    }

    /// Returns a `REG_SZ`, terminated.
    pub(crate) fn text(text: &str) -> Self {
        Self { kind: REG_SZ, data: units(text.encode_utf16().chain([0])) }
    }

    /// Returns a `REG_MULTI_SZ`: each string terminated, then an empty one.
    pub(crate) fn multi(strings: &[String]) -> Self {
        let all = strings.iter().flat_map(|s| s.encode_utf16().chain([0])).chain([0]);
        Self { kind: REG_MULTI_SZ, data: units(all) }
    }

    /// Returns the number, if it is one.
    pub(crate) fn as_dword(&self) -> Option<u32> {
        (self.kind == REG_DWORD)
            .then(|| self.data.as_slice().try_into().ok().map(u32::from_le_bytes))
            .flatten()
    }

    /// Returns the text up to its first terminator, if it is a string.
    pub(crate) fn as_text(&self) -> Option<String> {
        matches!(self.kind, REG_SZ | REG_EXPAND_SZ)
            .then(|| self.strings().into_iter().next().unwrap_or_default())
    }

    /// Returns its strings, taken as a `REG_MULTI_SZ`.
    pub(crate) fn strings(&self) -> Vec<String> {
        let units: Vec<u16> = self.data.chunks_exact(2).map(|c| u16::from_le_bytes([c[0], c[1]])).collect();
        units.split(|&unit| unit == 0).take_while(|s| !s.is_empty()).map(String::from_utf16_lossy).collect()
    }
}

fn units(units: impl Iterator<Item = u16>) -> Vec<u8> {
    units.flat_map(u16::to_le_bytes).collect()
}

/// A key with what is below it.
#[derive(Clone, Default)]
struct Key {
    name: String,
    /// Gone after this boot, with all below it (`REG_OPTION_VOLATILE`).
    volatile: bool,
    values: Vec<(String, Value)>,
    keys: Vec<Key>,
}

impl Key {
    fn child(&self, name: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.name.eq_ignore_ascii_case(name))
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.keys.iter().position(|key| key.name.eq_ignore_ascii_case(name))
    }

    fn value(&self, name: &str) -> Option<&Value> {
        self.values.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    fn find(&self, path: &str) -> Option<&Key> {
        parts(path).try_fold(self, Key::child)
    }

    fn find_mut(&mut self, path: &str) -> Option<&mut Key> {
        parts(path).try_fold(self, |key, name| {
            let at = key.position(name)?;
            Some(&mut key.keys[at])
        })
    }

    fn make(&mut self, path: &str) -> &mut Key {
        parts(path).fold(self, |key, name| {
            let at = key.position(name).unwrap_or_else(|| {
                key.keys.push(Key { name: name.to_string(), ..Key::default() });
                key.keys.len() - 1
            });
            &mut key.keys[at]
        })
    }
}

fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('\\').filter(|part| !part.is_empty())
}

static ROOT: Lock<Key> =
    Lock::new(Key { name: String::new(), volatile: false, values: Vec::new(), keys: Vec::new() });

/// The control set of this boot.
const CURRENT: &str = "\\Registry\\Machine\\System\\CurrentControlSet";
/// The key of the services.
pub(crate) const SERVICES: &str = "\\Registry\\Machine\\System\\CurrentControlSet\\Services";
/// The key of the control set's own settings.
pub(crate) const CONTROL: &str = "\\Registry\\Machine\\System\\CurrentControlSet\\Control";
/// The key of the device instances.
pub(crate) const ENUM: &str = "\\Registry\\Machine\\System\\CurrentControlSet\\Enum";
/// The current hardware profile's part of [`ENUM`].
pub(crate) const PROFILE: &str = concat!(
    "\\Registry\\Machine\\System\\CurrentControlSet\\Hardware Profiles\\Current",
    "\\System\\CurrentControlSet\\Enum"
);

/// Returns the key by which NT 6.2 and later leave out a boot-start driver whose device was not there, below
/// the service's key, with the value `0` for the one hardware profile.
pub(crate) fn start_override(service: &str) -> String {
    alloc::format!("{SERVICES}\\{service}\\StartOverride")
}

/// Sets a value, making the key.
pub(crate) fn set(path: &str, name: &str, value: Value) {
    let mut root = ROOT.lock();
    let key = root.make(path);
    match key.values.iter_mut().find(|(n, _)| n.eq_ignore_ascii_case(name)) {
        Some((_, old)) => *old = value,
        None => key.values.push((name.to_string(), value)),
    }
}

/// Makes a key.
pub(crate) fn make(path: &str) {
    ROOT.lock().make(path);
}

/// Makes one key below one that is there, as `ZwCreateKey` does.
///
/// # Errors
/// The key above is not there, or is volatile and this one is not to be.
pub(crate) fn make_below(path: &str, volatile: bool) -> Result<(), NtStatus> {
    let (parent, name) =
        path.trim_end_matches('\\').rsplit_once('\\').ok_or(status::OBJECT_PATH_NOT_FOUND)?;
    let mut root = ROOT.lock();
    let parent = root.find_mut(parent).ok_or(status::OBJECT_NAME_NOT_FOUND)?;
    if parent.volatile && !volatile {
        return Err(status::CHILD_MUST_BE_VOLATILE);
    }
    parent.keys.push(Key { name: name.to_string(), volatile, ..Key::default() });
    Ok(())
}

/// Returns a value.
pub(crate) fn get(path: &str, name: &str) -> Option<Value> {
    ROOT.lock().find(path)?.value(name).cloned()
}

/// Returns true if there is such a key.
pub(crate) fn exists(path: &str) -> bool {
    ROOT.lock().find(path).is_some()
}

/// Returns the names of a key's keys, in the order they were made.
pub(crate) fn keys(path: &str) -> Vec<String> {
    ROOT.lock().find(path).map(|key| key.keys.iter().map(|k| k.name.clone()).collect()).unwrap_or_default()
}

/// Takes a value away; whether it was there.
pub(crate) fn delete_value(path: &str, name: &str) -> bool {
    let mut root = ROOT.lock();
    let Some(key) = root.find_mut(path) else { return false };
    let before = key.values.len();
    key.values.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
    key.values.len() != before
}

/// Takes a key and all below it away; whether it was there.
pub(crate) fn delete_key(path: &str) -> bool {
    let Some((parent, name)) = path.trim_end_matches('\\').rsplit_once('\\') else { return false };
    let mut root = ROOT.lock();
    let Some(parent) = root.find_mut(parent) else { return false };
    match parent.position(name) {
        Some(at) => {
            parent.keys.remove(at);
            true
        }
        None => false,
    }
}

/// Returns the file name of a service's image.
pub(crate) fn service_file(service: &str) -> String {
    osloader::drivers::file_of(&ControlSet, service)
}

/// The control set, as the loader asks for it.
pub(crate) struct ControlSet;

impl ControlSet {
    fn path(path: &str) -> String {
        alloc::format!("{CURRENT}\\{path}")
    }
}

impl osloader::drivers::Registry for ControlSet {
    fn keys(&self, path: &str) -> Vec<String> {
        keys(&Self::path(path))
    }

    fn number(&self, path: &str, value: &str) -> Option<u32> {
        get(&Self::path(path), value)?.as_dword()
    }

    fn text(&self, path: &str, value: &str) -> Option<String> {
        get(&Self::path(path), value)?.as_text()
    }
}

/// Takes over the control set of a SYSTEM hive that the loader has read.
///
/// # Errors
/// The hive cannot be read.
pub(crate) fn take_hive(file: &[u8]) -> Result<(), String> {
    let set = osloader::control_set::ControlSet::new(file)?;
    let root = set.key("").ok_or("the SYSTEM hive lacks its control set")?;
    take_key(&root, CURRENT).map_err(|error| alloc::format!("the SYSTEM hive: {error}"))
}

fn take_key(key: &::hive::Key<'_>, path: &str) -> Result<(), ::hive::Error> {
    make(path);
    for value in key.values()? {
        let value = value?;
        set(path, value.name(), Value { kind: value.data_type(), data: value.data()?.into_owned() });
    }
    for child in key.keys()? {
        let child = child?;
        take_key(&child, &alloc::format!("{path}\\{}", child.name()))?;
    }
    Ok(())
}
