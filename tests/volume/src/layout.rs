//! Places in the partition. Sectors count from the partition's start.

use crate::block::SECTOR;

/// The superblock's sector.
pub const SUPERBLOCK: u64 = 0;
/// First mount record.
pub const MOUNT_RECORDS: u64 = 1;
/// Number of mount records; generation `g` uses number `g % MOUNTS`.
pub const MOUNTS: u64 = 32;
/// First sector of the log.
pub const LOG: u64 = MOUNT_RECORDS + MOUNTS;
/// Log records the log holds, each [`LOG_RECORD_SECTORS`] long.
pub const LOG_RECORDS: u64 = 32;
/// Sectors of a log record: header and the file record's image.
pub const LOG_RECORD_SECTORS: u64 = 2;
/// First file record.
pub const FILE_RECORDS: u64 = LOG + LOG_RECORDS * LOG_RECORD_SECTORS;
/// Number of file records.
pub const FILES: usize = 32;
/// First sector of data block 0.
pub const DATA: u64 = (FILE_RECORDS + FILES as u64).next_multiple_of(BLOCK_SECTORS);
/// Bytes in a data block.
pub const BLOCK: usize = 4096;
/// Sectors in a data block.
pub const BLOCK_SECTORS: u64 = (BLOCK / SECTOR) as u64;
/// Smallest partition that can be formatted, in sectors (1 MiB).
pub const MIN_SECTORS: u64 = 2048;

/// Returns the sector of mount record `generation`.
pub const fn mount_record(generation: u64) -> u64 {
    MOUNT_RECORDS + generation % MOUNTS
}

/// Returns the first sector of the log record in `slot`.
pub const fn log_record(slot: u64) -> u64 {
    LOG + slot * LOG_RECORD_SECTORS
}

/// Returns the sector of file record `index`.
pub const fn file_record(index: usize) -> u64 {
    FILE_RECORDS + index as u64
}

/// Returns the first sector of data block `block`.
pub const fn data_block(block: u32) -> u64 {
    DATA + block as u64 * BLOCK_SECTORS
}

/// Returns the number of data blocks in a partition of `sectors` sectors.
pub const fn data_blocks(sectors: u64) -> u32 {
    let blocks = sectors.saturating_sub(DATA) / BLOCK_SECTORS;
    if blocks > u32::MAX as u64 { u32::MAX } else { blocks as u32 }
}
