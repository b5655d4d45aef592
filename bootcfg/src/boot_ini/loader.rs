//! `[boot loader]`: which entry is the default, and how long the menu waits.

use anyhow::Result;
use std::ops::Range;

use super::{BootIni, line_end, lines, nth};
use crate::told;

impl BootIni {
    /// Seconds that the menu waits; `None` where the file does not say, or says something that is no number.
    #[must_use]
    pub fn timeout(&self) -> Option<u32> {
        let value = self.setting(b"timeout")?;
        std::str::from_utf8(&self.bytes[value]).ok()?.parse().ok()
    }

    /// Sets how many seconds the menu waits.
    pub fn set_timeout(&mut self, seconds: u32) {
        self.set(b"timeout", seconds.to_string().as_bytes());
    }

    /// The ARC path that `default=` names.
    #[must_use]
    pub fn default_path(&self) -> Option<&[u8]> {
        self.setting(b"default").map(|value| &self.bytes[value])
    }

    /// The number (from 1) of the entry that boots when nobody chooses: the first whose path `default=`
    /// names, or the first of all where there is no `default=`. `None` where it names no entry's path.
    #[must_use]
    pub fn default_entry(&self) -> Option<usize> {
        let Some(default) = self.default_path() else { return Some(1) };
        let entries = self.entries();
        let named = entries.iter().position(|e| self.bytes[e.path.clone()].eq_ignore_ascii_case(default));
        named.map(|at| at + 1)
    }

    /// Makes entry `number` (from 1) the default. Since `default=` names a path, and of entries with one path
    /// the first counts, the entry changes places with the first one of its path; then the new number is
    /// returned.
    ///
    /// # Errors
    /// There is no such entry.
    pub fn set_default(&mut self, number: usize) -> Result<usize> {
        let entries = self.entries();
        let entry = nth(&entries, number)?;
        let path = self.bytes[entry.path.clone()].to_vec();
        let first = entries.iter().position(|e| self.bytes[e.path.clone()].eq_ignore_ascii_case(&path));
        let first = first.map_or(number, |at| at + 1);
        if first != number {
            self.exchange(&entries[first - 1].content(), &entry.content());
        }
        let named = self.default_path().is_some_and(|default| default.eq_ignore_ascii_case(&path));
        // Without `default=` it is the first entry that boots.
        if !named && (self.default_path().is_some() || first != 1) {
            self.set(b"default", &path);
        }
        Ok(first)
    }

    /// Makes the emulated or the PV entry that boots the same path as the default the default; returns its
    /// number.
    ///
    /// # Errors
    /// The default is not known, or there is no such entry.
    pub fn set_default_disks(&mut self, pv: bool) -> Result<usize> {
        let entries = self.entries();
        let Some(default) = self.default_entry() else {
            told!(
                Unusable,
                "default={} names no entry's path; correct the line in boot.ini first",
                super::show(self.default_path().unwrap_or_default())
            );
        };
        let default = nth(&entries, default)?;
        match self.sibling(&entries, default, pv) {
            Some(number) => self.set_default(number),
            None if pv => told!(Refused, "the default system has no PV entry; make one with `bootcfg add`"),
            None => told!(
                Refused,
                "the default system has no emulated entry: every entry of its path has /GPLPV. Take the switch out of one by hand"
            ),
        }
    }

    /// Exchanges two ranges, the first of which stands before the second.
    fn exchange(&mut self, first: &Range<usize>, second: &Range<usize>) {
        let (before, after) = (self.bytes[first.clone()].to_vec(), self.bytes[second.clone()].to_vec());
        self.bytes.splice(second.clone(), before);
        self.bytes.splice(first.clone(), after);
    }

    /// The value of the first `key=value` of `[boot loader]`, without white space around it.
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
                let value = &text[equals + 1..];
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
