//! Grant table version 1: letting another domain reach single pages of ours.
//!
//! The table lies in frames that Xen owns and the guest maps ([`map`]); an entry is 8 bytes. What is free, granted or
//! leaked is kept in private memory, so that nothing is decided by what stands in the shared entries.

use core::fmt;
use core::mem::{offset_of, size_of};
use core::sync::atomic::Ordering;

use crate::hypercall::{self, Hypercall};
use crate::wire::grant::{
    EntryV1, GTF_PERMIT_ACCESS, GTF_READING, GTF_READONLY, GTF_WRITING, RESERVED_ENTRIES,
};
use crate::wire::hypercall::{
    DOMID_SELF, GNTST_OKAY, GNTTABOP_QUERY_SIZE, GRANT_TABLE_OP, GnttabQuerySize, XENMAPSPACE_GRANT_TABLE,
};
use crate::{DomainId, Frame, SharedMemory};

pub use crate::wire::grant::ENTRIES_PER_FRAME;

/// Number of an entry in the grant table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantRef(pub u32);

/// What a grant allows the other domain.
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
    /// The reference is reserved, outside the table, free or leaked.
    NotGranted {
        /// The reference given.
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
            Self::NotGranted { reference } => {
                write!(f, "grant {} is not one that was given out", reference.0)
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

/// List values that are no link: end of the free list, granted, leaked.
const END: u32 = u32::MAX;
const GRANTED: u32 = u32::MAX - 1;
const LEAKED: u32 = u32::MAX - 2;

/// Allocator and editor of a grant table's entries.
///
/// `S` is private memory with one `u32` for each entry: a `Box<[u32]>`, a `&'static mut [u32]`, an array. All
/// methods may be called at *dispatch*; the caller keeps calls apart with a lock.
#[derive(Debug)]
pub struct Table<S> {
    entries: SharedMemory,
    /// For each entry the next free one, or one of the marks above.
    list: S,
    free: u32,
    available: u32,
    leaked: u32,
}

impl<S: AsMut<[u32]>> Table<S> {
    /// Takes over the table mapped at `entries` (whole frames, all entries unused), with as many entries as both it
    /// and `list` hold. Entries 0–7 are left to the tools.
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
        for (index, link) in links.iter_mut().enumerate().take(count).skip(first) {
            *link = if index + 1 == count { END } else { index as u32 + 1 };
        }
        Ok(Self { entries, list, free: RESERVED_ENTRIES, available: (count - first) as u32, leaked: 0 })
    }

    /// Grants `frame` to `domain`.
    ///
    /// # Errors
    /// [`Error::Exhausted`], [`Error::FrameTooLarge`].
    pub fn grant_access(
        &mut self,
        domain: DomainId,
        frame: Frame,
        access: Access,
    ) -> Result<GrantRef, Error> {
        let number = u32::try_from(frame.0).map_err(|_| Error::FrameTooLarge { frame })?;
        let reference = self.free;
        let link = self.list.as_mut().get_mut(reference as usize).ok_or(Error::Exhausted)?;
        self.free = core::mem::replace(link, GRANTED);
        self.available -= 1;

        // Xen looks at an entry once its flags permit access: they come last.
        let at = reference as usize * size_of::<EntryV1>();
        self.entries.write(at, &EntryV1 { flags: 0, domid: domain.0, frame: number });
        let readonly = if access == Access::ReadOnly { GTF_READONLY } else { 0 };
        self.flags(reference).store(GTF_PERMIT_ACCESS | readonly, Ordering::Release);
        Ok(GrantRef(reference))
    }

    /// Ends a grant; the reference may be given out again.
    ///
    /// # Errors
    /// [`Error::InUse`]: the other domain has the page mapped; the reference is leaked, and the page must be kept for
    /// good too. [`Error::NotGranted`]: a mistake of the caller's; nothing is changed.
    pub fn end_access(&mut self, reference: GrantRef) -> Result<(), Error> {
        let index = reference.0;
        let granted = self.list.as_mut().get(index as usize) == Some(&GRANTED);
        if !granted {
            return Err(Error::NotGranted { reference });
        }
        // Xen sets the in-use bits by compare-exchange as well, so either it sees no permission or we see the use.
        let ended = self.flags(index).fetch_update(Ordering::SeqCst, Ordering::SeqCst, |flags| {
            (flags & (GTF_READING | GTF_WRITING) == 0).then_some(0)
        });
        if ended.is_err() {
            self.list.as_mut()[index as usize] = LEAKED;
            self.leaked += 1;
            return Err(Error::InUse { reference });
        }
        self.list.as_mut()[index as usize] = self.free;
        self.free = index;
        self.available += 1;
        Ok(())
    }

    /// References that can still be given out.
    pub fn available(&self) -> u32 {
        self.available
    }

    /// References lost because a grant could not be ended.
    pub fn leaked(&self) -> u32 {
        self.leaked
    }

    fn flags(&self, index: u32) -> &core::sync::atomic::AtomicU16 {
        self.entries.atomic_u16(index as usize * size_of::<EntryV1>() + offset_of!(EntryV1, flags))
    }
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

/// Makes the first `frames` frames of the table appear at guest frames `first`, `first + 1`, …; the table grows to
/// hold them. Any level.
///
/// # Errors
/// Xen's answer; some frames may have appeared already.
///
/// # Safety
/// As for [`hypercall::add_to_physmap`], for each of the frames.
#[expect(unsafe_code, reason = "changes the guest's memory map")]
pub unsafe fn map(hypercall: &impl Hypercall, first: Frame, frames: u32) -> Result<(), hypercall::Error> {
    // From the end, so that the table grows once.
    for index in (0..u64::from(frames)).rev() {
        // SAFETY: the caller gives the frames away.
        unsafe {
            hypercall::add_to_physmap(hypercall, XENMAPSPACE_GRANT_TABLE, index, Frame(first.0 + index))?
        };
    }
    Ok(())
}
