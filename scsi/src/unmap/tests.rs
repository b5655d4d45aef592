use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::lun::{Action, Cache, Outcome};
use crate::{SenseKey, SerialNumber};

fn disk(discard: Option<Discard>) -> Lun {
    Lun {
        sectors: 1 << 20,
        block_size: BlockSize::B4096,
        physical_block_size: 4096,
        read_only: false,
        removable: false,
        discard,
        maximum_transfer: 4 << 20,
        cache: Cache::Volatile,
        serial: SerialNumber::local(768),
    }
}

const THIN: Option<Discard> = Some(Discard { granularity: 65536, alignment: 8192 });

fn list(parts: &[(u64, u32)]) -> Vec<u8> {
    let length = parts.len() as u16 * 16;
    let header =
        Header { data_length: U16::new(length + 6), descriptors_length: U16::new(length), reserved: [0; 4] };
    let mut bytes = header.as_bytes().to_vec();
    for (lba, blocks) in parts {
        let part = Descriptor { lba: U64::new(*lba), blocks: U32::new(*blocks), reserved: [0; 4] };
        bytes.extend(part.as_bytes());
    }
    bytes
}

fn page(lun: &Lun, page: u8) -> Vec<u8> {
    let Outcome::Good(reply) = lun.execute(&[0x12, 1, page, 0, 255, 0]) else { panic!() };
    reply.as_bytes().to_vec()
}

#[test]
fn limits_and_provisioning_are_as_the_backend_says() {
    let limits = page(&disk(THIN), 0xB0);
    assert_eq!(&limits[..4], &[0, 0xB0, 0, 60]);
    // 4 MiB in blocks of 4 KiB.
    assert_eq!(&limits[8..12], &[0, 0, 4, 0]);
    assert_eq!(&limits[20..28], &[0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 64]);
    // 16 blocks, from block 2 on.
    assert_eq!(&limits[28..36], &[0, 0, 0, 16, 0x80, 0, 0, 2]);
    assert_eq!(page(&disk(THIN), 0xB2), [0, 0xB2, 0, 4, 0, 0x80, 2, 0]);

    let limits = page(&disk(None), 0xB0);
    assert_eq!(&limits[20..36], &[0; 16]);
    assert_eq!(page(&disk(None), 0xB2), [0, 0xB2, 0, 4, 0, 0, 0, 0]);
}

#[test]
fn read_capacity_says_whether_blocks_can_be_given_up() {
    let capacity = |lun: &Lun| {
        let Outcome::Good(reply) = lun.execute(&[0x9E, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0])
        else {
            panic!()
        };
        reply.as_bytes()[14]
    };
    assert_eq!((capacity(&disk(THIN)), capacity(&disk(None))), (0x80, 0));
}

#[test]
fn unmap_is_work_or_refused() {
    let cdb = [0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0];
    let action = Action::Unmap { bytes: 24, block_size: BlockSize::B4096 };
    assert_eq!(disk(THIN).execute(&cdb), Outcome::Act(action));
    assert_eq!(disk(None).execute(&cdb), Outcome::Refused(Sense::INVALID_OPCODE));
    let read_only = Lun { read_only: true, ..disk(THIN) };
    assert_eq!(read_only.execute(&cdb), Outcome::Refused(Sense::WRITE_PROTECTED));
    // ANCHOR.
    let anchored = [0x42, 1, 0, 0, 0, 0, 0, 0, 24, 0];
    assert_eq!(disk(THIN).execute(&anchored), Outcome::Refused(Sense::invalid_field(1)));
    let Outcome::Good(reply) = disk(THIN).execute(&[0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0]) else { panic!() };
    assert!(reply.as_bytes().is_empty());
}

#[test]
fn lists_name_stretches() {
    let bytes = list(&[(10, 2), (0, 0), (131_071, 1)]);
    assert_eq!(disk(THIN).check_unmap(&bytes), Ok(()));
    let at = |index| extent(&bytes, index, BlockSize::B4096).map(|at| (at.sector, at.sectors));
    assert_eq!((at(0), at(1), at(2), at(3)), (Some((80, 16)), Some((0, 0)), Some((1_048_568, 8)), None));
}

#[test]
fn lists_that_make_no_sense_are_refused() {
    let check = |bytes: &[u8]| disk(THIN).check_unmap(bytes);
    assert_eq!(check(&[]), Ok(()));
    assert_eq!(check(&[0; 7]), Err(Sense::PARAMETER_LENGTH));
    assert_eq!(check(&[0; 8]), Err(Sense::INVALID_PARAMETER));
    for (lba, blocks) in [(131_072, 1), (131_071, 2), (u64::MAX, 1), (u64::MAX, u32::MAX)] {
        let Err(sense) = check(&list(&[(0, 1), (lba, blocks)])) else { panic!("{lba} {blocks}") };
        assert_eq!((sense.key, sense.code), (SenseKey::IllegalRequest, 0x21));
    }
    let mut cut = list(&[(0, 1)]);
    cut[3] = 15;
    assert_eq!(check(&cut), Err(Sense::INVALID_PARAMETER));
    assert_eq!(check(&list(&[(0, 1); 65])), Err(Sense::INVALID_PARAMETER));
    assert_eq!(check(&list(&[(0, 1); 64])), Ok(()));
}

proptest! {
    /// Whatever the bytes: no panic, and what is accepted lies on the disk.
    #[test]
    fn nothing_beyond_the_disk_is_accepted(
        mut bytes in prop::collection::vec(any::<u8>(), 0..200),
        head in any::<Option<(u8, u8)>>(),
        lbas in prop::collection::vec(0u64..140_000, 12),
    ) {
        if let Some((data, descriptors)) = head && bytes.len() >= 8 {
            (bytes[0], bytes[1], bytes[2], bytes[3]) = (0, data, 0, descriptors);
            for (part, lba) in bytes[8..].chunks_exact_mut(16).zip(&lbas) {
                part[..8].copy_from_slice(&lba.to_be_bytes());
                part[8..10].fill(0);
            }
        }
        let lun = disk(THIN);
        let accepted = lun.check_unmap(&bytes).is_ok();
        for extent in (0..).map_while(|index| extent(&bytes, index, BlockSize::B4096)) {
            let inside = extent.sector.checked_add(extent.sectors).is_some_and(|end| end <= lun.sectors);
            prop_assert!(inside || !accepted);
        }
    }
}

#[test]
fn the_first_sector_of_a_list_is_found() {
    let first = |parts: &[(u64, u32)]| first_sector(&list(parts), BlockSize::B4096);
    assert_eq!(first(&[]), None);
    assert_eq!(first(&[(0, 0)]), None, "no blocks");
    assert_eq!(first(&[(9, 1), (3, 2), (0, 0)]), Some(24));
    assert_eq!(first(&[(0, 1)]), Some(0));
}
