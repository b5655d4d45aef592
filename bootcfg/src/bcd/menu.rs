//! A BCD store as a boot menu.

use anyhow::Result;

use super::{
    BOOT_MANAGER, Bcd, Guid, OS_LOADER,
    element::{self, ATTEMPT_RESUME, BOOT_SEQUENCE, DESCRIPTION, Data, LOAD_OPTIONS, TIMEOUT},
};
use crate::{
    menu::{Entry, Finding, Menu, malformed_token},
    told,
};

impl Bcd {
    fn nth(&self, number: usize) -> Result<Guid> {
        let loaders = self.loaders();
        match number.checked_sub(1).and_then(|at| loaders.get(at)) {
            Some(&guid) => Ok(guid),
            None => {
                told!(Refused, "there is no entry {number}; the store has entries 1 to {}", loaders.len())
            }
        }
    }

    fn number(&self, guid: Guid) -> usize {
        self.loaders().iter().position(|&loader| loader == guid).map_or(0, |at| at + 1)
    }

    /// The PV or the emulated entry of the default system.
    fn of_default(&self, pv: bool) -> Result<Guid> {
        let Some(default) = self.default_loader().filter(|guid| self.objects.contains_key(guid)) else {
            told!(
                Unusable,
                "the boot manager's default is no entry of the store; set one with bcdedit /default"
            )
        };
        match self.sibling(default, pv) {
            Some(guid) => Ok(guid),
            None if pv => told!(Refused, "the default system has no PV entry; make one with `bootcfg add`"),
            None => told!(Refused, "the default system has no emulated entry; every entry of it has GPLPV"),
        }
    }
}

impl Menu for Bcd {
    fn kind(&self) -> &'static str {
        "BCD"
    }

    fn entries(&self) -> Vec<Entry> {
        let (default, shown) = (self.default_loader(), self.display_order());
        let entry = |(guid, number): (Guid, usize)| Entry {
            number,
            id: guid.to_string(),
            name: self.effective_text(guid, DESCRIPTION).unwrap_or_default(),
            options: self.effective_text(guid, LOAD_OPTIONS).unwrap_or_default(),
            pv: self.options(guid).selects_pv(),
            default: default == Some(guid),
            shown: shown.contains(&guid),
        };
        self.loaders().into_iter().zip(1..).map(entry).collect()
    }

    fn timeout(&self) -> Option<u32> {
        self.data(BOOT_MANAGER, TIMEOUT)?.integer()?.try_into().ok()
    }

    fn set_timeout(&mut self, seconds: u32) -> Result<()> {
        self.set_menu_timeout(seconds);
        Ok(())
    }

    fn pv_sibling(&self, number: usize) -> Result<Option<usize>> {
        Ok(self.sibling(self.nth(number)?, true).map(|guid| self.number(guid)))
    }

    fn add_pv(&mut self, number: usize, name: Option<&str>) -> Result<usize> {
        let guid = self.add_pv_entry(self.nth(number)?, name)?;
        Ok(self.number(guid))
    }

    fn remove_pv(&mut self, number: usize) -> Result<()> {
        self.remove_pv_entry(self.nth(number)?)
    }

    fn set_default(&mut self, pv: bool) -> Result<usize> {
        let guid = self.of_default(pv)?;
        self.set_default_loader(guid);
        Ok(self.number(guid))
    }

    fn try_pv(&mut self) -> Result<usize> {
        let guid = self.of_default(true)?;
        self.set_boot_sequence(guid);
        Ok(self.number(guid))
    }

    fn check(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (guid, number, to) in self.dangling() {
            let name = element::name(number);
            findings
                .push(Finding::wrong(format!("{guid} names {to} as its {name}, which is not in the store")));
        }
        for (&guid, object) in self.objects.iter().filter(|(_, object)| object.kind != OS_LOADER) {
            let own = object.elements.get(&LOAD_OPTIONS).and_then(Data::text).unwrap_or_default();
            if own.to_ascii_uppercase().contains("GPLPV") {
                findings.push(Finding::wrong(format!(
                    "{guid} is no entry of the menu, but has `{own}` among its options, which entries inherit; take it out"
                )));
            }
        }
        for entry in Menu::entries(self) {
            let number = entry.number;
            if let Some(token) = malformed_token(&entry.options) {
                findings.push(Finding::wrong(format!(
                    "entry {number}: `{token}` is not GPLPV, so the entry boots emulated; write GPLPV as a word of its own"
                )));
            }
            let (true, Ok(guid)) = (entry.pv, self.nth(number)) else { continue };
            if !entry.shown {
                findings.push(Finding::note(format!("entry {number} (PV) is not in the menu")));
            }
            if self.options(guid).safe_boot() || self.data(guid, SAFE_BOOT).is_some() {
                findings.push(Finding::note(format!(
                    "entry {number} boots into safe mode, which is always emulated"
                )));
            }
            if self.sibling(guid, false).is_none() {
                findings.push(Finding::wrong(format!(
                    "entry {number} (PV) has no emulated entry for the same system: there is no way back in the menu"
                )));
            }
            if let Some(first) = self.sibling(guid, true).filter(|&first| first != guid) {
                findings.push(Finding::wrong(format!(
                    "entries {} and {number} both boot the same system with PV disks; remove one",
                    self.number(first)
                )));
            }
        }
        if Menu::timeout(self) == Some(0) {
            findings.push(Finding::note("timeout 0: the menu is not shown; `bootcfg timeout 30` shows it"));
        }
        if let Some(next) =
            self.data(BOOT_MANAGER, BOOT_SEQUENCE).map(Data::guids).filter(|next| !next.is_empty())
        {
            let names: Vec<_> = next.iter().map(Guid::to_string).collect();
            findings.push(Finding::note(format!("for the next boot only: {}", names.join(", "))));
        }
        if self.data(BOOT_MANAGER, ATTEMPT_RESUME).is_some_and(Data::is_true) {
            findings.push(Finding::wrong(
                "the boot manager is going to resume a hibernated system: its disks must not change meanwhile. Boot it as \
                 it was, and shut it down",
            ));
        }
        findings
    }

    fn text(&self) -> String {
        self.dump()
    }
}

/// OS loader: safe mode, and which.
const SAFE_BOOT: u32 = 0x2500_0080;
