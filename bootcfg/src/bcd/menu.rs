//! A BCD store as a boot menu.

use anyhow::Result;

use super::{
    BOOT_MANAGER, Bcd, Guid, OS_LOADER,
    element::{
        self, ATTEMPT_RESUME, BOOT_MENU_POLICY, BOOT_SEQUENCE, DESCRIPTION, Data, LOAD_OPTIONS, OS_DEVICE,
        SYSTEM_ROOT, TEST_SIGNING, TIMEOUT,
    },
};
use crate::{
    bail_as,
    menu::{Entry, FOR_EVER, Finding, Loads, Menu, malformed_token},
};

impl Bcd {
    fn nth(&self, number: usize) -> Result<Guid> {
        let choices = self.choices();
        match number.checked_sub(1).and_then(|at| choices.get(at)) {
            Some(&guid) => Ok(guid),
            None if choices.is_empty() => bail_as!(Refused, "there is no entry {number}; the store has none"),
            None => {
                bail_as!(Refused, "there is no entry {number}; the store has entries 1 to {}", choices.len())
            }
        }
    }

    fn number(&self, guid: Guid) -> usize {
        self.choices().iter().position(|&loader| loader == guid).map_or(0, |at| at + 1)
    }

    /// Returns the PV or the emulated entry of the system of `entry`, or else of the default system.
    fn wanted(&self, pv: bool, entry: Option<usize>) -> Result<Guid> {
        let named = match entry {
            Some(number) => self.nth(number)?,
            None => self.usual(pv)?,
        };
        if self.loads(named) != Loads::Windows {
            bail_as!(
                Refused,
                "entry {} does not load Windows; choose one that does by --entry",
                self.number(named)
            );
        }
        if self.options(named).selects_pv() == pv {
            return Ok(named);
        }
        let system = if entry.is_some() { "that entry's" } else { "the default" };
        match self.sibling(named, pv) {
            Some(guid) => Ok(guid),
            None if pv => bail_as!(
                Refused,
                "{system} system has no PV entry; make one with `xenguard add`, or say which system by --entry"
            ),
            None => bail_as!(Refused, "{system} system has no emulated entry; every entry of it has GPLPV"),
        }
    }

    /// Returns the default; where that is no Windows, the only PV entry.
    fn usual(&self, pv: bool) -> Result<Guid> {
        let default = self.default_loader().filter(|guid| self.objects.contains_key(guid));
        let Some(default) = default else {
            bail_as!(
                Unusable,
                "the boot manager's default is no entry of the store; say which system by --entry, as status numbers it"
            )
        };
        if self.loads(default) == Loads::Windows {
            return Ok(default);
        }
        let choices = self.choices();
        let mut those = choices
            .into_iter()
            .filter(|&guid| self.loads(guid) == Loads::Windows && self.options(guid).selects_pv() == pv);
        match (those.next(), those.next()) {
            (Some(only), None) => Ok(only),
            _ => bail_as!(
                Refused,
                "the default, entry {}, does not load Windows; say which system by --entry, as status numbers it",
                self.number(default)
            ),
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
            pv: self.options(guid).selects_pv() && self.loads(guid) == Loads::Windows,
            default: default == Some(guid),
            shown: shown.contains(&guid),
            loads: self.loads(guid),
            folder: self.effective_text(guid, SYSTEM_ROOT).map(|path| folder(&path)),
            volume: self.effective(guid, OS_DEVICE).map(|device| format!("{device:?}")),
            test_signing: Some(self.effective(guid, TEST_SIGNING).is_some_and(Data::is_true)),
        };
        self.choices().into_iter().zip(1..).map(entry).collect()
    }

    fn timeout(&self) -> Option<i64> {
        match self.data(BOOT_MANAGER, TIMEOUT)?.integer()? {
            seconds if seconds >= u64::from(u32::MAX) => Some(FOR_EVER),
            seconds => i64::try_from(seconds).ok(),
        }
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

    fn set_default(&mut self, pv: bool, entry: Option<usize>) -> Result<usize> {
        let guid = self.wanted(pv, entry)?;
        self.set_default_loader(guid);
        Ok(self.number(guid))
    }

    fn try_pv(&mut self, entry: Option<usize>) -> Result<usize> {
        let guid = self.wanted(true, entry)?;
        self.set_boot_sequence(guid);
        Ok(self.number(guid))
    }

    fn check(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (guid, number, to) in self.dangling() {
            let kind = self.objects.get(&guid).map_or(0, |object| object.kind);
            let text = format!(
                "{} names {} as its {}, which is not in the store",
                self.called(guid),
                to.named(),
                element::name(kind, number)
            );
            // Stores of installation media have it so: that system is not resumed, and boots.
            let is_needed = guid == BOOT_MANAGER;
            findings.push(if is_needed { Finding::wrong(text) } else { Finding::note(text) });
        }
        for (&guid, object) in self.objects.iter().filter(|(_, object)| object.kind != OS_LOADER) {
            let own = object.elements.get(&LOAD_OPTIONS).and_then(Data::text).unwrap_or_default();
            if own.to_ascii_uppercase().contains("GPLPV") {
                findings.push(Finding::wrong(format!(
                    "{} is no entry of the menu, but has `{own}` among its options, which entries inherit; take it out",
                    guid.named()
                )));
            }
        }
        let entries = Menu::entries(self);
        if !entries.iter().any(|entry| entry.loads == Loads::Windows) {
            findings.push(Finding::wrong(
                "no entry of the menu loads Windows: is this the store that the machine boots from?",
            ));
        }
        if let Some(entry) = entries.iter().find(|entry| entry.default && entry.loads != Loads::Windows) {
            findings
                .push(Finding::note(format!("the default, entry {}, does not load Windows", entry.number)));
        }
        let choices = self.choices();
        for (entry, &guid) in entries.iter().zip(&choices) {
            let number = entry.number;
            if let Some(token) = malformed_token(&entry.options) {
                findings.push(Finding::wrong(format!(
                    "entry {number}: `{token}` is not GPLPV, so the entry boots emulated; write GPLPV as a word of its own"
                )));
            }
            if !entry.pv {
                continue;
            }
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
            let twin = choices[..number - 1].iter().position(|&other| self.are_twins(guid, other));
            if let Some(first) = twin.map(|at| at + 1) {
                findings.push(Finding::wrong(format!(
                    "entries {first} and {number} both boot the same system with PV disks; remove one"
                )));
            }
        }
        if let Some(default) = self.default_loader()
            && self.effective(default, BOOT_MENU_POLICY).and_then(Data::integer) == Some(1)
        {
            findings.push(Finding::note(format!(
                "entry {} is the default and has bootmenupolicy standard: its menu is shown by Windows itself, and choosing \
                 another entry there restarts the machine once more. `bcdedit /set {{default}} bootmenupolicy legacy` gives the \
                 text menu, which boots what is chosen at once",
                self.number(default)
            )));
        }
        if Menu::timeout(self) == Some(0) {
            findings.push(Finding::note("timeout 0: the menu is not shown; `xenguard timeout 30` shows it"));
        }
        if let Some(next) =
            self.data(BOOT_MANAGER, BOOT_SEQUENCE).map(Data::guids).filter(|next| !next.is_empty())
        {
            let names: Vec<_> = next.iter().map(|&guid| self.called(guid)).collect();
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

/// Returns the folder of Windows on its volume, with slashes.
fn folder(path: &str) -> String {
    path.split('\\').filter(|name| !name.is_empty()).collect::<Vec<_>>().join("/")
}

/// OS loader: safe mode, and which.
const SAFE_BOOT: u32 = 0x2500_0080;
