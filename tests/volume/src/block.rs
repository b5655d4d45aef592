//! Block devices: what the volume is written on.

use core::fmt;

/// Bytes in a sector, the unit of every address and transfer here.
pub const SECTOR: usize = 512;

/// One sector's bytes.
pub type Sector = [u8; SECTOR];

/// A transfer the device did not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoError {
    /// First sector of the transfer (0 for a flush).
    pub sector: u64,
    /// The device's error: an `NTSTATUS` in the guest, an errno on the host.
    pub code: i32,
}

impl fmt::Display for IoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "I/O error {:#x} at sector {}", self.code, self.sector)
    }
}

/// A device of 512-byte sectors. A sector is written whole or not at all; what was written before
/// a [`flush`](Self::flush) survives a crash after it, what was written since may or may not.
pub trait BlockDevice {
    /// Returns the size in sectors.
    fn sectors(&self) -> u64;
    /// Reads `buffer.len() / 512` sectors from `sector` on.
    fn read(&self, sector: u64, buffer: &mut [u8]) -> Result<(), IoError>;
    /// Writes `buffer.len() / 512` sectors from `sector` on.
    fn write(&mut self, sector: u64, buffer: &[u8]) -> Result<(), IoError>;
    /// Makes everything written so far durable.
    fn flush(&mut self) -> Result<(), IoError>;

    /// Reads one sector.
    fn read_sector(&self, sector: u64) -> Result<Sector, IoError> {
        let mut buffer = [0; SECTOR];
        self.read(sector, &mut buffer)?;
        Ok(buffer)
    }
}

/// The sectors of a disk that one partition covers, as a device of its own.
#[derive(Debug)]
pub struct Partition<D> {
    disk: D,
    first: u64,
    sectors: u64,
}

impl<D: BlockDevice> Partition<D> {
    /// Returns the partition of `sectors` sectors from `first` on.
    pub fn new(disk: D, first: u64, sectors: u64) -> Self {
        Self { disk, first, sectors }
    }

    /// Returns the disk's sector for sector `sector` of the partition, if the transfer lies inside.
    fn translate(&self, sector: u64, bytes: usize) -> Result<u64, IoError> {
        /// Outside the partition (`EINVAL`).
        const OUTSIDE: i32 = 22;
        match sector.checked_add((bytes / SECTOR) as u64) {
            Some(end) if end <= self.sectors => Ok(self.first + sector),
            _ => Err(IoError { sector, code: OUTSIDE }),
        }
    }
}

impl<D: BlockDevice> BlockDevice for Partition<D> {
    fn sectors(&self) -> u64 {
        self.sectors
    }
    fn read(&self, sector: u64, buffer: &mut [u8]) -> Result<(), IoError> {
        self.disk.read(self.translate(sector, buffer.len())?, buffer)
    }
    fn write(&mut self, sector: u64, buffer: &[u8]) -> Result<(), IoError> {
        self.disk.write(self.translate(sector, buffer.len())?, buffer)
    }
    fn flush(&mut self) -> Result<(), IoError> {
        self.disk.flush()
    }
}

impl<D: BlockDevice + ?Sized> BlockDevice for &mut D {
    fn sectors(&self) -> u64 {
        (**self).sectors()
    }
    fn read(&self, sector: u64, buffer: &mut [u8]) -> Result<(), IoError> {
        (**self).read(sector, buffer)
    }
    fn write(&mut self, sector: u64, buffer: &[u8]) -> Result<(), IoError> {
        (**self).write(sector, buffer)
    }
    fn flush(&mut self) -> Result<(), IoError> {
        (**self).flush()
    }
}
