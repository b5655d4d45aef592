//! Error log entries: reported as lines instead of kept in a file.

use core::mem::offset_of;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicU32, Ordering};

use alloc::string::String;

use super::driver;
use crate::layout;
use crate::mm::pool;
use crate::nt::*;
use crate::{ob, report};

/// `IO_ERROR_LOG_PACKET`: dump data and strings follow.
#[repr(C)]
pub(crate) struct IoErrorLogPacket {
    major_function_code: u8,
    retry_count: u8,
    dump_data_size: u16,
    number_of_strings: u16,
    string_offset: u16,
    event_category: u16,
    error_code: NtStatus,
    unique_error_value: u32,
    final_status: NtStatus,
    sequence_number: u32,
    io_control_code: u32,
    device_offset: i64,
    dump_data: [u32; 1],
}
layout!(IoErrorLogPacket, 0x30, error_code @ 0xC, device_offset @ 0x20, dump_data @ 0x28);

/// Header before a packet in its pool block.
#[repr(C)]
struct Entry {
    object: Pvoid,
    size: usize,
}

/// Entries with the customer bit, by the lowest byte of their codes.
static WRITTEN: [AtomicU32; 256] = [const { AtomicU32::new(0) }; 256];

/// Entries so far whose code has the customer bit and this lowest byte. Any IRQL.
pub(crate) fn written(event: u8) -> u32 {
    WRITTEN[usize::from(event)].load(Ordering::Relaxed)
}

/// The customer bit of an entry's code.
const CUSTOMER: NtStatus = 0x2000_0000;
const TAG: u32 = u32::from_le_bytes(*b"IoEr");
/// `ERROR_LOG_MAXIMUM_SIZE`.
const MAXIMUM: usize = 240;

/// `IoAllocateErrorLogEntry` for a device or driver object. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `object` is a device or driver object.
pub(crate) unsafe extern "win64" fn IoAllocateErrorLogEntry(
    object: Pvoid,
    size: u8,
) -> *mut IoErrorLogPacket {
    if object.is_null()
        || usize::from(size) > MAXIMUM
        || usize::from(size) < offset_of!(IoErrorLogPacket, dump_data)
    {
        return null_mut();
    }
    let bytes = size_of::<Entry>() + usize::from(size);
    let entry: *mut Entry = pool::allocate(pool::Type::NonPagedNx, bytes, TAG, 0).cast();
    if entry.is_null() {
        return null_mut();
    }
    // SAFETY: by this function's contract, `object` is a device or driver object.
    unsafe {
        core::ptr::write_bytes(entry.cast::<u8>(), 0, bytes);
        *entry = Entry { object, size: usize::from(size) };
        ob::reference(object);
        entry.add(1).cast()
    }
}

/// `IoWriteErrorLogEntry`. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `packet` came from [`IoAllocateErrorLogEntry`] and is filled in.
pub(crate) unsafe extern "win64" fn IoWriteErrorLogEntry(packet: *mut IoErrorLogPacket) {
    // SAFETY: by this function's contract, `packet` came from [`IoAllocateErrorLogEntry`] and is filled in.
    unsafe {
        let entry = packet.cast::<Entry>().sub(1);
        let object = (*entry).object;
        let name = match ob::kind(object) {
            ob::Kind::Device => driver::name_of((*object.cast::<DeviceObject>()).driver_object),
            _ => driver::name_of(object.cast()),
        };
        let (start, end) = (usize::from((*packet).string_offset), (*entry).size);
        let strings = if (*packet).number_of_strings > 0 && start < end {
            let units: alloc::vec::Vec<u16> = (start..end - 1)
                .step_by(2)
                .map(|at| packet.byte_add(at).cast::<u16>().read_unaligned())
                .collect();
            let parts = units.split(|&unit| unit == 0).take(usize::from((*packet).number_of_strings));
            parts.map(report::escaped_utf16).collect::<alloc::vec::Vec<_>>().join(",")
        } else {
            String::new()
        };
        report!(
            "event driver={name} code={:#x} unique={:#x} strings={strings}",
            (*packet).error_code,
            (*packet).unique_error_value
        );
        if (*packet).error_code & CUSTOMER != 0 {
            WRITTEN[usize::from((*packet).error_code as u8)].fetch_add(1, Ordering::Relaxed);
        }
        ob::dereference(object);
        pool::free(entry.cast(), Some(TAG));
    }
}

/// `IoFreeErrorLogEntry`. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `packet` came from [`IoAllocateErrorLogEntry`] and was not written.
pub(crate) unsafe extern "win64" fn IoFreeErrorLogEntry(packet: *mut IoErrorLogPacket) {
    // SAFETY: by this function's contract, `packet` came from [`IoAllocateErrorLogEntry`] and was not
    // written.
    unsafe {
        let entry = packet.cast::<Entry>().sub(1);
        ob::dereference((*entry).object);
        pool::free(entry.cast(), Some(TAG));
    }
}
