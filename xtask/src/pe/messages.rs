//! The message table (`MESSAGE_RESOURCE_DATA`, winnt.h).

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

/// `MESSAGE_RESOURCE_UNICODE`.
const UNICODE: u16 = 1;

/// Reads a table: each message by its code, without the end of line that closes it.
///
/// # Errors
/// When it is cut short, codes are not in order, or a text is not Unicode or not a line.
pub(super) fn parse(data: &[u8]) -> Result<BTreeMap<u32, String>> {
    let word = |at: usize| -> Result<u32> {
        let bytes = data.get(at..at + 4).with_context(|| format!("cut short at {at}"))?;
        Ok(u32::from_le_bytes(bytes.try_into()?))
    };
    let mut messages = BTreeMap::new();
    for block in 0..word(0)? as usize {
        let head = 4 + block * 12;
        let (low, high) = (word(head)?, word(head + 4)?);
        ensure!(
            low <= high && messages.last_key_value().is_none_or(|(&last, _)| last < low),
            "codes out of order"
        );
        let mut at = word(head + 8)? as usize;
        for code in low..=high {
            let (length, flags) = ((word(at)? & 0xFFFF) as usize, (word(at)? >> 16) as u16);
            ensure!(flags == UNICODE && length >= 4 && length % 4 == 0, "message {code:#x} is malformed");
            let bytes =
                data.get(at + 4..at + length).with_context(|| format!("message {code:#x} is cut short"))?;
            let units: Vec<u16> =
                bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
            let text = String::from_utf16(&units)?;
            let line = text.trim_end_matches('\0').strip_suffix("\r\n");
            messages
                .insert(code, line.with_context(|| format!("message {code:#x} is not a line"))?.to_owned());
            at += length;
        }
    }
    Ok(messages)
}
