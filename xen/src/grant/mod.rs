//! Grant table version 1: letting another domain reach single pages of ours.
//!
//! The table lies in frames that Xen owns and the guest maps ([`map`]); an entry is 8 bytes. Its owner hands
//! out free references in batches ([`Table`]); a user keeps some of its own, and makes and ends its grants in
//! the entries without anyone else ([`Cache`]). What is free, taken or leaked is kept in private memory, so
//! that nothing is decided by what stands in the shared entries.

mod cache;
mod entries;

use core::fmt;
use core::mem::size_of;

pub use cache::{BATCH, Cache, MOST};
pub use entries::{Editor, Entries, Terms};

use crate::hypercall::{self, Hypercall};
use crate::wire::grant::{EntryV1, RESERVED_ENTRIES};
use crate::wire::hypercall::{
    DOMID_SELF, GNTST_OKAY, GNTTABOP_QUERY_SIZE, GRANT_TABLE_OP, GnttabQuerySize, XENMAPSPACE_GRANT_TABLE,
};
use crate::{Frame, SharedMemory};

pub use crate::wire::grant::ENTRIES_PER_FRAME;

/// Number of an entry in the grant table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct GrantRef(pub u32);

/// The access that a grant allows the other domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading only: for data that it shall store.
    ReadOnly,
    /// Reading and writing.
    ReadWrite,
}

/// A grant that cannot be made or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Every entry is in use.
    Exhausted,
    /// The frame number does not fit an entry's 32 bits.
    FrameTooLarge {
        /// The frame.
        frame: Frame,
    },
    /// The other domain has the page mapped. The entry is leaked.
    InUse {
        /// The entry.
        reference: GrantRef,
    },
    /// The table's memory or its list is too small to hold one entry.
    TooSmall {
        /// Entries that would fit.
        entries: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exhausted => write!(f, "no grant reference is free"),
            Self::FrameTooLarge { frame } => write!(f, "frame {:#x} does not fit a grant entry", frame.0),
            Self::InUse { reference } => {
                write!(f, "grant {} is still mapped by the other domain", reference.0)
            }
            Self::TooSmall { entries } => {
                write!(
                    f,
                    "a grant table of {entries} entries has none beyond the {RESERVED_ENTRIES} reserved ones"
                )
            }
        }
    }
}

impl core::error::Error for Error {}

/// List values that are no link: end of the free list, taken, leaked.
const END: u32 = u32::MAX;
const TAKEN: u32 = u32::MAX - 1;
const LEAKED: u32 = u32::MAX - 2;

/// Allocator of a grant table's references.
///
/// `S` is private memory with one `u32` for each entry: a `Box<[u32]>`, a `&'static mut [u32]`, an array. All
/// methods may be called at *dispatch*; the caller keeps calls apart with a lock.
#[derive(Debug)]
pub struct Table<S> {
    entries: Entries,
    /// For each entry the next free one, or one of the marks above.
    list: S,
    free: u32,
    available: u32,
    leaked: u32,
}

impl<S: AsMut<[u32]>> Table<S> {
    /// Takes over the table mapped at `entries` (whole frames), with as many entries as both it and `list` hold.
    /// Entries 0–7 are left to the tools.
    ///
    /// Firmware may have used the table before, and its backends may still have pages mapped. Xen keeps the page of a
    /// mapped entry whatever is written into it: a second grant by that reference would reach the old page. So a grant
    /// that is mapped counts as leaked, and every other is ended.
    ///
    /// # Errors
    /// [`Error::TooSmall`].
    pub fn new(entries: SharedMemory, mut list: S) -> Result<Self, Error> {
        let links = list.as_mut();
        let count = (entries.len() / size_of::<EntryV1>()).min(links.len());
        let first = RESERVED_ENTRIES as usize;
        if count <= first || count as u64 > u64::from(LEAKED) {
            return Err(Error::TooSmall { entries: count });
        }
        links.fill(LEAKED);
        let entries = Entries::new(entries, 0);
        let mut table = Self { entries, list, free: END, available: 0, leaked: 0 };
        // From the end, so that the first is given out first.
        for index in (first..count).rev() {
            table.reclaim(index as u32);
        }
        Ok(table)
    }

    /// Returns the memory of the entries.
    pub fn memory(&self) -> &SharedMemory {
        self.entries.memory()
    }

    /// Hands out free references, as many as `into` has places for and there are. Answers their number. Whoever
    /// has them makes and ends grants in their entries, until [`Table::give`].
    pub fn take(&mut self, into: &mut [GrantRef]) -> usize {
        let mut taken = 0;
        for place in into {
            let index = self.free;
            let Some(link) = self.list.as_mut().get_mut(index as usize) else { break };
            self.free = core::mem::replace(link, TAKEN);
            self.available -= 1;
            *place = GrantRef(index);
            taken += 1;
        }
        taken
    }

    /// Takes references back; what is still granted by one of them is ended. One whose page the other domain has
    /// mapped is leaked. Returns the number of those that were not handed out, which are left alone: whoever gives one back
    /// is in error.
    #[must_use]
    pub fn give(&mut self, references: &[GrantRef]) -> usize {
        let mut strange = 0;
        // From the end, so that they are handed out in the same order again: neighbours stay neighbours.
        for reference in references.iter().rev() {
            if self.list.as_mut().get(reference.0 as usize) == Some(&TAKEN) {
                self.reclaim(reference.0);
            } else {
                strange += 1;
            }
        }
        strange
    }

    /// Ends an entry's permission and makes it free, or leaked where the other domain has the page mapped.
    fn reclaim(&mut self, index: u32) {
        let link = &mut self.list.as_mut()[index as usize];
        if self.entries.edit().end(GrantRef(index)) {
            *link = self.free;
            self.free = index;
            self.available += 1;
        } else {
            *link = LEAKED;
            self.leaked += 1;
        }
    }

    /// References that can still be handed out.
    pub fn available(&self) -> u32 {
        self.available
    }

    /// References lost because a grant could not be ended.
    pub fn leaked(&self) -> u32 {
        self.leaked
    }
}

/// Most frames of table that the running system maps: 16,384 references, Xen's default limit for a guest
/// being 64 frames.
pub const MOST_FRAMES: u32 = 32;

/// Shares out a table of at most `max_frames` frames. The running system has the frames from 0 up to the
/// first number. The frame of the second number is left to the writer of a crash dump, who cannot know what
/// the running system has granted. A table of one frame has none for him.
///
/// ```
/// use xen::grant::shares;
/// assert_eq!(shares(64), (32, Some(32)));
/// assert_eq!(shares(32), (31, Some(31)));
/// assert_eq!(shares(1), (1, None));
/// ```
pub const fn shares(max_frames: u32) -> (u32, Option<u32>) {
    match max_frames {
        0 | 1 => (max_frames, None),
        2..=MOST_FRAMES => (max_frames - 1, Some(max_frames - 1)),
        _ => (MOST_FRAMES, Some(MOST_FRAMES)),
    }
}

/// Ends everything that is granted by the mapped `entries`, when whoever granted it is gone. Returns the number of
/// grants whose page the other domain has mapped, which stay. *Dispatch*.
pub fn end_all(entries: SharedMemory) -> usize {
    let count = entries.len() / size_of::<EntryV1>();
    let entries = Entries::new(entries, 0);
    (0..count as u32).filter(|&reference| !entries.edit().end(GrantRef(reference))).count()
}

/// Size of this domain's table, in frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Now.
    pub frames: u32,
    /// At most.
    pub max_frames: u32,
}

/// Asks Xen for the table's size. Any level.
///
/// # Errors
/// Xen's answer; a `GNTST_…` status appears as its positive value.
pub fn query_size(hypercall: &impl Hypercall) -> Result<Size, hypercall::Error> {
    let call = "GNTTABOP_query_size";
    let mut argument = GnttabQuerySize { dom: DOMID_SELF, ..GnttabQuerySize::default() };
    hypercall::with(hypercall, call, GRANT_TABLE_OP, GNTTABOP_QUERY_SIZE, &mut argument)?;
    if argument.status != GNTST_OKAY {
        return Err(hypercall::Error { call, errno: i64::from(argument.status).abs() });
    }
    Ok(Size { frames: argument.nr_frames, max_frames: argument.max_nr_frames })
}

/// Makes the first `frames` frames of the table appear at guest frames `first`, `first + 1`, …; the table
/// grows to hold them. Any level.
///
/// # Errors
/// Xen's answer; some frames may have appeared already.
///
/// # Safety
/// As for [`hypercall::add_to_physmap`], for each of the frames.
#[expect(unsafe_code, reason = "changes the guest's memory map")]
pub unsafe fn map(hypercall: &impl Hypercall, first: Frame, frames: u32) -> Result<(), hypercall::Error> {
    // From the end, so that the table grows once.
    for index in (0..frames).rev() {
        // SAFETY: the caller gives the frames away.
        unsafe { map_one(hypercall, index, Frame(first.0 + u64::from(index)))? };
    }
    Ok(())
}

/// Makes the table's frame `index` appear at a guest frame; the table grows to hold it. Any level.
///
/// # Errors
/// Xen's answer.
///
/// # Safety
/// As for [`hypercall::add_to_physmap`].
#[expect(unsafe_code, reason = "changes the guest's memory map")]
pub unsafe fn map_one(hypercall: &impl Hypercall, index: u32, frame: Frame) -> Result<(), hypercall::Error> {
    // SAFETY: the caller gives the frame away.
    unsafe { hypercall::add_to_physmap(hypercall, XENMAPSPACE_GRANT_TABLE, index.into(), frame) }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::Ordering;
    use std::collections::BTreeSet;
    use std::vec;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::fake::{Hypervisor, Memory};
    use crate::wire::grant::{GTF_PERMIT_ACCESS, GTF_READING, GTF_READONLY, GTF_WRITING};
    use crate::{DomainId, Frame};

    const REMOTE: DomainId = DomainId(3);

    fn entry(memory: &Memory, reference: GrantRef) -> EntryV1 {
        memory.share().read(reference.0 as usize * 8)
    }

    /// Sets the use bits of a grant, like Xen when the other domain maps or unmaps.
    fn use_bits(memory: &Memory, reference: GrantRef, bits: u16) {
        let shared = memory.share();
        let flags = shared.atomic_u16(reference.0 as usize * 8);
        let kept = flags.load(Ordering::SeqCst) & (GTF_PERMIT_ACCESS | GTF_READONLY);
        flags.store(kept | bits, Ordering::SeqCst);
    }

    /// Takes up to `count` references.
    fn take<S: AsMut<[u32]>>(table: &mut Table<S>, count: usize) -> Vec<GrantRef> {
        let mut taken = vec![GrantRef(0); count];
        let count = table.take(&mut taken);
        taken.truncate(count);
        taken
    }

    /// Grants frame 1 for reading and writing.
    fn grant(memory: &Memory, reference: GrantRef) {
        Entries::new(memory.share(), 0).edit().grant(reference, Terms::new(REMOTE, Access::ReadWrite), 1);
    }

    #[test]
    fn an_entry_holds_what_was_granted() {
        let memory = Memory::new(1, 0);
        for first in [0, 512] {
            let entries = Entries::new(memory.share(), first);
            let entries = entries.edit();
            entries.grant(GrantRef(first + 8), Terms::new(REMOTE, Access::ReadWrite), 0x1234);
            entries.grant(GrantRef(first + 9), Terms::new(REMOTE, Access::ReadOnly), 0xFFFF_FFFF);
            assert_eq!(entry(&memory, GrantRef(8)), EntryV1 { flags: 1, domid: 3, frame: 0x1234 });
            assert_eq!(entry(&memory, GrantRef(9)), EntryV1 { flags: 5, domid: 3, frame: 0xFFFF_FFFF });
            assert!(entries.end(GrantRef(first + 8)));
            assert_eq!(entry(&memory, GrantRef(8)).flags, 0);
            assert_eq!(entry(&memory, GrantRef(9)).flags, 5);
        }
    }

    #[test]
    fn what_nobody_has_mapped_is_ended_at_once() {
        let memory = Memory::new(1, 0);
        let last = ENTRIES_PER_FRAME as u32 - 1;
        [0, 8, 9, last].map(GrantRef).iter().for_each(|&reference| grant(&memory, reference));
        use_bits(&memory, GrantRef(9), GTF_READING | GTF_WRITING);
        assert_eq!(end_all(memory.share()), 1);
        assert_eq!([0, 8, last].map(|reference| entry(&memory, GrantRef(reference)).flags), [0; 3]);
        assert_eq!(entry(&memory, GrantRef(9)).flags & GTF_PERMIT_ACCESS, GTF_PERMIT_ACCESS);
        use_bits(&memory, GrantRef(9), 0);
        assert_eq!(end_all(memory.share()), 0);
    }

    #[test]
    fn reserved_entries_are_not_given_and_none_is_given_twice() {
        let memory = Memory::new(1, 0);
        let mut table = Table::new(memory.share(), vec![0; 20]).unwrap();
        let numbers = |taken: Vec<GrantRef>| taken.iter().map(|reference| reference.0).collect::<Vec<_>>();
        assert_eq!(numbers(take(&mut table, 5)), [8, 9, 10, 11, 12]);
        assert_eq!(numbers(take(&mut table, 50)), (13..20).collect::<Vec<_>>());
        assert_eq!((take(&mut table, 1), table.available()), (vec![], 0));
        assert_eq!(table.give(&[GrantRef(11), GrantRef(9)]), 0);
        assert_eq!(numbers(take(&mut table, 5)), [11, 9]);
    }

    #[test]
    fn grants_that_firmware_left_mapped_are_not_given_out() {
        let memory = Memory::new(1, 0);
        let mut firmware = Table::new(memory.share(), vec![0; 12]).unwrap();
        let left = take(&mut firmware, 3);
        left.iter().for_each(|reference| grant(&memory, *reference));
        use_bits(&memory, left[0], GTF_READING);
        use_bits(&memory, left[2], GTF_READING | GTF_WRITING);

        let mut table = Table::new(memory.share(), vec![0; 12]).unwrap();
        assert_eq!((table.leaked(), table.available()), (2, 2));
        assert_eq!(entry(&memory, left[1]).flags, 0, "no backend has it mapped: it is ended");
        assert_eq!(take(&mut table, 9), [left[1], GrantRef(11)]);
        assert_eq!(
            entry(&memory, left[0]),
            EntryV1 { flags: GTF_PERMIT_ACCESS | GTF_READING, domid: 3, frame: 1 }
        );
    }

    #[test]
    fn a_grant_in_use_is_leaked() {
        for bits in [GTF_READING, GTF_WRITING, GTF_READING | GTF_WRITING] {
            let memory = Memory::new(1, 0);
            let mut table = Table::new(memory.share(), [0; 9]).unwrap();
            let reference = take(&mut table, 1)[0];
            grant(&memory, reference);
            use_bits(&memory, reference, bits);
            assert!(!Entries::new(memory.share(), 0).edit().end(reference));
            assert_eq!(table.give(&[reference]), 0);
            assert_eq!(entry(&memory, reference).flags, GTF_PERMIT_ACCESS | bits);
            assert_eq!((table.leaked(), table.available()), (1, 0));
            // Not even once the other domain has let go.
            use_bits(&memory, reference, 0);
            assert_eq!(table.give(&[reference]), 1);
            assert_eq!(take(&mut table, 1), []);
        }
    }

    #[test]
    fn what_was_not_taken_cannot_be_given_back() {
        let memory = Memory::new(1, 0);
        let mut table = Table::new(memory.share(), vec![0; 512]).unwrap();
        let reference = take(&mut table, 1)[0];
        assert_eq!(table.give(&[reference]), 0);
        let strange = [0, 7, reference.0, 511, 512, u32::MAX, u32::MAX - 1].map(GrantRef);
        assert_eq!(table.give(&strange), strange.len());
        assert_eq!(table.available(), 504);
        assert_eq!(take(&mut table, 600).len(), 504);
    }

    #[test]
    fn the_smaller_of_table_and_list_counts() {
        let memory = Memory::new(1, 0);
        assert_eq!(Table::new(memory.share(), vec![0; 8]).err(), Some(Error::TooSmall { entries: 8 }));
        assert_eq!(Table::new(memory.share(), vec![0; 5000]).unwrap().available(), 504);
    }

    #[test]
    fn the_size_is_xens() {
        let xen = Hypervisor::default();
        assert_eq!(query_size(&xen), Ok(Size { frames: 4, max_frames: 64 }));
        let failing = Hypervisor { query_status: -3, ..Hypervisor::default() };
        assert_eq!(query_size(&failing).unwrap_err().errno, 3);
    }

    #[test]
    fn frames_are_mapped_from_the_last() {
        let xen = Hypervisor::default();
        #[expect(unsafe_code, reason = "calls an unsafe function")]
        // SAFETY: the fake has no memory behind its frames.
        unsafe { map(&xen, Frame(0x100), 3) }.unwrap();
        assert_eq!(*xen.mapped.borrow(), [0x102, 0x101, 0x100]);
        assert_eq!(xen.physmap.borrow()[&0x102], (XENMAPSPACE_GRANT_TABLE, 2));
    }

    proptest! {
        /// Whatever is taken, granted, mapped and given back in whatever order: no reference is handed out while
        /// it is taken or its page is mapped.
        #[test]
        fn references_are_never_shared(
            steps in prop::collection::vec((0u8..4, any::<prop::sample::Index>()), 0..200),
        ) {
            let memory = Memory::new(1, 0);
            let mut table = Table::new(memory.share(), vec![0; 16]).unwrap();
            let (mut taken, mut mapped) = (Vec::new(), BTreeSet::new());
            for (step, index) in steps {
                match step {
                    0 => for reference in take(&mut table, 1 + index.index(3)) {
                        prop_assert!((8..16).contains(&reference.0));
                        prop_assert!(!taken.contains(&reference) && !mapped.contains(&reference));
                        grant(&memory, reference);
                        taken.push(reference);
                    },
                    1 if !taken.is_empty() => {
                        let reference = taken.swap_remove(index.index(taken.len()));
                        prop_assert_eq!(table.give(&[reference]), 0);
                    }
                    2 if !taken.is_empty() => {
                        let reference = taken[index.index(taken.len())];
                        use_bits(&memory, reference, GTF_WRITING);
                        mapped.insert(reference);
                    }
                    _ => {}
                }
                let leaked = mapped.iter().filter(|reference| !taken.contains(reference)).count();
                prop_assert_eq!(table.leaked() as usize, leaked);
                prop_assert_eq!(table.available() as usize, 8 - taken.len() - leaked);
            }
        }
    }
}
