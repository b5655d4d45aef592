//! The error for a malformed hive, with its place.

use core::fmt;

/// A hive cannot be read: at `offset` in the file `expected` should be, and is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// Offset in the file, in bytes.
    pub offset: usize,
    /// The value that should be there.
    pub expected: &'static str,
    /// The value that is there.
    pub found: Found,
}

/// The value that was found instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A number.
    Number(u64),
    /// A signature's bytes.
    Signature([u8; 4]),
    /// Two sequence numbers that differ.
    Sequences(u32, u32),
    /// The end of the file or of the cell.
    End,
}

/// The [`Error::expected`] of [`Error::is_unreplayed`].
const REPLAYED: &str = "two equal sequence numbers";

impl Error {
    pub(crate) const fn number(offset: usize, expected: &'static str, found: u64) -> Error {
        Error { offset, expected, found: Found::Number(found) }
    }

    pub(crate) const fn end(offset: usize, expected: &'static str) -> Error {
        Error { offset, expected, found: Found::End }
    }

    pub(crate) const fn signature(offset: usize, expected: &'static str, found: [u8; 4]) -> Error {
        Error { offset, expected, found: Found::Signature(found) }
    }

    pub(crate) const fn unreplayed(primary: u32, secondary: u32) -> Error {
        Error { offset: 4, expected: REPLAYED, found: Found::Sequences(primary, secondary) }
    }

    /// Returns true if the hive was not written to its end: its logs hold changes that only Windows can
    /// replay. Boot Windows and shut it down cleanly.
    #[must_use]
    pub fn is_unreplayed(&self) -> bool {
        matches!(self.found, Found::Sequences(..))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hive, offset {:#x}: expected {}, found ", self.offset, self.expected)?;
        match self.found {
            Found::Number(number) => write!(f, "{number} ({number:#x})"),
            Found::Signature(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Found::Sequences(primary, secondary) => write!(
                f,
                "{primary} and {secondary}: its log files hold changes that are not in it yet; boot Windows and shut it down cleanly"
            ),
            Found::End => f.write_str("the end"),
        }
    }
}

impl core::error::Error for Error {}
