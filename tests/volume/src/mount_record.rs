//! Mount records: each mount's account of itself, in a sector no other mount writes.
//!
//! They are what makes a second mount provable. A mount raises [`MountRecord::activity`] on disk
//! before each thing it writes, and notes at its start the activity it found in its predecessor's
//! record. A predecessor that was really gone never writes again, so the two numbers stay equal;
//! one that was still mounted gives itself away with its next write. [`MountRecord::promised`]
//! says which transaction a flush vouched for, so that losing it shows.

use crate::block::{SECTOR, Sector};
use crate::checksum;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned, transmute};

const MAGIC: [u8; 8] = *b"XGMOUNT\0";

/// A mount record as it lies on disk.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct MountRecord {
    magic: [u8; 8],
    /// The mount's generation, from 1.
    pub generation: U64,
    /// Generation of the mount it took over from; 0 if none.
    pub predecessor: U64,
    /// The predecessor's activity as it was found.
    pub predecessor_activity: U64,
    /// Number of times that this mount has set out to write.
    pub activity: U64,
    /// The last transaction it found when it took over.
    pub found: U64,
    /// The last transaction that was flushed.
    pub promised: U64,
    reserved: [u8; SECTOR - 60],
    crc: U32,
}

const _: () = assert!(size_of::<MountRecord>() == SECTOR);

impl MountRecord {
    /// Returns the record of mount `generation`, which finds its predecessor's record (if there is one) and
    /// everything up to transaction `found` on disk.
    pub fn new(generation: u64, predecessor: Option<&MountRecord>, found: u64) -> Self {
        let mut this = Self::new_zeroed();
        this.magic = MAGIC;
        this.generation = generation.into();
        (this.found, this.promised) = (found.into(), found.into());
        if let Some(predecessor) = predecessor {
            this.predecessor = predecessor.generation;
            this.predecessor_activity = predecessor.activity;
        }
        this
    }

    /// Reads a mount record; `None` if the sector is none, or not as it was written.
    pub fn parse(sector: &Sector) -> Option<Self> {
        let this: Self = transmute!(*sector);
        (this.magic == MAGIC && checksum::is_sealed(sector)).then_some(this)
    }

    /// Returns the sector to write.
    pub fn to_sector(self) -> Sector {
        checksum::seal(transmute!(self))
    }
}
