//! boot.ini of NT 5.x, edited by lines: every byte that an edit does not concern stays as it was.
//!
//! The file is taken as bytes, since its names are in the OEM code page. Entries are the lines of the section
//! `[operating systems]` of the form `<ARC path>="name" switches`. The loader shows at most ten, and
//! `default=` names an ARC path: of two entries with the same path the first is the default, so a new entry
//! goes behind the one that it is made from.

use anyhow::Result;
use guard::options::BootOptions;
use std::ops::Range;

use crate::{bail_as, code_page::CodePage, menu::Loads};

mod edit;
mod loader;
mod menu;
#[cfg(test)]
mod tests;

/// The loader shows no more entries than this.
pub const MAX_ENTRIES: usize = 10;

/// A boot.ini, held as its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootIni {
    bytes: Vec<u8>,
    /// The one that names are shown and written in, where it is known.
    code_page: Option<CodePage>,
}

/// One entry of `[operating systems]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    line: Range<usize>,
    path: Range<usize>,
    name: Range<usize>,
    switches: Range<usize>,
}

impl Entry {
    /// Returns the line without its end.
    fn content(&self) -> Range<usize> {
        self.line.start..self.switches.end
    }
}

impl BootIni {
    /// Takes a file's bytes.
    ///
    /// # Errors
    /// The file has no section `[operating systems]` with an entry in it, so it is not a boot.ini.
    pub fn parse(bytes: Vec<u8>) -> Result<BootIni> {
        for (mark, coding) in [
            (&b"\xff\xfe"[..], "UTF-16"),
            (b"\xfe\xff", "UTF-16"),
            (b"\xef\xbb\xbf", "UTF-8 with a byte order mark"),
        ] {
            if bytes.starts_with(mark) {
                bail_as!(Unusable, "the file is {coding}, which NTLDR does not read; save it as ANSI text");
            }
        }
        let file = BootIni { bytes, code_page: None };
        if file.entries().is_empty() {
            bail_as!(
                Unusable,
                "no entry of the form path=\"name\" under [operating systems]: this is not a boot.ini, or it is damaged"
            );
        }
        Ok(file)
    }

    /// Returns the file with the code page that its names are shown and written in, where it is known.
    #[must_use]
    pub fn with_code_page(self, code_page: Option<CodePage>) -> BootIni {
        BootIni { code_page, ..self }
    }

    /// Returns the code page of its names, where it is known.
    #[must_use]
    pub const fn code_page(&self) -> Option<CodePage> {
        self.code_page
    }

    /// Returns the file's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the entries, in the order in which the loader shows them.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        let mut inside = false;
        let mut entries = Vec::new();
        for line in lines(&self.bytes) {
            let text = self.bytes[line.clone()].trim_ascii();
            if text.starts_with(b"[") {
                inside = text.eq_ignore_ascii_case(b"[operating systems]");
            } else if inside && let Some(entry) = self.entry(line) {
                entries.push(entry);
            }
        }
        entries
    }

    /// Returns the entry's name, without quotes. What the code page does not tell stands as `\x88`.
    #[must_use]
    pub fn name(&self, entry: &Entry) -> String {
        self.show(&self.bytes[entry.name.clone()])
    }

    /// Returns the entry's ARC path.
    #[must_use]
    pub fn path(&self, entry: &Entry) -> String {
        self.show(&self.bytes[entry.path.clone()])
    }

    /// Returns the entry's switches.
    #[must_use]
    pub fn switches(&self, entry: &Entry) -> String {
        self.show(self.bytes[entry.switches.clone()].trim_ascii())
    }

    /// Returns the kind of system that the entry loads: Windows has an ARC path with a folder; what has a
    /// drive's path is a boot sector, DOS or the recovery console.
    #[must_use]
    pub fn loads(&self, entry: &Entry) -> Loads {
        let path = self.bytes[entry.path.clone()].to_ascii_lowercase();
        let is_arc = ["multi(", "scsi(", "signature("].iter().any(|kind| path.starts_with(kind.as_bytes()));
        match self.folder(entry) {
            Some(_) if is_arc => Loads::Windows,
            _ if path.windows(8).any(|part| part == b"\\cmdcons") => Loads::Recovery,
            _ => Loads::Other,
        }
    }

    /// Returns the folder of Windows on its volume, with slashes.
    #[must_use]
    pub fn folder(&self, entry: &Entry) -> Option<String> {
        let path = &self.bytes[entry.path.clone()];
        let path = self.decoded(path).unwrap_or_else(|| String::from_utf8_lossy(path).into_owned());
        let names = path.rsplit_once(')').map_or("", |(_, names)| names).split('\\');
        let folder = names.filter(|name| !name.is_empty()).collect::<Vec<_>>().join("/");
        (!folder.is_empty()).then_some(folder)
    }

    /// Returns the volume in the entry's ARC path, which tells no case apart.
    #[must_use]
    pub fn volume(&self, entry: &Entry) -> Option<String> {
        let path = self.path(entry).to_ascii_lowercase();
        path.rsplit_once(')').map(|(volume, _)| format!("{volume})"))
    }

    /// Returns true if the entry boots with PV disks, by the very rule that the driver applies.
    #[must_use]
    pub fn selects_pv(&self, entry: &Entry) -> bool {
        self.options(entry).selects_pv()
    }

    /// Returns the boot options of an entry. A slash parts two switches as a blank does: `SystemStartOptions` of
    /// real systems has a blank where boot.ini has ` /`, as if NTLDR made one of each slash, so `/sos/GPLPV`
    /// must be reckoned with as PV.
    #[must_use]
    pub fn options(&self, entry: &Entry) -> BootOptions {
        let blank = |&byte: &u8| u16::from(if byte == b'/' { b' ' } else { byte });
        BootOptions::parse(self.bytes[entry.switches.clone()].iter().map(blank))
    }

    /// Returns bytes of the file as text for a reader: control characters, and all that is not ASCII where
    /// the code page does not tell it, as `\x88`.
    pub(super) fn show(&self, bytes: &[u8]) -> String {
        let decoded = self.decoded(bytes);
        let is_known = decoded.is_some();
        let text = decoded.unwrap_or_else(|| bytes.iter().copied().map(char::from).collect());
        let mut shown = String::with_capacity(text.len());
        for character in text.chars() {
            if character.is_control() || !is_known && !character.is_ascii() {
                shown.push_str(&format!("\\x{:02x}", u32::from(character)));
            } else {
                shown.push(character);
            }
        }
        shown
    }

    /// Returns the text of bytes; none where the code page is not known, or has them not.
    fn decoded(&self, bytes: &[u8]) -> Option<String> {
        if bytes.is_ascii() {
            return String::from_utf8(bytes.to_vec()).ok();
        }
        self.code_page?.decode(bytes)
    }

    /// Returns whether the entry's line has a NUL byte, which no text has.
    pub(super) fn has_nul(&self, entry: &Entry) -> bool {
        self.bytes[entry.line.clone()].contains(&0)
    }

    /// Reads a line as an entry; `None` for blank lines, comments and anything without a quoted name.
    fn entry(&self, line: Range<usize>) -> Option<Entry> {
        let text = &self.bytes[line.clone()];
        let content = text.iter().rposition(|b| !matches!(b, b'\r' | b'\n'))? + 1;
        let start = text.iter().position(|b| !b.is_ascii_whitespace())?;
        if text[start] == b';' {
            return None;
        }
        let equals = text.iter().position(|&b| b == b'=')?;
        let open = equals + 1 + text[equals + 1..content].iter().position(|b| !b.is_ascii_whitespace())?;
        if text[open] != b'"' {
            return None;
        }
        let close = open + 1 + text[open + 1..content].iter().position(|&b| b == b'"')?;
        let range = |from: usize, to: usize| line.start + from..line.start + to;
        Some(Entry {
            path: range(start, start + text[start..equals].trim_ascii_end().len()),
            name: range(open + 1, close),
            switches: range(close + 1, content),
            line,
        })
    }
}

fn nth(entries: &[Entry], number: usize) -> Result<&Entry> {
    match number.checked_sub(1).and_then(|i| entries.get(i)) {
        Some(entry) => Ok(entry),
        None => bail_as!(Refused, "there is no entry {number}; the file has entries 1 to {}", entries.len()),
    }
}

/// Returns the file's lines, each with its end.
fn lines(bytes: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    bytes.split_inclusive(|&b| b == b'\n').map(move |line| {
        let range = start..start + line.len();
        start = range.end;
        range
    })
}

/// Returns the line end that the file uses; CRLF if it shows none.
fn line_end(bytes: &[u8]) -> &'static [u8] {
    match bytes.iter().position(|&b| b == b'\n') {
        Some(at) if at == 0 || bytes[at - 1] != b'\r' => b"\n",
        _ => b"\r\n",
    }
}
