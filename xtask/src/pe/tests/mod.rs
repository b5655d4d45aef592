//! Each rule names its breach: a driver that keeps them all is broken byte-wise in one respect at a time.

mod sample;

use std::collections::BTreeSet;

use object::pe as format;

use super::{Driver, checksum, image::Image, rules::RULES};
use sample::{BUILD_PATH, EXPORT, IMPORT, driver, utf16};

/// Offsets of a header's fields in the image, by the PE format's own tables.
struct Header {
    file: usize,
    optional: usize,
    directories: usize,
    sections: usize,
}

impl Header {
    fn of(driver: &Driver) -> Self {
        let start = u32::from_le_bytes(driver.sys[0x3c..0x40].try_into().unwrap()) as usize;
        let (file, optional) = (start + 4, start + 24);
        Self { file, optional, directories: optional + 112, sections: optional + 240 }
    }

    /// Returns the header of the section of this name.
    fn section(&self, driver: &Driver, name: &str) -> usize {
        let headers = (self.sections..).step_by(40);
        headers.take(16).find(|at| driver.sys[*at..].starts_with(name.as_bytes())).unwrap()
    }
}

/// A function that breaks a driver.
type Breach = fn(&mut Driver);

/// The rule that must name it, what is done, and how.
const BREACHES: &[(&str, &str, Breach)] = &[
    ("machine", "is for x86", |d| set16(d, Header::of(d).file, 0x14c)),
    ("subsystem", "is a Windows program", |d| set16(d, Header::of(d).optional + 68, 2)),
    ("subsystem", "asks for NT 10", |d| set16(d, Header::of(d).optional + 48, 10)),
    ("os-version", "asks for NT 6.1", |d| set32(d, Header::of(d).optional + 40, 0x0001_0006)),
    ("checksum", "has none", |d| set32(d, Header::of(d).optional + 64, 0)),
    ("checksum", "was changed after the checksum was set", |d| {
        let last = d.sys.len() - 1;
        d.sys[last] ^= 0x55;
    }),
    ("relocations", "has none", |d| set_directory(d, format::IMAGE_DIRECTORY_ENTRY_BASERELOC, 0)),
    ("relocations", "has them marked as stripped", |d| {
        let at = Header::of(d).file + 18;
        set16(d, at, get16(d, at) | 1);
    }),
    ("mitigations", "may not be moved", |d| clear16(d, Header::of(d).optional + 70, 0x40)),
    ("mitigations", "executes data", |d| clear16(d, Header::of(d).optional + 70, 0x100)),
    ("init", "keeps INIT", |d| {
        let at = Header::of(d).section(d, "INIT") + 36;
        set32(d, at, get32(d, at) & !0x0200_0000);
    }),
    ("init", "calls INIT otherwise", |d| {
        let at = Header::of(d).section(d, "INIT");
        d.sys[at..at + 4].copy_from_slice(b"init");
    }),
    ("init", "starts outside of INIT", |d| {
        let text = Header::of(d).section(d, ".text");
        set32(d, Header::of(d).optional + 16, get32(d, text + 12));
    }),
    ("write-execute", "writes to its code", |d| {
        let at = Header::of(d).section(d, ".text") + 36;
        set32(d, at, get32(d, at) | 0x8000_0000);
    }),
    ("write-execute", "executes its variables", |d| {
        let at = Header::of(d).section(d, ".data") + 36;
        set32(d, at, get32(d, at) | 0x2000_0000);
    }),
    ("directories", "has thread-local storage", |d| {
        set_directory(d, format::IMAGE_DIRECTORY_ENTRY_TLS, 0x1000)
    }),
    ("directories", "delays imports", |d| {
        set_directory(d, format::IMAGE_DIRECTORY_ENTRY_DELAY_IMPORT, 0x1000)
    }),
    ("version", "has no version resource", |d| {
        set_directory(d, format::IMAGE_DIRECTORY_ENTRY_RESOURCE, 0);
        d.messages.clear();
    }),
    ("version", "says that it is another file", |d| replace(d, &utf16("sample.sys"), &utf16("simple.sys"))),
    ("version", "says another version", |d| replace(d, &utf16("1.2.3"), &utf16("1.2.4"))),
    ("version", "has another binary version", |d| {
        replace(d, &[2, 0, 1, 0, 0, 0, 3, 0], &[2, 0, 1, 0, 0, 0, 4, 0])
    }),
    ("version", "has a nameless string", |d| replace(d, &utf16("CompanyName"), &utf16("CompanyGame"))),
    ("messages", "has another text for a message", |d| {
        replace(d, &utf16("A sample\r\n"), &utf16("A simple\r\n"))
    }),
    ("messages", "lacks a message", |d| {
        d.messages.insert(0xA000_0011, "Another".to_owned());
    }),
    ("messages", "has the message of no reason", |d| d.messages.clear()),
    ("imports", "imports what NT 5.2 lacks", |d| replace(d, IMPORT.as_bytes(), b"DbgPrinX")),
    ("imports", "imports from an unknown library", |d| replace(d, b"ntoskrnl.exe", b"ntoskrnl.old")),
    ("imports", "imports by ordinal", |d| {
        // The first thunk is the one whose value is the address of the import's hint and name.
        let name = position(&d.sys, IMPORT.as_bytes()) - 2;
        let section = Header::of(d).section(d, ".rdata");
        let address = name as u32 - get32(d, section + 20) + get32(d, section + 12);
        let thunk = position(&d.sys, &u64::from(address).to_le_bytes());
        d.sys[thunk + 7] |= 0x80;
    }),
    ("exports", "exports another name", |d| replace(d, EXPORT.as_bytes(), b"Answes")),
    ("exports", "exports nothing", |d| set_directory(d, format::IMAGE_DIRECTORY_ENTRY_EXPORT, 0)),
    ("symbols", "names no symbol file", |d| set_directory(d, format::IMAGE_DIRECTORY_ENTRY_DEBUG, 0)),
    ("symbols", "names another symbol file", |d| replace(d, b"sample.pdb", b"simple.pdb")),
    ("symbols", "comes with the symbol file of another build", |d| d.pdb.fill(0)),
    ("build-paths", "has a folder's path in the image", |d| d.sys.extend(BUILD_PATH.bytes())),
    ("build-paths", "has a folder's path in the image's UTF-16", |d| d.sys.extend(utf16(BUILD_PATH))),
    ("build-paths", "has a folder's path in the symbol file", |d| d.pdb.extend(BUILD_PATH.bytes())),
];

#[test]
fn the_sample_keeps_every_rule() {
    assert_eq!(driver().check().findings, []);
}

#[test]
fn each_breach_is_named_by_its_rule_and_no_other() {
    for (rule, what, breach) in BREACHES {
        let mut driver = driver();
        breach(&mut driver);
        if *rule != "checksum" {
            set_checksum(&mut driver);
        }
        let found: BTreeSet<_> = driver.check().findings.iter().map(|finding| finding.rule).collect();
        assert_eq!(found, BTreeSet::from([*rule]), "a driver that {what}");
    }
}

#[test]
fn every_rule_has_a_breach() {
    let rules: BTreeSet<_> = RULES.iter().map(|(rule, _)| *rule).collect();
    let broken: BTreeSet<_> = BREACHES.iter().map(|(rule, ..)| *rule).collect();
    assert_eq!(rules, broken);
}

#[test]
fn a_file_cut_short_is_named_as_such() {
    let mut driver = driver();
    driver.sys.truncate(0x180);
    let findings = driver.check().findings;
    assert_eq!(findings.iter().map(|finding| finding.rule).collect::<Vec<_>>(), ["format"]);
}

#[test]
fn no_damage_makes_the_check_panic() {
    let mut good = driver();
    // All that the rules look for in a symbol file, so that a round takes no time.
    good.pdb = Image::parse(&good.sys).unwrap().symbols.unwrap().1.to_vec();
    good.build_paths.clear();
    for offset in 0..good.sys.len() {
        let mut driver = good.clone();
        driver.sys[offset] ^= 0xff;
        assert!(!driver.check().findings.is_empty(), "byte {offset:#x} changed and nothing was found");
    }
}

fn set_checksum(driver: &mut Driver) {
    if let Ok(image) = Image::parse(&driver.sys) {
        let checksum = checksum::compute(&driver.sys, image.checksum_offset);
        set32(driver, image.checksum_offset, checksum);
    }
}

fn set_directory(driver: &mut Driver, index: usize, address: u32) {
    let at = Header::of(driver).directories + index * 8;
    set32(driver, at, address);
}

fn get16(driver: &Driver, at: usize) -> u16 {
    u16::from_le_bytes(driver.sys[at..at + 2].try_into().unwrap())
}

fn get32(driver: &Driver, at: usize) -> u32 {
    u32::from_le_bytes(driver.sys[at..at + 4].try_into().unwrap())
}

fn set16(driver: &mut Driver, at: usize, value: u16) {
    driver.sys[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

fn clear16(driver: &mut Driver, at: usize, bits: u16) {
    set16(driver, at, get16(driver, at) & !bits);
}

fn set32(driver: &mut Driver, at: usize, value: u32) {
    driver.sys[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// Puts `new` where `old` is first.
fn replace(driver: &mut Driver, old: &[u8], new: &[u8]) {
    let at = position(&driver.sys, old);
    driver.sys[at..at + new.len()].copy_from_slice(new);
}

fn position(bytes: &[u8], wanted: &[u8]) -> usize {
    bytes.windows(wanted.len()).position(|window| window == wanted).expect("the sample has it")
}
