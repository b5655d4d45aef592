//! What a backend says of its disk.

use super::{Error, SECTOR_SIZE};
use crate::store::{self, Store, path::PathBuf};
use crate::wire::blkif::{INFO_CDROM, INFO_READ_ONLY, INFO_REMOVABLE};

/// How the backend makes earlier writes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushMethod {
    /// `feature-flush-cache`: FLUSH_DISKCACHE.
    Flush,
    /// `feature-barrier` alone: an empty WRITE_BARRIER.
    Barrier,
    /// Neither. The protocol then has no request that would make data durable, and does not say whether a write is when it
    /// completes (blkback offers no flush where its device has no volatile cache; others may simply not know how). The
    /// frontend refuses a flush; it never pretends one.
    None,
}

/// A disk, from the backend's nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Size in sectors of 512 bytes (`sectors`, which counts so whatever `sector-size` says).
    pub sectors: u64,
    /// Bytes of a logical block (`sector-size`), 512 to 4096; first sector and length of every request are multiples.
    pub sector_size: u32,
    /// Bytes of a physical block (`physical-sector-size`).
    pub physical_sector_size: u32,
    /// A CD-ROM (`info`).
    pub cdrom: bool,
    /// Removable (`info`).
    pub removable: bool,
    /// Read-only (`info`).
    pub read_only: bool,
    /// How to flush.
    pub flush: FlushMethod,
}

impl Disk {
    /// Reads the backend's nodes below `backend`. *Passive*.
    ///
    /// # Errors
    /// [`Error::Store`]; [`Error::Node`] where a value is out of bounds.
    pub fn read(store: &mut impl Store, backend: &PathBuf) -> Result<Self, Error> {
        let mut number = |node: &'static str| {
            let path = backend.join(node).map_err(|error| Error::Store { node, error })?;
            store::read_optional(store, &path).map_err(|error| Error::Store { node, error })
        };
        let missing = |node| Error::Store { node, error: store::Error::Refused(store::Errno::NoEntry) };

        let sectors = number("sectors")?.ok_or(missing("sectors"))?;
        // Bytes of the disk fit 64 bits.
        if sectors > u64::MAX / u64::from(SECTOR_SIZE) {
            return Err(Error::Node { node: "sectors", found: sectors });
        }
        let sector_size = number("sector-size")?.unwrap_or(SECTOR_SIZE.into());
        if !matches!(sector_size, 512 | 1024 | 2048 | 4096) {
            return Err(Error::Node { node: "sector-size", found: sector_size });
        }
        if !sectors.is_multiple_of(sector_size / u64::from(SECTOR_SIZE)) {
            return Err(Error::Node { node: "sectors", found: sectors });
        }
        let physical = number("physical-sector-size")?.unwrap_or(sector_size);
        if !physical.is_power_of_two() || physical < sector_size || physical > 1 << 30 {
            return Err(Error::Node { node: "physical-sector-size", found: physical });
        }
        let info = number("info")?.ok_or(missing("info"))?;
        let has = |bit: u32| info & u64::from(bit) != 0;
        let flush = if number("feature-flush-cache")?.unwrap_or(0) != 0 {
            FlushMethod::Flush
        } else if number("feature-barrier")?.unwrap_or(0) != 0 {
            FlushMethod::Barrier
        } else {
            FlushMethod::None
        };
        Ok(Self {
            sectors,
            sector_size: sector_size as u32,
            physical_sector_size: physical as u32,
            cdrom: has(INFO_CDROM),
            removable: has(INFO_REMOVABLE),
            read_only: has(INFO_READ_ONLY),
            flush,
        })
    }

    /// Whether a run of sectors is on the disk and made of whole logical blocks.
    ///
    /// # Errors
    /// [`Error::Range`], [`Error::Block`].
    pub fn check(&self, sector: u64, count: u64) -> Result<(), Error> {
        if sector.checked_add(count).is_none_or(|end| end > self.sectors) {
            return Err(Error::Range { sector, count, sectors: self.sectors });
        }
        let block = u64::from(self.sector_size / SECTOR_SIZE);
        if !sector.is_multiple_of(block) || !count.is_multiple_of(block) {
            return Err(Error::Block { sector, count, block: self.sector_size });
        }
        Ok(())
    }
}
