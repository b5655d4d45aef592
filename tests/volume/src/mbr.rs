//! The partition table in a disk's first sector (UEFI specification 5.2.1, "Legacy Master Boot
//! Record").

use crate::block::{BlockDevice, IoError, Partition, SECTOR};
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// First sector of the one partition: 1 MiB, as Windows aligns it.
pub const FIRST_SECTOR: u32 = 2048;
/// Partition type of an installable file system.
pub const TYPE_IFS: u8 = 0x07;
/// Partition type of a FAT16 volume.
pub const TYPE_FAT16: u8 = 0x06;
/// Partition type of an EFI system partition (UEFI specification 5.2.2).
pub const TYPE_EFI: u8 = 0xEF;
/// The boot indicator of the active partition.
const ACTIVE: u8 = 0x80;
/// Partition type of the protective partition of a GPT disk.
pub const TYPE_GPT: u8 = 0xEE;

/// An entry of the partition table.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Entry {
    /// 0x80 if the partition is active.
    pub boot_indicator: u8,
    /// Cylinder, head and sector of the start; not used.
    pub start_chs: [u8; 3],
    /// Partition type; 0 is an unused entry.
    pub kind: u8,
    /// Cylinder, head and sector of the end; not used.
    pub end_chs: [u8; 3],
    /// First sector.
    pub first: U32,
    /// Size in sectors.
    pub sectors: U32,
}

/// The master boot record.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Mbr {
    /// Boot code; not used, but in [`Mbr::add_active`].
    pub code: [u8; 440],
    /// Disk signature: how Windows tells disks apart.
    pub signature: U32,
    /// Not used.
    pub reserved: U16,
    /// The four entries.
    pub entries: [Entry; 4],
    /// 0xAA55.
    pub magic: U16,
}

const _: () = assert!(size_of::<Entry>() == 16);
const _: () = assert!(size_of::<Mbr>() == SECTOR);

const MAGIC: u16 = 0xAA55;

impl Mbr {
    /// Returns a table with one partition from [`FIRST_SECTOR`] to the disk's end.
    pub fn with_one_partition(signature: u32, disk_sectors: u64) -> Self {
        let sectors = u32::try_from(disk_sectors).unwrap_or(u32::MAX).saturating_sub(FIRST_SECTOR);
        let mut mbr = Self::new_zeroed();
        mbr.signature = signature.into();
        mbr.magic = MAGIC.into();
        mbr.entries[0].kind = TYPE_IFS;
        mbr.entries[0].first = FIRST_SECTOR.into();
        mbr.entries[0].sectors = sectors.into();
        mbr
    }

    /// Adds an active partition as the second one, and boot code; `None` where there is no room.
    pub fn add_active(&mut self, kind: u8, first: u64, sectors: u64, code: &[u8]) -> Option<()> {
        self.code.get_mut(..code.len())?.copy_from_slice(code);
        let entry = self.entries.get_mut(1).filter(|entry| entry.kind == 0)?;
        *entry = Entry {
            boot_indicator: ACTIVE,
            kind,
            first: u32::try_from(first).ok()?.into(),
            sectors: u32::try_from(sectors).ok()?.into(),
            ..Entry::new_zeroed()
        };
        Some(())
    }

    /// Returns the table of `disk`; `None` where there is none.
    pub fn read(disk: &(impl BlockDevice + ?Sized)) -> Result<Option<Self>, IoError> {
        let sector = disk.read_sector(0)?;
        Ok(Self::read_from_bytes(&sector).ok().filter(Self::is_valid))
    }

    /// Returns true if the sector is a partition table at all.
    pub fn is_valid(&self) -> bool {
        self.magic == MAGIC
    }

    /// Returns the partitions of the table that lie on a disk of `disk_sectors`: first sector and size. The
    /// protective entry of a GPT disk is none.
    pub fn partitions(&self, disk_sectors: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.entries
            .iter()
            .filter(|e| e.kind != 0 && e.kind != TYPE_GPT && e.sectors != 0)
            .map(|e| (u64::from(e.first.get()), u64::from(e.sectors.get())))
            .filter(move |(first, sectors)| first + sectors <= disk_sectors)
    }

    /// Returns the first partition of `disk` as a device of its own.
    pub fn first_partition<D: BlockDevice>(disk: D) -> Result<Option<Partition<D>>, IoError> {
        let found = Self::read(&disk)?.and_then(|mbr| mbr.partitions(disk.sectors()).next());
        Ok(found.map(|(first, sectors)| Partition::new(disk, first, sectors)))
    }
}
