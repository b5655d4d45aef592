//! The data of an answer that needs no medium.

use zerocopy::{Immutable, IntoBytes};

/// Bytes the longest answer takes; larger replies would be a bug here, not a caller's doing.
pub const CAPACITY: usize = 128;

/// Data for the initiator, already cut to the CDB's allocation length.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    bytes: [u8; CAPACITY],
    len: usize,
}

impl Reply {
    /// No data.
    pub const EMPTY: Self = Self { bytes: [0; CAPACITY], len: 0 };

    /// Returns the data.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Returns a reply that holds `part`.
    pub(crate) fn of(part: &(impl IntoBytes + Immutable + ?Sized)) -> Self {
        let mut reply = Self::EMPTY;
        reply.push(part);
        reply
    }

    /// Appends `part`; what would pass [`CAPACITY`] is left out.
    pub(crate) fn push(&mut self, part: &(impl IntoBytes + Immutable + ?Sized)) {
        let part = part.as_bytes();
        let room = &mut self.bytes[self.len..];
        let taken = part.len().min(room.len());
        debug_assert_eq!(taken, part.len(), "a reply longer than CAPACITY");
        room[..taken].copy_from_slice(&part[..taken]);
        self.len += taken;
    }

    /// Returns the reply cut to `allocation` bytes (SPC-3 4.3.4.6: never an error, and lengths inside stay
    /// whole).
    #[must_use]
    pub(crate) fn cut(mut self, allocation: usize) -> Self {
        self.len = self.len.min(allocation);
        self
    }

    /// Returns the number of bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl core::fmt::Debug for Reply {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Reply({:02x?})", self.as_bytes())
    }
}
