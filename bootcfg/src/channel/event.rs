//! Events that threads wait for.
#![expect(unsafe_code, reason = "calls of the Windows API, which std does not have")]

use std::{
    io,
    os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle},
    ptr,
    time::Duration,
};

use windows_sys::Win32::{
    Foundation::{HANDLE, WAIT_OBJECT_0},
    System::Threading::{CreateEventW, ResetEvent, SetEvent, WaitForSingleObject},
};

/// An event that stays set until it is cleared.
#[derive(Debug)]
pub struct Event(OwnedHandle);

impl Event {
    /// Makes one that is not set.
    ///
    /// # Errors
    /// The answer of Windows.
    pub fn new() -> io::Result<Event> {
        // SAFETY: no attributes and no name.
        let handle = unsafe { CreateEventW(ptr::null(), 1, 0, ptr::null()) };
        if handle.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the handle is open, and this value's alone.
        Ok(Event(unsafe { OwnedHandle::from_raw_handle(handle) }))
    }

    /// Returns the handle, which is open as long as the event lives.
    pub fn raw(&self) -> HANDLE {
        self.0.as_raw_handle()
    }

    /// Sets it.
    pub fn set(&self) {
        // SAFETY: the handle is open. Setting an event of one's own does not fail.
        unsafe { SetEvent(self.raw()) };
    }

    /// Clears it.
    pub fn clear(&self) {
        // SAFETY: the handle is open. Clearing an event of one's own does not fail.
        unsafe { ResetEvent(self.raw()) };
    }

    /// Waits at most so long, and returns whether it was set.
    pub fn wait(&self, limit: Duration) -> bool {
        // SAFETY: the handle is open.
        unsafe { WaitForSingleObject(self.raw(), milliseconds(limit)) == WAIT_OBJECT_0 }
    }
}

/// Returns a time as Windows' waits take it; less than the number that means for ever.
pub fn milliseconds(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX - 1).min(u32::MAX - 1)
}
