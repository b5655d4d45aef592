//! SCSI request blocks (srb.h, storport.h): what a class driver asks of a port driver, and a port driver of
//! its miniport.

use crate::layout;
use crate::nt::{NtStatus, Pvoid, status};

/// `SCSI_REQUEST_BLOCK` on x64.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Srb {
    pub length: u16,
    pub function: u8,
    pub srb_status: u8,
    pub scsi_status: u8,
    pub path_id: u8,
    pub target_id: u8,
    pub lun: u8,
    pub queue_tag: u8,
    pub queue_action: u8,
    pub cdb_length: u8,
    pub sense_info_buffer_length: u8,
    pub srb_flags: u32,
    pub data_transfer_length: u32,
    /// Seconds.
    pub time_out_value: u32,
    pub data_buffer: *mut u8,
    pub sense_info_buffer: *mut u8,
    pub next_srb: *mut Srb,
    /// The IRP that carries it.
    pub original_request: Pvoid,
    pub srb_extension: Pvoid,
    pub queue_sort_key: u32,
    pub reserved: u32,
    pub cdb: [u8; 16],
}
layout!(
    Srb, 0x58, srb_flags @ 0xC, data_transfer_length @ 0x10, data_buffer @ 0x18, sense_info_buffer @ 0x20,
    original_request @ 0x30, srb_extension @ 0x38, cdb @ 0x48,
);

/// `SRB_FUNCTION_` codes.
pub(crate) mod function {
    /// `SRB_FUNCTION_EXECUTE_SCSI`.
    pub(crate) const EXECUTE_SCSI: u8 = 0x00;
    /// `SRB_FUNCTION_CLAIM_DEVICE`: the class driver takes the device for itself.
    pub(crate) const CLAIM_DEVICE: u8 = 0x01;
    /// `SRB_FUNCTION_RELEASE_DEVICE`.
    pub(crate) const RELEASE_DEVICE: u8 = 0x06;
    /// `SRB_FUNCTION_SHUTDOWN`.
    pub(crate) const SHUTDOWN: u8 = 0x07;
    /// `SRB_FUNCTION_FLUSH`.
    pub(crate) const FLUSH: u8 = 0x08;
    /// `SRB_FUNCTION_RESET_DEVICE`: a target.
    pub(crate) const RESET_DEVICE: u8 = 0x13;
    /// `SRB_FUNCTION_RESET_LOGICAL_UNIT`.
    pub(crate) const RESET_LOGICAL_UNIT: u8 = 0x20;
    /// `SRB_FUNCTION_PNP`: a step of a unit's, or of the adapter's, in PnP.
    pub(crate) const PNP: u8 = 0x25;
}

/// `SRB_STATUS_` codes.
pub(crate) mod srb_status {
    /// `SRB_STATUS_PENDING`: not completed yet.
    pub(crate) const PENDING: u8 = 0x00;
    /// `SRB_STATUS_SUCCESS`.
    pub(crate) const SUCCESS: u8 = 0x01;
    /// `SRB_STATUS_ABORTED`.
    pub(crate) const ABORTED: u8 = 0x02;
    /// `SRB_STATUS_ERROR`: see the SCSI status and sense data.
    pub(crate) const ERROR: u8 = 0x04;
    /// `SRB_STATUS_BUSY`.
    pub(crate) const BUSY: u8 = 0x05;
    /// `SRB_STATUS_INVALID_REQUEST`.
    pub(crate) const INVALID_REQUEST: u8 = 0x06;
    /// `SRB_STATUS_INVALID_PATH_ID`.
    pub(crate) const INVALID_PATH_ID: u8 = 0x07;
    /// `SRB_STATUS_NO_DEVICE`.
    pub(crate) const NO_DEVICE: u8 = 0x08;
    /// `SRB_STATUS_TIMEOUT`.
    pub(crate) const TIMEOUT: u8 = 0x09;
    /// `SRB_STATUS_SELECTION_TIMEOUT`.
    pub(crate) const SELECTION_TIMEOUT: u8 = 0x0A;
    /// `SRB_STATUS_COMMAND_TIMEOUT`.
    pub(crate) const COMMAND_TIMEOUT: u8 = 0x0B;
    /// `SRB_STATUS_MESSAGE_REJECTED`.
    pub(crate) const MESSAGE_REJECTED: u8 = 0x0D;
    /// `SRB_STATUS_BUS_RESET`.
    pub(crate) const BUS_RESET: u8 = 0x0E;
    /// `SRB_STATUS_NO_HBA`.
    pub(crate) const NO_HBA: u8 = 0x11;
    /// `SRB_STATUS_DATA_OVERRUN`: more or fewer bytes than asked for; the length says how many.
    pub(crate) const DATA_OVERRUN: u8 = 0x12;
    /// `SRB_STATUS_REQUEST_FLUSHED`.
    pub(crate) const REQUEST_FLUSHED: u8 = 0x16;
    /// `SRB_STATUS_INVALID_LUN`.
    pub(crate) const INVALID_LUN: u8 = 0x20;
    /// `SRB_STATUS_INVALID_TARGET_ID`.
    pub(crate) const INVALID_TARGET_ID: u8 = 0x21;
    /// `SRB_STATUS_BAD_FUNCTION`.
    pub(crate) const BAD_FUNCTION: u8 = 0x22;
    /// `SRB_STATUS_LINK_DOWN`.
    pub(crate) const LINK_DOWN: u8 = 0x25;
    /// `SRB_STATUS_AUTOSENSE_VALID`, a flag.
    pub(crate) const AUTOSENSE_VALID: u8 = 0x80;
}

/// `SRB_FLAGS_QUEUE_ACTION_ENABLE`.
pub(crate) const SRB_FLAGS_QUEUE_ACTION_ENABLE: u32 = 0x2;
/// `SRB_FLAGS_DISABLE_SYNCH_TRANSFER`.
pub(crate) const SRB_FLAGS_DISABLE_SYNCH_TRANSFER: u32 = 0x8;
/// `SRB_FLAGS_DATA_IN`.
pub(crate) const SRB_FLAGS_DATA_IN: u32 = 0x40;
/// `SRB_FLAGS_DATA_OUT`.
pub(crate) const SRB_FLAGS_DATA_OUT: u32 = 0x80;
/// `SRB_SIMPLE_TAG_REQUEST` as queue action.
pub(crate) const SRB_SIMPLE_TAG_REQUEST: u8 = 0x20;
/// `SCSISTAT_GOOD`.
pub(crate) const SCSISTAT_GOOD: u8 = 0x00;
/// `SCSISTAT_CHECK_CONDITION`.
pub(crate) const SCSISTAT_CHECK_CONDITION: u8 = 0x02;

/// Direction of a request's data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Direction {
    /// From the device.
    In,
    /// To the device.
    Out,
    /// No data.
    None,
}

impl Srb {
    /// Returns an SRB for a SCSI command, with `sense` to put sense data in. `timeout` in seconds.
    pub(crate) fn execute(
        cdb: &[u8],
        direction: Direction,
        data: *mut u8,
        length: u32,
        timeout: u32,
        sense: &mut [u8],
    ) -> Self {
        let mut bytes = [0; 16];
        bytes[..cdb.len()].copy_from_slice(cdb);
        let flags = match direction {
            Direction::In => SRB_FLAGS_DATA_IN,
            Direction::Out => SRB_FLAGS_DATA_OUT,
            Direction::None => 0,
        };
        Self {
            cdb: bytes,
            cdb_length: cdb.len() as u8,
            queue_action: SRB_SIMPLE_TAG_REQUEST,
            srb_flags: flags | SRB_FLAGS_QUEUE_ACTION_ENABLE | SRB_FLAGS_DISABLE_SYNCH_TRANSFER,
            data_buffer: data,
            data_transfer_length: length,
            time_out_value: timeout,
            sense_info_buffer: sense.as_mut_ptr(),
            sense_info_buffer_length: sense.len() as u8,
            ..Self::of(function::EXECUTE_SCSI)
        }
    }

    /// Returns an SRB for another function.
    pub(crate) const fn of(function: u8) -> Self {
        Self {
            length: size_of::<Self>() as u16,
            function,
            srb_status: srb_status::PENDING,
            scsi_status: SCSISTAT_GOOD,
            path_id: 0,
            target_id: 0,
            lun: 0,
            queue_tag: 0,
            queue_action: 0,
            cdb_length: 0,
            sense_info_buffer_length: 0,
            srb_flags: 0,
            data_transfer_length: 0,
            time_out_value: 0,
            data_buffer: core::ptr::null_mut(),
            sense_info_buffer: core::ptr::null_mut(),
            next_srb: core::ptr::null_mut(),
            original_request: core::ptr::null_mut(),
            srb_extension: core::ptr::null_mut(),
            queue_sort_key: 0,
            reserved: 0,
            cdb: [0; 16],
        }
    }

    /// Returns the direction of its data.
    pub(crate) fn direction(&self) -> Direction {
        match self.srb_flags & (SRB_FLAGS_DATA_IN | SRB_FLAGS_DATA_OUT) {
            0 => Direction::None,
            SRB_FLAGS_DATA_OUT => Direction::Out,
            _ => Direction::In,
        }
    }

    /// Returns `SRB_STATUS`: the status without its flags.
    pub(crate) fn status(&self) -> u8 {
        self.srb_status & 0x3F
    }

    /// Returns the command.
    pub(crate) fn command(&self) -> &[u8] {
        &self.cdb[..usize::from(self.cdb_length).min(self.cdb.len())]
    }

    /// Returns the status of the IRP that carries a completed SRB, as port drivers translate it.
    pub(crate) fn nt_status(&self) -> NtStatus {
        match self.status() {
            srb_status::SUCCESS => status::SUCCESS,
            srb_status::DATA_OVERRUN => status::BUFFER_OVERFLOW,
            srb_status::INVALID_REQUEST | srb_status::BAD_FUNCTION => status::INVALID_DEVICE_REQUEST,
            srb_status::NO_DEVICE
            | srb_status::SELECTION_TIMEOUT
            | srb_status::INVALID_LUN
            | srb_status::INVALID_TARGET_ID
            | srb_status::INVALID_PATH_ID
            | srb_status::NO_HBA => status::DEVICE_DOES_NOT_EXIST,
            srb_status::TIMEOUT | srb_status::COMMAND_TIMEOUT => status::IO_TIMEOUT,
            srb_status::BUSY => status::DEVICE_BUSY,
            _ => status::IO_DEVICE_ERROR,
        }
    }
}
