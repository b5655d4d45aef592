//! What a census leaves behind for whoever looks into a memory dump.

use guard::census::{self, Class, Counts, Identity, Origin, Signature};
use guard::provenance::Provenance;

use super::Found;

/// Most disks that a record names; more are counted only.
const RECORDED: usize = 32;

/// One disk of a [`Record`].
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct RecordedDisk {
    /// 1 ours, 2 alias, 3 foreign, 4 clone.
    class: u32,
    /// 1 ours, 2 emulated controller, 3 other bus, 4 unknown, 5 passed through.
    origin: u32,
    /// Size in 512-byte sectors; 0 where the disk was not read.
    sectors: u64,
    /// 0 none, 1 MBR, 2 GPT.
    signature_kind: u32,
    /// The controllers above it: 0 not asked for, 1 emulated, 2 passed through, 3 unknown.
    controllers: u32,
    /// MBR signature in the first four bytes, or GPT disk GUID.
    signature: [u8; 16],
}

/// The last census, for whoever looks into a memory dump: P4 of the bugcheck points here.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Record {
    /// `XGCENSUS`.
    magic: [u8; 8],
    size: u32,
    /// Censuses taken.
    taken: u32,
    own_list: u32,
    ours: u32,
    alias: u32,
    foreign: u32,
    /// 1 where the system had settled.
    settled: u32,
    /// Entries of `disks` that are filled.
    disk_count: u32,
    disks: [RecordedDisk; RECORDED],
}
const _: () = assert!(size_of::<RecordedDisk>() == 40);
const _: () = assert!(size_of::<Record>() == 40 + RECORDED * 40);

impl Record {
    /// That of no census.
    pub fn new() -> Self {
        Self {
            magic: *b"XGCENSUS",
            size: size_of::<Self>() as u32,
            taken: 0,
            own_list: 0,
            ours: 0,
            alias: 0,
            foreign: 0,
            settled: 0,
            disk_count: 0,
            disks: [RecordedDisk::default(); RECORDED],
        }
    }

    /// Own list, ours, aliases and foreign ones.
    pub const fn counts(&self) -> [u32; 4] {
        [self.own_list, self.ours, self.alias, self.foreign]
    }

    /// Keeps a census; `own` are the identities of this driver's disks.
    pub fn keep(&mut self, counts: &Counts, disks: &[Found], own: &[Identity], settled: bool) {
        self.taken = self.taken.wrapping_add(1);
        (self.own_list, self.ours) = (counts.own_list, counts.ours);
        (self.alias, self.foreign) = (counts.alias, counts.foreign);
        self.settled = settled.into();
        self.disk_count = disks.len().min(RECORDED) as u32;
        for (entry, found) in self.disks.iter_mut().zip(disks) {
            *entry = RecordedDisk::new(found, census::classify(&found.disk, own));
        }
    }
}

impl RecordedDisk {
    fn new(&Found { disk, controllers, .. }: &Found, class: Class) -> Self {
        let mut recorded = Self {
            class: match class {
                Class::Ours => 1,
                Class::Alias => 2,
                Class::Foreign => 3,
                Class::Clone => 4,
            },
            origin: match disk.origin {
                Origin::Ours => 1,
                Origin::EmulatedController => 2,
                Origin::OtherBus => 3,
                Origin::Unknown => 4,
                Origin::PassedThrough => 5,
            },
            controllers: match controllers {
                None => 0,
                Some(Provenance::Emulated) => 1,
                Some(Provenance::PassedThrough) => 2,
                Some(Provenance::Unknown) => 3,
            },
            ..Self::default()
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
