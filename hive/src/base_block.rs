//! The base block: the first 4096 bytes of the file.

use core::mem::offset_of;
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U32, U64},
};

use crate::Error;

/// Size of the base block in the file.
pub(crate) const SIZE: usize = 4096;

/// The fields of the base block, up to the end of its first sector. A log file begins with the same.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Layout {
    signature: [u8; 4],
    primary_sequence: U32,
    secondary_sequence: U32,
    pub last_written: U64,
    major: U32,
    minor: U32,
    pub file_type: U32,
    format: U32,
    root: U32,
    pub bins_size: U32,
    pub clustering: U32,
    file_name: [u8; 64],
    ids: [u8; 32],
    /// Bit 0: transactions are pending.
    flags: U32,
    reserved: [u8; 360],
    pub checksum: U32,
}

const _: () = assert!(size_of::<Layout>() == 512);

impl Layout {
    /// Returns the base block of a hive or of a log file, whose signature and version are checked.
    pub(crate) fn of(file: &[u8]) -> Result<&Layout, Error> {
        let (layout, _) = Layout::ref_from_prefix(file)
            .map_err(|_| Error::end(file.len(), "a base block of 4096 bytes"))?;
        layout.check_signature()?;
        Ok(layout)
    }

    /// Returns the primary and the secondary sequence number.
    pub(crate) fn sequences(&self) -> (u32, u32) {
        (self.primary_sequence.get(), self.secondary_sequence.get())
    }

    fn check_signature(&self) -> Result<(), Error> {
        match &self.signature {
            b"regf" => Ok(()),
            other => Err(Error::signature(0, "\"regf\" (this is not a registry hive)", *other)),
        }
    }

    pub(crate) fn check_version(&self) -> Result<(), Error> {
        check(offset_of!(Layout, major), self.major, |v| v == 1, "major version 1")?;
        check(offset_of!(Layout, minor), self.minor, |v| (2..=6).contains(&v), "minor version 2 to 6")?;
        check(offset_of!(Layout, format), self.format, |v| v == 1, "format 1 (direct memory load)")
    }

    pub(crate) fn check_checksum(&self, file: &[u8]) -> Result<(), Error> {
        let (sum, at) = (checksum(file), offset_of!(Layout, checksum));
        check(at, self.checksum, |own| own == sum, "the base block's checksum")
    }

    /// Writes this base block to the start of a hive.
    pub(crate) fn write_to(&self, hive: &mut [u8]) {
        if let Some(place) = hive.get_mut(..size_of::<Layout>()) {
            place.copy_from_slice(self.as_bytes());
        }
    }
}

fn check(at: usize, field: U32, good: impl Fn(u32) -> bool, expected: &'static str) -> Result<(), Error> {
    match field.get() {
        value if good(value) => Ok(()),
        value => Err(Error::number(at, expected, value.into())),
    }
}

/// A checked base block.
pub(crate) struct BaseBlock {
    root: u32,
    bins_size: u32,
}

impl BaseBlock {
    pub(crate) fn read(file: &[u8]) -> Result<BaseBlock, Error> {
        let layout = Layout::of(file)?;
        layout.check_version()?;
        check(offset_of!(Layout, file_type), layout.file_type, |v| v == 0, "file type 0 (a primary file)")?;
        layout.check_checksum(file)?;
        let (primary, secondary) = layout.sequences();
        if primary != secondary {
            return Err(Error::unreplayed(primary, secondary));
        }
        Ok(BaseBlock { root: layout.root.get(), bins_size: layout.bins_size.get() })
    }

    pub(crate) const fn root(&self) -> u32 {
        self.root
    }

    pub(crate) const fn bins_size(&self) -> u32 {
        self.bins_size
    }
}

/// Gives a hive the base block of one that was written to its end.
pub(crate) fn make_clean(hive: &mut [u8], sequence: u32, bins_size: u32, locked: Option<bool>) {
    let Ok((layout, _)) = Layout::mut_from_prefix(hive) else { return };
    layout.primary_sequence = sequence.into();
    layout.secondary_sequence = sequence.into();
    layout.file_type = 0.into();
    layout.bins_size = bins_size.into();
    if let Some(locked) = locked {
        layout.flags = (layout.flags.get() & !1 | u32::from(locked)).into();
    }
    let sum = checksum(hive);
    if let Ok((layout, _)) = Layout::mut_from_prefix(hive) {
        layout.checksum = sum.into();
    }
}

/// Returns the exclusive or of the first 127 words; 0 and all ones are not used.
pub(crate) fn checksum(file: &[u8]) -> u32 {
    let words = file.chunks_exact(4).take(127).map(|word| U32::read_from_bytes(word).map_or(0, U32::get));
    match words.fold(0, |sum, word| sum ^ word) {
        0 => 1,
        u32::MAX => u32::MAX - 1,
        sum => sum,
    }
}
