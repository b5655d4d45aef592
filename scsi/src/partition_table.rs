//! The signature that a partition table gives a disk, read from its first blocks.
//!
//! Sources: the master boot record as PC BIOSes load it (disk signature at 0x1B8, four entries from 0x1BE,
//! the mark 0x55 0xAA at its end); UEFI specification 2.10, section 5 (protective MBR, GPT header).

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// Bytes of a master boot record and of a GPT header as used here.
pub const RECORD: usize = 512;

/// One entry of a master boot record.
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct MbrEntry {
    boot: u8,
    first_chs: [u8; 3],
    kind: u8,
    last_chs: [u8; 3],
    first_lba: U32,
    sectors: U32,
}
const _: () = assert!(size_of::<MbrEntry>() == 16);

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Mbr {
    code: [u8; 0x1B8],
    signature: U32,
    reserved: U16,
    entries: [MbrEntry; 4],
    mark: [u8; 2],
}
const _: () = assert!(size_of::<Mbr>() == RECORD);

/// GPT header (UEFI 5.3.2).
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct GptHeader {
    signature: [u8; 8],
    revision: U32,
    header_size: U32,
    crc: U32,
    reserved: U32,
    my_lba: U64,
    alternate_lba: U64,
    first_usable: U64,
    last_usable: U64,
    disk_guid: [u8; 16],
    entries_lba: U64,
    entry_count: U32,
    entry_size: U32,
    entries_crc: U32,
    rest: [u8; 420],
}
const _: () = assert!(size_of::<GptHeader>() == RECORD);

/// Partition type of a protective MBR.
const PROTECTIVE: u8 = 0xEE;

/// Kind of the first block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstBlock {
    /// No partition table.
    None,
    /// A master boot record with this disk signature; zero where it has none.
    Mbr(u32),
    /// A protective one: the GPT header in block 1 has the identity.
    Gpt,
}

/// Reads block 0; only its first 512 bytes matter.
pub fn first_block(block: &[u8]) -> FirstBlock {
    match Mbr::ref_from_prefix(block) {
        Ok((mbr, _)) if mbr.mark == [0x55, 0xAA] => {
            if mbr.entries.iter().any(|entry| entry.kind == PROTECTIVE) {
                FirstBlock::Gpt
            } else {
                FirstBlock::Mbr(mbr.signature.get())
            }
        }
        _ => FirstBlock::None,
    }
}

/// Returns the disk GUID of a GPT header in block 1, as its bytes stand there; `None` if that is no header or
/// its GUID is zero.
///
/// The checksum is not asked for: two paths to one backing show the same bytes, right or wrong.
pub fn gpt_disk_guid(block: &[u8]) -> Option<[u8; 16]> {
    let (header, _) = GptHeader::ref_from_prefix(block).ok()?;
    (header.signature == *b"EFI PART" && header.disk_guid != [0; 16]).then_some(header.disk_guid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mbr(kind: u8) -> [u8; RECORD] {
        let mut block = [0; RECORD];
        block[0x1B8..0x1BC].copy_from_slice(&0x1234_5678u32.to_le_bytes());
        block[0x1BE + 4] = kind;
        block[510..].copy_from_slice(&[0x55, 0xAA]);
        block
    }

    #[test]
    fn signatures() {
        assert_eq!(first_block(&mbr(0x07)), FirstBlock::Mbr(0x1234_5678));
        assert_eq!(first_block(&mbr(0xEE)), FirstBlock::Gpt);
        assert_eq!(first_block(&[0; RECORD]), FirstBlock::None);
        assert_eq!(first_block(&mbr(0x07)[..511]), FirstBlock::None);
    }

    #[test]
    fn a_disk_guid_stands_at_56() {
        let mut block = [0; 4096];
        assert_eq!(gpt_disk_guid(&block), None);
        block[..8].copy_from_slice(b"EFI PART");
        assert_eq!(gpt_disk_guid(&block), None);
        block[56..72].copy_from_slice(&[9; 16]);
        assert_eq!(gpt_disk_guid(&block), Some([9; 16]));
    }
}
