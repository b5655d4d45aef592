// SPDX-License-Identifier: GPL-3.0-only
//! Texts that a guest wrote.

/// Characters of a text that a guest may have written that are shown.
pub(crate) const SHOWN: usize = 48;

/// Returns a text of a guest's, fit for a terminal, a label and a line: what is not printable ASCII becomes
/// `?`, and what is too long is cut.
pub(crate) fn clean(text: &str) -> String {
    let shown = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    text.chars().take(SHOWN).map(shown).collect()
}

/// Returns a reason's code as guests and the log write it: `0x28`.
pub(crate) fn code_of(text: &str) -> Option<u32> {
    u32::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}
