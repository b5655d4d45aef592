//! The message table: the texts that Event Viewer shows for what the drivers write into the event log, made
//! from the guard's reasons.
//!
//! The format is that of `MESSAGE_RESOURCE_DATA` in winnt.h: a count of blocks; per block the lowest and the
//! highest code and the offset of its entries; per entry its length, a flag for Unicode, and the terminated
//! text.

use guard::{Reason, message};

/// `MESSAGE_RESOURCE_UNICODE`.
const UNICODE: u16 = 1;
/// A block's head in the table.
const BLOCK: usize = 12;

/// Returns the table of every reason's message.
pub(crate) fn of_reasons() -> Vec<u8> {
    let messages =
        Reason::ALL.iter().map(|&reason| (message::code(reason), message::Text(reason).to_string()));
    table(messages.collect())
}

/// Returns a table of these messages, in the order of their codes, one block for each run of codes.
pub(crate) fn table(mut messages: Vec<(u32, String)>) -> Vec<u8> {
    messages.sort();
    let mut blocks: Vec<(u32, u32, Vec<u8>)> = Vec::new();
    for (code, text) in messages {
        match blocks.last_mut() {
            Some((_, high, entries)) if high.checked_add(1) == Some(code) => {
                *high = code;
                entries.extend(entry(&text));
            }
            _ => blocks.push((code, code, entry(&text))),
        }
    }
    let mut bytes = (blocks.len() as u32).to_le_bytes().to_vec();
    let mut offset = bytes.len() + blocks.len() * BLOCK;
    for (low, high, entries) in &blocks {
        bytes.extend([*low, *high, offset as u32].map(u32::to_le_bytes).concat());
        offset += entries.len();
    }
    bytes.extend(blocks.into_iter().flat_map(|(.., entries)| entries));
    bytes
}

/// Returns one entry: a line, padded to four bytes.
fn entry(text: &str) -> Vec<u8> {
    let mut units: Vec<u16> = text.encode_utf16().chain("\r\n\0".encode_utf16()).collect();
    if !units.len().is_multiple_of(2) {
        units.push(0);
    }
    let length = (4 + units.len() * 2) as u16;
    [length, UNICODE].into_iter().chain(units).flat_map(u16::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn codes_that_follow_each_other_share_a_block() {
        let message = |code: u32, text: &str| (code, text.to_owned());
        let bytes = table(vec![message(0xA000_0011, "b"), message(1, "c"), message(0xA000_0010, "a")]);
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!([word(0), word(4), word(8), word(12)], [2, 1, 1, 28]);
        // "c", CR, LF and the zero are four units, behind length and flag.
        assert_eq!([word(16), word(20), word(24)], [0xA000_0010, 0xA000_0011, 28 + 12]);
        assert_eq!(bytes[28..40], [12, 0, 1, 0, b'c', 0, b'\r', 0, b'\n', 0, 0, 0]);
        assert_eq!(bytes.len(), 28 + 3 * 12);
    }
}
