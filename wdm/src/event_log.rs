//! Entries of the system's event log.
#![expect(unsafe_code, reason = "fills an error log packet in place")]

use core::mem::offset_of;

use wdk_sys::{
    IO_ERROR_LOG_PACKET,
    ntddk::{IoAllocateErrorLogEntry, IoWriteErrorLogEntry},
};

use crate::{DeviceObject, DriverObject, NtStatus, Result};

/// ERROR_LOG_MAXIMUM_SIZE: bytes of a whole packet.
const MAXIMUM: usize = 240;

/// Whose entry it is: the log names the driver.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// A device of this driver.
    Device(DeviceObject),
    /// The driver itself, for what concerns no single device.
    Driver(DriverObject),
}

/// Writes an entry: `code` selects the message (its severity in bits 31–30), `data` are up to 16 words
/// of dump data, `text` is the insertion string %2 (cut to what fits). IRQL ≤ DISPATCH_LEVEL.
///
/// # Errors
/// `INSUFFICIENT_RESOURCES` when the log is congested: such an entry is lost, by NT's design.
pub fn write(source: Source, code: u32, status: NtStatus, data: &[u32], text: &str) -> Result {
    const DATA: usize = offset_of!(IO_ERROR_LOG_PACKET, DumpData);
    let data = &data[..data.len().min(16)];
    let string_at = DATA + size_of_val(data);
    // One unit a character, and the terminator.
    let units = text.len().min((MAXIMUM - string_at) / 2 - 1);
    let bytes = (string_at + (units + 1) * 2).max(size_of::<IO_ERROR_LOG_PACKET>());
    let object = match source {
        Source::Device(device) => device.as_ptr().cast(),
        Source::Driver(driver) => driver.as_ptr().cast(),
    };
    // SAFETY: a device or driver object of this driver, and a size within the limit.
    let packet = unsafe { IoAllocateErrorLogEntry(object, bytes as u8) };
    let packet = packet.cast::<IO_ERROR_LOG_PACKET>();
    if packet.is_null() {
        return Err(NtStatus::INSUFFICIENT_RESOURCES);
    }
    // SAFETY: the packet has `bytes` bytes, which hold the header, the data and the string; writing it
    // gives it back to the I/O manager.
    unsafe {
        packet.cast::<u8>().write_bytes(0, bytes);
        (*packet).DumpDataSize = size_of_val(data) as u16;
        (*packet).NumberOfStrings = 1;
        (*packet).StringOffset = string_at as u16;
        (*packet).ErrorCode = code as i32;
        (*packet).FinalStatus = status.0;
        let words = packet.cast::<u8>().add(DATA).cast::<u32>();
        for (n, &word) in data.iter().enumerate() {
            words.add(n).write(word);
        }
        let string = packet.cast::<u8>().add(string_at).cast::<u16>();
        for (n, byte) in text.bytes().take(units).enumerate() {
            string.add(n).write(if byte.is_ascii() { byte.into() } else { u16::from(b'?') });
        }
        IoWriteErrorLogEntry(packet.cast());
    }
    Ok(())
}
