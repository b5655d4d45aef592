//! boot.ini as a boot menu.

use anyhow::Result;

use super::{BootIni, MAX_ENTRIES, lines, nth};
use crate::{
    bail_as,
    menu::{Entry, Finding, Loads, Menu, malformed_token},
};

impl Menu for BootIni {
    fn kind(&self) -> &'static str {
        "boot.ini"
    }

    fn entries(&self) -> Vec<Entry> {
        let default = self.default_entry();
        let entries = BootIni::entries(self);
        entries
            .iter()
            .zip(1..)
            .map(|(entry, number)| Entry {
                number,
                id: self.path(entry),
                name: self.name(entry),
                options: self.switches(entry),
                pv: self.selects_pv(entry) && self.loads(entry) == Loads::Windows,
                default: default == Some(number),
                shown: number <= MAX_ENTRIES,
                loads: self.loads(entry),
                folder: self.folder(entry),
                volume: self.volume(entry),
                test_signing: None,
            })
            .collect()
    }

    fn timeout(&self) -> Option<i64> {
        BootIni::timeout(self)
    }

    fn set_timeout(&mut self, seconds: u32) -> Result<()> {
        BootIni::set_timeout(self, seconds);
        Ok(())
    }

    fn pv_sibling(&self, number: usize) -> Result<Option<usize>> {
        BootIni::pv_sibling(self, number)
    }

    fn add_pv(&mut self, number: usize, name: Option<&str>) -> Result<usize> {
        match name {
            None => self.add_pv_entry(number),
            Some(name) => {
                let name = self.encoded(name)?;
                self.add_named_pv_entry(number, &name)
            }
        }
    }

    fn remove_pv(&mut self, number: usize) -> Result<()> {
        let entries = BootIni::entries(self);
        let entry = nth(&entries, number)?;
        if self.selects_pv(entry) && self.sibling(&entries, entry, false).is_none() {
            bail_as!(
                Refused,
                "entry {number} is the only one for {}; without it that system does not boot. Take /GPLPV out by hand",
                self.path(entry)
            );
        }
        BootIni::remove_pv(self, number)
    }

    fn set_default(&mut self, pv: bool, entry: Option<usize>) -> Result<usize> {
        self.set_default_disks(pv, entry)
    }

    fn try_pv(&mut self, _entry: Option<usize>) -> Result<usize> {
        bail_as!(
            Refused,
            "boot.ini has no choice for one boot only: its loader remembers nothing. Choose the PV entry in the boot menu \
             (`xenguard timeout 30` shows it), or make it the default with `xenguard default pv` and go back with \
             `xenguard default emulated`"
        )
    }

    fn check(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let entries = BootIni::entries(self);
        if self.default_entry().is_none() {
            let named = self.show(self.default_path().unwrap_or_default());
            findings.push(Finding::wrong(format!("default={named} names no entry's path")));
        }
        if !entries.iter().any(|entry| self.loads(entry) == Loads::Windows) {
            findings.push(Finding::wrong("no entry loads Windows: is this the boot.ini of the machine?"));
        }
        if let Some(number) = self.default_entry()
            && entries.get(number - 1).is_some_and(|entry| self.loads(entry) != Loads::Windows)
        {
            findings.push(Finding::note(format!("the default, entry {number}, does not load Windows")));
        }
        if entries.len() > MAX_ENTRIES {
            findings.push(Finding::wrong(format!(
                "{} entries, but the loader shows {MAX_ENTRIES}: the last ones cannot be chosen",
                entries.len()
            )));
        }
        if BootIni::timeout(self) == Some(0) {
            findings.push(Finding::note("timeout=0: the menu is not shown; `xenguard timeout 30` shows it"));
        }
        for (entry, number) in entries.iter().zip(1..) {
            let switches = self.switches(entry);
            if self.has_nul(entry) {
                findings.push(Finding::wrong(format!(
                    "entry {number} has a NUL byte, which ends its switches for the kernel: the file is damaged, or not ANSI \
                     text"
                )));
            }
            if let Some(token) = malformed_token(&switches) {
                let text = if token.split('/').any(|word| word.eq_ignore_ascii_case("GPLPV")) {
                    format!(
                        "entry {number}: `{token}` may select PV disks or not, as NTLDR takes the slash; write a blank before \
                         each slash"
                    )
                } else if token.split('/').any(|word| word.eq_ignore_ascii_case("NOGPLPV")) {
                    format!(
                        "entry {number}: `{token}` may rule PV disks out or not, as NTLDR takes the slash; write a blank \
                         before each slash"
                    )
                } else {
                    format!(
                        "entry {number}: `{token}` is not GPLPV, so the entry boots emulated; write /GPLPV as a word of its own"
                    )
                };
                findings.push(Finding::wrong(text));
            }
            if !self.selects_pv(entry) {
                continue;
            }
            if self.options(entry).safe_boot() {
                findings.push(Finding::note(format!(
                    "entry {number} boots into safe mode, which is always emulated"
                )));
            }
            if self.sibling(&entries, entry, false).is_none() {
                findings.push(Finding::wrong(format!(
                    "entry {number} (PV) has no emulated entry for {}: there is no way back in the menu",
                    self.path(entry)
                )));
            }
            let twin = entries[..number - 1]
                .iter()
                .position(|other| self.selects_pv(other) && self.same_path(other, entry));
            if let Some(first) = twin.map(|at| at + 1) {
                findings.push(Finding::wrong(format!(
                    "entries {first} and {number} both boot {} with PV disks; remove one",
                    self.path(entry)
                )));
            }
        }
        findings
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for line in lines(self.bytes()) {
            let line = &self.bytes()[line];
            let content =
                line.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |last| last + 1);
            text.push_str(&self.show(&line[..content]));
            text.extend(line[content..].iter().copied().map(char::from));
        }
        text
    }
}

impl BootIni {
    /// Returns a name as the loader will read it.
    fn encoded(&self, name: &str) -> Result<Vec<u8>> {
        if name.is_ascii() {
            return Ok(name.into());
        }
        let Some(page) = self.code_page() else {
            bail_as!(
                Refused,
                "a name in boot.ini is in the guest's OEM code page, which is unknown here: --root with the volume that \
                 Windows is on tells it. Or use ASCII"
            )
        };
        match page.encode(name) {
            Some(name) => Ok(name),
            None => bail_as!(
                Refused,
                "the name has a character that the guest's OEM code page {} has not; use others",
                page.number()
            ),
        }
    }
}
