//! Text that comes from a guest, and a terminal's view of it.

/// Returns true if a terminal takes this character for more than text: control characters, among them those
/// that begin escape sequences, and those that turn the direction of writing or end a line.
#[must_use]
pub fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Returns the text with harmful characters shown as what they are: names and paths come from the guest.
#[must_use]
pub fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_harmful(character) && character != '\t' {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}
