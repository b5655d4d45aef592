//! Arbitrary commands of an initiator, taken apart as far as it goes without a medium. For fuzzing; panics
//! where something that must hold does not.

use scsi::cdrom::Drive;
use scsi::{Action, BlockSize, Cache, Discard, Lun, Outcome, SerialNumber, unmap};

/// Makes a disk from some bytes, a CDB and a parameter list from the rest.
pub fn cdb(bytes: &[u8]) {
    let Some((&[shape, high, low], rest)) = bytes.split_first_chunk() else { return };
    let block_size = if shape & 1 == 0 { BlockSize::B512 } else { BlockSize::B4096 };
    let lun = Lun {
        sectors: u64::from(high) << (u32::from(low) % 56) | 8,
        block_size,
        physical_block_size: 4096,
        read_only: shape & 2 != 0,
        removable: shape & 4 != 0,
        discard: (shape & 8 != 0).then_some(Discard { granularity: 8192, alignment: 4096 }),
        maximum_transfer: 4 << 20,
        cache: [Cache::Volatile, Cache::NoFlush, Cache::Gone, Cache::Volatile][usize::from(shape >> 4) % 4],
        serial: SerialNumber::local(768),
    };
    let (cdb, list) = rest.split_at(rest.len().min(16));
    match lun.execute(cdb) {
        Outcome::Act(Action::Read { extent } | Action::Verify { extent } | Action::Write { extent, .. }) => {
            assert!(extent.sector.checked_add(extent.sectors).is_some_and(|end| end <= lun.sectors));
        }
        Outcome::Act(Action::Flush) => assert_eq!(lun.cache, Cache::Volatile),
        Outcome::Act(Action::Unmap { .. }) => assert!(lun.discard.is_some() && !lun.read_only),
        Outcome::Good(_) | Outcome::Refused(_) => {}
    }
    if lun.read_only {
        assert!(!matches!(lun.execute(cdb), Outcome::Act(Action::Write { .. })));
    }
    if lun.check_unmap(list).is_ok() {
        for extent in (0..).map_while(|index| unmap::extent(list, index, block_size)) {
            assert!(extent.sector.checked_add(extent.sectors).is_some_and(|end| end <= lun.sectors));
        }
    }
    drive(shape, rest);
}

/// Makes a CD-ROM drive, as many CDBs as there are bytes for, and a medium that comes and goes between them.
fn drive(shape: u8, bytes: &[u8]) {
    let mut sectors = u64::from(shape) << (shape % 40);
    let drive = Drive::new(sectors, SerialNumber::local(5632));
    for cdb in bytes.chunks(12) {
        match drive.execute(cdb) {
            Outcome::Act(Action::Read { extent }) => {
                assert!(!drive.is_ejected());
                assert!(extent.sector.checked_add(extent.sectors).is_some_and(|end| end <= sectors));
            }
            Outcome::Act(other) => panic!("a drive was to {other:?}"),
            Outcome::Good(_) | Outcome::Refused(_) => {}
        }
        if let [0xFF, size, changed, ..] = *cdb {
            sectors = u64::from(size) << (size % 40);
            drive.set_medium(sectors, changed & 1 != 0);
        }
    }
}
