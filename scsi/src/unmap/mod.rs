//! UNMAP: its parameter list (SBC-3 5.28.2), and what the disk says of it in the vital product data pages
//! 0xB0 and 0xB2 (SBC-3 6.6.3, 6.6.4).

use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::lun::{BlockSize, Extent, Lun};
use crate::sense::Sense;

/// Most descriptors of one command.
pub const MAX_DESCRIPTORS: u16 = 64;

/// The unit in which blocks are given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discard {
    /// Bytes, a multiple of the logical block.
    pub granularity: u32,
    /// Offset of the first unit, in bytes; less than the granularity.
    pub alignment: u32,
}

/// Header of the parameter list.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    /// Bytes behind this field.
    data_length: U16,
    /// Bytes of descriptors.
    descriptors_length: U16,
    reserved: [u8; 4],
}
const _: () = assert!(size_of::<Header>() == 8);

/// One stretch of blocks.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Descriptor {
    lba: U64,
    blocks: U32,
    reserved: [u8; 4],
}
const _: () = assert!(size_of::<Descriptor>() == 16);

/// Returns the list's whole descriptors; a last one that is cut off does not count (SBC-3 5.28.2).
fn descriptors(list: &[u8]) -> &[Descriptor] {
    let Ok((header, rest)) = Header::ref_from_prefix(list) else { return &[] };
    let room = usize::from(header.descriptors_length.get()).min(rest.len());
    let count = room / size_of::<Descriptor>();
    <[Descriptor]>::ref_from_prefix_with_elems(rest, count).map_or(&[], |(all, _)| all)
}

/// Returns the stretch of a number; `None` beyond the last. One of no sectors asks for nothing. It has to be
/// checked against the disk ([`Lun::check_unmap`], and again by whoever sends it).
pub fn extent(list: &[u8], index: usize, block_size: BlockSize) -> Option<Extent> {
    let descriptor = descriptors(list).get(index)?;
    let per_block = u64::from(block_size.sectors());
    // An address beyond 64 bits of sectors is beyond any disk.
    let sector = descriptor.lba.get().saturating_mul(per_block);
    Some(Extent { sector, sectors: u64::from(descriptor.blocks.get()) * per_block })
}

/// Returns the first sector of those that a list asks for; `None` where it asks for nothing.
pub fn first_sector(list: &[u8], block_size: BlockSize) -> Option<u64> {
    let extents = (0..descriptors(list).len()).filter_map(|index| extent(list, index, block_size));
    extents.filter(|extent| extent.sectors > 0).map(|extent| extent.sector).min()
}

impl Lun {
    /// Checks that an UNMAP with this parameter list is one that the disk takes.
    ///
    /// # Errors
    /// 26/00 for a list that makes no sense or is longer than page 0xB0 says, 21/00 beyond the end of the
    /// disk.
    pub fn check_unmap(&self, list: &[u8]) -> Result<(), Sense> {
        // No list at all is no error (SBC-3 5.28.1).
        if list.is_empty() {
            return Ok(());
        }
        let (header, _) = Header::ref_from_prefix(list).map_err(|_| Sense::PARAMETER_LENGTH)?;
        let descriptors_length = header.descriptors_length.get();
        let whole = descriptors_length.is_multiple_of(size_of::<Descriptor>() as u16);
        let inside = u32::from(header.data_length.get()) >= u32::from(descriptors_length) + 6;
        if !whole || !inside {
            return Err(Sense::INVALID_PARAMETER);
        }
        let all = descriptors(list);
        if all.len() > MAX_DESCRIPTORS.into() {
            return Err(Sense::INVALID_PARAMETER);
        }
        for descriptor in all {
            let lba = descriptor.lba.get();
            let end = lba.checked_add(descriptor.blocks.get().into());
            if end.is_none_or(|end| end > self.blocks()) {
                return Err(Sense::OUT_OF_RANGE.at_block(lba));
            }
        }
        Ok(())
    }
}

/// Block limits (SBC-3 table 193).
#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct BlockLimits {
    write_same_non_zero: u8,
    max_compare_and_write: u8,
    optimal_granularity: U16,
    max_transfer: U32,
    optimal_transfer: U32,
    max_prefetch: U32,
    max_unmap_blocks: U32,
    max_unmap_descriptors: U32,
    optimal_unmap_granularity: U32,
    /// Bit 31 says that the alignment is valid.
    unmap_alignment: U32,
    max_write_same: U64,
    reserved: [u8; 20],
}
const _: () = assert!(size_of::<BlockLimits>() == 60);

/// Logical block provisioning (SBC-3 table 199).
#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct Provisioning {
    threshold_exponent: u8,
    /// LBPU is 0x80: UNMAP. What is read afterwards is not promised to be zero (LBPRZ 0): a backend may keep
    /// it.
    flags: u8,
    /// PROVISIONING TYPE 2: thin.
    provisioning_type: u8,
    reserved: u8,
}
const _: () = assert!(size_of::<Provisioning>() == 4);

pub(crate) fn limits(lun: &Lun) -> BlockLimits {
    let block = lun.block_size.bytes();
    let (blocks, descriptors, granularity, alignment) = match lun.discard {
        None => (0, 0, 0, 0),
        Some(discard) => (
            // One ring request names any number of sectors.
            u32::MAX,
            MAX_DESCRIPTORS.into(),
            discard.granularity / block,
            0x8000_0000 | (discard.alignment / block),
        ),
    };
    BlockLimits {
        write_same_non_zero: 0,
        max_compare_and_write: 0,
        optimal_granularity: U16::new(1 << lun.physical_exponent()),
        max_transfer: U32::new(lun.maximum_transfer / block),
        optimal_transfer: U32::ZERO,
        max_prefetch: U32::ZERO,
        max_unmap_blocks: U32::new(blocks),
        max_unmap_descriptors: U32::new(descriptors),
        optimal_unmap_granularity: U32::new(granularity),
        unmap_alignment: U32::new(alignment),
        max_write_same: U64::ZERO,
        reserved: [0; 20],
    }
}

pub(crate) fn provisioning(lun: &Lun) -> Provisioning {
    let thin = lun.discard.is_some();
    Provisioning {
        threshold_exponent: 0,
        flags: if thin { 0x80 } else { 0 },
        provisioning_type: if thin { 2 } else { 0 },
        reserved: 0,
    }
}

#[cfg(test)]
mod tests;
