//! A drive: its PDO, and the translation of SCSI commands into ATA commands (after T10's SAT, in the small).

use core::ptr::null_mut;

use alloc::boxed::Box;
use alloc::format;
use alloc::vec;

use super::ata::{Error, Transfer};
use super::channel::{Channel, PacketError};
use super::identify::{Identify, Kind};
use crate::io;
use crate::nt::*;
use crate::storage::cdb::{self, operation};
use crate::storage::child::{self, FILE_DEVICE_CD_ROM, Ids};
use crate::storage::irp as request_packet;
use crate::storage::property::{self, AdapterDescriptor, Properties};
use crate::storage::sense::{self, Sense};
use crate::storage::srb::{Direction, SCSISTAT_CHECK_CONDITION, Srb, function, srb_status};

/// Bytes in a sector.
const SECTOR: u32 = 512;
/// Most bytes in a request: what one ATA command moves.
const MAX_TRANSFER: u32 = super::ata::MAX_SECTORS * SECTOR;
/// Vital product data page "unit serial number".
const UNIT_SERIAL_NUMBER: u8 = 0x80;

/// A drive of a channel.
pub(super) struct Drive {
    /// Its PDO.
    pub device: *mut DeviceObject,
    channel: *mut Channel,
    /// 0 or 1.
    number: u8,
    identify: Identify,
    ids: Ids,
    claimed: bool,
}

impl Drive {
    /// Makes a drive and its PDO, whose extension is `extension`. PASSIVE_LEVEL.
    ///
    /// # Safety
    /// `driver` is this driver's object and `channel` the drive's.
    pub(super) unsafe fn create(
        driver: *mut DriverObject,
        channel: *mut Channel,
        number: u8,
        identify: Identify,
        extension: impl FnOnce(*mut Drive) -> usize,
    ) -> Option<Box<Self>> {
        let hardware = identify.hardware_ids();
        let (object_type, kind, generic) = match identify.kind {
            Kind::Disk => (FILE_DEVICE_DISK, "Disk", "GenDisk"),
            Kind::CdRom => (FILE_DEVICE_CD_ROM, "CdRom", "GenCdRom"),
        };
        // SAFETY: by this function's contract, `driver` is this driver's object and `channel` the drive's.
        unsafe {
            let channel_number = (*channel).number;
            let mut this = Box::new(Self {
                device: null_mut(),
                channel,
                number,
                identify,
                ids: Ids {
                    device: hardware[0].clone(),
                    hardware,
                    compatible: vec![generic.into()],
                    instance: format!("{channel_number}.{number}.0"),
                    description: format!("IDE {kind}"),
                    location: format!("Channel {channel_number}, Target {number}"),
                    address: number.into(),
                    raw: true,
                },
                claimed: false,
            });
            let extension = extension(&raw mut *this);
            this.device = child::create(driver, object_type, extension)?;
            (*this.device).alignment_requirement = 1;
            Some(this)
        }
    }

    /// Returns the size of a disk in sectors.
    fn sectors(&self) -> u64 {
        self.identify.sectors()
    }
}

/// Handles IRP_MJ_PNP to a drive's PDO.
///
/// # Safety
/// The caller owns the IRP.
pub(super) unsafe fn pnp(drive: *mut Drive, irp: *mut Irp) -> NtStatus {
    // SAFETY: by this function's contract, the caller owns the IRP.
    unsafe {
        match child::answer((*drive).device, irp, &(*drive).ids) {
            Some(answered) => answered,
            // START, REMOVE, surprise removal. The drive stays as long as its controller does.
            None => {
                (*drive).claimed = false;
                request_packet::complete(irp, status::SUCCESS, 0)
            }
        }
    }
}

/// Handles IRP_MJ_DEVICE_CONTROL to a drive's PDO.
///
/// # Safety
/// The caller owns the IRP.
pub(super) unsafe fn device_control(drive: *mut Drive, irp: *mut Irp) -> NtStatus {
    // SAFETY: by this function's contract, the caller owns the IRP.
    unsafe {
        let this = &*drive;
        let pages = MAX_TRANSFER / PAGE_SIZE as u32 + 1;
        let properties = Properties {
            inquiry: &this.identify.inquiry(),
            serial: &this.identify.serial(),
            adapter: AdapterDescriptor {
                alignment_mask: 1,
                ..AdapterDescriptor::new(this.identify.bus_type(), MAX_TRANSFER, pages)
            },
            miniport: None,
            address: [(*this.channel).number, 0, this.number, 0],
        };
        let (found, information) = property::answer(irp, &properties);
        request_packet::complete(irp, found, information)
    }
}

/// Handles IRP_MJ_SCSI to a drive's PDO.
///
/// # Safety
/// The caller owns the IRP.
pub(super) unsafe fn scsi(drive: *mut Drive, irp: *mut Irp) -> NtStatus {
    // SAFETY: by this function's contract, the caller owns the IRP.
    unsafe {
        let srb: *mut Srb = (*current_stack_location(irp)).parameters.scsi.argument.cast();
        match (*srb).function {
            function::CLAIM_DEVICE if (*drive).claimed => {
                (*srb).srb_status = srb_status::BUSY;
                request_packet::complete(irp, status::DEVICE_BUSY, 0)
            }
            function::CLAIM_DEVICE | function::RELEASE_DEVICE => {
                (*drive).claimed = (*srb).function == function::CLAIM_DEVICE;
                (*srb).data_buffer = (*drive).device.cast();
                (*srb).srb_status = srb_status::SUCCESS;
                request_packet::complete(irp, status::SUCCESS, 0)
            }
            function::EXECUTE_SCSI | function::FLUSH | function::SHUTDOWN => {
                (*srb).srb_status = srb_status::PENDING;
                mark_irp_pending(irp);
                (*(*drive).channel).queue(drive, irp);
                status::PENDING
            }
            _ => {
                (*srb).srb_status = srb_status::BAD_FUNCTION;
                request_packet::complete(irp, status::INVALID_DEVICE_REQUEST, 0)
            }
        }
    }
}

/// Outcome of a command: bytes of data, or the failure.
type Outcome = Result<u32, Failure>;

/// The reason why a command was not done.
enum Failure {
    /// CHECK CONDITION with this sense data.
    Sense(Sense),
    /// The same, as the drive itself gave it.
    Drive([u8; sense::LENGTH]),
    /// Not even that: an SRB status.
    Srb(u8),
}

impl From<PacketError> for Failure {
    fn from(error: PacketError) -> Self {
        match error {
            PacketError::Refused(sense) => Self::Drive(sense),
            PacketError::Channel(error) => error.into(),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Device(_) | Error::BusMaster => Self::Sense(Sense::MEDIUM_ERROR),
            Error::TimedOut => Self::Srb(srb_status::TIMEOUT),
            Error::Stopping => Self::Srb(srb_status::NO_DEVICE),
        }
    }
}

/// Does what an IRP's SRB asks for, and sets the results of both. In the channel's thread; the caller
/// completes the IRP.
///
/// # Safety
/// The caller owns the IRP, which is for this drive of this channel.
pub(super) unsafe fn execute(drive: &Drive, channel: &mut Channel, irp: *mut Irp) {
    // SAFETY: by this function's contract, the caller owns the IRP, which is for this drive of this
    // channel.
    unsafe {
        let srb: *mut Srb = (*current_stack_location(irp)).parameters.scsi.argument.cast();
        let srb = &mut *srb;
        let outcome = match srb.function {
            function::EXECUTE_SCSI => command(drive, channel, srb, data_of(irp, srb)),
            _ => flush(drive, channel),
        };
        match outcome {
            Ok(bytes) if bytes < srb.data_transfer_length => {
                srb.data_transfer_length = bytes;
                srb.srb_status = srb_status::DATA_OVERRUN;
            }
            Ok(_) => srb.srb_status = srb_status::SUCCESS,
            Err(failure) => {
                srb.data_transfer_length = 0;
                srb.srb_status = match failure {
                    Failure::Srb(found) => found,
                    Failure::Sense(sense) => {
                        srb.scsi_status = SCSISTAT_CHECK_CONDITION;
                        srb_status::ERROR | give_sense(srb, &sense.to_bytes())
                    }
                    Failure::Drive(sense) => {
                        srb.scsi_status = SCSISTAT_CHECK_CONDITION;
                        srb_status::ERROR | give_sense(srb, &sense)
                    }
                };
            }
        }
        (*irp).io_status = IoStatusBlock::new(srb.nt_status(), srb.data_transfer_length as usize);
    }
}

/// Puts sense data where the SRB wants it; the flag that says so.
unsafe fn give_sense(srb: &Srb, bytes: &[u8]) -> u8 {
    if srb.sense_info_buffer.is_null() {
        return 0;
    }
    let count = bytes.len().min(srb.sense_info_buffer_length.into());
    // SAFETY: the SRB's sender provides `sense_info_buffer`, and `count` is at most its length.
    unsafe {
        bytes.as_ptr().copy_to_nonoverlapping(srb.sense_info_buffer, count);
    }
    srb_status::AUTOSENSE_VALID
}

/// Returns the system address of an SRB's data.
unsafe fn data_of(irp: *mut Irp, srb: &Srb) -> *mut u8 {
    // SAFETY: the caller keeps `irp` valid for this call.
    unsafe {
        let mdl = (*irp).mdl_address;
        if mdl.is_null() || srb.data_buffer.is_null() {
            return srb.data_buffer;
        }
        let virtual_address = (*mdl).start_va as usize + (*mdl).byte_offset as usize;
        request_packet::system_address(mdl).add(srb.data_buffer as usize - virtual_address)
    }
}

/// Carries out a SCSI command.
unsafe fn command(drive: &Drive, channel: &mut Channel, srb: &mut Srb, data: *mut u8) -> Outcome {
    let room = srb.data_transfer_length;
    // SAFETY: the caller keeps `data` valid for this call.
    unsafe {
        let give = |answer: &[u8]| {
            let count = answer.len().min(room as usize);
            answer.as_ptr().copy_to_nonoverlapping(data, count);
            Ok(count as u32)
        };
        if drive.identify.kind == Kind::CdRom {
            return packet(drive, channel, srb, data);
        }
        let sectors = drive.sectors();
        let last = sectors.wrapping_sub(1);
        let cdb = srb.cdb;
        match cdb[0] {
            operation::INQUIRY if cdb[1] & 1 == 0 => give(&drive.identify.inquiry().0),
            operation::INQUIRY if cdb[2] == UNIT_SERIAL_NUMBER => {
                let serial = drive.identify.serial();
                let mut page = vec![drive.identify.inquiry().0[0], UNIT_SERIAL_NUMBER, 0, serial.len() as u8];
                page.extend_from_slice(&serial);
                give(&page)
            }
            operation::INQUIRY => Err(Failure::Sense(Sense::INVALID_FIELD)),
            operation::REPORT_LUNS => give(&[0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            operation::TEST_UNIT_READY => Ok(0),
            operation::MODE_SENSE_6 => give(&[3, 0, 0, 0]),
            operation::READ_CAPACITY_10 => {
                let mut answer = [0; 8];
                answer[..4].copy_from_slice(&u32::try_from(last).unwrap_or(u32::MAX).to_be_bytes());
                answer[4..].copy_from_slice(&SECTOR.to_be_bytes());
                give(&answer)
            }
            operation::SERVICE_ACTION_IN_16 if cdb[1] & 0x1F == cdb::READ_CAPACITY_16 => {
                let mut answer = [0; 32];
                answer[..8].copy_from_slice(&last.to_be_bytes());
                answer[8..12].copy_from_slice(&SECTOR.to_be_bytes());
                give(&answer)
            }
            operation::SYNCHRONIZE_CACHE_10 => flush(drive, channel),
            _ => {
                let Some((lba, count)) = cdb::extent(srb.command()) else {
                    return Err(Failure::Sense(Sense::INVALID_COMMAND));
                };
                if lba.checked_add(count.into()).is_none_or(|end| end > sectors) {
                    return Err(Failure::Sense(Sense::OUT_OF_RANGE));
                }
                if count.checked_mul(SECTOR).is_none_or(|bytes| bytes != room) {
                    return Err(Failure::Srb(srb_status::INVALID_REQUEST));
                }
                let write = cdb::is_write(srb.command());
                let transfer = Transfer { drive: drive.number, write, lba, sectors: count };
                channel.transfer(transfer, drive.identify.has_dma(), data)?;
                Ok(room)
            }
        }
    }
}

/// Carries out a command to a CD-ROM drive, which takes it as a packet. INQUIRY is answered from what
/// IDENTIFY said, so that both agree; a command that sends data is refused, as a drive for read-only media
/// does.
unsafe fn packet(drive: &Drive, channel: &mut Channel, srb: &Srb, data: *mut u8) -> Outcome {
    let room = srb.data_transfer_length;
    // SAFETY: the caller keeps `data` valid for this call.
    unsafe {
        let into: &mut [u8] = match srb.direction() {
            Direction::Out => return Err(Failure::Sense(Sense::INVALID_COMMAND)),
            _ if data.is_null() => &mut [],
            _ => core::slice::from_raw_parts_mut(data, room as usize),
        };
        if srb.cdb[0] == operation::INQUIRY && srb.cdb[1] & 1 == 0 {
            let answer = drive.identify.inquiry().0;
            let count = answer.len().min(into.len());
            into[..count].copy_from_slice(&answer[..count]);
            return Ok(count as u32);
        }
        Ok(channel.packet(drive.number, srb.command(), into)? as u32)
    }
}

/// Carries out SYNCHRONIZE CACHE and its like.
unsafe fn flush(drive: &Drive, channel: &mut Channel) -> Outcome {
    // SAFETY: the channel is the caller's alone, and the drive is one of its own.
    unsafe {
        if drive.identify.kind == Kind::Disk {
            channel.flush(drive.number)?;
        }
    }
    Ok(0)
}

/// Deletes the drive's PDO.
///
/// # Safety
/// PASSIVE_LEVEL; PnP has removed the device.
pub(super) unsafe fn delete(drive: Box<Drive>) {
    // SAFETY: the caller is at PASSIVE_LEVEL; PnP has removed the device.
    unsafe {
        io::IoDeleteDevice(drive.device);
    }
}
