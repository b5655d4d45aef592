//! Making a new, empty volume.

use crate::block::{BlockDevice, Partition, SECTOR};
use crate::file_record::{self, FileRecord};
use crate::layout::{self, FILES};
use crate::mbr::{FIRST_SECTOR, Mbr};
use crate::superblock::{LABEL, Superblock};
use crate::volume::Error;
use alloc::vec;
use zerocopy::IntoBytes;

/// Writes a partition table with `signature` and an empty volume named `label` (at most 16 bytes).
/// What the disk held in the metadata's place is overwritten; data blocks are left as they are.
///
/// # Errors
/// [`Error::NoSpace`] if the disk has not at least 2 MiB, [`Error::BadName`] for the label.
pub fn format(disk: &mut impl BlockDevice, signature: u32, label: &str) -> Result<(), Error> {
    if label.len() > LABEL || label.is_empty() {
        return Err(Error::BadName);
    }
    let mbr = Mbr::with_one_partition(signature, disk.sectors());
    let sectors = u64::from(mbr.entries[0].sectors.get());
    if sectors < layout::MIN_SECTORS {
        return Err(Error::NoSpace);
    }
    disk.write(0, mbr.as_bytes())?;
    let mut partition = Partition::new(disk, u64::from(FIRST_SECTOR), sectors);
    // Mount records and log: nothing that an older volume here could have left.
    for sector in layout::MOUNT_RECORDS..layout::FILE_RECORDS {
        partition.write(sector, &[0; SECTOR])?;
    }
    let files = vec![FileRecord::free(); FILES];
    for (index, record) in files.iter().enumerate() {
        partition.write(layout::file_record(index), &record.to_sector())?;
    }
    partition.flush()?;
    let root = file_record::root(&files);
    partition.write(layout::SUPERBLOCK, &Superblock::new(sectors, label, root).to_sector())?;
    Ok(partition.flush()?)
}
