//! Adding and removing PV entries.

use anyhow::Result;
use std::ops::Range;

use super::{BootIni, Entry, MAX_ENTRIES, line_end, nth};
use crate::{
    bail_as,
    menu::{Loads, differing_words, other_words},
};

/// Suffix of the name of a PV entry.
const NAME_SUFFIX: &[u8] = b" (PV disks)";
const SWITCH: &[u8] = b" /GPLPV";

impl BootIni {
    /// Returns the first PV entry (from 1) that boots the same path as entry `number`.
    ///
    /// # Errors
    /// There is no such entry.
    pub fn pv_sibling(&self, number: usize) -> Result<Option<usize>> {
        let entries = self.entries();
        let entry = nth(&entries, number)?;
        Ok(self.sibling(&entries, entry, true))
    }

    /// Adds a PV entry made from entry `number` (from 1), right behind it; returns the new entry's number.
    ///
    /// # Errors
    /// Refusals of [`BootIni::add_named_pv_entry`].
    pub fn add_pv_entry(&mut self, number: usize) -> Result<usize> {
        let entries = self.entries();
        let name = [&self.bytes[nth(&entries, number)?.name.clone()], NAME_SUFFIX].concat();
        self.add_named_pv_entry(number, &name)
    }

    /// Does what [`BootIni::add_pv_entry`] does, with the entry's name in the file's code page.
    ///
    /// # Errors
    /// There is no such entry; it is a PV entry, refuses PV or boots into safe mode; a PV entry for its path
    /// is there already; the loader would not show one more; or the name cannot stand between quotes.
    pub fn add_named_pv_entry(&mut self, number: usize, name: &[u8]) -> Result<usize> {
        let entries = self.entries();
        let source = nth(&entries, number)?;
        if self.loads(source) != Loads::Windows {
            bail_as!(
                Refused,
                "entry {number} ({}) does not load Windows: it is a boot sector, DOS or the recovery console; choose another \
                 by --entry",
                self.path(source)
            );
        }
        if self.has_nul(source) {
            bail_as!(
                Refused,
                "entry {number} has a NUL byte, which ends its switches for the kernel: the file is damaged, or not ANSI \
                 text. Put it right first"
            );
        }
        let options = self.options(source);
        if options.selects_pv() {
            bail_as!(Refused, "entry {number} boots with PV disks already; choose an emulated one");
        }
        if options.vetoes_pv() {
            bail_as!(Refused, "entry {number} has /NOGPLPV, which wins over /GPLPV; remove it first");
        }
        if options.safe_boot() {
            bail_as!(
                Refused,
                "entry {number} boots into safe mode, which is always emulated; choose another"
            );
        }
        if let Some(sibling) = self.sibling(&entries, source, true) {
            bail_as!(Refused, "entry {sibling} boots the same path with PV disks already");
        }
        if entries.len() >= MAX_ENTRIES {
            bail_as!(
                Refused,
                "the file has {} entries and the loader shows {MAX_ENTRIES}; remove one first",
                entries.len()
            );
        }
        if name.iter().any(|b| matches!(b, b'"' | b'\r' | b'\n' | 0)) {
            bail_as!(Refused, "a name in boot.ini can hold neither quotes nor line ends");
        }

        let piece = |range: Range<usize>| &self.bytes[range];
        let content_end = source.switches.end;
        let ending = piece(content_end..source.line.end);
        let is_ended = ending.ends_with(b"\n");
        let terminator = match ending {
            b"" => line_end(&self.bytes).to_vec(),
            ending if is_ended => ending.to_vec(),
            // A return alone ends no line.
            _ => b"\r\n".to_vec(),
        };
        let mut line = Vec::new();
        if !is_ended {
            // The last line has no end of its own: the new line brings one along, so that taking it out again
            // gives the original bytes.
            line.extend_from_slice(&terminator);
        }
        line.extend_from_slice(piece(source.line.start..source.name.start));
        line.extend_from_slice(name);
        line.extend_from_slice(piece(source.name.end..content_end).trim_ascii_end());
        line.extend_from_slice(SWITCH);
        if is_ended {
            line.extend_from_slice(&terminator);
        }
        let at = source.line.end;
        self.bytes.splice(at..at, line);
        Ok(number + 1)
    }

    /// Takes entry `number` (from 1) out. Only a PV entry can be taken out, and never the last entry.
    ///
    /// # Errors
    /// There is no such entry, it is not a PV entry, or no other would be left.
    pub fn remove_pv(&mut self, number: usize) -> Result<()> {
        let entries = self.entries();
        let entry = nth(&entries, number)?;
        if !self.selects_pv(entry) {
            bail_as!(Refused, "entry {number} is not a PV entry; only those are removed here");
        }
        if entries.len() == 1 {
            bail_as!(Refused, "entry {number} is the only one; without it nothing boots");
        }
        let mut line = entry.line.clone();
        if line.end == entry.switches.end {
            // No line end of its own: take the one before it.
            let before = &self.bytes[..line.start];
            line.start = before.strip_suffix(b"\r\n").or(before.strip_suffix(b"\n")).unwrap_or(before).len();
        }
        self.bytes.drain(line);
        Ok(())
    }

    /// Returns the entry (from 1) that boots the same path as `entry`, with PV disks or without: of several
    /// the one whose switches are most like its own.
    pub(super) fn sibling(&self, entries: &[Entry], entry: &Entry, pv: bool) -> Option<usize> {
        let words = |entry: &Entry| other_words(&self.switches(entry));
        let own = words(entry);
        let same = |other: &&Entry| self.selects_pv(other) == pv && self.same_path(other, entry);
        let nearest = entries.iter().filter(same).min_by_key(|other| differing_words(&own, &words(other)))?;
        entries.iter().position(|other| other == nearest).map(|at| at + 1)
    }

    pub(super) fn same_path(&self, one: &Entry, other: &Entry) -> bool {
        self.bytes[one.path.clone()].eq_ignore_ascii_case(&self.bytes[other.path.clone()])
    }
}
