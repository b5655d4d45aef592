//! Boot configuration of either kind.

use crate::{bcd::Bcd, boot_ini::BootIni, menu::Menu};

/// Either kind of boot configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Configuration {
    /// boot.ini of NT 5.x.
    BootIni(BootIni),
    /// A BCD store of NT 6 and later.
    Bcd(Bcd),
}

impl Configuration {
    /// To look at.
    #[must_use]
    pub fn menu(&self) -> &dyn Menu {
        match self {
            Configuration::BootIni(ini) => ini,
            Configuration::Bcd(bcd) => bcd,
        }
    }

    /// To edit.
    pub fn menu_mut(&mut self) -> &mut dyn Menu {
        match self {
            Configuration::BootIni(ini) => ini,
            Configuration::Bcd(bcd) => bcd,
        }
    }
}
