//! The base block: the first 4096 bytes of the file.

use core::mem::offset_of;
use zerocopy::{
    FromBytes, Immutable, KnownLayout, Unaligned,
    little_endian::{U32, U64},
};

use crate::Error;

/// Size of the base block in the file.
pub const SIZE: usize = 4096;

/// What of the base block is used.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Layout {
    signature: [u8; 4],
    primary_sequence: U32,
    secondary_sequence: U32,
    last_written: U64,
    major: U32,
    minor: U32,
    file_type: U32,
    format: U32,
    root: U32,
    bins_size: U32,
    clustering: U32,
    file_name: [u8; 64],
    reserved: [u8; 396],
    checksum: U32,
}

const _: () = assert!(size_of::<Layout>() == 512);

/// A checked base block.
pub struct BaseBlock {
    root: u32,
    bins_size: u32,
}

impl BaseBlock {
    pub fn read(file: &[u8]) -> Result<BaseBlock, Error> {
        let (layout, _) = Layout::ref_from_prefix(file)
            .map_err(|_| Error::end(file.len(), "a base block of 4096 bytes"))?;
        if &layout.signature != b"regf" {
            return Err(Error::signature(0, "\"regf\" (this is not a registry hive)", layout.signature));
        }
        let check = |at, field: U32, good: fn(u32) -> bool, expected| match field.get() {
            value if good(value) => Ok(()),
            value => Err(Error::number(at, expected, value.into())),
        };
        check(offset_of!(Layout, major), layout.major, |v| v == 1, "major version 1")?;
        check(offset_of!(Layout, minor), layout.minor, |v| (2..=6).contains(&v), "minor version 2 to 6")?;
        check(offset_of!(Layout, file_type), layout.file_type, |v| v == 0, "file type 0 (a primary file)")?;
        check(offset_of!(Layout, format), layout.format, |v| v == 1, "format 1 (direct memory load)")?;
        let sum = checksum(file);
        if layout.checksum.get() != sum {
            let at = offset_of!(Layout, checksum);
            return Err(Error::number(at, "the base block's checksum", layout.checksum.get().into()));
        }
        let (primary, secondary) = (layout.primary_sequence.get(), layout.secondary_sequence.get());
        if primary != secondary {
            return Err(Error::unreplayed(primary, secondary));
        }
        Ok(BaseBlock { root: layout.root.get(), bins_size: layout.bins_size.get() })
    }

    pub const fn root(&self) -> u32 {
        self.root
    }

    pub const fn bins_size(&self) -> u32 {
        self.bins_size
    }
}

/// The exclusive or of the first 127 words; 0 and all ones are not used.
pub fn checksum(file: &[u8]) -> u32 {
    let words = file.chunks_exact(4).take(127).map(|word| U32::read_from_bytes(word).map_or(0, U32::get));
    match words.fold(0, |sum, word| sum ^ word) {
        0 => 1,
        u32::MAX => u32::MAX - 1,
        sum => sum,
    }
}
