//! The service manager's side: start, controls, and the state that it is told.
#![expect(unsafe_code, reason = "calls of the Windows API, which std does not have, and its callbacks")]

use core::ffi::c_void;
use std::{
    io, ptr,
    sync::{
        OnceLock,
        atomic::{AtomicPtr, Ordering},
    },
    time::Duration,
};

use bootcfg::channel::event::Event;
use windows_sys::{
    Win32::{
        Foundation::{ERROR_CALL_NOT_IMPLEMENTED, NO_ERROR},
        System::Services::{
            RegisterServiceCtrlHandlerExW, SERVICE_ACCEPT_SHUTDOWN, SERVICE_ACCEPT_STOP,
            SERVICE_CONTROL_DEVICEEVENT, SERVICE_CONTROL_INTERROGATE, SERVICE_CONTROL_SHUTDOWN,
            SERVICE_CONTROL_STOP, SERVICE_RUNNING, SERVICE_STATUS, SERVICE_STATUS_HANDLE,
            SERVICE_STOP_PENDING, SERVICE_STOPPED, SERVICE_TABLE_ENTRYW, SERVICE_WIN32_OWN_PROCESS,
            SetServiceStatus, StartServiceCtrlDispatcherW,
        },
        UI::WindowsAndMessaging::DBT_DEVICEQUERYREMOVE,
    },
    core::PWSTR,
};

use super::{machine::Machine, wide};
use crate::{NAME, run};

/// Time that Windows is told a stop takes at most, in milliseconds.
const STOPPING: u32 = 20_000;
/// Time that a device which is asked to go waits for its handle's end.
const LEAVING: Duration = Duration::from_secs(10);

/// Signals from the service manager's thread to the service's.
#[derive(Debug)]
pub(super) struct Controls {
    /// The service is to stop.
    pub(super) stop: Event,
    /// The channel's device is asked to go, so that the handle is to be closed.
    pub(super) leave: Event,
    /// No handle is open.
    pub(super) left: Event,
    /// The handle by which the state is told; the service manager never takes it back.
    status: AtomicPtr<c_void>,
}

/// The service's controls. The service manager starts the service's thread without a word of whose it is.
static CONTROLS: OnceLock<Controls> = OnceLock::new();

impl Controls {
    fn new() -> io::Result<Controls> {
        let controls = Controls {
            stop: Event::new()?,
            leave: Event::new()?,
            left: Event::new()?,
            status: AtomicPtr::new(ptr::null_mut()),
        };
        controls.left.set();
        Ok(controls)
    }

    /// Returns the handle by which the service manager knows the service.
    pub(super) fn status_handle(&self) -> SERVICE_STATUS_HANDLE {
        self.status.load(Ordering::Acquire)
    }

    /// Tells the service manager of a state.
    fn report(&self, state: u32) {
        let accepted =
            if state == SERVICE_RUNNING { SERVICE_ACCEPT_STOP | SERVICE_ACCEPT_SHUTDOWN } else { 0 };
        let status = SERVICE_STATUS {
            dwServiceType: SERVICE_WIN32_OWN_PROCESS,
            dwCurrentState: state,
            dwControlsAccepted: accepted,
            dwWin32ExitCode: NO_ERROR,
            dwServiceSpecificExitCode: 0,
            dwCheckPoint: u32::from(state == SERVICE_STOP_PENDING),
            dwWaitHint: if state == SERVICE_STOP_PENDING { STOPPING } else { 0 },
        };
        // SAFETY: the handle is the one that the service manager gave, and the structure lives until the call returns.
        // A service that cannot tell is ended by Windows.
        unsafe { SetServiceStatus(self.status_handle(), &raw const status) };
    }
}

/// Runs the service, where the service manager has started this program.
///
/// # Errors
/// It was started otherwise, or Windows has no memory left.
pub fn dispatch() -> io::Result<()> {
    let controls = Controls::new()?;
    // Set once: this runs once.
    let _ = CONTROLS.set(controls);
    let mut name = wide(NAME);
    let table = [
        SERVICE_TABLE_ENTRYW { lpServiceName: name.as_mut_ptr(), lpServiceProc: Some(service_main) },
        SERVICE_TABLE_ENTRYW::default(),
    ];
    // SAFETY: a table that ends with an empty entry; it and the name live until the call returns, at the service's end.
    if unsafe { StartServiceCtrlDispatcherW(table.as_ptr()) } == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Runs the service's thread.
unsafe extern "system" fn service_main(_count: u32, _arguments: *mut PWSTR) {
    let Some(controls) = CONTROLS.get() else { return };
    let name = wide(NAME);
    // SAFETY: the name ends with a NUL; the handler has the signature that is asked for, and its context is a static.
    let handle = unsafe {
        RegisterServiceCtrlHandlerExW(name.as_ptr(), Some(control), ptr::from_ref(controls).cast::<c_void>())
    };
    if handle.is_null() {
        return;
    }
    controls.status.store(handle, Ordering::Release);
    controls.report(SERVICE_RUNNING);
    run::run(&mut Machine::new(controls));
    controls.report(SERVICE_STOPPED);
}

/// Takes a control of the service manager's.
unsafe extern "system" fn control(code: u32, event: u32, _data: *mut c_void, context: *mut c_void) -> u32 {
    // SAFETY: the context that the handler was registered with, a static.
    let controls = unsafe { &*context.cast::<Controls>() };
    match code {
        SERVICE_CONTROL_STOP | SERVICE_CONTROL_SHUTDOWN => {
            // Before the service hears of it: it may be fast.
            controls.report(SERVICE_STOP_PENDING);
            controls.stop.set();
            NO_ERROR
        }
        SERVICE_CONTROL_DEVICEEVENT => {
            if event == DBT_DEVICEQUERYREMOVE {
                controls.leave.set();
                // Where the handle stays open, Windows does not let the device go, and says so.
                controls.left.wait(LEAVING);
            }
            NO_ERROR
        }
        SERVICE_CONTROL_INTERROGATE => NO_ERROR,
        _ => ERROR_CALL_NOT_IMPLEMENTED,
    }
}
