//! Counted UTF-16 strings: literals, comparison, lists and printing.

use core::fmt::{self, Write};

use wdk_sys::UNICODE_STRING;

use crate::{NtStatus, Result};

/// A UTF-16 literal of an ASCII string: `&'static [u16]`, without a terminator.
#[macro_export]
macro_rules! utf16 {
    ($text:expr) => {{
        const TEXT: &str = $text;
        const UNITS: [u16; TEXT.len()] = $crate::unicode::widen(TEXT);
        &UNITS as &'static [u16]
    }};
}

/// Widens an ASCII string at compile time (used by [`utf16!`]).
///
/// # Panics
/// When the text is not ASCII or not `N` bytes long: a compile error in a constant.
#[must_use]
pub const fn widen<const N: usize>(text: &str) -> [u16; N] {
    let bytes = text.as_bytes();
    assert!(bytes.len() == N);
    let mut units = [0; N];
    let mut i = 0;
    while i < N {
        assert!(bytes[i].is_ascii());
        units[i] = bytes[i] as u16;
        i += 1;
    }
    units
}

/// Returns the UNICODE_STRING that names `text`, for the length of one call.
///
/// # Errors
/// `NAME_TOO_LONG` over 32,767 units.
pub(crate) fn counted(text: &[u16]) -> Result<UNICODE_STRING> {
    let bytes = u16::try_from(size_of_val(text)).map_err(|_| NtStatus::NAME_TOO_LONG)?;
    Ok(UNICODE_STRING { Length: bytes, MaximumLength: bytes, Buffer: text.as_ptr().cast_mut() })
}

/// Returns true if two strings are equal when ASCII letters' case is ignored. NT compares names of devices
/// and registry keys in this way, as far as ASCII goes.
#[must_use]
pub fn eq_ignore_case(a: &[u16], b: &[u16]) -> bool {
    let fold = |unit: u16| match unit {
        0x61..=0x7A => unit - 0x20,
        _ => unit,
    };
    a.len() == b.len() && a.iter().zip(b).all(|(&a, &b)| fold(a) == fold(b))
}

/// Returns `text` up to its first NUL.
#[must_use]
pub fn until_nul(text: &[u16]) -> &[u16] {
    text.split(|&unit| unit == 0).next().unwrap_or_default()
}

/// Returns the strings of a REG_MULTI_SZ, in order; ends at the empty string or at the end of the data.
pub fn strings(multi: &[u16]) -> impl Iterator<Item = &[u16]> {
    multi.split(|&unit| unit == 0).take_while(|text| !text.is_empty())
}

/// Prints UTF-16: what is not printable ASCII appears as `?`.
pub struct Display<'a>(pub &'a [u16]);

impl fmt::Display for Display<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|&unit| match unit {
            0x20..=0x7E => f.write_char(unit as u8 as char),
            _ => f.write_char('?'),
        })
    }
}
