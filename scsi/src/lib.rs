//! The SCSI command set of one disk, as pure functions.
//!
//! A [`Lun`] describes the disk. [`Lun::execute`] takes one command descriptor block (CDB) and says what it
//! comes to: data and GOOD status at once, sense data, or an [`Action`] on the medium that the caller carries
//! out. Nothing here does I/O or allocates, and but for a CD-ROM drive's tray ([`cdrom::Drive`]) nothing
//! keeps state, so the whole command set runs on any host.
//!
//! A neighbour of the command set lives here for the same reason: [`partition_table`] reads what identifies a
//! disk's content.
//!
//! Every structure of the wire is a zerocopy type with its size asserted beside it. Sources are T10's SPC-3
//! (primary commands) and SBC-2 (block commands); the section is named where a value comes from one.
//!
//! ```
//! use scsi::{Action, BlockSize, Cache, SerialNumber, Lun, Outcome};
//!
//! let lun = Lun {
//!     sectors: 2048,
//!     block_size: BlockSize::B512,
//!     physical_block_size: 4096,
//!     read_only: false,
//!     removable: false,
//!     discard: None,
//!     maximum_transfer: 4 << 20,
//!     cache: Cache::Volatile,
//!     serial: SerialNumber::local(768),
//! };
//! // READ(10) of one block at 5.
//! let cdb = [0x28, 0, 0, 0, 0, 5, 0, 0, 1, 0];
//! assert_eq!(lun.execute(&cdb), Outcome::Act(Action::Read { extent: scsi::Extent { sector: 5, sectors: 1 } }));
//! ```
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod capacity;
mod cdb;
pub mod cdrom;
mod inquiry;
mod lun;
pub mod mode;
pub mod partition_table;
mod reply;
mod report_luns;
mod sense;
mod serial_number;
pub mod unmap;

pub use cdb::{Command, SupportedPage, opcode};
pub use lun::{Action, BlockSize, Cache, Extent, Lun, Outcome};
pub use reply::{CAPACITY as REPLY_CAPACITY, Reply};
pub use sense::{FixedSense, Sense, SenseKey};
pub use serial_number::SerialNumber;
pub use unmap::Discard;

/// Returns true if a unit attention condition is reported to a command instead of carrying it out (SAM-3
/// 5.9.7): all but INQUIRY, REPORT LUNS and REQUEST SENSE.
pub fn hears_attention(cdb: &[u8]) -> bool {
    !matches!(cdb.first(), None | Some(&opcode::INQUIRY | &opcode::REPORT_LUNS | &opcode::REQUEST_SENSE))
}

/// Returns true if a CDB is an INQUIRY, by which a port driver makes a unit's acquaintance.
pub fn is_inquiry(cdb: &[u8]) -> bool {
    cdb.first() == Some(&opcode::INQUIRY)
}

/// SAM-3 status codes a target here answers with (SAM-3 5.3.1).
pub mod status {
    /// The command completed.
    pub const GOOD: u8 = 0x00;
    /// The command was refused or failed; sense data says why.
    pub const CHECK_CONDITION: u8 = 0x02;
}

/// Bytes in a sector, the unit of [`Lun::sectors`] and [`Extent`], whatever the disk's block size.
pub const SECTOR: u32 = 512;
