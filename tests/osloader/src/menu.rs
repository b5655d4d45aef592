//! The boot menu: boot configuration data where the system volume has it, or else boot.ini.

use alloc::string::String;
use alloc::vec::Vec;

use crate::{bcd, boot_ini};

/// The entry that is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Its number in the menu, from 1; 0 for one that the menu does not show.
    pub number: usize,
    /// Its switches, each without its '/' and in upper case.
    pub switches: Vec<String>,
    /// It came from `bootsequence`, which the boot manager takes it out of.
    pub once: bool,
}

/// Returns the entry of this number in the menu, from 1; where nobody chooses, the one that is started then. Returns
/// `None` if there is no such entry.
pub fn choose(store: Option<&[u8]>, boot_ini: &[u8], number: Option<usize>) -> Option<Chosen> {
    match store {
        Some(store) => bcd::choose(store, number),
        None => boot_ini::choose(&String::from_utf8_lossy(boot_ini), number),
    }
}
