//! SRBs of any function, as a port driver, a class driver or a program may have them brought to a miniport.

use super::request::{self, Owner};
use super::unit::{PNP_ACTION, PNP_QUERY_CAPABILITIES};
use super::{adapter, unit};
use crate::nt::*;
use crate::storage::irp as request_packet;
use crate::storage::srb::{SRB_FLAGS_DATA_IN, Srb, function};

/// The address that an SRB is sent to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum At {
    /// A disk's.
    Unit,
    /// Another logical unit of the disk's target.
    OtherUnit,
    /// A target where nothing is.
    NoTarget,
}

/// A target id at which no test attaches a disk.
const NO_TARGET: u8 = 250;
/// Seconds that such an SRB may take.
const TIMEOUT: u32 = 10;
/// Bytes of memory of the sender's that no miniport has a right to: only some functions have data.
const NO_LENGTH: u32 = 0xC5C5_C5C5;

/// Offset of `SrbPnPFlags` in SCSI_PNP_REQUEST_BLOCK, and its flag `SRB_PNP_FLAGS_ADAPTER_REQUEST`.
const PNP_FLAGS: usize = 64;
const OF_ADAPTER: u32 = 1;

/// Asks the miniport what the adapter can do, not a unit, by an SRB that has a unit's address. Returns the SRB's status, and
/// the words of the answer's STOR_DEVICE_CAPABILITIES. PASSIVE_LEVEL.
///
/// # Safety
/// `pdo` is the PDO of a disk of a miniport's, and stays.
pub(crate) unsafe fn ask_of_adapter(pdo: *mut DeviceObject) -> Option<(u8, [u32; 2])> {
    // SAFETY: as in `send`; an SRB has room for these fields.
    unsafe {
        let unit = adapter::unit_of(pdo)?;
        let unit::Address { path, target, lun } = unit.address();
        let mut words = [0u32; 2];
        let mut srb = Srb::of(function::PNP);
        (srb.path_id, srb.target_id, srb.lun) = (path, target, lun);
        (srb.data_buffer, srb.data_transfer_length) = ((&raw mut words).cast(), size_of_val(&words) as u32);
        srb.srb_flags = SRB_FLAGS_DATA_IN;
        srb.time_out_value = TIMEOUT;
        let srb = &raw mut srb;
        srb.cast::<u8>().add(PNP_ACTION).cast::<u32>().write(PNP_QUERY_CAPABILITIES);
        srb.cast::<u8>().add(PNP_FLAGS).cast::<u32>().write(OF_ADAPTER);
        request_packet::with_event(|event| {
            request::submit(unit.adapter(), srb, Owner::Scan(event));
            request_packet::wait(event);
        });
        Some(((*srb).status(), words))
    }
}

/// Sends an SRB of a function, and waits. Every field that the function does not say to be valid is filled with what is
/// none. Returns the SRB's status. PASSIVE_LEVEL.
///
/// # Safety
/// `pdo` is the PDO of a disk of a miniport's, and stays.
pub(crate) unsafe fn send(pdo: *mut DeviceObject, at: At, function: u8) -> Option<u8> {
    // SAFETY: by this function's contract, `pdo` is a disk of a miniport's; the SRB lives until it is completed.
    unsafe {
        let unit = adapter::unit_of(pdo)?;
        let unit::Address { path, target, lun } = unit.address();
        let mut srb = Srb::of(function);
        (srb.path_id, srb.target_id, srb.lun) = match at {
            At::Unit => (path, target, lun),
            At::OtherUnit => (path, target, lun + 1),
            At::NoTarget => (path, NO_TARGET, 0),
        };
        (srb.data_buffer, srb.data_transfer_length) = (request::NOT_MAPPED, NO_LENGTH);
        srb.time_out_value = TIMEOUT;
        let srb = &raw mut srb;
        request_packet::with_event(|event| {
            request::submit(unit.adapter(), srb, Owner::Scan(event));
            request_packet::wait(event);
        });
        Some((*srb).status())
    }
}
