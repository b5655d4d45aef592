//! The shared entries.

use core::mem::{offset_of, size_of};
use core::sync::atomic::{AtomicU64, Ordering};

use super::{Access, GrantRef};
use crate::memory::Words;
use crate::wire::grant::{EntryV1, GTF_PERMIT_ACCESS, GTF_READING, GTF_READONLY, GTF_WRITING};
use crate::{DomainId, SharedMemory};

/// Entries of a grant table that are mapped here.
#[derive(Debug)]
pub struct Entries {
    memory: SharedMemory,
    /// The number of the first.
    first: u32,
}

impl Entries {
    /// Takes over the mapped entries of the numbers from `first` on.
    pub const fn new(memory: SharedMemory, first: u32) -> Self {
        Self { memory, first }
    }

    /// Returns the memory of the entries.
    pub(super) const fn memory(&self) -> &SharedMemory {
        &self.memory
    }

    /// Returns them to work on: what it has is read once.
    #[inline]
    pub const fn edit(&self) -> Editor<'_> {
        Editor { words: self.memory.words(), first: self.first }
    }
}

/// The domain that a grant is for, and its access.
#[derive(Clone, Copy, Debug)]
pub struct Terms(u64);

impl Terms {
    /// Returns the terms of grants to `domain`.
    #[inline]
    pub const fn new(domain: DomainId, access: Access) -> Self {
        let readonly = match access {
            Access::ReadOnly => GTF_READONLY,
            Access::ReadWrite => 0,
        };
        Self((GTF_PERMIT_ACCESS | readonly) as u64 | (domain.0 as u64) << 16)
    }
}

/// Entries to work on. Any level.
#[derive(Clone, Copy, Debug)]
pub struct Editor<'a> {
    words: Words<'a>,
    first: u32,
}

impl<'a> Editor<'a> {
    /// Lets a domain reach a frame, as `terms` says, by a reference that nothing is granted by. Panics where the
    /// reference is none of these entries.
    #[inline]
    pub fn grant(self, reference: GrantRef, terms: Terms, frame: u32) {
        // Xen looks at an entry once its flags permit access. They come with the rest, in one store.
        self.entry(reference).store(terms.0 | u64::from(frame) << 32, Ordering::Release);
    }

    /// Ends what is granted by a reference. Returns false, with the grant as it was, if the other domain has the page
    /// mapped. Panics as [`Editor::grant`].
    #[inline]
    #[must_use]
    pub fn end(self, reference: GrantRef) -> bool {
        const USED: u64 = (GTF_READING | GTF_WRITING) as u64;
        // Xen sets the in-use bits by compare-exchange as well, so either it sees no permission or the use is
        // seen here.
        let ended = self
            .entry(reference)
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |entry| (entry & USED == 0).then_some(0));
        ended.is_ok()
    }

    /// Returns true if the other domain has the page of a reference mapped. Panics as [`Editor::grant`].
    #[must_use]
    pub fn is_used(self, reference: GrantRef) -> bool {
        self.entry(reference).load(Ordering::SeqCst) & u64::from(GTF_READING | GTF_WRITING) != 0
    }

    fn entry(self, reference: GrantRef) -> &'a AtomicU64 {
        // One below the first is beyond the last.
        self.words.atomic(reference.0.wrapping_sub(self.first) as usize)
    }
}

/// The entry is written as one number.
const _: () = {
    assert!(
        offset_of!(EntryV1, flags) == 0 && offset_of!(EntryV1, domid) == 2 && offset_of!(EntryV1, frame) == 4
    );
    assert!(size_of::<EntryV1>() == 8 && cfg!(target_endian = "little"));
};
