//! The command set against the standards' own words, and against arbitrary bytes.

use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::sense::SenseKey;

fn disk() -> Lun {
    Lun {
        sectors: 0x2_0000_0000,
        block_size: BlockSize::B512,
        physical_block_size: 4096,
        read_only: false,
        removable: false,
        discard: None,
        maximum_transfer: 4 << 20,
        cache: Cache::Volatile,
        serial: SerialNumber::of_machine("01234567-89ab-cdef-0123-456789abcdef", 768),
    }
}

fn data(lun: &Lun, cdb: &[u8]) -> Vec<u8> {
    match lun.execute(cdb) {
        Outcome::Good(reply) => reply.as_bytes().to_vec(),
        other => panic!("{cdb:02x?}: {other:?}"),
    }
}

fn refusal(lun: &Lun, cdb: &[u8]) -> (u8, u8, u8) {
    match lun.execute(cdb) {
        Outcome::Refused(sense) => (sense.key as u8, sense.code, sense.qualifier),
        other => panic!("{cdb:02x?}: {other:?}"),
    }
}

#[test]
fn inquiry_names_the_disk() {
    let reply = data(&disk(), &[0x12, 0, 0, 0, 36, 0]);
    assert_eq!(reply.len(), 36);
    assert_eq!(&reply[..8], &[0, 0, 5, 2, 31, 0, 0, 2]);
    assert_eq!(&reply[8..], b"XENGUARDPVDISK          0001");
}

#[test]
fn allocation_length_truncates_and_leaves_inner_lengths_whole() {
    let reply = data(&disk(), &[0x12, 0, 0, 0, 5, 0]);
    assert_eq!(reply, [0, 0, 5, 2, 31]);
    assert!(data(&disk(), &[0x12, 0, 0, 0, 0, 0]).is_empty());
    // 16 bits of it: 0x0100 is 256, not 0.
    assert_eq!(data(&disk(), &[0x12, 0, 0, 1, 0, 0]).len(), 36);
}

#[test]
fn vital_product_data() {
    assert_eq!(data(&disk(), &[0x12, 1, 0, 0, 255, 0]), [0, 0, 0, 6, 0x00, 0x80, 0x83, 0xB0, 0xB1, 0xB2]);
    // No hard disk that "optimize" would move blocks on.
    let characteristics = data(&disk(), &[0x12, 1, 0xB1, 0, 255, 0]);
    assert_eq!((characteristics.len(), &characteristics[..6]), (64, &[0, 0xB1, 0, 60, 0, 1][..]));
    let serial = data(&disk(), &[0x12, 1, 0x80, 0, 255, 0]);
    assert_eq!(&serial[..4], &[0, 0x80, 0, 40]);
    assert_eq!(&serial[4..], b"01234567-89ab-cdef-0123-456789abcdef-300");
    let designators = data(&disk(), &[0x12, 1, 0x83, 0, 255, 0]);
    assert_eq!(&designators[..8], &[0, 0x83, 0, 52, 2, 1, 0, 48]);
    assert_eq!(&designators[8..], b"XENGUARD01234567-89ab-cdef-0123-456789abcdef-300");
    let local = Lun { serial: SerialNumber::local(768), ..disk() };
    assert_eq!(data(&local, &[0x12, 1, 0x83, 0, 255, 0]), b"\x00\x83\x00\x0b\x02\x00\x00\x07vbd-300");
    assert_eq!(refusal(&disk(), &[0x12, 1, 0xB3, 0, 255, 0]), (5, 0x24, 0));
    assert_eq!(refusal(&disk(), &[0x12, 0, 0x80, 0, 255, 0]), (5, 0x24, 0));
    assert_eq!(refusal(&disk(), &[0x12, 2, 0, 0, 255, 0]), (5, 0x24, 0));
}

#[test]
fn capacity_past_32_bits() {
    assert_eq!(data(&disk(), &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0]), [0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 2, 0]);
    let mut cdb = [0; 16];
    (cdb[0], cdb[1], cdb[13]) = (0x9E, 0x10, 32);
    let reply = data(&disk(), &cdb);
    assert_eq!(reply.len(), 32);
    assert_eq!(&reply[..14], &[0, 0, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 2, 0, 0, 3]);
    cdb[1] = 0x12;
    assert_eq!(refusal(&disk(), &cdb), (5, 0x24, 0));
}

#[test]
fn sectors_are_512_bytes_on_a_4k_disk() {
    let lun = Lun { sectors: 80, block_size: BlockSize::B4096, physical_block_size: 4096, ..disk() };
    assert_eq!(data(&lun, &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0]), [0, 0, 0, 9, 0, 0, 0x10, 0]);
    let read = [0x28, 0, 0, 0, 0, 9, 0, 0, 1, 0];
    assert_eq!(lun.execute(&read), Outcome::Act(Action::Read { extent: Extent { sector: 72, sectors: 8 } }));
    assert_eq!(refusal(&lun, &[0x28, 0, 0, 0, 0, 9, 0, 0, 2, 0]), (5, 0x21, 0));
    // Sectors that fill no block are out of reach.
    assert_eq!(Lun { sectors: 87, ..lun }.blocks(), 10);
}

#[test]
fn every_form_of_read_and_write() {
    let extent = |sector, sectors| Extent { sector, sectors };
    let read = |sector, sectors| Outcome::Act(Action::Read { extent: extent(sector, sectors) });
    let write = |sector, sectors, flush_after| {
        Outcome::Act(Action::Write { extent: extent(sector, sectors), flush_after })
    };
    let lun = disk();
    assert_eq!(lun.execute(&[0x08, 0x1F, 0xFF, 0xFF, 0, 0]), read(0x1F_FFFF, 256));
    // The top three bits of byte 1 were the logical unit number once.
    assert_eq!(lun.execute(&[0x08, 0xE0, 0, 1, 2, 0]), read(1, 2));
    assert_eq!(lun.execute(&[0x0A, 0, 0, 3, 4, 0]), write(3, 4, false));
    assert_eq!(lun.execute(&[0x28, 0, 1, 2, 3, 4, 0, 5, 6, 0]), read(0x0102_0304, 0x0506));
    assert_eq!(lun.execute(&[0x2A, 8, 0, 0, 0, 1, 0, 0, 1, 0]), write(1, 1, true));
    assert_eq!(lun.execute(&[0xA8, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0]), read(1, 0x1_0000));
    assert_eq!(lun.execute(&[0xAA, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0]), write(1, 2, false));
    let mut sixteen = [0x88, 0, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0, 2, 0, 0];
    assert_eq!(lun.execute(&sixteen), read(0x1_0000_0009, 2));
    sixteen[0] = 0x8A;
    assert_eq!(lun.execute(&sixteen), write(0x1_0000_0009, 2, false));
    // FUA is a flush, and refused where there is none.
    let unflushable = Lun { cache: Cache::NoFlush, ..lun };
    assert_eq!(refusal(&unflushable, &[0x2A, 8, 0, 0, 0, 1, 0, 0, 1, 0]), (5, 0x24, 0));
    assert_eq!(unflushable.execute(&[0x2A, 0, 0, 0, 0, 1, 0, 0, 1, 0]), write(1, 1, false));
    // Zero blocks is not an error, except in the six-byte form, where it is 256.
    assert!(data(&lun, &[0x28, 0, 0, 0, 0, 5, 0, 0, 0, 0]).is_empty());
    assert_eq!(refusal(&lun, &[0x28, 0x20, 0, 0, 0, 5, 0, 0, 1, 0]), (5, 0x24, 0));
}

#[test]
fn range_ends_at_the_last_block() {
    let lun = Lun { sectors: 100, ..disk() };
    assert!(matches!(lun.execute(&[0x28, 0, 0, 0, 0, 99, 0, 0, 1, 0]), Outcome::Act(_)));
    assert_eq!(refusal(&lun, &[0x28, 0, 0, 0, 0, 99, 0, 0, 2, 0]), (5, 0x21, 0));
    assert_eq!(refusal(&lun, &[0x28, 0, 0, 0, 0, 100, 0, 0, 0, 0]), (5, 0x21, 0));
    let mut cdb = [0xFF; 16];
    (cdb[0], cdb[1], cdb[14], cdb[15]) = (0x88, 0, 0, 0);
    assert_eq!(refusal(&lun, &cdb), (5, 0x21, 0));
}

#[test]
fn read_only_disks_refuse_writes_and_say_so() {
    let lun = Lun { read_only: true, ..disk() };
    assert_eq!(refusal(&lun, &[0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0]), (7, 0x27, 0));
    assert_eq!(data(&lun, &[0x1A, 8, 0x3F, 0, 255, 0])[2], 0x90);
    assert!(matches!(lun.execute(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0]), Outcome::Act(Action::Read { .. })));
}

#[test]
fn flush_is_work_or_refused() {
    let lun = disk();
    let unflushable = Lun { cache: Cache::NoFlush, ..lun };
    let ten = [0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(lun.execute(&ten), Outcome::Act(Action::Flush));
    assert_eq!(refusal(&unflushable, &ten), (5, 0x20, 0));
    // Initiators go on asking a disk whose cache has gone: there is nothing to do, and nothing to fail.
    let gone = Lun { cache: Cache::Gone, ..lun };
    assert_eq!(gone.execute(&ten), Outcome::Good(Reply::EMPTY));
    assert_eq!(gone.execute(&[0x1B, 0, 0, 0, 0, 0]), Outcome::Good(Reply::EMPTY));
    let written = gone.execute(&[0x2A, 8, 0, 0, 0, 1, 0, 0, 1, 0]);
    assert!(matches!(written, Outcome::Act(Action::Write { flush_after: false, .. })), "{written:?}");
    let mut sixteen = [0; 16];
    sixteen[0] = 0x91;
    assert_eq!(lun.execute(&sixteen), Outcome::Act(Action::Flush));
    sixteen[2] = 0xFF;
    assert_eq!(refusal(&lun, &sixteen), (5, 0x21, 0));
    // Stop flushes, start does nothing, ejecting is not for this medium.
    assert_eq!(lun.execute(&[0x1B, 0, 0, 0, 0, 0]), Outcome::Act(Action::Flush));
    assert_eq!(lun.execute(&[0x1B, 0, 0, 0, 1, 0]), Outcome::Good(Reply::EMPTY));
    assert_eq!(refusal(&lun, &[0x1B, 0, 0, 0, 2, 0]), (5, 0x24, 0));
    // The mode data tells the two apart.
    assert_eq!(data(&lun, &[0x1A, 8, 0x08, 0, 255, 0])[4..7], [0x08, 18, 0x04]);
    assert_eq!(data(&unflushable, &[0x1A, 8, 0x08, 0, 255, 0])[2..7], [0, 0, 0x08, 18, 0x00]);
}

#[test]
fn mode_pages() {
    let lun = disk();
    let all = data(&lun, &[0x1A, 0, 0x3F, 0, 255, 0]);
    assert_eq!(all.len(), 4 + 8 + 20 + 12);
    assert_eq!(&all[..12], &[43, 0, 0x10, 8, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 2, 0]);
    assert_eq!((all[12], all[32], all[33]), (0x08, 0x0A, 10));
    // Truncated, the mode data length still tells the whole.
    assert_eq!(data(&lun, &[0x1A, 0, 0x3F, 0, 4, 0]), [43, 0, 0x10, 8]);
    let ten = data(&lun, &[0x5A, 0x10, 0x0A, 0, 0, 0, 0, 0, 255, 0]);
    assert_eq!(ten.len(), 8 + 16 + 12);
    assert_eq!(&ten[..8], &[0, 34, 0, 0x10, 1, 0, 0, 16]);
    assert_eq!(&ten[8..24], &[0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0]);
    let changeable = data(&lun, &[0x1A, 8, 0x7F, 0, 255, 0]);
    assert!(changeable[6..24].iter().chain(&changeable[26..]).all(|byte| *byte == 0));
    assert_eq!(refusal(&lun, &[0x1A, 8, 0xFF, 0, 255, 0]), (5, 0x39, 0));
    assert_eq!(refusal(&lun, &[0x1A, 8, 0x1C, 0, 255, 0]), (5, 0x24, 0));
    assert_eq!(refusal(&lun, &[0x1A, 8, 0x08, 1, 255, 0]), (5, 0x24, 0));
}

#[test]
fn report_luns_names_one() {
    let mut cdb = [0; 12];
    (cdb[0], cdb[9]) = (0xA0, 64);
    assert_eq!(data(&disk(), &cdb), [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    cdb[2] = 1;
    assert_eq!(data(&disk(), &cdb), [0; 8]);
    cdb[9] = 8;
    assert_eq!(refusal(&disk(), &cdb), (5, 0x24, 0));
}

#[test]
fn what_is_not_served_is_refused() {
    let lun = disk();
    // MODE SELECT(6), WRITE SAME(10), UNMAP, PERSISTENT RESERVE IN, FORMAT UNIT.
    for code in [0x15, 0x41, 0x42, 0x5E, 0x04] {
        assert_eq!(refusal(&lun, &[code, 0, 0, 0, 0, 0, 0, 0, 0, 0]), (5, 0x20, 0));
    }
    assert_eq!(refusal(&lun, &[]), (5, 0x20, 0));
    assert_eq!(refusal(&lun, &[0x28, 0, 0, 0]), (5, 0x24, 0));
    // NACA, which the INQUIRY data says is not supported.
    assert_eq!(refusal(&lun, &[0, 0, 0, 0, 0, 4]), (5, 0x24, 0));
    assert_eq!(refusal(&lun, &[0x2F, 2, 0, 0, 0, 0, 0, 0, 1, 0]), (5, 0x24, 0));
    assert_eq!(data(&lun, &[0, 0, 0, 0, 0, 0]), Vec::<u8>::new());
    assert_eq!(data(&lun, &[3, 0, 0, 0, 18, 0])[..3], [0x70, 0, 0]);
}

#[test]
fn other_unit_numbers_have_no_unit() {
    let Outcome::Good(reply) = Lun::execute_elsewhere(&[0x12, 0, 0, 0, 36, 0]) else { panic!() };
    assert_eq!(reply.as_bytes()[0], 0x7F);
    let Outcome::Refused(sense) = Lun::execute_elsewhere(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0]) else {
        panic!()
    };
    assert_eq!((sense.key, sense.code), (SenseKey::IllegalRequest, 0x25));
}

/// Operation codes that are served, so that properties reach past the first match arm often.
const SERVED: [u8; 22] = [
    0x00, 0x03, 0x08, 0x0A, 0x12, 0x1A, 0x1B, 0x25, 0x28, 0x2A, 0x2F, 0x35, 0x5A, 0x88, 0x8A, 0x8F, 0x91,
    0x9E, 0xA0, 0xA8, 0xAA, 0xAF,
];

fn any_cdb() -> impl Strategy<Value = Vec<u8>> {
    let bytes = prop::collection::vec(any::<u8>(), 0..=32);
    // Half of the time a served code with sparse fields, else noise.
    let sparse = (
        prop::sample::select(SERVED.to_vec()),
        prop::collection::vec(prop_oneof![3 => Just(0u8), 1 => any::<u8>()], 5..=20),
    )
        .prop_map(|(code, rest)| {
            let mut cdb = vec![code];
            cdb.extend(rest);
            cdb
        });
    prop_oneof![bytes, sparse]
}

fn any_lun() -> impl Strategy<Value = Lun> {
    (
        any::<u64>(),
        prop_oneof![Just(BlockSize::B512), Just(BlockSize::B4096)],
        any::<u32>(),
        any::<bool>(),
        prop_oneof![Just(Cache::Volatile), Just(Cache::NoFlush)],
        prop_oneof![
            Just(SerialNumber::local(u32::MAX)),
            Just(SerialNumber::of_machine("01234567-89ab-cdef-0123-456789abcdef", u32::MAX))
        ],
        any::<bool>(),
        prop_oneof![Just(None), Just(Some(Discard { granularity: 8192, alignment: 4096 }))],
    )
        .prop_map(
            |(sectors, block_size, physical_block_size, read_only, cache, serial, removable, discard)| Lun {
                removable,
                discard,
                maximum_transfer: 4 << 20,
                sectors,
                block_size,
                physical_block_size,
                read_only,
                cache,
                serial,
            },
        )
}

/// Returns the allocation length of the commands that have one, by the standards' tables.
fn allocation(cdb: &[u8]) -> Option<usize> {
    let number = |range: core::ops::Range<usize>| {
        cdb.get(range).map(|bytes| bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
    };
    match cdb.first()? {
        0x03 | 0x1A => number(4..5),
        0x12 => number(3..5),
        0x5A => number(7..9),
        0x9E => number(10..14),
        0xA0 => number(6..10),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn any_cdb_has_an_answer_inside_the_disk(lun in any_lun(), cdb in any_cdb()) {
        match lun.execute(&cdb) {
            Outcome::Good(reply) => {
                prop_assert!(allocation(&cdb).is_none_or(|most| reply.as_bytes().len() <= most));
            }
            Outcome::Refused(sense) => {
                prop_assert_ne!(sense.key, SenseKey::NoSense);
                prop_assert!(sense.field.is_none_or(|field| usize::from(field) <= cdb.len()));
            }
            Outcome::Act(Action::Flush) => prop_assert_eq!(lun.cache, Cache::Volatile),
            Outcome::Act(Action::Unmap { bytes, block_size }) => {
                prop_assert!(lun.discard.is_some() && !lun.read_only);
                prop_assert!(bytes > 0 && block_size == lun.block_size);
            }
            Outcome::Act(
                action @ (Action::Read { extent } | Action::Write { extent, .. } | Action::Verify { extent }),
            ) => {
                prop_assert!(extent.sectors > 0);
                prop_assert!(extent.sector.checked_add(extent.sectors).is_some_and(|end| end <= lun.sectors));
                let block = u64::from(lun.block_size.sectors());
                prop_assert!(extent.sector % block == 0 && extent.sectors % block == 0);
                let writes = matches!(action, Action::Write { .. });
                prop_assert!(!(lun.read_only && writes));
            }
        }
    }

    #[test]
    fn truncation_only_truncates(lun in any_lun(), page in any::<u8>(), vital in 0u8..2, most in 0u8..=255) {
        let whole = lun.execute(&[0x12, vital, page, 0, 255, 0]);
        let cut = lun.execute(&[0x12, vital, page, 0, most, 0]);
        match (whole, cut) {
            (Outcome::Good(whole), Outcome::Good(cut)) => {
                let length = whole.as_bytes().len().min(most.into());
                prop_assert_eq!(cut.as_bytes(), &whole.as_bytes()[..length]);
            }
            (whole, cut) => prop_assert_eq!(whole, cut),
        }
    }

    #[test]
    fn other_units_never_act(cdb in any_cdb()) {
        prop_assert!(!matches!(Lun::execute_elsewhere(&cdb), Outcome::Act(_)));
    }
}

#[test]
fn nothing_of_a_read_only_disk_is_flushed() {
    for cache in [Cache::Volatile, Cache::NoFlush] {
        let lun = Lun { read_only: true, cache, ..disk() };
        assert!(data(&lun, &[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0]).is_empty());
        assert!(data(&lun, &[0x1B, 0, 0, 0, 0, 0]).is_empty());
        assert_eq!(lun.flush(), Outcome::Good(Reply::EMPTY));
    }
}
