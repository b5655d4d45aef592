//! Identifiers of objects.

use std::{fmt, hash::BuildHasher};

/// A GUID, whose text form is `{8-4-4-4-12}` in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Guid(u128);

/// Characters between the braces.
const LENGTH: usize = 36;
/// Places of hyphens among them.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

impl Guid {
    /// Returns the constant whose text, without braces, is given.
    pub(crate) const fn of(text: &str) -> Guid {
        let mut number = 0;
        let mut at = 0;
        while at < text.len() {
            let byte = text.as_bytes()[at];
            if let Some(digit) = (byte as char).to_digit(16) {
                number = number << 4 | digit as u128;
            }
            at += 1;
        }
        Guid(number)
    }

    /// Reads `{8-4-4-4-12}`, of either case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Guid> {
        Guid::of_units(&text.encode_utf16().collect::<Vec<_>>())
    }

    /// Reads the same in UTF-16.
    #[must_use]
    pub fn of_units(units: &[u16]) -> Option<Guid> {
        const OPEN: u16 = b'{' as u16;
        const HYPHEN: u16 = b'-' as u16;
        const CLOSE: u16 = b'}' as u16;
        let [OPEN, bare @ .., CLOSE] = units else { return None };
        if bare.len() != LENGTH {
            return None;
        }
        let mut number = 0;
        for (at, &unit) in bare.iter().enumerate() {
            if HYPHENS.contains(&at) {
                if unit != HYPHEN {
                    return None;
                }
            } else {
                number = number << 4 | u128::from(char::from(u8::try_from(unit).ok()?).to_digit(16)?);
            }
        }
        Some(Guid(number))
    }

    /// Returns that in the sixteen bytes of Windows' structure.
    #[must_use]
    pub fn of_bytes(bytes: [u8; 16]) -> Guid {
        Guid(u128::from_be_bytes(swapped(bytes)))
    }

    /// Returns the sixteen bytes of Windows' structure.
    #[must_use]
    pub fn bytes(self) -> [u8; 16] {
        swapped(self.0.to_be_bytes())
    }

    /// Returns bcdedit's name of an object that is the same in every store (`bcdedit /? ID`).
    #[must_use]
    pub fn alias(self) -> Option<&'static str> {
        KNOWN.iter().find(|(guid, _)| *guid == self).map(|&(_, name)| name)
    }

    /// Returns bcdedit's name, or else the text form.
    #[must_use]
    pub fn named(self) -> String {
        self.alias().map_or_else(|| self.to_string(), str::to_owned)
    }

    /// Returns a new one (version 4: random).
    #[must_use]
    pub fn random() -> Guid {
        // Its keys come from the system's source of random numbers.
        let half = |n: u8| u128::from(std::hash::RandomState::new().hash_one(n));
        let random = half(0) << 64 | half(1);
        Guid(random & !(0xf000 << 64) & !(0xc000 << 48) | 0x4000 << 64 | 0x8000 << 48)
    }
}

/// Exchanges the orders of bytes of the text form and of Windows' structure, whose first three numbers are
/// little-endian.
const fn swapped(mut bytes: [u8; 16]) -> [u8; 16] {
    let (first, rest) = bytes.split_at_mut(4);
    let (second, rest) = rest.split_at_mut(2);
    first.reverse();
    second.reverse();
    rest.split_at_mut(2).0.reverse();
    bytes
}

/// The objects that are the same in every store, and their names.
const KNOWN: [(Guid, &str); 12] = [
    (super::BOOT_MANAGER, "{bootmgr}"),
    (Guid::of("a5a30fa2-3d06-4e9f-b5f4-a01df9d1fcba"), "{fwbootmgr}"),
    (Guid::of("b2721d73-1db4-4c62-bf78-c548a880142d"), "{memdiag}"),
    (Guid::of("466f5a88-0af2-4f76-9038-095b170dc21c"), "{ntldr}"),
    (Guid::of("4636856e-540f-4170-a130-a84776f4c654"), "{dbgsettings}"),
    (Guid::of("0ce4991b-e6b3-4b16-b23c-5e0d9250e5d9"), "{emssettings}"),
    (Guid::of("5189b25c-5558-4bf2-bca4-289b11bd29e2"), "{badmemory}"),
    (Guid::of("7ea2e1ac-2e61-4728-aaa3-896d9d0a9f0e"), "{globalsettings}"),
    (Guid::of("6efb52bf-1766-41db-a6b3-0ee5eff72bd7"), "{bootloadersettings}"),
    (Guid::of("7ff607e0-4395-11db-b0de-0800200c9a66"), "{hypervisorsettings}"),
    (Guid::of("1afa9c49-16ab-4a5c-901b-212802da9460"), "{resumeloadersettings}"),
    (Guid::of("ae5534e0-a924-466c-b836-758539a3ee3a"), "{ramdiskoptions}"),
];

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Guid(n) = self;
        write!(
            f,
            "{{{:08x}-{:04x}-{:04x}-{:04x}-{:012x}}}",
            n >> 96,
            n >> 80 & 0xffff,
            n >> 64 & 0xffff,
            n >> 48 & 0xffff,
            n & 0xffff_ffff_ffff
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let guid = Guid::of("9dea862c-5cdd-4e70-acc1-f32b344d4795");
        assert_eq!(guid.to_string(), "{9dea862c-5cdd-4e70-acc1-f32b344d4795}");
        assert_eq!(Guid::parse("{9DEA862C-5cdd-4e70-acc1-f32b344d4795}"), Some(guid));
        for not in [
            "",
            "{}",
            "9dea862c-5cdd-4e70-acc1-f32b344d4795",
            "{9dea862c5cdd4e70acc1f32b344d4795}",
            "{9dea862c5cdd-4e70-acc1-f32b-344d4795}",
            "{9dea862c-5cdd-4e70-acc1-f32b344d479g}",
            "{9dea862c-5cdd-4e70-acc1-f32b344d47955}",
        ] {
            assert_eq!(Guid::parse(not), None, "{not}");
        }
        assert_eq!((guid.alias(), guid.named()), (Some("{bootmgr}"), "{bootmgr}".to_owned()));
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
        let other = Guid::of_bytes(bytes);
        assert_eq!(other.to_string(), "{04030201-0605-0807-090a-0b0c0d0e0f10}");
        assert_eq!((other.bytes(), other.alias(), other.named()), (bytes, None, other.to_string()));
        let random = Guid::random().to_string();
        assert_eq!((&random[15..16], random.len()), ("4", 38));
        assert_ne!(Guid::random(), Guid::random());
    }
}
