//! Reads, writes and flushes: an IRP is cut into parts that the port driver can take, sent as SRBs in IRPs of
//! their own, and completed when the last part is.

use core::ptr::null_mut;
use core::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use alloc::boxed::Box;

use super::device::{Disk, direction};
use super::request::{self, RETRIES};
use crate::io;
use crate::nt::*;
use crate::storage::srb::{Direction, Srb};
use crate::storage::{cdb, irp as request_packet, sense};

/// Seconds a flush may take.
const FLUSH_TIMEOUT: u32 = 60;

/// The IRP that is cut up.
struct Whole {
    irp: *mut Irp,
    /// Parts that are not done, and one until all are sent.
    left: AtomicU32,
    /// The first failure.
    status: AtomicI32,
    length: u32,
}

/// A part of it.
struct Part {
    whole: *mut Whole,
    lower: *mut DeviceObject,
    irp: *mut Irp,
    srb: Srb,
    sense: [u8; sense::LENGTH],
    /// The SRB as it was sent, to send it again.
    original: Srb,
    retries: u32,
}

/// Begins a read, write, flush or shutdown IRP. IRQL ≤ DISPATCH_LEVEL.
///
/// # Safety
/// The caller owns the IRP; the disk is started and stays until the IRP is completed.
pub(super) unsafe fn begin(disk: &Disk, irp: *mut Irp) -> NtStatus {
    // SAFETY: by this function's contract, the caller owns the IRP; the disk is started and stays until the
    // IRP is completed.
    unsafe {
        let location = current_stack_location(irp);
        let write = match (*location).major_function {
            IRP_MJ_READ => false,
            IRP_MJ_WRITE => true,
            _ => return flush(disk, irp),
        };
        let ReadWrite { length, byte_offset, .. } = (*location).parameters.read;
        let size = disk.sector_size;
        let end = byte_offset.checked_add(length.into());
        let inside = byte_offset >= 0 && end.is_some_and(|end| end as u64 <= disk.sectors * u64::from(size));
        if !length.is_multiple_of(size) || !(byte_offset as u64).is_multiple_of(size.into()) || !inside {
            return request_packet::complete(irp, status::INVALID_PARAMETER, 0);
        }
        if length == 0 {
            return request_packet::complete(irp, status::SUCCESS, 0);
        }
        let mdl = (*irp).mdl_address;
        let buffer = ((*mdl).start_va as usize + (*mdl).byte_offset as usize) as *mut u8;
        let step = disk.max_transfer / size * size;
        let whole = Whole::new(irp, length);
        let mut at = 0;
        while at < length {
            let bytes = step.min(length - at);
            let lba = (byte_offset as u64 + u64::from(at)) / u64::from(size);
            let (command, cdb_length) = cdb::transfer(write, lba, bytes / size);
            let data = buffer.add(at as usize);
            whole_part(whole, disk, &command[..cdb_length], direction(write), data, bytes, disk.timeout);
            at += bytes;
        }
        all_sent(whole)
    }
}

/// Sends SYNCHRONIZE CACHE.
unsafe fn flush(disk: &Disk, irp: *mut Irp) -> NtStatus {
    // SAFETY: the caller keeps `irp` valid for this call.
    unsafe {
        let whole = Whole::new(irp, 0);
        whole_part(whole, disk, &cdb::synchronize_cache(), Direction::None, null_mut(), 0, FLUSH_TIMEOUT);
        all_sent(whole)
    }
}

impl Whole {
    /// Marks the IRP pending.
    unsafe fn new(irp: *mut Irp, length: u32) -> *mut Self {
        // SAFETY: the caller keeps `irp` valid for this call.
        unsafe {
            mark_irp_pending(irp);
        }
        let (left, status) = (AtomicU32::new(1), AtomicI32::new(status::SUCCESS));
        Box::into_raw(Box::new(Self { irp, left, status, length }))
    }

    fn fail(&self, found: NtStatus) {
        let first = (status::SUCCESS, found);
        // A second failure changes nothing.
        let _ = self.status.compare_exchange(first.0, first.1, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// Ends the sending: every part is sent, and the IRP completes with the last of them.
unsafe fn all_sent(whole: *mut Whole) -> NtStatus {
    // SAFETY: the caller keeps `whole` valid for this call.
    unsafe {
        part_done(whole);
    }
    status::PENDING
}

/// Sends a part.
unsafe fn whole_part(
    whole: *mut Whole,
    disk: &Disk,
    cdb: &[u8],
    direction: Direction,
    data: *mut u8,
    length: u32,
    timeout: u32,
) {
    // SAFETY: the caller keeps `whole` and `data` valid for this call.
    unsafe {
        let irp = io::IoAllocateIrp((*disk.lower).stack_size, FALSE);
        if irp.is_null() {
            (*whole).fail(status::INSUFFICIENT_RESOURCES);
            return;
        }
        (*whole).left.fetch_add(1, Ordering::Relaxed);
        let mut part = Box::new(Part {
            whole,
            lower: disk.lower,
            irp,
            srb: Srb::of(0),
            sense: [0; sense::LENGTH],
            original: Srb::of(0),
            retries: RETRIES,
        });
        part.original = Srb::execute(cdb, direction, data, length, timeout, &mut part.sense);
        // All parts use the MDL of the whole; each SRB's data buffer says where in it.
        (*irp).mdl_address = (*(*whole).irp).mdl_address;
        send(Box::into_raw(part));
    }
}

/// Sends a part, for the first time or again.
unsafe fn send(part: *mut Part) {
    // SAFETY: the caller keeps `part` valid for this call.
    unsafe {
        (*part).srb = (*part).original;
        request::fill((*part).irp, &raw mut (*part).srb);
        set_completion_routine((*part).irp, done, part.cast());
        io::IofCallDriver((*part).lower, (*part).irp);
    }
}

/// Completes a part's IRP, ≤ DISPATCH_LEVEL.
unsafe extern "win64" fn done(_: *mut DeviceObject, irp: *mut Irp, context: Pvoid) -> NtStatus {
    let part = context.cast::<Part>();
    // SAFETY: the caller keeps `irp` and `context` valid for this call.
    unsafe {
        let found = (*irp).io_status.status;
        let again = (*part).retries != 0 && request::is_worth_repeating(&(*part).srb, &(*part).sense);
        if again {
            (*part).retries -= 1;
            io::IoReuseIrp(irp, status::SUCCESS);
            (*irp).mdl_address = (*(*(*part).whole).irp).mdl_address;
            send(part);
            return status::MORE_PROCESSING_REQUIRED;
        }
        let whole = (*part).whole;
        if found != status::SUCCESS {
            (*whole).fail(if status::success(found) { status::IO_DEVICE_ERROR } else { found });
        }
        drop(Box::from_raw(part));
        (*irp).mdl_address = null_mut();
        io::IoFreeIrp(irp);
        part_done(whole);
        status::MORE_PROCESSING_REQUIRED
    }
}

/// Counts one part less; with the last one the IRP is completed.
unsafe fn part_done(whole: *mut Whole) {
    // SAFETY: the caller keeps `whole` valid for this call.
    unsafe {
        if (*whole).left.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        let whole = Box::from_raw(whole);
        let found = whole.status.load(Ordering::Relaxed);
        let information = if found == status::SUCCESS { whole.length as usize } else { 0 };
        request_packet::complete(whole.irp, found, information);
    }
}
