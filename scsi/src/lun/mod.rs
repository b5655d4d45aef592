//! One logical unit: what each command comes to.

use crate::cdb::{Command, opcode};
use crate::reply::Reply;
use crate::sense::Sense;
use crate::serial_number::SerialNumber;
use crate::unmap::Discard;
use crate::{SECTOR, capacity, inquiry, mode, report_luns};

/// Size of a logical block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockSize(u32);

impl BlockSize {
    /// 512 bytes.
    pub const B512: Self = Self(512);
    /// 2048 bytes, a CD-ROM's.
    pub const B2048: Self = Self(2048);
    /// 4096 bytes.
    pub const B4096: Self = Self(4096);

    /// Returns the block size of this many bytes: a power of two from 512 to 4096.
    pub const fn new(bytes: u32) -> Option<Self> {
        match bytes {
            512 | 1024 | 2048 | 4096 => Some(Self(bytes)),
            _ => None,
        }
    }

    /// Returns the size in bytes.
    pub const fn bytes(self) -> u32 {
        self.0
    }

    /// Returns the size in sectors of 512 bytes.
    pub const fn sectors(self) -> u32 {
        self.0 / SECTOR
    }
}

/// The disk's promise for a completed write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// A flush, or a write with FUA, puts data on the medium. The write cache is reported as enabled.
    Volatile,
    /// There is no way to flush. The write cache is reported as disabled, so that initiators do not count on
    /// one, and a command that asks for a flush is refused instead of being answered without one.
    NoFlush,
    /// There was a volatile cache, and initiators may still ask for flushes: the backend of now has no way to
    /// flush, or has refused one. The write cache is reported as disabled, and a flush is answered at once.
    Gone,
}

/// The disk's properties at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lun {
    /// Size in sectors of 512 bytes, whatever `block_size` is.
    pub sectors: u64,
    /// Logical block size, the unit of the CDBs' addresses.
    pub block_size: BlockSize,
    /// Physical block size in bytes; a power of two, or it is taken for `block_size`.
    pub physical_block_size: u32,
    /// Writes are refused.
    pub read_only: bool,
    /// The medium may be taken out.
    pub removable: bool,
    /// Blocks can be given up (UNMAP), and how.
    pub discard: Option<Discard>,
    /// Most bytes of one command's data, for the initiator to know.
    pub maximum_transfer: u32,
    /// The promise that a flush is for.
    pub cache: Cache,
    /// Serial number and designator.
    pub serial: SerialNumber,
}

/// A stretch of the medium, inside the disk, in sectors of 512 bytes and whole blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First sector.
    pub sector: u64,
    /// Number of sectors, never zero.
    pub sectors: u64,
}

impl Extent {
    /// Returns the length in bytes.
    pub const fn bytes(&self) -> u64 {
        self.sectors * SECTOR as u64
    }
}

/// Work on the medium that a command asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read into the command's buffer.
    Read {
        /// Stretch of the medium.
        extent: Extent,
    },
    /// Write the command's buffer.
    Write {
        /// Stretch of the medium.
        extent: Extent,
        /// Flush after it, before the command completes.
        flush_after: bool,
    },
    /// Read and throw away: the blocks must be readable.
    Verify {
        /// Stretch of the medium.
        extent: Extent,
    },
    /// Put everything that completed before on the medium.
    Flush,
    /// Give up what the command's parameter list names: see [`Lun::check_unmap`] and
    /// [`crate::unmap::extent`].
    Unmap {
        /// Bytes of the list, at the start of the command's buffer.
        bytes: u16,
        /// The unit of its numbers.
        block_size: BlockSize,
    },
}

/// The outcome of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// GOOD status with this data, perhaps none.
    Good(Reply),
    /// CHECK CONDITION with this sense data.
    Refused(Sense),
    /// Not known yet: do this, then answer.
    Act(Action),
}

impl From<Result<Reply, Sense>> for Outcome {
    fn from(result: Result<Reply, Sense>) -> Self {
        match result {
            Ok(reply) => Self::Good(reply),
            Err(sense) => Self::Refused(sense),
        }
    }
}

impl Lun {
    /// Returns the number of whole logical blocks. A backend's odd sectors past the last whole block are out
    /// of reach.
    pub const fn blocks(&self) -> u64 {
        self.sectors / self.block_size.sectors() as u64
    }

    /// Address of the last block; 0 for an empty disk, which the driver does not expose.
    pub(crate) const fn last_block(&self) -> u64 {
        self.blocks().saturating_sub(1)
    }

    /// Returns the power of two of logical blocks in a physical one, 0 to 15.
    pub(crate) fn physical_exponent(&self) -> u8 {
        let logical = self.block_size.bytes();
        if self.physical_block_size.is_power_of_two() && self.physical_block_size > logical {
            (self.physical_block_size.trailing_zeros() - logical.trailing_zeros()).min(15) as u8
        } else {
            0
        }
    }

    /// Says what the command in `cdb` comes to.
    pub fn execute(&self, cdb: &[u8]) -> Outcome {
        match Command::parse(cdb) {
            Ok(command) => self.run(command).unwrap_or_else(Outcome::Refused),
            Err(sense) => Outcome::Refused(sense),
        }
    }

    fn run(&self, command: Command) -> Result<Outcome, Sense> {
        let done = Outcome::Good(Reply::EMPTY);
        Ok(match command {
            Command::TestUnitReady => done,
            Command::RequestSense { allocation } => {
                Outcome::Good(Reply::of(&Sense::NONE.fixed()).cut(allocation.into()))
            }
            Command::Inquiry { page: None, allocation } => {
                Outcome::Good(inquiry::standard(self).cut(allocation.into()))
            }
            Command::Inquiry { page: Some(page), allocation } => {
                Outcome::Good(inquiry::page(page, self).cut(allocation.into()))
            }
            Command::ModeSense { request, allocation } => {
                Outcome::Good(mode::sense(self, &request)?.cut(allocation.into()))
            }
            Command::ReadCapacity10 => Outcome::Good(capacity::ten(self)),
            Command::ReadCapacity16 { allocation } => {
                Outcome::Good(capacity::sixteen(self).cut(length(allocation)))
            }
            Command::ReportLuns { well_known_only, allocation } => {
                // SPC-3 6.21: an allocation length under 16 is an error here, unlike anywhere else.
                if allocation < 16 {
                    return Err(Sense::invalid_field(6));
                }
                Outcome::Good(report_luns::list(well_known_only).cut(length(allocation)))
            }
            // Stopping empties the cache first (SBC-2 5.17).
            Command::StartStop { start } => {
                if start || self.cache != Cache::Volatile || self.read_only {
                    done
                } else {
                    Outcome::Act(Action::Flush)
                }
            }
            Command::Unmap { length } => {
                if self.discard.is_none() {
                    return Err(Sense::INVALID_OPCODE);
                }
                if self.read_only {
                    return Err(Sense::WRITE_PROTECTED);
                }
                let action = Action::Unmap { bytes: length, block_size: self.block_size };
                if length == 0 { done } else { Outcome::Act(action) }
            }
            Command::SynchronizeCache { lba, blocks } => {
                self.range(lba, blocks.into())?;
                self.flush()
            }
            Command::Read { lba, blocks } => {
                self.extent(lba, blocks)?.map_or(done, |extent| Outcome::Act(Action::Read { extent }))
            }
            Command::Verify { lba, blocks } => {
                self.extent(lba, blocks)?.map_or(done, |extent| Outcome::Act(Action::Verify { extent }))
            }
            Command::Write { lba, blocks, fua } => {
                if self.read_only {
                    return Err(Sense::WRITE_PROTECTED);
                }
                if fua && self.cache == Cache::NoFlush {
                    return Err(Sense::invalid_field(1));
                }
                let flush_after = fua && self.cache == Cache::Volatile;
                self.extent(lba, blocks)?
                    .map_or(done, |extent| Outcome::Act(Action::Write { extent, flush_after }))
            }
        })
    }

    /// Returns the outcome of a command to a logical unit number other than 0 (SPC-3 6.4.1, 6.21, 6.27; SAM-3
    /// 5.9.4).
    pub fn execute_elsewhere(cdb: &[u8]) -> Outcome {
        match Command::parse(cdb) {
            Ok(Command::Inquiry { page: None, allocation }) => {
                Outcome::Good(inquiry::no_unit().cut(allocation.into()))
            }
            Ok(Command::RequestSense { allocation }) => {
                Outcome::Good(Reply::of(&Sense::NO_SUCH_UNIT.fixed()).cut(allocation.into()))
            }
            Err(sense) if cdb.first() == Some(&opcode::INQUIRY) => Outcome::Refused(sense),
            _ => Outcome::Refused(Sense::NO_SUCH_UNIT),
        }
    }

    /// Returns the outcome of a request to empty the cache.
    pub const fn flush(&self) -> Outcome {
        match self.cache {
            // Nothing was written that it could be for, and backends refuse it.
            _ if self.read_only => Outcome::Good(Reply::EMPTY),
            Cache::Volatile => Outcome::Act(Action::Flush),
            Cache::NoFlush => Outcome::Refused(Sense::INVALID_OPCODE),
            Cache::Gone => Outcome::Good(Reply::EMPTY),
        }
    }

    fn range(&self, lba: u64, blocks: u64) -> Result<(), Sense> {
        // An address equal to the number of blocks is out of range even for a length of zero (SBC-2 4.1).
        match lba.checked_add(blocks) {
            Some(end) if end <= self.blocks() && lba < self.blocks() => Ok(()),
            _ => Err(Sense::OUT_OF_RANGE.at_block(lba)),
        }
    }

    fn extent(&self, lba: u64, blocks: u32) -> Result<Option<Extent>, Sense> {
        self.range(lba, blocks.into())?;
        let per_block = u64::from(self.block_size.sectors());
        // In range, so neither product passes `self.sectors`.
        let extent = Extent { sector: lba * per_block, sectors: u64::from(blocks) * per_block };
        Ok((blocks != 0).then_some(extent))
    }
}

fn length(allocation: u32) -> usize {
    usize::try_from(allocation).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
