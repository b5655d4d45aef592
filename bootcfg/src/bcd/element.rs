//! Elements: their numbers and their data.

use hive::data_type;

use super::{Guid, OS_LOADER, device};

/// Library: the device that the application is on.
pub const DEVICE: u32 = 0x1100_0001;
/// Library: the application's path.
pub const PATH: u32 = 0x1200_0002;
/// Library: the name in the menu.
pub const DESCRIPTION: u32 = 0x1200_0004;
/// Library: objects whose elements this one has too.
pub const INHERIT: u32 = 0x1400_0006;
/// Library: options that the kernel gets.
pub const LOAD_OPTIONS: u32 = 0x1200_0030;
/// OS loader: the device that Windows is on.
pub const OS_DEVICE: u32 = 0x2100_0001;
/// OS loader: the folder of Windows.
pub const SYSTEM_ROOT: u32 = 0x2200_0002;
/// OS loader: the object that resumes this system (in the boot manager the same number is [`DEFAULT`]).
pub const RESUME_OBJECT: u32 = 0x2300_0003;
/// Boot manager: the entry that boots when nobody chooses.
pub const DEFAULT: u32 = 0x2300_0003;
/// Boot manager: the menu.
pub const DISPLAY_ORDER: u32 = 0x2400_0001;
/// Boot manager: the entries for the next boot only.
pub const BOOT_SEQUENCE: u32 = 0x2400_0002;
/// Boot manager: seconds that the menu waits.
pub const TIMEOUT: u32 = 0x2500_0004;
/// OS loader: drivers with a signature for tests are taken (`testsigning`). In the library's numbering.
pub const TEST_SIGNING: u32 = 0x1600_0049;
/// OS loader: what is loaded is Windows PE (`winpe`).
pub const WINDOWS_PE: u32 = 0x2600_0022;
/// OS loader: the kind of menu (`bootmenupolicy`): 0 is the text menu, 1 that of Windows itself.
pub const BOOT_MENU_POLICY: u32 = 0x2500_00c2;
/// Boot manager: a hibernated system is to be resumed.
pub const ATTEMPT_RESUME: u32 = 0x2600_0005;

/// Returns what bcdedit calls an element of an object of type `kind`: one number means another thing in a loader
/// than in the boot manager.
#[must_use]
pub const fn name(kind: u32, number: u32) -> &'static str {
    match number {
        RESUME_OBJECT if kind == OS_LOADER => "resumeobject",
        DEVICE => "device",
        PATH => "path",
        DESCRIPTION => "description",
        0x1200_0005 => "locale",
        INHERIT => "inherit",
        LOAD_OPTIONS => "loadoptions",
        OS_DEVICE => "osdevice",
        SYSTEM_ROOT => "systemroot",
        DEFAULT => "default",
        DISPLAY_ORDER => "displayorder",
        BOOT_SEQUENCE => "bootsequence",
        TIMEOUT => "timeout",
        ATTEMPT_RESUME => "resume",
        TEST_SIGNING => "testsigning",
        WINDOWS_PE => "winpe",
        0x1400_0008 => "recoverysequence",
        0x1500_0066 => "displaymessageoverride",
        0x1600_0009 => "recoveryenabled",
        0x1600_0010 => "debug",
        0x1600_0060 => "isolatedcontext",
        0x1700_0077 => "allowedinmemorysettings",
        0x2300_0006 => "resumeobject",
        0x2400_0010 => "toolsdisplayorder",
        0x2500_0020 => "nx",
        0x2500_0080 => "safeboot",
        BOOT_MENU_POLICY => "bootmenupolicy",
        _ => "",
    }
}

/// Format of an element's data, from its number (bits 24 to 27).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Device,
    Text,
    Object,
    Objects,
    Integer,
    Boolean,
    Other,
}

impl Format {
    const fn of(number: u32) -> Format {
        match number >> 24 & 0xf {
            1 => Format::Device,
            2 => Format::Text,
            3 => Format::Object,
            4 => Format::Objects,
            5 => Format::Integer,
            6 => Format::Boolean,
            _ => Format::Other,
        }
    }
}

/// An element's data as the hive has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    /// `REG_SZ`, `REG_MULTI_SZ` or `REG_BINARY`.
    pub data_type: u32,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Data {
    /// Returns a text.
    #[must_use]
    pub fn of_text(text: &str) -> Data {
        Data { data_type: data_type::SZ, bytes: utf16(text) }
    }

    /// Returns an object.
    #[must_use]
    pub fn of_guid(guid: Guid) -> Data {
        Data::of_text(&guid.to_string())
    }

    /// Returns a list of objects.
    #[must_use]
    pub fn of_guids(guids: &[Guid]) -> Data {
        let mut bytes: Vec<u8> = guids.iter().flat_map(|guid| utf16(&guid.to_string())).collect();
        bytes.extend([0, 0]);
        Data { data_type: data_type::MULTI_SZ, bytes }
    }

    /// Returns a number.
    #[must_use]
    pub fn of_integer(number: u64) -> Data {
        Data { data_type: data_type::BINARY, bytes: number.to_le_bytes().into() }
    }

    /// Returns the text.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        (self.data_type == data_type::SZ)
            .then(|| texts(&self.units()).next().map(String::from_utf16_lossy).unwrap_or_default())
    }

    /// Returns the object, or the list's objects; what is not a GUID is passed over.
    #[must_use]
    pub fn guids(&self) -> Vec<Guid> {
        match self.data_type {
            data_type::SZ | data_type::MULTI_SZ => texts(&self.units()).filter_map(Guid::of_units).collect(),
            _ => Vec::new(),
        }
    }

    /// Returns the number; Windows writes eight bytes, older ones fewer.
    #[must_use]
    pub fn integer(&self) -> Option<u64> {
        if self.data_type != data_type::BINARY || self.bytes.is_empty() || self.bytes.len() > 8 {
            return None;
        }
        Some(self.bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    /// Returns true if the boolean.
    #[must_use]
    pub fn is_true(&self) -> bool {
        self.bytes.first().is_some_and(|&byte| byte != 0)
    }

    /// Returns the objects that an element of this number names; none where it names none.
    pub(super) fn objects(&self, number: u32) -> Option<Vec<Guid>> {
        matches!(Format::of(number), Format::Object | Format::Objects).then(|| self.guids())
    }

    /// For a reader.
    pub(super) fn show(&self, number: u32) -> String {
        match Format::of(number) {
            Format::Device => device::show(&self.bytes),
            Format::Text => self.text().map(|text| format!("{text:?}")),
            Format::Integer => self.integer().map(|number| number.to_string()),
            Format::Boolean => Some(if self.is_true() { "yes" } else { "no" }.to_owned()),
            Format::Object | Format::Objects | Format::Other => None,
        }
        .unwrap_or_else(|| device::hex(&self.bytes))
    }

    fn units(&self) -> Vec<u16> {
        self.bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect()
    }
}

/// Returns the texts up to an empty one.
fn texts(units: &[u16]) -> impl Iterator<Item = &[u16]> {
    units.split(|&unit| unit == 0).take_while(|text| !text.is_empty())
}

/// With its NUL.
fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}
