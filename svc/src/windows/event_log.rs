//! Windows' event log.
#![expect(unsafe_code, reason = "calls of the Windows API, which std does not have")]

use std::ptr;

use windows_sys::Win32::System::EventLog::{
    DeregisterEventSource, EVENTLOG_INFORMATION_TYPE, EVENTLOG_WARNING_TYPE, RegisterEventSourceW,
    ReportEventW,
};

use super::wide;
use crate::{NAME, message::Message};

/// Writes a message into the event log. Where the log takes none, it is left out: the service's file has it.
pub(super) fn write(message: Message, detail: &str) {
    let (name, detail) = (wide(NAME), wide(detail));
    // SAFETY: this machine's log, and a name that ends with a NUL.
    let source = unsafe { RegisterEventSourceW(ptr::null(), name.as_ptr()) };
    if source.is_null() {
        return;
    }
    let kind = if message.is_warning() { EVENTLOG_WARNING_TYPE } else { EVENTLOG_INFORMATION_TYPE };
    let strings = [detail.as_ptr()];
    // SAFETY: the source is open; one string, which ends with a NUL and lives until the call returns; no data.
    unsafe {
        ReportEventW(source, kind, 0, message.code(), ptr::null_mut(), 1, 0, strings.as_ptr(), ptr::null())
    };
    // SAFETY: the source is open, and not used after this.
    unsafe { DeregisterEventSource(source) };
}
