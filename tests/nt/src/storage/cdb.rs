//! Command descriptor blocks (SPC-4, SBC-3). Numbers in them are big-endian.

/// Operation codes.
pub(crate) mod operation {
    pub(crate) const TEST_UNIT_READY: u8 = 0x00;
    pub(crate) const INQUIRY: u8 = 0x12;
    pub(crate) const MODE_SENSE_6: u8 = 0x1A;
    pub(crate) const START_STOP_UNIT: u8 = 0x1B;
    pub(crate) const READ_CAPACITY_10: u8 = 0x25;
    pub(crate) const READ_10: u8 = 0x28;
    pub(crate) const WRITE_10: u8 = 0x2A;
    pub(crate) const SYNCHRONIZE_CACHE_10: u8 = 0x35;
    pub(crate) const READ_16: u8 = 0x88;
    pub(crate) const WRITE_16: u8 = 0x8A;
    /// With service action READ CAPACITY(16).
    pub(crate) const SERVICE_ACTION_IN_16: u8 = 0x9E;
    pub(crate) const REPORT_LUNS: u8 = 0xA0;
}

/// Service action READ CAPACITY(16) of [`operation::SERVICE_ACTION_IN_16`].
pub(crate) const READ_CAPACITY_16: u8 = 0x10;

/// Returns INQUIRY: standard data, or vital product data page `page`.
pub(crate) fn inquiry(page: Option<u8>, length: u16) -> [u8; 6] {
    let [high, low] = length.to_be_bytes();
    [operation::INQUIRY, u8::from(page.is_some()), page.unwrap_or(0), high, low, 0]
}

/// Returns REPORT LUNS.
pub(crate) fn report_luns(length: u32) -> [u8; 12] {
    let mut cdb = [0; 12];
    cdb[0] = operation::REPORT_LUNS;
    cdb[6..10].copy_from_slice(&length.to_be_bytes());
    cdb
}

/// Returns READ CAPACITY(10).
pub(crate) fn read_capacity_10() -> [u8; 10] {
    let mut cdb = [0; 10];
    cdb[0] = operation::READ_CAPACITY_10;
    cdb
}

/// Returns READ CAPACITY(16).
pub(crate) fn read_capacity_16(length: u32) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[0] = operation::SERVICE_ACTION_IN_16;
    cdb[1] = READ_CAPACITY_16;
    cdb[10..14].copy_from_slice(&length.to_be_bytes());
    cdb
}

/// Returns START STOP UNIT.
pub(crate) fn start_stop(start: bool) -> [u8; 6] {
    [operation::START_STOP_UNIT, 0, 0, 0, start.into(), 0]
}

/// Returns SYNCHRONIZE CACHE(10) of the whole medium.
pub(crate) fn synchronize_cache() -> [u8; 10] {
    let mut cdb = [0; 10];
    cdb[0] = operation::SYNCHRONIZE_CACHE_10;
    cdb
}

/// Returns a read or write of `blocks` blocks from `lba` on: READ(10)/WRITE(10) where they reach, else
/// READ(16)/ WRITE(16). Returns the block and its length.
pub(crate) fn transfer(write: bool, lba: u64, blocks: u32) -> ([u8; 16], usize) {
    let mut cdb = [0; 16];
    match (u32::try_from(lba), u16::try_from(blocks)) {
        (Ok(lba), Ok(blocks)) => {
            cdb[0] = if write { operation::WRITE_10 } else { operation::READ_10 };
            cdb[2..6].copy_from_slice(&lba.to_be_bytes());
            cdb[7..9].copy_from_slice(&blocks.to_be_bytes());
            (cdb, 10)
        }
        _ => {
            cdb[0] = if write { operation::WRITE_16 } else { operation::READ_16 };
            cdb[2..10].copy_from_slice(&lba.to_be_bytes());
            cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
            (cdb, 16)
        }
    }
}

/// Returns the first block and the number of blocks of a read or write command; `None` if it is none.
pub(crate) fn extent(cdb: &[u8]) -> Option<(u64, u32)> {
    match (*cdb.first()?, cdb.len()) {
        (operation::READ_10 | operation::WRITE_10, 10..) => {
            let lba = u32::from_be_bytes([cdb[2], cdb[3], cdb[4], cdb[5]]);
            Some((lba.into(), u16::from_be_bytes([cdb[7], cdb[8]]).into()))
        }
        (operation::READ_16 | operation::WRITE_16, 16..) => {
            let (mut lba, mut blocks) = ([0; 8], [0; 4]);
            lba.copy_from_slice(&cdb[2..10]);
            blocks.copy_from_slice(&cdb[10..14]);
            Some((u64::from_be_bytes(lba), u32::from_be_bytes(blocks)))
        }
        _ => None,
    }
}

/// Returns true if a command writes to the medium.
pub(crate) fn is_write(cdb: &[u8]) -> bool {
    matches!(cdb.first(), Some(&(operation::WRITE_10 | operation::WRITE_16)))
}
