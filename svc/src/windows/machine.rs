//! The Windows that the service runs in.
#![expect(unsafe_code, reason = "calls of the Windows API, which std does not have")]

use std::{io, path::PathBuf, ptr, time::Duration};

use bootcfg::{privilege, system::System};
use windows_sys::Win32::{
    Foundation::{ERROR_SHUTDOWN_IN_PROGRESS, ERROR_SHUTDOWN_IS_SCHEDULED, FILETIME},
    System::{
        Shutdown::{
            AbortSystemShutdownW, InitiateSystemShutdownExW, SHTDN_REASON_FLAG_PLANNED,
            SHTDN_REASON_MAJOR_OTHER, SHTDN_REASON_MINOR_OTHER,
        },
        SystemInformation::GetSystemTimeAsFileTime,
    },
};

use super::{device::Device, event_log, service::Controls, wide};
use crate::{
    log::{self, Log},
    message::Message,
    run::World,
};

/// Comment that Windows' own event of a shutdown has.
const COMMENT: &str = "The toolstack of the Xen host has asked for it (control/shutdown).";

/// The Windows.
pub(super) struct Machine {
    controls: &'static Controls,
    log: Log,
}

impl Machine {
    /// Returns this machine's.
    pub(super) fn new(controls: &'static Controls) -> Machine {
        let windows =
            std::env::var_os("SystemRoot").map_or_else(|| PathBuf::from("C:\\Windows"), PathBuf::from);
        Machine { controls, log: Log::new(&windows.join(log::FOLDER)) }
    }
}

impl World for Machine {
    type Channel = Device;

    fn open(&mut self) -> io::Result<Option<Device>> {
        Device::open(self.controls)
    }

    fn wait(&mut self, time: Duration) -> bool {
        self.controls.stop.wait(time)
    }

    fn shut_down(&mut self, reboot: bool) -> io::Result<()> {
        privilege::enable("SeShutdownPrivilege").map_err(|error| io::Error::other(format!("{error:#}")))?;
        match begin(reboot) {
            // Another's, for later: this one is asked for now.
            Err(error) if is(&error, ERROR_SHUTDOWN_IS_SCHEDULED) => {
                // SAFETY: this machine. Where it is too late for that, a shutdown is under way.
                unsafe { AbortSystemShutdownW(ptr::null()) };
                begin(reboot)
            }
            begun => begun,
        }
    }

    fn mend(&mut self) -> Result<Vec<String>, String> {
        System::running(None).mend_start_override().map_err(|error| format!("{error:#}"))
    }

    fn tell(&mut self, message: Message, detail: &str) {
        // Nothing depends on either.
        let _ = self.log.add(now(), message, detail);
        event_log::write(message, detail);
    }
}

/// Begins a shutdown at once, of which applications are not asked. One that is under way is as good.
fn begin(reboot: bool) -> io::Result<()> {
    let comment = wide(COMMENT);
    let reason = SHTDN_REASON_MAJOR_OTHER | SHTDN_REASON_MINOR_OTHER | SHTDN_REASON_FLAG_PLANNED;
    // SAFETY: this machine, and a text that ends with a NUL and lives until the call returns.
    if unsafe { InitiateSystemShutdownExW(ptr::null(), comment.as_ptr(), 0, 1, reboot.into(), reason) } != 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        error if is(&error, ERROR_SHUTDOWN_IN_PROGRESS) => Ok(()),
        error => Err(error),
    }
}

fn is(error: &io::Error, code: u32) -> bool {
    error.raw_os_error().map(i32::cast_unsigned) == Some(code)
}

/// Returns the time in 100 ns since 1601-01-01 UTC.
fn now() -> u64 {
    let mut time = FILETIME { dwLowDateTime: 0, dwHighDateTime: 0 };
    // SAFETY: the place lives until the call returns.
    unsafe { GetSystemTimeAsFileTime(&raw mut time) };
    u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime)
}
