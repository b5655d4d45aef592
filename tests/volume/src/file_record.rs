//! File records: a file's name, size and blocks with their checksums, one sector each.

use crate::block::{SECTOR, Sector};
use crate::checksum;
use crate::layout::{BLOCK, FILES};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned, transmute};

const MAGIC: [u8; 4] = *b"FILE";
/// Longest name, in bytes.
pub const NAME: usize = 64;
/// Most blocks in a file.
pub const BLOCKS: usize = 51;
/// Largest file, in bytes.
pub const MAX_SIZE: usize = BLOCKS * BLOCK;

/// A data block of a file and the checksum of all its 4096 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BlockRef {
    /// Number of the block.
    pub block: U32,
    /// CRC-32 of its content.
    pub crc: U32,
}

/// A file record as it lies on disk; one with an empty name is free.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct FileRecord {
    magic: [u8; 4],
    used_blocks: U32,
    /// Generation of the mount that wrote it.
    pub generation: U64,
    /// Transaction that wrote it.
    pub sequence: U64,
    /// Size in bytes.
    pub size: U64,
    name: [u8; NAME],
    blocks: [BlockRef; BLOCKS],
    reserved: [u8; 4],
    crc: U32,
}

const _: () = assert!(size_of::<FileRecord>() == SECTOR);

impl FileRecord {
    /// Returns a free record.
    pub fn free() -> Self {
        let mut this = Self::new_zeroed();
        this.magic = MAGIC;
        this
    }

    /// Returns the record of file `name` with `size` bytes in `blocks`; `None` if the name or the list of
    /// blocks is too long, or the name is empty.
    pub fn new(name: &str, size: usize, blocks: &[BlockRef]) -> Option<Self> {
        let mut this = Self::free();
        if name.is_empty() {
            return None;
        }
        this.name.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        this.blocks.get_mut(..blocks.len())?.copy_from_slice(blocks);
        this.used_blocks = (blocks.len() as u32).into();
        this.size = (size as u64).into();
        Some(this)
    }

    /// Reads a file record; `None` if the sector is none, or not as it was written.
    pub fn parse(sector: &Sector) -> Option<Self> {
        let this: Self = transmute!(*sector);
        let blocks = this.used_blocks.get() as usize;
        let fits = blocks <= BLOCKS && this.size.get().div_ceil(BLOCK as u64) == blocks as u64;
        (this.magic == MAGIC && fits && checksum::is_sealed(sector)).then_some(this)
    }

    /// Returns the sector to write.
    pub fn to_sector(self) -> Sector {
        checksum::seal(transmute!(self))
    }

    /// Returns the file's name; empty for a free record.
    pub fn name(&self) -> &str {
        let end = self.name.iter().position(|&b| b == 0).unwrap_or(NAME);
        core::str::from_utf8(&self.name[..end]).unwrap_or("?")
    }

    /// Returns the file's blocks, in order.
    pub fn blocks(&self) -> &[BlockRef] {
        &self.blocks[..self.used_blocks.get() as usize]
    }
}

/// Returns one checksum over all file records, which a superblock or log record carries so that a record that
/// went back to an older state shows.
pub fn root(records: &[FileRecord]) -> u32 {
    let mut checksums = [0; 4 * FILES];
    for (at, record) in checksums.chunks_exact_mut(4).zip(records) {
        let unsealed = &record.as_bytes()[..SECTOR - 4];
        at.copy_from_slice(&checksum::crc32(unsealed).to_le_bytes());
    }
    checksum::crc32(&checksums)
}
