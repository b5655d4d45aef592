//! boot.ini of NT 5.x, edited by lines: every byte that an edit does not concern stays as it was.
//!
//! The file is taken as bytes, since its names are in the OEM code page. Entries are the lines of the section
//! `[operating systems]` of the form `<ARC path>="name" switches`. The loader shows at most ten, and
//! `default=` names an ARC path: of two entries with the same path the first is the default, so a new entry
//! goes behind the one that it is made from.

use anyhow::{Result, bail, ensure};
use guard::options::BootOptions;
use std::ops::Range;

/// The loader shows no more entries than this.
pub const MAX_ENTRIES: usize = 10;

/// What is added to the name of a PV entry.
const NAME_SUFFIX: &[u8] = b" (PV disks)";
const SWITCH: &[u8] = b" /GPLPV";

/// A boot.ini, held as its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootIni {
    bytes: Vec<u8>,
}

/// One entry of `[operating systems]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    line: Range<usize>,
    path: Range<usize>,
    name: Range<usize>,
    switches: Range<usize>,
}

impl BootIni {
    /// Takes a file's bytes.
    ///
    /// # Errors
    /// The file has no section `[operating systems]` with an entry in it, so it is not a boot.ini.
    pub fn parse(bytes: Vec<u8>) -> Result<BootIni> {
        let file = BootIni { bytes };
        ensure!(
            !file.entries().is_empty(),
            "no entry of the form path=\"name\" under [operating systems]: this is not a boot.ini"
        );
        Ok(file)
    }

    /// The file's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The entries, in the order in which the loader shows them.
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

    /// The entry's name as it stands in the file, without quotes; bytes outside ASCII are shown as `?`.
    #[must_use]
    pub fn name(&self, entry: &Entry) -> String {
        show(&self.bytes[entry.name.clone()])
    }

    /// The entry's switches.
    #[must_use]
    pub fn switches(&self, entry: &Entry) -> String {
        show(self.bytes[entry.switches.clone()].trim_ascii())
    }

    /// The entry boots with PV disks, by the very rule that the driver applies.
    #[must_use]
    pub fn selects_pv(&self, entry: &Entry) -> bool {
        self.options(entry).selects_pv()
    }

    /// Adds a PV entry made from entry `number` (from 1), right behind it; returns the new entry's number.
    ///
    /// # Errors
    /// There is no such entry; it is a PV entry, refuses PV or boots into safe mode; a PV entry for its path is
    /// there already; or the loader would not show one more.
    pub fn add_pv(&mut self, number: usize) -> Result<usize> {
        let entries = self.entries();
        let source = nth(&entries, number)?;
        let options = self.options(source);
        ensure!(!options.selects_pv(), "entry {number} boots with PV disks already; choose an emulated one");
        ensure!(!options.vetoes_pv(), "entry {number} has /NOGPLPV, which wins over /GPLPV; remove it first");
        ensure!(!options.safe_boot(), "entry {number} boots into safe mode, which is always emulated");
        let path = &self.bytes[source.path.clone()];
        if let Some(i) = entries
            .iter()
            .position(|e| self.selects_pv(e) && self.bytes[e.path.clone()].eq_ignore_ascii_case(path))
        {
            bail!("entry {} boots the same path with PV disks already", i + 1);
        }
        ensure!(
            entries.len() < MAX_ENTRIES,
            "the file has {} entries and the loader shows {MAX_ENTRIES}; remove one first",
            entries.len()
        );

        let piece = |range: Range<usize>| &self.bytes[range];
        let content_end = source.switches.end;
        let terminator = match piece(content_end..source.line.end) {
            b"" => line_end(&self.bytes).to_vec(),
            ending => ending.to_vec(),
        };
        let mut line = Vec::new();
        if content_end == source.line.end {
            // The last line has no end of its own: the new line brings one along, so that taking it out again
            // gives the original bytes.
            line.extend_from_slice(&terminator);
        }
        line.extend_from_slice(piece(source.line.start..source.name.end));
        line.extend_from_slice(NAME_SUFFIX);
        line.extend_from_slice(piece(source.name.end..content_end).trim_ascii_end());
        line.extend_from_slice(SWITCH);
        if content_end != source.line.end {
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
        ensure!(self.selects_pv(entry), "entry {number} is not a PV entry; only those are removed here");
        ensure!(entries.len() > 1, "entry {number} is the only one; without it nothing boots");
        let mut line = entry.line.clone();
        if line.end == entry.switches.end {
            // No line end of its own: take the one before it.
            let before = &self.bytes[..line.start];
            line.start = before.strip_suffix(b"\r\n").or(before.strip_suffix(b"\n")).unwrap_or(before).len();
        }
        self.bytes.drain(line);
        Ok(())
    }

    fn options(&self, entry: &Entry) -> BootOptions {
        BootOptions::parse(self.bytes[entry.switches.clone()].iter().map(|&b| u16::from(b)))
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
        None => bail!("there is no entry {number}; the file has entries 1 to {}", entries.len()),
    }
}

/// The file's lines, each with its end.
fn lines(bytes: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    bytes.split_inclusive(|&b| b == b'\n').map(move |line| {
        let range = start..start + line.len();
        start = range.end;
        range
    })
}

/// The line end that the file uses; CRLF if it shows none.
fn line_end(bytes: &[u8]) -> &'static [u8] {
    match bytes.iter().position(|&b| b == b'\n') {
        Some(at) if at == 0 || bytes[at - 1] != b'\r' => b"\n",
        _ => b"\r\n",
    }
}

fn show(bytes: &[u8]) -> String {
    bytes.iter().map(|&b| if b.is_ascii() && !b.is_ascii_control() { char::from(b) } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLAIN: &[u8] = b"[boot loader]\r\ntimeout=30\r\ndefault=multi(0)disk(0)rdisk(0)partition(1)\\WINDOWS\r\n\
        [operating systems]\r\n\
        multi(0)disk(0)rdisk(0)partition(1)\\WINDOWS=\"Windows Server 2003, Enterprise x64\" /noexecute=optout /fastdetect\r\n";

    fn parse(bytes: &[u8]) -> BootIni {
        BootIni::parse(bytes.to_vec()).expect("a boot.ini")
    }

    #[test]
    fn adds_one_line_behind_its_source() {
        let mut file = parse(PLAIN);
        assert_eq!(file.add_pv(1).expect("added"), 2);
        let expected = [
            PLAIN,
            b"multi(0)disk(0)rdisk(0)partition(1)\\WINDOWS=\"Windows Server 2003, Enterprise x64 (PV disks)\" /noexecute=optout /fastdetect /GPLPV\r\n",
        ]
        .concat();
        assert_eq!(file.bytes(), expected);
        let entries = file.entries();
        assert!(!file.selects_pv(&entries[0]) && file.selects_pv(&entries[1]));
    }

    #[test]
    fn a_last_line_without_end_keeps_its_form() {
        let original = &PLAIN[..PLAIN.len() - 2];
        let mut file = parse(original);
        file.add_pv(1).expect("added");
        assert_eq!(file.entries().len(), 2);
        assert!(file.bytes().ends_with(b" /GPLPV"));
        file.remove_pv(2).expect("removed");
        assert_eq!(file.bytes(), original);
    }

    #[test]
    fn refuses_with_what_to_do() {
        let error = |file: &mut BootIni, n| file.add_pv(n).expect_err("refused").to_string();
        let mut file = parse(PLAIN);
        assert!(error(&mut file, 0).contains("entries 1 to 1"));
        assert!(error(&mut file, 2).contains("entries 1 to 1"));
        file.add_pv(1).expect("added");
        assert!(error(&mut file, 2).contains("PV disks already"));
        assert!(error(&mut file, 1).contains("entry 2 boots the same path"));
        assert!(file.remove_pv(1).expect_err("refused").to_string().contains("not a PV entry"));

        let with =
            |switches: &str| parse(format!("[operating systems]\nC:\\=\"DOS\" {switches}\n").as_bytes());
        assert!(error(&mut with("/NOGPLPV"), 1).contains("/NOGPLPV"));
        assert!(error(&mut with("/safeboot:minimal"), 1).contains("safe mode"));
        let full = format!("[operating systems]\n{}", "C:\\=\"DOS\"\n".repeat(MAX_ENTRIES));
        assert!(error(&mut parse(full.as_bytes()), 1).contains("shows 10"));
        for not in [&b""[..], b"hello", b"[operating systems]\r\n; C:\\=\"DOS\"\r\n", b"C:\\=\"DOS\"\r\n"] {
            assert!(BootIni::parse(not.to_vec()).is_err());
        }
    }

    #[test]
    fn bytes_of_the_code_page_stay() {
        let mut file = parse(b"[Operating Systems]\nC:\\=\"Fen\x88tre\xFF\"  /fastdetect  \n; end\n");
        file.add_pv(1).expect("added");
        assert_eq!(
            file.bytes(),
            b"[Operating Systems]\nC:\\=\"Fen\x88tre\xFF\"  /fastdetect  \nC:\\=\"Fen\x88tre\xFF (PV disks)\"  /fastdetect /GPLPV\n; end\n"
        );
        assert_eq!(file.name(&file.entries()[0]), "Fen?tre?");
    }

    proptest! {
        /// Adding and removing gives the original bytes, whatever stands around the entry.
        #[test]
        fn add_then_remove(
            before in "([ -Z^-~]{0,30}(\r\n|\n)){0,5}",
            switches in "( /[a-z]{1,9}(=[a-z]{1,5})?){0,4} {0,2}",
            after in "((\r\n|\n)[ -Z^-~]{0,30}){0,5}",
        ) {
            let text = format!("{before}[operating systems]\r\nmulti(0)\\WINNT=\"NT\"{switches}{after}");
            let mut file = parse(text.as_bytes());
            prop_assume!(file.entries().len() < MAX_ENTRIES);
            prop_assume!(file.entries().iter().all(|e| !file.selects_pv(e)));
            if let Ok(number) = file.add_pv(1) {
                prop_assert!(file.selects_pv(&file.entries()[number - 1]));
                file.remove_pv(number).expect("just added");
                prop_assert_eq!(file.bytes(), text.as_bytes());
            }
        }

        /// No bytes at all make the parser panic.
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let text = [b"[operating systems]\n".as_slice(), &bytes].concat();
            if let Ok(mut file) = BootIni::parse(text) {
                let _ = file.add_pv(1);
            }
        }
    }
}
