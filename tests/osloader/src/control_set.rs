//! The control set of a SYSTEM hive that the loader starts with.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use hive::{Hive, Key};

use crate::drivers::Registry;

/// A control set in a hive file.
#[derive(Debug)]
pub struct ControlSet<'a> {
    hive: Hive<'a>,
    name: String,
}

impl<'a> ControlSet<'a> {
    /// Returns the control set that `Select\Default` names.
    ///
    /// # Errors
    /// The file is no hive, was not written to its end, or names no control set.
    pub fn new(file: &'a [u8]) -> Result<Self, String> {
        let unreadable = |error| format!("the SYSTEM hive: {error}");
        if hive::replay::is_dirty(file).map_err(unreadable)? {
            return Err("the SYSTEM hive was not written to its end".to_string());
        }
        let hive = Hive::new(file).map_err(unreadable)?;
        let select = hive.key("Select").map_err(unreadable)?;
        let number = select.map(|select| select.dword("Default")).transpose().map_err(unreadable)?.flatten();
        let number = number.ok_or("the SYSTEM hive names no control set")?;
        Ok(Self { hive, name: format!("ControlSet{number:03}") })
    }

    /// Returns a key by its path below the control set.
    pub fn key(&self, path: &str) -> Option<Key<'_>> {
        self.hive.key(&format!("{}\\{path}", self.name)).ok().flatten()
    }
}

impl Registry for ControlSet<'_> {
    fn keys(&self, path: &str) -> Vec<String> {
        let keys = self.key(path).and_then(|key| key.keys().ok());
        keys.into_iter().flatten().filter_map(|key| Some(key.ok()?.name().to_string())).collect()
    }

    fn number(&self, path: &str, value: &str) -> Option<u32> {
        self.key(path)?.dword(value).ok()?
    }

    fn text(&self, path: &str, value: &str) -> Option<String> {
        self.key(path)?.text(value).ok()?
    }
}
