//! The boot configuration data of NT 6.0 and later: what the boot manager and the system's loader take from it.
//!
//! A store is a registry hive: `Objects\{guid}\Elements\<number>`, each with one value `Element` (Microsoft's
//! BCD reference, and the element numbers of bcdedit's documentation). Here are the elements that decide which
//! entry is started and what its kernel gets; the files that it loads are always the executive's.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use hive::{Hive, Value};

use crate::menu::Chosen;

/// `{bootmgr}`.
const BOOT_MANAGER: &str = "{9dea862c-5cdd-4e70-acc1-f32b344d4795}";
/// `default` of the boot manager.
const DEFAULT: u32 = 0x2300_0003;
/// `displayorder`.
const DISPLAY_ORDER: u32 = 0x2400_0001;
/// `bootsequence`.
const BOOT_SEQUENCE: u32 = 0x2400_0002;
/// `inherit`.
const INHERIT: u32 = 0x1400_0006;
/// `loadoptions`.
const LOAD_OPTIONS: u32 = 0x1200_0030;
/// `testsigning`.
const TEST_SIGNING: u32 = 0x1600_0049;
/// `nx`.
const NX: u32 = 0x2500_0020;
/// `safeboot`.
const SAFE_BOOT: u32 = 0x2500_0080;

struct Store<'a>(Hive<'a>);

impl Store<'_> {
    fn own(&self, object: &str, number: u32) -> Option<Vec<String>> {
        let path = format!("Objects\\{object}\\Elements\\{number:08x}");
        let value = self.0.key(&path).ok()??.value("Element").ok()??;
        Some(strings(&value))
    }

    /// Returns an element of an object's own, or of one that it inherits.
    fn element(&self, object: &str, number: u32) -> Option<Vec<String>> {
        self.own(object, number).or_else(|| {
            let parents = self.own(object, INHERIT)?;
            parents.iter().find_map(|parent| self.own(parent, number))
        })
    }

    fn number(&self, object: &str, number: u32) -> Option<u64> {
        let path = format!("Objects\\{object}\\Elements\\{number:08x}");
        let data = self.0.key(&path).ok()??.value("Element").ok()??.data().ok()?.into_owned();
        Some(data.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }
}

/// Returns the strings of a value of any type of string.
fn strings(value: &Value<'_>) -> Vec<String> {
    let Ok(data) = value.data() else { return Vec::new() };
    let units: Vec<u16> = data.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    units.split(|&unit| unit == 0).take_while(|text| !text.is_empty()).map(String::from_utf16_lossy).collect()
}

/// Returns the entry that the boot manager starts. That is the `number`th entry of the menu (from 1). Where
/// nobody chooses, it is the first of `bootsequence`, or else the default. Returns `None` where the store is
/// no hive or has no such entry.
pub(crate) fn choose(store: &[u8], number: Option<usize>) -> Option<Chosen> {
    let store = Store(Hive::new(store).ok()?);
    let list = |element| store.own(BOOT_MANAGER, element).unwrap_or_default();
    let shown = list(DISPLAY_ORDER);
    let (entry, once) = match number {
        Some(number) => (shown.get(number.checked_sub(1)?)?.clone(), false),
        None => match list(BOOT_SEQUENCE).first() {
            Some(entry) => (entry.clone(), true),
            None => (list(DEFAULT).first()?.clone(), false),
        },
    };
    let mut switches = Vec::new();
    if store.number(&entry, TEST_SIGNING).is_some_and(|set| set != 0) {
        switches.push("TESTSIGNING".to_string());
    }
    match store.number(&entry, SAFE_BOOT) {
        Some(0) => switches.push("SAFEBOOT:MINIMAL".to_string()),
        Some(1) => switches.push("SAFEBOOT:NETWORK".to_string()),
        Some(_) => switches.push("SAFEBOOT:DSREPAIR".to_string()),
        None => {}
    }
    let nx = match store.number(&entry, NX).unwrap_or_default() {
        0 => "OPTIN",
        1 => "OPTOUT",
        2 => "ALWAYSOFF",
        _ => "ALWAYSON",
    };
    switches.push(format!("NOEXECUTE={nx}"));
    let options = store.element(&entry, LOAD_OPTIONS).unwrap_or_default();
    let words = options.iter().flat_map(|options| options.split_whitespace());
    switches.extend(words.map(|word| word.trim_start_matches('/').to_ascii_uppercase()));
    let number = shown.iter().position(|other| *other == entry).map_or(0, |at| at + 1);
    Some(Chosen { number, switches, once })
}
