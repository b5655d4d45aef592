//! The write-ahead log: changed file records, each a header sector and the record's image.
//!
//! The log begins at slot 0 with the transaction after the superblock's, and ends at the first
//! slot that does not hold the next transaction of the superblock's generation. Taking it over is
//! therefore a matter of the superblock alone, and truncates it for whoever still believes in it.

use crate::block::{SECTOR, Sector};
use crate::checksum;
use crate::layout::{FILES, LOG_RECORD_SECTORS};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned, transmute};

const MAGIC: [u8; 8] = *b"XGLOGREC";
/// Bytes of a log record.
pub const BYTES: usize = LOG_RECORD_SECTORS as usize * SECTOR;

/// A log record's header as it lies on disk; the file record's sector follows.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct LogHeader {
    magic: [u8; 8],
    /// Generation of the mount that wrote it.
    pub generation: U64,
    /// Number of the transaction, counted over all generations.
    pub sequence: U64,
    /// Index of the file record that is changed.
    pub target: U32,
    /// Checksum of all file records after the change.
    pub root: U32,
    /// The seal of the image, so that header and image of two transactions do not pass for one.
    image_seal: U32,
    reserved: [u8; SECTOR - 40],
    crc: U32,
}

const _: () = assert!(size_of::<LogHeader>() == SECTOR);

/// A log record: what to write home, and what the file records come to with it.
#[derive(Clone, Copy, Debug)]
pub struct LogRecord {
    /// The header.
    pub header: LogHeader,
    /// The sector to write to file record `header.target`.
    pub image: Sector,
}

impl LogRecord {
    /// Returns the record of transaction `sequence`.
    pub fn new(generation: u64, sequence: u64, target: usize, root: u32, image: Sector) -> Self {
        let mut header = LogHeader::new_zeroed();
        header.magic = MAGIC;
        header.generation = generation.into();
        header.sequence = sequence.into();
        header.target = (target as u32).into();
        header.root = root.into();
        header.image_seal = checksum::seal_of(&image).into();
        Self { header, image }
    }

    /// Reads a log record; `None` if the sectors are none, or torn.
    pub fn parse(head: &Sector, image: &Sector) -> Option<Self> {
        let header: LogHeader = transmute!(*head);
        let whole = header.magic == MAGIC
            && checksum::is_sealed(head)
            && checksum::is_sealed(image)
            && header.image_seal == checksum::seal_of(image)
            && (header.target.get() as usize) < FILES;
        whole.then_some(Self { header, image: *image })
    }

    /// Returns the sectors to write.
    pub fn to_bytes(self) -> [u8; BYTES] {
        let head: Sector = transmute!(self.header);
        transmute!([checksum::seal(head), self.image])
    }
}
