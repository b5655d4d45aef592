//! Sending one SRB to the port driver and waiting for it. PASSIVE_LEVEL.

use core::ptr::null_mut;

use super::device::timeout;
use crate::nt::*;
use crate::storage::irp as request_packet;
use crate::storage::sense::{self, Sense};
use crate::storage::srb::{Direction, Srb, srb_status};
use crate::{io, ke, mm};

/// `IRP_MN_SCSI_CLASS`: an SRB of a class driver.
pub(crate) const IRP_MN_SCSI_CLASS: u8 = 1;
/// Number of times that a command is sent again when the device had something to say first, or was reset.
pub(crate) const RETRIES: u32 = 4;

/// Returns true if a command that ended like this was not done and is worth repeating.
pub(crate) fn is_worth_repeating(srb: &Srb, sense: &[u8]) -> bool {
    match srb.status() {
        srb_status::BUS_RESET | srb_status::BUSY | srb_status::TIMEOUT | srb_status::REQUEST_FLUSHED => true,
        srb_status::ERROR => Sense::parse(sense)
            .is_some_and(|sense| matches!(sense.key, Sense::UNIT_ATTENTION | Sense::ABORTED_COMMAND)),
        _ => false,
    }
}

/// Sends a command that reads `data`.
///
/// # Safety
/// `lower` must be the device this driver is attached to.
pub(crate) unsafe fn read(lower: *mut DeviceObject, cdb: &[u8], data: &mut [u8]) -> NtStatus {
    let mut found = status::UNSUCCESSFUL;
    // SAFETY: by this function's contract, `lower` is the device this driver is attached to.
    unsafe {
        for _ in 0..=RETRIES {
            let mut sense = [0; sense::LENGTH];
            let (buffer, length) = (data.as_mut_ptr(), data.len() as u32);
            let mut srb = Srb::execute(cdb, Direction::In, buffer, length, timeout(), &mut sense);
            found = send(lower, &mut srb);
            if !is_worth_repeating(&srb, &sense) {
                break;
            }
        }
    }
    found
}

/// Sends an SRB in an IRP of its own and waits.
///
/// # Safety
/// As [`read`]; the SRB's data must be in non-paged memory.
pub(crate) unsafe fn send(lower: *mut DeviceObject, srb: &mut Srb) -> NtStatus {
    // SAFETY: the caller keeps the contract of [`read`]; the SRB's data must be in non-paged memory.
    unsafe {
        let irp = io::IoAllocateIrp((*lower).stack_size, FALSE);
        if irp.is_null() {
            return status::INSUFFICIENT_RESOURCES;
        }
        let mut mdl = null_mut();
        if srb.direction() != Direction::None {
            mdl =
                mm::IoAllocateMdl(srb.data_buffer.cast(), srb.data_transfer_length, FALSE, FALSE, null_mut());
            if mdl.is_null() {
                io::IoFreeIrp(irp);
                return status::INSUFFICIENT_RESOURCES;
            }
            mm::MmBuildMdlForNonPagedPool(mdl);
        }
        (*irp).mdl_address = mdl;
        fill(irp, srb);
        let found = request_packet::with_event(|event| {
            set_completion_routine(irp, done, event.cast());
            if io::IofCallDriver(lower, irp) == status::PENDING {
                request_packet::wait(event);
            }
            (*irp).io_status.status
        });
        if !mdl.is_null() {
            mm::IoFreeMdl(mdl);
        }
        io::IoFreeIrp(irp);
        // Less data than there was room for is no failure here.
        if srb.status() == srb_status::DATA_OVERRUN { status::SUCCESS } else { found }
    }
}

/// Fills the next stack location of an IRP with an SRB.
///
/// # Safety
/// The caller owns the IRP; the SRB must stay until it is completed.
pub(crate) unsafe fn fill(irp: *mut Irp, srb: *mut Srb) {
    // SAFETY: by this function's contract, the caller owns the IRP; the SRB must stay until it is
    // completed.
    unsafe {
        let next = next_stack_location(irp);
        (*next).major_function = IRP_MJ_SCSI;
        (*next).minor_function = IRP_MN_SCSI_CLASS;
        (*next).parameters.scsi = OneArgument { argument: srb.cast() };
        (*srb).original_request = irp.cast();
    }
}

unsafe extern "win64" fn done(_: *mut DeviceObject, irp: *mut Irp, event: Pvoid) -> NtStatus {
    // SAFETY: the caller keeps `irp` and `event` valid for this call.
    unsafe {
        if (*irp).pending_returned != FALSE {
            ke::KeSetEvent(event.cast(), 0, FALSE);
        }
    }
    status::MORE_PROCESSING_REQUIRED
}
