//! Values of nodes: numbers, states, lists of names.

use core::iter::FusedIterator;

use super::{Error, Store};
use crate::xenbus::State;

/// Parses a decimal number.
///
/// # Errors
/// [`Error::Value`] for anything but digits, and beyond 64 bits.
pub fn number(value: &[u8]) -> Result<u64, Error> {
    if value.is_empty() {
        return Err(Error::Value);
    }
    value.iter().try_fold(0u64, |number, &byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10).ok_or(Error::Value)?;
        number.checked_mul(10).and_then(|tens| tens.checked_add(u64::from(digit))).ok_or(Error::Value)
    })
}

/// Reads a node that holds a number.
///
/// # Errors
/// [`Error::Value`], besides what the store answers.
pub fn read_number(store: &mut impl Store, path: &str) -> Result<u64, Error> {
    let mut buffer = [0; 20];
    match store.read(path, &mut buffer) {
        Ok(value) => number(value),
        // More than 20 digits exceed 64 bits.
        Err(Error::NoSpace { .. }) => Err(Error::Value),
        Err(error) => Err(error),
    }
}

/// Reads a node that holds a number; `None` where it does not exist.
///
/// # Errors
/// As [`read_number`].
pub fn read_optional(store: &mut impl Store, path: &str) -> Result<Option<u64>, Error> {
    match read_number(store, path) {
        Ok(number) => Ok(Some(number)),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads a xenbus state; [`State::Unknown`] where the node does not exist or holds none.
///
/// # Errors
/// What the store answers.
pub fn read_state(store: &mut impl Store, path: &str) -> Result<State, Error> {
    match read_optional(store, path) {
        Ok(number) => Ok(number.map_or(State::Unknown, State::from_number)),
        Err(Error::Value) => Ok(State::Unknown),
        Err(error) => Err(error),
    }
}

/// Names of a node's children.
#[derive(Clone, Debug)]
pub struct Names<'b> {
    rest: &'b str,
}

impl<'b> Names<'b> {
    /// Parses the names in a DIRECTORY reply: each followed by a NUL.
    ///
    /// # Errors
    /// [`Error::Value`] where the last NUL is missing, or a name is empty or has a character outside
    /// `[A-Za-z0-9-_@]`.
    pub fn parse(payload: &'b [u8]) -> Result<Self, Error> {
        let Some((last, names)) = payload.split_last() else {
            return Ok(Self { rest: "" });
        };
        let valid = |name: &[u8]| {
            !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_@".contains(byte))
        };
        if *last != 0 || !names.split(|byte| *byte == 0).all(valid) {
            return Err(Error::Value);
        }
        Ok(Self { rest: core::str::from_utf8(names).map_err(|_| Error::Value)? })
    }
}

impl<'b> Iterator for Names<'b> {
    type Item = &'b str;

    fn next(&mut self) -> Option<&'b str> {
        if self.rest.is_empty() {
            return None;
        }
        let (name, rest) = self.rest.split_once('\0').unwrap_or((self.rest, ""));
        self.rest = rest;
        Some(name)
    }
}

impl FusedIterator for Names<'_> {}

#[cfg(test)]
mod tests {
    use std::string::ToString;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::fake::Tree;

    #[test]
    fn numbers_are_digits_within_64_bits() {
        assert_eq!(number(b"0"), Ok(0));
        assert_eq!(number(b"18446744073709551615"), Ok(u64::MAX));
        for wrong in [&b""[..], b"-1", b"+1", b"1 ", b"0x10", b"18446744073709551616", b"1\0", b"\xFF"] {
            assert_eq!(number(wrong), Err(Error::Value), "{wrong:?}");
        }
    }

    #[test]
    fn nodes_are_read_as_what_they_should_be() {
        let mut tree = Tree::default();
        tree.set("n", "42");
        tree.set("long", "123456789012345678901");
        tree.set("text", "four");
        tree.set("state", "4");
        tree.set("odd", "9");
        assert_eq!(read_number(&mut tree, "n"), Ok(42));
        assert_eq!(read_number(&mut tree, "long"), Err(Error::Value));
        assert!(read_number(&mut tree, "none").unwrap_err().is_missing());
        assert_eq!(read_optional(&mut tree, "none"), Ok(None));
        assert_eq!(read_optional(&mut tree, "n"), Ok(Some(42)));
        assert_eq!(read_optional(&mut tree, "text"), Err(Error::Value));
        assert_eq!(read_state(&mut tree, "state"), Ok(State::Connected));
        for unknown in ["odd", "text", "none", "long"] {
            assert_eq!(read_state(&mut tree, unknown), Ok(State::Unknown));
        }
        tree.fail(Some(("state", Error::TimedOut)));
        assert_eq!(read_state(&mut tree, "state"), Err(Error::TimedOut));
    }

    #[test]
    fn names_end_with_nul() {
        assert_eq!(Names::parse(b"").unwrap().count(), 0);
        assert!(Names::parse(b"768\0832\0").unwrap().eq(["768", "832"]));
        for wrong in [&b"768"[..], b"\0", b"a\0\0", b"a/b\0", b"a b\0", b"\xFF\0", b"a\0b"] {
            assert_eq!(Names::parse(wrong).err(), Some(Error::Value), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn any_number_is_read_back(value: u64) {
            prop_assert_eq!(number(value.to_string().as_bytes()), Ok(value));
        }

        #[test]
        fn any_names_are_read_back(names in prop::collection::vec("[A-Za-z0-9_@-]{1,8}", 0..10)) {
            let payload: Vec<u8> = names.iter().flat_map(|name| [name.as_bytes(), b"\0"].concat()).collect();
            prop_assert!(Names::parse(&payload).unwrap().eq(names.iter().map(|name| name.as_str())));
        }

        #[test]
        fn any_bytes_are_names_or_refused(bytes: Vec<u8>) {
            if let Ok(names) = Names::parse(&bytes) {
                prop_assert!(names.clone().all(|name| !name.is_empty()));
                prop_assert_eq!(names.map(|name| name.len() + 1).sum::<usize>(), bytes.len());
            }
        }
    }
}
