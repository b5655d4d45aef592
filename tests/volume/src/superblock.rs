//! The superblock: what the volume is, which mount owns it, how far the log is at home.

use crate::block::{SECTOR, Sector};
use crate::checksum;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned, transmute};

const MAGIC: [u8; 8] = *b"XGVOLUME";
/// Bytes of a label.
pub const LABEL: usize = 16;

/// The superblock as it lies on disk.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Superblock {
    magic: [u8; 8],
    /// Size of the volume in sectors.
    pub sectors: U64,
    /// Generation of the mount that owns the log; 0 after format. A log record of another
    /// generation is not this log's.
    pub generation: U64,
    /// The last transaction whose file record is at home; the log begins with the next.
    pub sequence: U64,
    /// The checksum of all file records at `sequence` ([`crate::file_record::root`]).
    pub root: U32,
    /// 1 from mount to unmount.
    pub mounted: U32,
    /// The label, zero-padded.
    pub label: [u8; LABEL],
    reserved: [u8; SECTOR - 60],
    crc: U32,
}

const _: () = assert!(size_of::<Superblock>() == SECTOR);

impl Superblock {
    /// Returns the superblock of a new volume whose file records have checksum `root`.
    pub fn new(sectors: u64, label: &str, root: u32) -> Self {
        let mut this = Self::new_zeroed();
        this.magic = MAGIC;
        this.sectors = sectors.into();
        this.root = root.into();
        let n = label.len().min(LABEL);
        this.label[..n].copy_from_slice(&label.as_bytes()[..n]);
        this
    }

    /// Reads a superblock; `None` if the sector is none, or not as it was written.
    pub fn parse(sector: &Sector) -> Option<Self> {
        let this: Self = transmute!(*sector);
        (this.magic == MAGIC && checksum::is_sealed(sector)).then_some(this)
    }

    /// Returns the sector to write.
    pub fn to_sector(self) -> Sector {
        checksum::seal(transmute!(self))
    }

    /// Returns the label, up to its padding.
    pub fn label(&self) -> &str {
        let end = self.label.iter().position(|&b| b == 0).unwrap_or(LABEL);
        core::str::from_utf8(&self.label[..end]).unwrap_or("?")
    }
}
