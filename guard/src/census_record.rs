//! Record of the last census, as a memory dump has it: P4 of a stop that xenvbd makes points at it, and a crash
//! dump carries it under [`crate::record::CENSUS_DUMP`]. xenvbd writes it, and readers of dumps use the same
//! structure.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::census::{Class, Counts, Disk, Identity, Origin, Signature};
use crate::provenance::Provenance;

/// Most disks that a record names; more are counted only.
pub const RECORDED: usize = 32;

/// First bytes of a record.
pub const MAGIC: [u8; 8] = *b"XGCENSUS";

/// One disk of a [`CensusRecord`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RecordedDisk {
    /// One of the `CLASS_` constants.
    pub class: u32,
    /// 1 ours, 2 emulated controller, 3 other bus, 4 unknown, 5 passed through.
    pub origin: u32,
    /// Size in 512-byte sectors; 0 where the disk was not read.
    pub sectors: u64,
    /// 0 none, 1 MBR, 2 GPT.
    pub signature_kind: u32,
    /// One of the `CONTROLLERS_` constants.
    pub controllers: u32,
    /// MBR signature in the first four bytes, or GPT disk GUID.
    pub signature: [u8; 16],
}

/// The last census.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CensusRecord {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// Bytes of the record.
    pub size: u32,
    /// Censuses taken.
    pub taken: u32,
    /// Disks on xenvbd's own list.
    pub own_list: u32,
    /// Enumerated disks that are xenvbd's.
    pub ours: u32,
    /// Enumerated disks that are a second path to a backing.
    pub alias: u32,
    /// Other enumerated disks.
    pub foreign: u32,
    /// 1 where the system had settled.
    pub settled: u32,
    /// Entries of `disks` that are filled.
    pub disk_count: u32,
    /// The disks.
    pub disks: [RecordedDisk; RECORDED],
}

const _: () = assert!(size_of::<RecordedDisk>() == 40);
const _: () = assert!(size_of::<CensusRecord>() == 40 + RECORDED * 40);

impl Default for CensusRecord {
    fn default() -> CensusRecord {
        CensusRecord::new()
    }
}

impl CensusRecord {
    /// Returns the record of no census.
    #[must_use]
    pub const fn new() -> CensusRecord {
        const NONE: RecordedDisk = RecordedDisk {
            class: 0,
            origin: 0,
            sectors: 0,
            signature_kind: 0,
            controllers: 0,
            signature: [0; 16],
        };
        CensusRecord {
            magic: MAGIC,
            size: size_of::<CensusRecord>() as u32,
            taken: 0,
            own_list: 0,
            ours: 0,
            alias: 0,
            foreign: 0,
            settled: 0,
            disk_count: 0,
            disks: [NONE; RECORDED],
        }
    }

    /// Reads a record as it was found; `None` for other bytes and for a record of another size.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<CensusRecord> {
        let record = CensusRecord::read_from_bytes(bytes).ok()?;
        (record.magic == MAGIC && record.size as usize == bytes.len()).then_some(record)
    }

    /// Keeps a census.
    pub fn keep(&mut self, counts: &Counts, settled: bool, disks: impl Iterator<Item = RecordedDisk>) {
        self.taken = self.taken.wrapping_add(1);
        (self.own_list, self.ours) = (counts.own_list, counts.ours);
        (self.alias, self.foreign) = (counts.alias, counts.foreign);
        self.settled = settled.into();
        self.disk_count = 0;
        for (entry, disk) in self.disks.iter_mut().zip(disks) {
            *entry = disk;
            self.disk_count += 1;
        }
    }

    /// Returns the disks that the record names.
    #[must_use]
    pub fn disks(&self) -> &[RecordedDisk] {
        &self.disks[..RECORDED.min(self.disk_count as usize)]
    }
}

impl RecordedDisk {
    /// [`Class::Ours`].
    pub const CLASS_OURS: u32 = 1;
    /// [`Class::Alias`].
    pub const CLASS_ALIAS: u32 = 2;
    /// [`Class::Foreign`].
    pub const CLASS_FOREIGN: u32 = 3;
    /// [`Class::Clone`].
    pub const CLASS_CLONE: u32 = 4;

    /// The controllers above the disk were not asked for.
    pub const CONTROLLERS_NOT_ASKED: u32 = 0;
    /// [`Provenance::Emulated`].
    pub const CONTROLLERS_EMULATED: u32 = 1;
    /// [`Provenance::PassedThrough`].
    pub const CONTROLLERS_PASSED_THROUGH: u32 = 2;
    /// [`Provenance::Unknown`].
    pub const CONTROLLERS_UNKNOWN: u32 = 3;

    /// Returns the entry of a disk, with its class and what the controllers above it are.
    #[must_use]
    pub fn new(disk: &Disk, class: Class, controllers: Option<Provenance>) -> RecordedDisk {
        let mut recorded = RecordedDisk {
            class: match class {
                Class::Ours => Self::CLASS_OURS,
                Class::Alias => Self::CLASS_ALIAS,
                Class::Foreign => Self::CLASS_FOREIGN,
                Class::Clone => Self::CLASS_CLONE,
            },
            origin: match disk.origin {
                Origin::Ours => 1,
                Origin::EmulatedController => 2,
                Origin::OtherBus => 3,
                Origin::Unknown => 4,
                Origin::PassedThrough => 5,
            },
            controllers: match controllers {
                None => Self::CONTROLLERS_NOT_ASKED,
                Some(Provenance::Emulated) => Self::CONTROLLERS_EMULATED,
                Some(Provenance::PassedThrough) => Self::CONTROLLERS_PASSED_THROUGH,
                Some(Provenance::Unknown) => Self::CONTROLLERS_UNKNOWN,
            },
            ..RecordedDisk::default()
        };
        if let Some(Identity { sectors, signature }) = disk.identity {
            recorded.sectors = sectors;
            match signature {
                Signature::Mbr(signature) => {
                    recorded.signature_kind = 1;
                    recorded.signature[..4].copy_from_slice(&signature.to_le_bytes());
                }
                Signature::Gpt(guid) => {
                    recorded.signature_kind = 2;
                    recorded.signature = guid;
                }
            }
        }
        recorded
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Action, BugCheck, Event};
    use crate::reason::Reason;
    use crate::record::Record;

    fn disk(origin: Origin) -> Disk {
        Disk { origin, identity: Some(Identity { sectors: 7, signature: Signature::Mbr(0x0403_0201) }) }
    }

    #[test]
    fn a_record_is_read_back() {
        let counts = Counts { own_list: 3, ours: 1, alias: 1, foreign: 31, ..Counts::default() };
        let mut record = CensusRecord::new();
        let alias =
            RecordedDisk::new(&disk(Origin::EmulatedController), Class::Alias, Some(Provenance::Emulated));
        let ours = RecordedDisk::new(&disk(Origin::Ours), Class::Ours, None);
        record.keep(&counts, true, [ours; 33].into_iter());
        record.keep(&counts, false, [ours, alias].into_iter());
        let read = CensusRecord::parse(record.as_bytes()).expect("a record");
        assert_eq!((read.taken, read.own_list, read.alias, read.settled), (2, 3, 1, 0));
        assert_eq!(read.disks(), [ours, alias]);
        assert_eq!((alias.class, alias.controllers, alias.sectors), (2, 1, 7));
        assert_eq!((&alias.signature[..5], alias.signature_kind), (&[1, 2, 3, 4, 0][..], 1));
    }

    #[test]
    fn more_disks_than_fit_are_counted_only() {
        let mut record = CensusRecord::new();
        let one = RecordedDisk::new(&disk(Origin::Unknown), Class::Foreign, Some(Provenance::Unknown));
        record.keep(&Counts::default(), false, [one; RECORDED + 1].into_iter());
        assert_eq!(record.disks().len(), RECORDED);
    }

    /// A dump may have anything in its place.
    #[test]
    fn other_bytes_are_no_record() {
        let good = CensusRecord::new();
        let bytes = good.as_bytes();
        assert_eq!(CensusRecord::parse(&bytes[..bytes.len() - 1]), None);
        assert_eq!(CensusRecord::parse(CensusRecord { size: 39, ..good }.as_bytes()), None);
        assert_eq!(CensusRecord::parse(CensusRecord { magic: *b"XGREC002", ..good }.as_bytes()), None);
        assert_eq!(CensusRecord { disk_count: u32::MAX, ..good }.disks().len(), RECORDED);
        let mut events = Record::new();
        let stop = BugCheck { reason: Reason::AliasExposed, own: 1, enumerated: 2 };
        events.add(0, Event::CensusFailed, Action::Stop(stop));
        assert_eq!(CensusRecord::parse(events.as_bytes()), None);
    }
}
