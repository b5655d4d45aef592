//! A CD-ROM drive (MMC-5): the commands that a class driver sends to one, on a medium of one data track.
//!
//! Unlike a [`crate::Lun`] a [`Drive`] keeps state, in atomics: whether its medium is in, whether it is
//! locked, what changed since it was last asked. Whoever has it may look at it from several processors at
//! once.

mod configuration;
mod event;
mod mode;
mod toc;

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use zerocopy::byteorder::big_endian::{U16, U32};
use zerocopy::{Immutable, IntoBytes, Unaligned};

use crate::cdb::{Command, opcode as block};
use crate::lun::{Action, BlockSize, Extent, Outcome};
use crate::reply::Reply;
use crate::sense::Sense;
use crate::serial_number::SerialNumber;
use crate::{inquiry, report_luns};
use event::Events;

/// Operation codes of MMC-5 (table 243).
#[expect(missing_docs, reason = "each is the standard's name of a command")]
pub mod opcode {
    pub const PREVENT_ALLOW_MEDIUM_REMOVAL: u8 = 0x1E;
    pub const WRITE_AND_VERIFY_10: u8 = 0x2E;
    pub const READ_TOC_PMA_ATIP: u8 = 0x43;
    pub const GET_CONFIGURATION: u8 = 0x46;
    pub const GET_EVENT_STATUS_NOTIFICATION: u8 = 0x4A;
    pub const READ_DISC_INFORMATION: u8 = 0x51;
    pub const MECHANISM_STATUS: u8 = 0xBD;
    pub const READ_CD: u8 = 0xBE;
}

/// Bytes of a block of a data track.
pub const BLOCK: BlockSize = BlockSize::B2048;

/// Blocks of a CD of 80 minutes, 75 to a second. A larger medium is a DVD's.
const LONGEST_CD: u32 = 80 * 60 * 75;

/// A drive with one tray.
#[derive(Debug)]
pub struct Drive {
    /// Size of the medium that there is, in sectors of 512 bytes; 0 where there is none.
    medium: AtomicU64,
    /// The initiator has put it out.
    ejected: AtomicBool,
    /// The initiator has locked it in.
    locked: AtomicBool,
    /// The medium may have changed, and the initiator has not been told.
    attention: AtomicBool,
    events: Events,
    serial: SerialNumber,
}

impl Drive {
    /// Returns a drive with a medium of so many sectors of 512 bytes in it; 0 for none.
    pub fn new(sectors: u64, serial: SerialNumber) -> Self {
        let drive = Self {
            medium: AtomicU64::new(sectors),
            ejected: AtomicBool::new(false),
            locked: AtomicBool::new(false),
            attention: AtomicBool::new(false),
            events: Events::new(),
            serial,
        };
        if drive.blocks() > 0 {
            drive.events.arrived();
        }
        drive
    }

    /// Sets the medium to one of so many sectors; 0 for none. One of the same size is the same unless
    /// `changed` says otherwise. A medium that comes is loaded, and one that goes is gone, whatever the
    /// initiator has locked.
    pub fn set_medium(&self, sectors: u64, changed: bool) {
        let before = self.medium.swap(sectors, Ordering::AcqRel);
        if before == sectors && !changed {
            return;
        }
        self.ejected.store(false, Ordering::Release);
        if self.blocks() > 0 {
            self.arrived();
        } else if before > 0 {
            self.removed();
        }
    }

    /// Returns true if the initiator has put the medium out.
    pub fn is_ejected(&self) -> bool {
        self.ejected.load(Ordering::Acquire)
    }

    /// Blocks of the medium that is in; 0 for none. More than 32 bits of them are out of reach.
    fn blocks(&self) -> u32 {
        if self.is_ejected() {
            return 0;
        }
        let blocks = self.medium.load(Ordering::Acquire) / u64::from(BLOCK.sectors());
        u32::try_from(blocks).unwrap_or(u32::MAX)
    }

    fn arrived(&self) {
        self.attention.store(true, Ordering::Release);
        self.events.arrived();
    }

    fn removed(&self) {
        self.attention.store(false, Ordering::Release);
        self.events.removed();
    }

    /// Blocks of the medium.
    fn ready(&self) -> Result<u32, Sense> {
        match self.blocks() {
            0 if self.is_ejected() => Err(Sense::NO_MEDIUM_TRAY_OPEN),
            0 => Err(Sense::NO_MEDIUM),
            blocks => Ok(blocks),
        }
    }

    /// Says what the command in `cdb` comes to.
    pub fn execute(&self, cdb: &[u8]) -> Outcome {
        if hears_attention(cdb) && self.attention.swap(false, Ordering::AcqRel) {
            return Outcome::Refused(Sense::MEDIUM_CHANGED);
        }
        self.run(cdb).unwrap_or_else(Outcome::Refused)
    }

    fn run(&self, cdb: &[u8]) -> Result<Outcome, Sense> {
        let &code = cdb.first().ok_or(Sense::INVALID_OPCODE)?;
        let done = Outcome::Good(Reply::EMPTY);
        let good = |reply: Reply, allocation: u16| Ok(Outcome::Good(reply.cut(allocation.into())));
        match code {
            block::TEST_UNIT_READY
            | block::REQUEST_SENSE
            | block::INQUIRY
            | block::READ_CAPACITY_10
            | block::REPORT_LUNS
            | block::READ_10
            | block::READ_12
            | block::MODE_SENSE_6
            | block::MODE_SENSE_10 => self.primary(Command::parse(cdb)?),
            block::START_STOP_UNIT => {
                let cdb: &[u8; 6] = fixed(cdb)?;
                self.start_stop(cdb[4])?;
                Ok(done)
            }
            opcode::PREVENT_ALLOW_MEDIUM_REMOVAL => {
                let cdb: &[u8; 6] = fixed(cdb)?;
                // Persistent prevention is not offered.
                refuse_if(cdb[4] & 0x02 != 0, 4)?;
                self.locked.store(cdb[4] & 0x01 != 0, Ordering::Release);
                Ok(done)
            }
            opcode::READ_TOC_PMA_ATIP => {
                let cdb: &[u8; 10] = fixed(cdb)?;
                good(toc::read(cdb, self.ready()?)?, word(cdb, 7))
            }
            opcode::GET_CONFIGURATION => {
                let cdb: &[u8; 10] = fixed(cdb)?;
                good(configuration::read(cdb, self.blocks())?, word(cdb, 7))
            }
            opcode::GET_EVENT_STATUS_NOTIFICATION => {
                let cdb: &[u8; 10] = fixed(cdb)?;
                // Asynchronous operation is not offered.
                refuse_if(cdb[1] & 0x01 == 0, 1)?;
                good(self.events.read(cdb[4], self.blocks() > 0, self.is_ejected()), word(cdb, 7))
            }
            opcode::READ_DISC_INFORMATION => {
                let cdb: &[u8; 10] = fixed(cdb)?;
                refuse_if(cdb[1] & 0x07 != 0, 1)?;
                self.ready()?;
                good(Reply::of(&DiscInformation::ONE_TRACK), word(cdb, 7))
            }
            opcode::MECHANISM_STATUS => {
                let cdb: &[u8; 12] = fixed(cdb)?;
                let door: u8 = if self.is_ejected() { 0x10 } else { 0 };
                good(Reply::of(&[0, door, 0, 0, 0, 0, 0, 0]), word(cdb, 8))
            }
            opcode::READ_CD => {
                let cdb: &[u8; 12] = fixed(cdb)?;
                let [_, kind, a, b, c, d, high, middle, low, fields, channels, _] = *cdb;
                // Any type of sector, or mode 1; no relative address.
                refuse_if(kind & 0x02 != 0 || !matches!(kind >> 2 & 0x07, 0 | 2), 1)?;
                refuse_if(!matches!(fields, 0x00 | 0x10), 9)?;
                refuse_if(channels & 0x07 != 0, 10)?;
                let blocks = u32::from_be_bytes([0, high, middle, low]);
                // Without any field it is a seek.
                let blocks = if fields == 0 { 0 } else { blocks };
                self.read(u32::from_be_bytes([a, b, c, d]).into(), blocks)
            }
            block::WRITE_6
            | block::WRITE_10
            | block::WRITE_12
            | block::WRITE_16
            | opcode::WRITE_AND_VERIFY_10 => Err(Sense::WRITE_PROTECTED),
            _ => Err(Sense::INVALID_OPCODE),
        }
    }

    /// Executes the commands that a disk has, too.
    fn primary(&self, command: Command) -> Result<Outcome, Sense> {
        let good = |reply: Reply, allocation: usize| Ok(Outcome::Good(reply.cut(allocation)));
        match command {
            Command::TestUnitReady => self.ready().map(|_| Outcome::Good(Reply::EMPTY)),
            Command::RequestSense { allocation } => good(Reply::of(&Sense::NONE.fixed()), allocation.into()),
            Command::Inquiry { page, allocation } => {
                let reply = match page {
                    None => inquiry::standard_of_cdrom(),
                    Some(page) => {
                        inquiry::page_of_cdrom(page, &self.serial).ok_or(Sense::invalid_field(2))?
                    }
                };
                good(reply, allocation.into())
            }
            Command::ModeSense { request, allocation } => good(mode::sense(&request)?, allocation.into()),
            Command::ReadCapacity10 => {
                let last = self.ready()? - 1;
                Ok(Outcome::Good(Reply::of(&[U32::new(last), U32::new(BLOCK.bytes())])))
            }
            Command::ReportLuns { well_known_only, allocation } => {
                refuse_if(allocation < 16, 6)?;
                good(report_luns::list(well_known_only), allocation as usize)
            }
            Command::Read { lba, blocks } => self.read(lba, blocks),
            // None of the operation codes that come here.
            _ => Err(Sense::INVALID_OPCODE),
        }
    }

    fn read(&self, lba: u64, blocks: u32) -> Result<Outcome, Sense> {
        let there = u64::from(self.ready()?);
        let end = lba.checked_add(blocks.into());
        if lba >= there || end.is_none_or(|end| end > there) {
            return Err(Sense::OUT_OF_RANGE.at_block(lba));
        }
        let per_block = u64::from(BLOCK.sectors());
        let extent = Extent { sector: lba * per_block, sectors: u64::from(blocks) * per_block };
        Ok(if blocks == 0 { Outcome::Good(Reply::EMPTY) } else { Outcome::Act(Action::Read { extent }) })
    }

    /// Takes the medium in again that the initiator has put out.
    fn load(&self) {
        if self.ejected.swap(false, Ordering::AcqRel) && self.blocks() > 0 {
            self.arrived();
        }
    }

    /// Does what byte 4 of START STOP UNIT asks for (MMC-5 6.42).
    fn start_stop(&self, flags: u8) -> Result<(), Sense> {
        // Power conditions, and layers to jump between.
        refuse_if(flags & 0xF4 != 0, 4)?;
        match flags & 0x03 {
            // LOEJ alone: eject.
            0x02 => {
                if self.locked.load(Ordering::Acquire) {
                    return Err(Sense::REMOVAL_PREVENTED);
                }
                let had = self.blocks() > 0;
                self.ejected.store(true, Ordering::Release);
                if had {
                    self.removed();
                }
            }
            // LOEJ and START: load.
            0x03 => self.load(),
            // START: make ready.
            0x01 => _ = self.ready()?,
            _ => {}
        }
        Ok(())
    }
}

/// Returns true if a command is told of a changed medium instead of being carried out (MMC-5 4.1.6.1).
fn hears_attention(cdb: &[u8]) -> bool {
    let excepted = [opcode::GET_CONFIGURATION, opcode::GET_EVENT_STATUS_NOTIFICATION];
    crate::hears_attention(cdb) && cdb.first().is_none_or(|code| !excepted.contains(code))
}

/// READ DISC INFORMATION (MMC-5 6.25): standard disc information.
#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct DiscInformation {
    length: U16,
    /// Disc complete, last session complete.
    status: u8,
    first_track: u8,
    sessions: u8,
    first_track_of_last_session: u8,
    last_track_of_last_session: u8,
    /// Nothing of what follows is valid.
    validity: u8,
    rest: [u8; 26],
}
const _: () = assert!(size_of::<DiscInformation>() == 34);

impl DiscInformation {
    const ONE_TRACK: Self = Self {
        length: U16::new(32),
        status: 0x0E,
        first_track: 1,
        sessions: 1,
        first_track_of_last_session: 1,
        last_track_of_last_session: 1,
        validity: 0,
        rest: [0; 26],
    };
}

/// Returns the command's bytes, if there are enough and its control byte asks for nothing.
fn fixed<const N: usize>(cdb: &[u8]) -> Result<&[u8; N], Sense> {
    let cdb = cdb.first_chunk::<N>().ok_or(Sense::invalid_field(cdb.len() as u16))?;
    refuse_if(cdb[N - 1] & 0x05 != 0, N as u16 - 1)?;
    Ok(cdb)
}

fn word(cdb: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([cdb[at], cdb[at + 1]])
}

fn refuse_if(condition: bool, field: u16) -> Result<(), Sense> {
    if condition { Err(Sense::invalid_field(field)) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
