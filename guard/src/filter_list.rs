//! A list of filter drivers as the registry holds it: the data of a value `UpperFilters`.
//!
//! REG_MULTI_SZ is UTF-16 strings, each ended by a NUL, and an empty one at the end; values are also met that
//! lack the last NULs, or that are one REG_SZ. An entry is taken out with its NUL, and no other byte is
//! changed.

use crate::units;

/// The part of a list that is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// All of it: the name was not in it.
    All,
    /// This many bytes.
    Bytes(usize),
    /// No entry: the value is to be deleted.
    Nothing,
}

/// Takes every entry that is `name`, without regard to ASCII case, out of a list; what is left stands at its
/// beginning.
pub fn take_out(list: &mut [u8], name: &str) -> Left {
    let (mut read, mut kept) = (0, 0);
    let (mut found, mut others) = (false, false);
    while read < list.len() {
        let (length, end) = entry(&list[read..]);
        if is(&list[read..read + length], name) {
            found = true;
        } else {
            others |= length > 0;
            list.copy_within(read..read + end, kept);
            kept += end;
        }
        read += end;
    }
    match (found, others) {
        (false, _) => Left::All,
        (true, true) => Left::Bytes(kept),
        (true, false) => Left::Nothing,
    }
}

/// Returns the number of bytes of the first entry, without and with its NUL. An odd byte at the end belongs
/// to the last entry.
fn entry(list: &[u8]) -> (usize, usize) {
    match list.chunks_exact(2).position(|unit| unit == [0, 0]) {
        Some(units) => (2 * units, 2 * units + 2),
        None => (list.len(), list.len()),
    }
}

/// Returns true if an entry's bytes are `name`.
fn is(entry: &[u8], name: &str) -> bool {
    let mut units = entry.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    entry.len() == 2 * name.len()
        && name.bytes().all(|byte| units.next().is_some_and(|unit| units::same(unit, byte)))
}

#[cfg(test)]
mod tests {
    use std::{string::String, vec::Vec};

    use proptest::prelude::*;

    use super::*;

    fn bytes(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    /// Returns the part of a list's text that is left.
    fn without(text: &str) -> Option<Vec<u8>> {
        let mut list = bytes(text);
        match take_out(&mut list, "idefilter") {
            Left::All => {
                assert_eq!(list, bytes(text));
                Some(list)
            }
            Left::Bytes(length) => Some(list[..length].to_vec()),
            Left::Nothing => None,
        }
    }

    #[test]
    fn lists_as_they_are_met() {
        for (list, left) in [
            ("theirs\0idefilter\0other\0\0", Some("theirs\0other\0\0")),
            ("IdeFilter\0theirs\0idefilter\0\0", Some("theirs\0\0")),
            ("theirs\0\0", Some("theirs\0\0")),
            ("idefilter2\0myidefilter\0idefilte\0\0", Some("idefilter2\0myidefilter\0idefilte\0\0")),
            ("theirs\0idefilter", Some("theirs\0")),
            ("\0idefilter\0theirs\0\0", Some("\0theirs\0\0")),
            ("idefilter\0\0", None),
            ("idefilter\0", None),
            ("idefilter", None),
            ("", Some("")),
            ("\0", Some("\0")),
        ] {
            assert_eq!(without(list), left.map(bytes), "{list:?}");
        }
    }

    #[test]
    fn a_unit_whose_low_byte_is_a_letter_is_not_that_letter() {
        let mut list = bytes("idefilter\0\0");
        list[1] = 1;
        assert_eq!(take_out(&mut list, "idefilter"), Left::All);
    }

    #[test]
    fn an_odd_byte_is_nobodys_name() {
        let mut list = bytes("theirs\0idefilter");
        list.push(b'x');
        assert_eq!(take_out(&mut list, "idefilter"), Left::All);
    }

    proptest! {
        /// The other entries stay as they are, byte for byte and in order; the name is gone.
        #[test]
        fn others_stay(entries in proptest::collection::vec("idefilter|IDEFILTER|[a-zA-Zé]{1,12}", 0..6)) {
            let text = |entries: &[&String]| {
                entries.iter().map(|entry| std::format!("{entry}\0")).collect::<String>() + "\0"
            };
            let others: Vec<&String> =
                entries.iter().filter(|entry| !entry.eq_ignore_ascii_case("idefilter")).collect();
            let all: Vec<&String> = entries.iter().collect();
            let expected = match (others.len() == all.len(), others.is_empty()) {
                (true, _) => Some(bytes(&text(&all))),
                (false, true) => None,
                (false, false) => Some(bytes(&text(&others))),
            };
            prop_assert_eq!(without(&text(&all)), expected);
        }

        /// Whatever the value holds, nothing panics, and bytes are only taken away.
        #[test]
        fn any_bytes(mut list in proptest::collection::vec(prop_oneof![Just(0), any::<u8>()], 0..64)) {
            let before = list.clone();
            prop_assert_eq!(take_out(&mut list, "idefilter"), Left::All);
            prop_assert_eq!(list, before);
        }
    }
}
