//! Command descriptor blocks: bytes to a [`Command`], or the sense data that refuses them.

use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use crate::mode;
use crate::sense::Sense;

/// Operation codes (SPC-3 annex D.3.1, SBC-2 table 12).
#[expect(missing_docs, reason = "each is the standard's name of a command")]
pub mod opcode {
    pub const TEST_UNIT_READY: u8 = 0x00;
    pub const REQUEST_SENSE: u8 = 0x03;
    pub const READ_6: u8 = 0x08;
    pub const WRITE_6: u8 = 0x0A;
    pub const INQUIRY: u8 = 0x12;
    pub const MODE_SENSE_6: u8 = 0x1A;
    pub const START_STOP_UNIT: u8 = 0x1B;
    pub const READ_CAPACITY_10: u8 = 0x25;
    pub const READ_10: u8 = 0x28;
    pub const WRITE_10: u8 = 0x2A;
    pub const VERIFY_10: u8 = 0x2F;
    pub const SYNCHRONIZE_CACHE_10: u8 = 0x35;
    pub const UNMAP: u8 = 0x42;
    pub const MODE_SENSE_10: u8 = 0x5A;
    pub const READ_16: u8 = 0x88;
    pub const WRITE_16: u8 = 0x8A;
    pub const VERIFY_16: u8 = 0x8F;
    pub const SYNCHRONIZE_CACHE_16: u8 = 0x91;
    pub const SERVICE_ACTION_IN_16: u8 = 0x9E;
    pub const REPORT_LUNS: u8 = 0xA0;
    pub const READ_12: u8 = 0xA8;
    pub const WRITE_12: u8 = 0xAA;
    pub const VERIFY_12: u8 = 0xAF;
}

/// Service action of SERVICE ACTION IN(16) that is READ CAPACITY(16).
const READ_CAPACITY_16: u8 = 0x10;

/// The vital product data pages there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SupportedPage {
    /// 0x00, the list of pages.
    Supported = 0x00,
    /// 0x80, the unit serial number.
    UnitSerialNumber = 0x80,
    /// 0x83, the identification descriptors.
    DeviceIdentification = 0x83,
    /// 0xB0, the block limits.
    BlockLimits = 0xB0,
    /// 0xB1, the block device characteristics.
    BlockDeviceCharacteristics = 0xB1,
    /// 0xB2, logical block provisioning.
    LogicalBlockProvisioning = 0xB2,
}

impl SupportedPage {
    /// Every page, in ascending order as page 0x00 wants them.
    pub const ALL: [Self; 6] = [
        Self::Supported,
        Self::UnitSerialNumber,
        Self::DeviceIdentification,
        Self::BlockLimits,
        Self::BlockDeviceCharacteristics,
        Self::LogicalBlockProvisioning,
    ];
}

/// A command that a CDB asks for. Block addresses and counts are in the disk's own blocks and not yet checked
/// against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// TEST UNIT READY.
    TestUnitReady,
    /// REQUEST SENSE, in fixed format.
    RequestSense {
        /// Most bytes the initiator takes.
        allocation: u8,
    },
    /// INQUIRY; `page` for vital product data.
    Inquiry {
        /// The page, or standard data.
        page: Option<SupportedPage>,
        /// Most bytes the initiator takes.
        allocation: u16,
    },
    /// MODE SENSE(6) or (10).
    ModeSense {
        /// The fields.
        request: mode::Request,
        /// Most bytes the initiator takes.
        allocation: u16,
    },
    /// START STOP UNIT.
    StartStop {
        /// START: make ready, else stop.
        start: bool,
    },
    /// READ CAPACITY(10).
    ReadCapacity10,
    /// READ CAPACITY(16).
    ReadCapacity16 {
        /// Most bytes the initiator takes.
        allocation: u32,
    },
    /// REPORT LUNS.
    ReportLuns {
        /// SELECT REPORT 1: only well known logical units.
        well_known_only: bool,
        /// Most bytes the initiator takes.
        allocation: u32,
    },
    /// READ(6), (10), (12) or (16).
    Read {
        /// First block.
        lba: u64,
        /// Number of blocks; zero is a valid no-operation.
        blocks: u32,
    },
    /// WRITE(6), (10), (12) or (16).
    Write {
        /// First block.
        lba: u64,
        /// Number of blocks; zero is a valid no-operation.
        blocks: u32,
        /// FUA: on the medium before the command completes.
        fua: bool,
    },
    /// VERIFY(10), (12) or (16) without byte comparison.
    Verify {
        /// First block.
        lba: u64,
        /// Number of blocks; zero is a valid no-operation.
        blocks: u32,
    },
    /// UNMAP.
    Unmap {
        /// Bytes of the parameter list.
        length: u16,
    },
    /// SYNCHRONIZE CACHE(10) or (16).
    SynchronizeCache {
        /// First block.
        lba: u64,
        /// Number of blocks; zero is up to the last.
        blocks: u32,
    },
}

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Cdb6 {
    opcode: u8,
    bytes: [u8; 4],
    control: u8,
}
const _: () = assert!(size_of::<Cdb6>() == 6);

/// READ(6), WRITE(6) (SBC-2 5.6): 21 bits of address.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Transfer6 {
    opcode: u8,
    lba_high: u8,
    lba_low: U16,
    blocks: u8,
    control: u8,
}
const _: () = assert!(size_of::<Transfer6>() == 6);

/// INQUIRY (SPC-3 6.4.1).
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Inquiry {
    opcode: u8,
    flags: u8,
    page: u8,
    allocation: U16,
    control: u8,
}
const _: () = assert!(size_of::<Inquiry>() == 6);

/// READ(10), WRITE(10), VERIFY(10), SYNCHRONIZE CACHE(10), READ CAPACITY(10).
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Block10 {
    opcode: u8,
    flags: u8,
    lba: U32,
    group: u8,
    blocks: U16,
    control: u8,
}
const _: () = assert!(size_of::<Block10>() == 10);

/// MODE SENSE(10) (SPC-3 6.10).
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct ModeSense10 {
    opcode: u8,
    flags: u8,
    page: u8,
    subpage: u8,
    reserved: [u8; 3],
    allocation: U16,
    control: u8,
}
const _: () = assert!(size_of::<ModeSense10>() == 10);

/// READ(12), WRITE(12), VERIFY(12).
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Block12 {
    opcode: u8,
    flags: u8,
    lba: U32,
    blocks: U32,
    group: u8,
    control: u8,
}
const _: () = assert!(size_of::<Block12>() == 12);

/// REPORT LUNS (SPC-3 6.21).
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct ReportLuns {
    opcode: u8,
    reserved: u8,
    select: u8,
    reserved2: [u8; 3],
    allocation: U32,
    reserved3: u8,
    control: u8,
}
const _: () = assert!(size_of::<ReportLuns>() == 12);

/// READ(16), WRITE(16), VERIFY(16), SYNCHRONIZE CACHE(16), READ CAPACITY(16).
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Block16 {
    opcode: u8,
    flags: u8,
    lba: U64,
    /// Number of blocks, or READ CAPACITY's allocation length.
    length: U32,
    group: u8,
    control: u8,
}
const _: () = assert!(size_of::<Block16>() == 16);

/// Byte 1 of READ, WRITE and VERIFY: RDPROTECT, WRPROTECT, VRPROTECT. No protection information here.
const PROTECT: u8 = 0xE0;
/// Byte 1 of READ and WRITE.
const FUA: u8 = 0x08;
/// Byte 1 of VERIFY.
const BYTCHK: u8 = 0x02;
/// CONTROL: NACA and LINK, both unsupported as the INQUIRY data says (SAM-3 5.2).
const NACA_OR_LINK: u8 = 0x05;

/// Returns the structure at the CDB's start, if the CDB is long enough and its control byte asks for nothing.
fn layout<T: FromBytes + KnownLayout + Immutable + Unaligned>(cdb: &[u8]) -> Result<&T, Sense> {
    let (whole, _) = T::ref_from_prefix(cdb).map_err(|_| Sense::invalid_field(cdb.len() as u16))?;
    let last = size_of::<T>() - 1;
    match cdb.get(last) {
        Some(control) if control & NACA_OR_LINK == 0 => Ok(whole),
        _ => Err(Sense::invalid_field(last as u16)),
    }
}

impl Command {
    /// Reads a CDB. Bytes past the command's own length are ignored, as the SRB's array is always 16 long.
    ///
    /// # Errors
    /// 20/00 for an operation code that is not served, 24/00 with the byte's index for one that asks for
    /// something that is not, and for a CDB too short.
    pub fn parse(cdb: &[u8]) -> Result<Self, Sense> {
        let &code = cdb.first().ok_or(Sense::INVALID_OPCODE)?;
        match code {
            opcode::TEST_UNIT_READY => layout::<Cdb6>(cdb).map(|_| Self::TestUnitReady),
            opcode::REQUEST_SENSE => {
                let [flags, _, _, allocation] = layout::<Cdb6>(cdb)?.bytes;
                // DESC: descriptor format is not offered.
                refuse_if(flags & 0x01 != 0, 1)?;
                Ok(Self::RequestSense { allocation })
            }
            opcode::INQUIRY => {
                let inquiry: &Inquiry = layout(cdb)?;
                let (vital, page) = (inquiry.flags & 0x01 != 0, inquiry.page);
                // CMDDT is obsolete.
                refuse_if(inquiry.flags & 0x02 != 0, 1)?;
                let page = match SupportedPage::ALL.into_iter().find(|known| *known as u8 == page) {
                    known @ Some(_) if vital => known,
                    _ if !vital && page == 0 => None,
                    _ => return Err(Sense::invalid_field(2)),
                };
                Ok(Self::Inquiry { page, allocation: inquiry.allocation.get() })
            }
            opcode::MODE_SENSE_6 => {
                let [flags, page, subpage, allocation] = layout::<Cdb6>(cdb)?.bytes;
                let request = mode_request(mode::Form::Six, flags, page, subpage);
                Ok(Self::ModeSense { request, allocation: allocation.into() })
            }
            opcode::MODE_SENSE_10 => {
                let sense: &ModeSense10 = layout(cdb)?;
                let form = mode::Form::Ten { long_lba: sense.flags & 0x10 != 0 };
                let request = mode_request(form, sense.flags, sense.page, sense.subpage);
                Ok(Self::ModeSense { request, allocation: sense.allocation.get() })
            }
            opcode::START_STOP_UNIT => {
                let [_, _, _, flags] = layout::<Cdb6>(cdb)?.bytes;
                // LOEJ on a medium that is not removable, or a power condition.
                refuse_if(flags & 0xF2 != 0, 4)?;
                Ok(Self::StartStop { start: flags & 0x01 != 0 })
            }
            opcode::READ_CAPACITY_10 => {
                let capacity: &Block10 = layout(cdb)?;
                // PMI, obsolete since SBC-3, and the address that only it gives meaning (SBC-2 5.10.1).
                refuse_if(capacity.lba.get() != 0, 2)?;
                refuse_if(capacity.blocks.get() & 0x0100 != 0, 8)?;
                Ok(Self::ReadCapacity10)
            }
            opcode::SERVICE_ACTION_IN_16 => {
                let capacity: &Block16 = layout(cdb)?;
                refuse_if(capacity.flags & 0x1F != READ_CAPACITY_16, 1)?;
                refuse_if(capacity.lba.get() != 0, 2)?;
                refuse_if(capacity.group & 0x01 != 0, 14)?;
                Ok(Self::ReadCapacity16 { allocation: capacity.length.get() })
            }
            opcode::REPORT_LUNS => {
                let luns: &ReportLuns = layout(cdb)?;
                refuse_if(luns.select > 2, 2)?;
                Ok(Self::ReportLuns { well_known_only: luns.select == 1, allocation: luns.allocation.get() })
            }
            opcode::READ_6 | opcode::WRITE_6 => {
                let transfer: &Transfer6 = layout(cdb)?;
                let lba = u64::from(transfer.lba_high & 0x1F) << 16 | u64::from(transfer.lba_low.get());
                // Zero is 256 in this form only (SBC-2 5.6).
                let blocks = if transfer.blocks == 0 { 256 } else { transfer.blocks.into() };
                Ok(if code == opcode::READ_6 {
                    Self::Read { lba, blocks }
                } else {
                    Self::Write { lba, blocks, fua: false }
                })
            }
            opcode::READ_10
            | opcode::WRITE_10
            | opcode::VERIFY_10
            | opcode::READ_12
            | opcode::WRITE_12
            | opcode::VERIFY_12
            | opcode::READ_16
            | opcode::WRITE_16
            | opcode::VERIFY_16 => {
                let Blocks { flags, lba, blocks } = Blocks::parse(code, cdb)?;
                refuse_if(flags & PROTECT != 0, 1)?;
                match code {
                    opcode::READ_10 | opcode::READ_12 | opcode::READ_16 => Ok(Self::Read { lba, blocks }),
                    opcode::WRITE_10 | opcode::WRITE_12 | opcode::WRITE_16 => {
                        Ok(Self::Write { lba, blocks, fua: flags & FUA != 0 })
                    }
                    _ => {
                        refuse_if(flags & BYTCHK != 0, 1)?;
                        Ok(Self::Verify { lba, blocks })
                    }
                }
            }
            opcode::UNMAP => {
                let unmap: &Block10 = layout(cdb)?;
                // ANCHOR.
                refuse_if(unmap.flags & 0x01 != 0, 1)?;
                Ok(Self::Unmap { length: unmap.blocks.get() })
            }
            opcode::SYNCHRONIZE_CACHE_10 | opcode::SYNCHRONIZE_CACHE_16 => {
                let Blocks { lba, blocks, .. } = Blocks::parse(code, cdb)?;
                Ok(Self::SynchronizeCache { lba, blocks })
            }
            _ => Err(Sense::INVALID_OPCODE),
        }
    }
}

/// Fields that the 10, 12 and 16 byte forms have in common.
struct Blocks {
    flags: u8,
    lba: u64,
    blocks: u32,
}

impl Blocks {
    fn parse(code: u8, cdb: &[u8]) -> Result<Self, Sense> {
        // The top three bits of an operation code are its group, which fixes the length (SPC-3 4.3.4.1).
        Ok(match code >> 5 {
            1 | 2 => {
                let cdb: &Block10 = layout(cdb)?;
                Self { flags: cdb.flags, lba: cdb.lba.get().into(), blocks: cdb.blocks.get().into() }
            }
            5 => {
                let cdb: &Block12 = layout(cdb)?;
                Self { flags: cdb.flags, lba: cdb.lba.get().into(), blocks: cdb.blocks.get() }
            }
            _ => {
                let cdb: &Block16 = layout(cdb)?;
                Self { flags: cdb.flags, lba: cdb.lba.get(), blocks: cdb.length.get() }
            }
        })
    }
}

fn mode_request(form: mode::Form, flags: u8, page: u8, subpage: u8) -> mode::Request {
    mode::Request { form, no_descriptors: flags & 0x08 != 0, control: page >> 6, page: page & 0x3F, subpage }
}

fn refuse_if(condition: bool, field: u16) -> Result<(), Sense> {
    if condition { Err(Sense::invalid_field(field)) } else { Ok(()) }
}
