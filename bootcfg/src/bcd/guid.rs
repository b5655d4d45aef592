//! Identifiers of objects.

use std::{fmt, hash::BuildHasher};

/// A GUID, whose text form is `{8-4-4-4-12}` in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Guid(u128);

/// Hex digits before each hyphen.
const GROUPS: [usize; 4] = [8, 12, 16, 20];

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
        let bare = text.strip_prefix('{')?.strip_suffix('}')?;
        let mut number = 0;
        let mut digits = 0;
        for group in bare.split('-') {
            if digits > 0 && !GROUPS.contains(&digits) || !group.is_ascii() {
                return None;
            }
            for c in group.chars() {
                number = number << 4 | u128::from(c.to_digit(16)?);
            }
            digits += group.len();
            if digits > 32 {
                return None;
            }
        }
        (digits == 32 && bare.len() == 36).then_some(Guid(number))
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
        let random = Guid::random().to_string();
        assert_eq!((&random[15..16], random.len()), ("4", 38));
        assert_ne!(Guid::random(), Guid::random());
    }
}
