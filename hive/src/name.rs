//! Names of keys and values: Latin-1 where the flag of a compressed name is set, else UTF-16.

use alloc::string::String;

/// Returns a stored name as text; a lone surrogate becomes a replacement character.
pub(crate) fn decode(bytes: &[u8], compressed: bool) -> String {
    if compressed {
        return bytes.iter().map(|&byte| char::from(byte)).collect();
    }
    utf16(bytes)
}

/// Returns the text of UTF-16, little endian; an odd last byte is not looked at.
pub(crate) fn utf16(bytes: &[u8]) -> String {
    let units = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

/// Returns true if two names are the same to the registry, which does not tell case apart.
pub(crate) fn same(one: &str, other: &str) -> bool {
    let upper = |name: &str| name.chars().flat_map(char::to_uppercase).collect::<String>();
    one.eq_ignore_ascii_case(other) || (!one.is_ascii() && upper(one) == upper(other))
}
