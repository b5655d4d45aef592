//! Naming an entry of a boot menu on the command line.

use anyhow::Result;

use crate::{
    bail_as,
    bcd::{BOOT_MANAGER, Guid},
    menu::{Menu, default_number},
};

/// An entry as the command line names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// By its number, from 1.
    Number(usize),
    /// `{default}`: the one that boots when nobody chooses.
    Default,
    /// `{current}`: the one that the running Windows was booted by.
    Current,
    /// `{bootmgr}`, which is no entry; it is known so that the answer can say that.
    BootManager,
    /// By its identifier in a BCD.
    Id(Guid),
}

impl std::str::FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Named, String> {
        match text.to_ascii_lowercase().as_str() {
            "{default}" => return Ok(Named::Default),
            "{current}" => return Ok(Named::Current),
            "{bootmgr}" => return Ok(Named::BootManager),
            _ => {}
        }
        if let Some(guid) = Guid::parse(text) {
            return Ok(if guid == BOOT_MANAGER { Named::BootManager } else { Named::Id(guid) });
        }
        text.parse().map(Named::Number).map_err(|_| {
            "an entry is named by its number, as status shows it, by {default}, {current} or its {GUID}"
                .to_owned()
        })
    }
}

impl Named {
    /// Returns the entry's number; `current` asks which one the running Windows was booted by.
    ///
    /// # Errors
    /// It is no entry of this menu, or not known.
    pub fn number(&self, menu: &dyn Menu, current: impl FnOnce() -> Result<Guid>) -> Result<usize> {
        let id = match self {
            Named::Number(number) => return Ok(*number),
            Named::Default => return default_number(menu),
            Named::BootManager => {
                bail_as!(
                    Refused,
                    "{{bootmgr}} is the boot manager, which is no entry; name one by its number or {{default}}"
                )
            }
            Named::Current => current()?,
            Named::Id(id) => *id,
        };
        let text = id.to_string();
        match menu.entries().iter().find(|entry| entry.id.eq_ignore_ascii_case(&text)) {
            Some(entry) => Ok(entry.number),
            None => {
                bail_as!(
                    Refused,
                    "{text} is no entry of the menu; `xenguard -v status` shows the identifiers"
                )
            }
        }
    }
}
