//! The routines of the dump port driver that the copy calls.
#![expect(unsafe_code, reason = "Storport's C interface")]

use core::fmt::{self, Write};

use wdk_sys::storage::{StorPortDebugPrint, StorPortGetDeviceBase, StorPortStallExecution};
use wdk_sys::{BOOLEAN, FALSE, INTERFACE_TYPE, LARGE_INTEGER, PVOID, ULONG};
use wdm::debug::Line;

/// Says something to whoever debugs the dump driver. Any IRQL.
pub(super) fn say(text: fmt::Arguments<'_>) {
    let mut line = Line::new();
    // What does not fit is cut.
    let _ = write!(line, "xenvbd dump: {text}");
    let mut message = [0u8; wdm::debug::LINE];
    message[..line.as_bytes().len()].copy_from_slice(line.as_bytes());
    // The message is a format to the routine.
    message.iter_mut().filter(|byte| **byte == b'%').for_each(|byte| *byte = b' ');
    // SAFETY: a terminated format without arguments; a line is shorter than the array.
    unsafe { StorPortDebugPrint(0, message.as_mut_ptr().cast()) };
}

/// Lets time pass, in microseconds. Any IRQL.
pub(super) fn stall(microseconds: u32) {
    // SAFETY: a number.
    unsafe { StorPortStallExecution(microseconds) };
}

/// The port driver, which maps device memory while `HwFindAdapter` runs.
pub(super) struct PortDriver {
    pub(super) extension: PVOID,
    pub(super) bus_type: INTERFACE_TYPE,
    pub(super) bus_number: ULONG,
}

impl PortDriver {
    /// Maps a physical range; `None` where the port driver does not.
    pub(super) fn device_base(&self, physical: u64, length: u32) -> Option<*mut u8> {
        let address = LARGE_INTEGER { QuadPart: physical as i64 };
        // SAFETY: the port driver's extension and the adapter's bus, in HwFindAdapter.
        let base = unsafe {
            let in_io_space = FALSE as BOOLEAN;
            StorPortGetDeviceBase(
                self.extension,
                self.bus_type,
                self.bus_number,
                address,
                length,
                in_io_space,
            )
        };
        Some(base.cast::<u8>()).filter(|base| !base.is_null())
    }
}
