//! Values of nodes: numbers, states, lists of names.

use core::iter::FusedIterator;

use super::{Error, Store};
use crate::xenbus::State;

/// A decimal number.
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
    /// The names in a DIRECTORY reply: each followed by a NUL.
    ///
    /// # Errors
    /// [`Error::Value`] where the last NUL is missing, or a name is empty or has a character outside `[A-Za-z0-9-_@]`.
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
