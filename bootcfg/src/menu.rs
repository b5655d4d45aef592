//! Boot menu: the common ground of boot.ini and a BCD store. It has entries, one of which is the default.

use anyhow::Result;
use serde_json::{Value, json};

use crate::{bail_as, text::is_harmful};

/// One entry of a boot menu.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The number that the command line calls it by, from 1.
    pub number: usize,
    /// The loader's name of it: an ARC path or a GUID.
    pub id: String,
    /// The name in the menu.
    pub name: String,
    /// The options that the kernel gets.
    pub options: String,
    /// Boots with PV disks.
    pub pv: bool,
    /// Boots when nobody chooses.
    pub default: bool,
    /// The menu shows it.
    pub shown: bool,
    /// The kind of system that it loads.
    pub loads: Loads,
    /// The folder of Windows on its volume, with slashes; none where the entry names none.
    pub folder: Option<String>,
    /// Volume that the folder is on, in the menu's own words, to compare two entries by; none where the entry names none.
    pub volume: Option<String>,
    /// Drivers with a signature for tests are taken; unknown where the menu does not say it (boot.ini).
    pub test_signing: Option<bool>,
}

/// The kind of system that an entry loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loads {
    /// An installed Windows: only such an entry can be a PV entry.
    Windows,
    /// Windows PE: recovery, setup.
    Recovery,
    /// Another loader, a boot sector, DOS, a memory test.
    Other,
}

impl Loads {
    /// Returns its word in `--json`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Loads::Windows => "windows",
            Loads::Recovery => "recovery",
            Loads::Other => "other",
        }
    }
}

impl Entry {
    /// Returns it as `--json` shows it.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "number": self.number, "id": self.id, "name": self.name, "options": self.options,
            "disks": if self.pv { "pv" } else { "emulated" }, "default": self.default, "shown": self.shown,
            "loads": self.loads.word(), "folder": self.folder, "test_signing": self.test_signing,
        })
    }
}

/// Returns the numbers of the entries that load Windows from a folder of the same name as this entry's, where they are
/// on different volumes; none where they are not.
#[must_use]
pub fn on_different_volumes(entries: &[Entry], entry: &Entry) -> Vec<usize> {
    let is_alike = |other: &&Entry| {
        let same = |one: &String| {
            other.folder.as_ref().is_some_and(|folder| folder.to_lowercase() == one.to_lowercase())
        };
        other.loads == Loads::Windows && other.volume.is_some() && entry.folder.as_ref().is_some_and(same)
    };
    let alike: Vec<&Entry> = entries.iter().filter(is_alike).collect();
    if alike.iter().all(|other| other.volume == entry.volume) {
        return Vec::new();
    }
    alike.iter().map(|other| other.number).collect()
}

/// Weight of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// `verify` fails.
    Wrong,
}

/// Something that `verify` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Weight.
    pub severity: Severity,
    /// Text: what is so, and what to do.
    pub text: String,
}

impl Finding {
    /// Returns it as `--json` shows it.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({ "wrong": self.severity == Severity::Wrong, "text": self.text })
    }

    /// Something that must be put right.
    pub fn wrong(text: impl Into<String>) -> Finding {
        Finding { severity: Severity::Wrong, text: text.into() }
    }

    /// Something to know.
    pub fn note(text: impl Into<String>) -> Finding {
        Finding { severity: Severity::Note, text: text.into() }
    }
}

/// A boot menu that can be looked at and edited in memory.
pub trait Menu {
    /// `boot.ini` or `BCD`.
    fn kind(&self) -> &'static str;
    /// Returns the entries, in the menu's order.
    fn entries(&self) -> Vec<Entry>;
    /// Seconds that the menu waits, where it says; [`FOR_EVER`] where it waits for a choice.
    fn timeout(&self) -> Option<i64>;
    /// Sets how many seconds the menu waits.
    ///
    /// # Errors
    /// The menu cannot hold it.
    fn set_timeout(&mut self, seconds: u32) -> Result<()>;
    /// Returns the PV entry that boots the same system as entry `number`.
    ///
    /// # Errors
    /// There is no such entry.
    fn pv_sibling(&self, number: usize) -> Result<Option<usize>>;
    /// Adds a PV entry behind entry `number`; returns its number.
    ///
    /// # Errors
    /// The entry cannot be made, and why.
    fn add_pv(&mut self, number: usize, name: Option<&str>) -> Result<usize>;
    /// Removes the PV entry `number`; where it is the default, its emulated sibling becomes the default.
    ///
    /// # Errors
    /// It is not a PV entry, or the only entry.
    fn remove_pv(&mut self, number: usize) -> Result<()>;
    /// Makes the PV or the emulated entry of the system of `entry`, or else of the default system, the
    /// default; returns its number.
    ///
    /// # Errors
    /// There is no such entry.
    fn set_default(&mut self, pv: bool, entry: Option<usize>) -> Result<usize>;
    /// Lets the PV entry of the system of `entry`, or else of the default system, boot the next time only;
    /// returns its number.
    ///
    /// # Errors
    /// There is no such entry, or the loader has no such thing.
    fn try_pv(&mut self, entry: Option<usize>) -> Result<usize>;
    /// Returns the inconsistencies.
    fn check(&self) -> Vec<Finding>;
    /// Returns the whole as text, for a diff.
    fn text(&self) -> String;
}

/// The timeout of a menu that waits for a choice.
pub const FOR_EVER: i64 = -1;

/// Refuses a name that a terminal or a menu would take for more than text.
///
/// # Errors
/// It has a control character.
pub fn refuse_control_characters(name: &str) -> Result<()> {
    if name.chars().any(is_harmful) {
        bail_as!(Refused, "the name has a control character; use plain text");
    }
    Ok(())
}

/// Returns the words of options but for those that choose the disks, to compare two entries by.
#[must_use]
pub fn other_words(options: &str) -> Vec<String> {
    let words = options.split(|c: char| c.is_ascii_whitespace() || c == '/').filter(|word| !word.is_empty());
    words.map(str::to_ascii_uppercase).filter(|word| word != "GPLPV").collect()
}

/// Returns the number of words that only one of two entries has.
#[must_use]
pub fn differing_words(one: &[String], other: &[String]) -> usize {
    let missing = |from: &[String], of: &[String]| from.iter().filter(|word| !of.contains(word)).count();
    missing(one, other) + missing(other, one)
}

/// Returns the number of the entry that boots when nobody chooses.
///
/// # Errors
/// The menu names none.
pub fn default_number(menu: &dyn Menu) -> Result<usize> {
    match menu.entries().iter().find(|entry| entry.default) {
        Some(entry) => Ok(entry.number),
        None => bail_as!(Unusable, "the menu's default is none of its entries; choose one with --entry"),
    }
}

/// Returns a token of `options` that looks like an attempt at GPLPV and is not it.
#[must_use]
pub fn malformed_token(options: &str) -> Option<&str> {
    options.split_ascii_whitespace().find(|token| {
        let bare = token.strip_prefix('/').unwrap_or(token).to_ascii_uppercase();
        bare.contains("GPLPV") && bare != "GPLPV" && bare != "NOGPLPV"
    })
}
