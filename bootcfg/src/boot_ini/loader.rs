//! `[boot loader]`: which entry is the default, and how long the menu waits.

use anyhow::Result;
use std::ops::Range;

use super::{BootIni, line_end, lines, nth};
use crate::{
    bail_as,
    menu::{FOR_EVER, Loads},
};

impl BootIni {
    /// Seconds that the menu waits, [`FOR_EVER`] for a choice; `None` where the file does not say, or says
    /// something that is no number.
    #[must_use]
    pub fn timeout(&self) -> Option<i64> {
        let value = self.setting(b"timeout")?;
        let seconds: i64 = std::str::from_utf8(&self.bytes[value]).ok()?.parse().ok()?;
        Some(seconds.max(FOR_EVER))
    }

    /// Sets how many seconds the menu waits.
    pub fn set_timeout(&mut self, seconds: u32) {
        self.set(b"timeout", seconds.to_string().as_bytes());
    }

    /// Returns the ARC path that `default=` names.
    #[must_use]
    pub fn default_path(&self) -> Option<&[u8]> {
        self.setting(b"default").map(|value| &self.bytes[value])
    }

    /// Returns the number (from 1) of the entry that boots when nobody chooses: the first whose path
    /// `default=` names, or the first of all where there is no `default=`. `None` where it names no entry's
    /// path.
    #[must_use]
    pub fn default_entry(&self) -> Option<usize> {
        let Some(default) = self.default_path() else { return Some(1) };
        let entries = self.entries();
        let named = entries.iter().position(|e| self.bytes[e.path.clone()].eq_ignore_ascii_case(default));
        named.map(|at| at + 1)
    }

    /// Makes entry `number` (from 1) the default. Since `default=` names a path, and of entries with one path
    /// the first counts, the entry moves before the first one of its path; the others keep their order, so
    /// that the way back is known. Returns its new number.
    ///
    /// # Errors
    /// There is no such entry.
    pub fn set_default(&mut self, number: usize) -> Result<usize> {
        let entries = self.entries();
        let entry = nth(&entries, number)?;
        let path = self.bytes[entry.path.clone()].to_vec();
        let first = entries.iter().position(|other| self.same_path(other, entry));
        let first = first.map_or(number, |at| at + 1);
        self.move_entry(number, first);
        let named = self.default_path().is_some_and(|default| default.eq_ignore_ascii_case(&path));
        // Without `default=` it is the first entry that boots.
        if !named && (self.default_path().is_some() || first != 1) {
            self.set(b"default", &path);
        }
        Ok(first)
    }

    /// Makes the emulated or the PV entry that boots the same path as entry `of`, or else as the default, the
    /// default; returns its number.
    ///
    /// # Errors
    /// The default is not known, or there is no such entry.
    pub fn set_default_disks(&mut self, pv: bool, of: Option<usize>) -> Result<usize> {
        let entries = self.entries();
        let number = match of {
            Some(number) => number,
            None => self.usual(pv)?,
        };
        let entry = nth(&entries, number)?;
        if self.loads(entry) != Loads::Windows {
            bail_as!(Refused, "entry {number} does not load Windows; choose one that does by --entry");
        }
        if self.selects_pv(entry) == pv {
            return self.set_default(number);
        }
        if !pv && of.is_none() {
            return self.take_back(number);
        }
        let system = if of.is_some() { "that entry's" } else { "the default" };
        match self.sibling(&entries, entry, pv) {
            Some(number) => self.set_default(number),
            None if pv => bail_as!(
                Refused,
                "{system} system has no PV entry; make one with `xenguard add`, or say which system by --entry"
            ),
            None => bail_as!(
                Refused,
                "{system} system has no emulated entry: every entry of its path has /GPLPV. Take the switch out of one by hand"
            ),
        }
    }

    /// Lets the emulated entry be the default again that was it before PV entry `number` moved before it: the
    /// first emulated one of its path. The PV entry goes back behind the one that it was made from.
    fn take_back(&mut self, number: usize) -> Result<usize> {
        let entries = self.entries();
        let entry = nth(&entries, number)?;
        let Some(source) = self.sibling(&entries, entry, false) else {
            bail_as!(
                Refused,
                "the default system has no emulated entry: every entry of its path has /GPLPV. Take the switch out of one by hand"
            )
        };
        self.move_entry(number, source);
        let entries = self.entries();
        let path = nth(&entries, source)?;
        let first = entries.iter().position(|other| self.same_path(other, path)).map_or(source, |at| at + 1);
        if self.selects_pv(&entries[first - 1]) {
            // Another PV entry stands before it.
            return self.take_back(first);
        }
        Ok(first)
    }

    /// Returns the number of the default entry; where that is no Windows, of the only entry with such disks.
    fn usual(&self, pv: bool) -> Result<usize> {
        let entries = self.entries();
        let Some(number) = self.default_entry() else {
            bail_as!(
                Unusable,
                "default={} names no entry's path; correct the line in boot.ini, or say which system by --entry",
                self.show(self.default_path().unwrap_or_default())
            );
        };
        if self.loads(nth(&entries, number)?) == Loads::Windows {
            return Ok(number);
        }
        let is_it =
            |entry: &super::Entry| self.loads(entry) == Loads::Windows && self.selects_pv(entry) == pv;
        let mut those = (1..).zip(&entries).filter(|(_, entry)| is_it(entry));
        match (those.next(), those.next()) {
            (Some((only, _)), None) => Ok(only),
            _ => bail_as!(
                Refused,
                "the default, entry {number}, does not load Windows; say which system by --entry, as status numbers it"
            ),
        }
    }

    /// Moves an entry to another's place (both from 1); those between move up or down by one. Line ends, and
    /// lines that are no entries, stay where they are.
    fn move_entry(&mut self, from: usize, to: usize) {
        let entries = self.entries();
        let (low, high) = (from.min(to), from.max(to));
        let places: Vec<Range<usize>> = entries[low - 1..high].iter().map(super::Entry::content).collect();
        let mut contents: Vec<Vec<u8>> =
            places.iter().map(|place| self.bytes[place.clone()].to_vec()).collect();
        if from > to {
            contents.rotate_right(1);
        } else {
            contents.rotate_left(1);
        }
        // From the last, so that the places before it hold.
        for (place, content) in places.into_iter().zip(contents).rev() {
            self.bytes.splice(place, content);
        }
    }

    /// Returns the value of the first `key=value` of `[boot loader]`, without white space around it.
    fn setting(&self, key: &[u8]) -> Option<Range<usize>> {
        let mut inside = false;
        for line in lines(&self.bytes) {
            let text = &self.bytes[line.clone()];
            let trimmed = text.trim_ascii();
            if trimmed.starts_with(b"[") {
                inside = trimmed.eq_ignore_ascii_case(b"[boot loader]");
            } else if inside
                && let Some(equals) = text.iter().position(|&b| b == b'=')
                && text[..equals].trim_ascii().eq_ignore_ascii_case(key)
            {
                // The line's end is no part of a value, also not of an empty one.
                let content =
                    text.iter().rposition(|b| !matches!(b, b'\r' | b'\n')).map_or(0, |last| last + 1);
                let value = &text[equals + 1..content];
                let start = line.start + equals + 1 + (value.len() - value.trim_ascii_start().len());
                return Some(start..start + value.trim_ascii().len());
            }
        }
        None
    }

    /// Sets a value of `[boot loader]`, in its place or as the section's first line.
    fn set(&mut self, key: &[u8], value: &[u8]) {
        if let Some(place) = self.setting(key) {
            self.bytes.splice(place, value.iter().copied());
            return;
        }
        let end = line_end(&self.bytes);
        let setting = [key, b"=", value, end].concat();
        let header = lines(&self.bytes)
            .find(|line| self.bytes[line.clone()].trim_ascii().eq_ignore_ascii_case(b"[boot loader]"));
        match header {
            // A header is never the last line: the entries stand in a section of their own.
            Some(line) if self.bytes[..line.end].ends_with(b"\n") => {
                self.bytes.splice(line.end..line.end, setting);
            }
            _ => {
                let section = [b"[boot loader]", end, &setting].concat();
                self.bytes.splice(0..0, section);
            }
        }
    }
}
