//! Reinitialization routines: called once boot devices, or all drivers, are up.

use alloc::collections::VecDeque;

use crate::ke::Lock;
use crate::nt::*;
use crate::verifier::balanced;

struct Registration {
    driver: *mut DriverObject,
    routine: ReinitializeRoutine,
    context: Pvoid,
}

// SAFETY: a registration's pointers belong to its driver, which is not unloaded before the routine ran
// (`is_registered`).
unsafe impl Send for Registration {}

static BOOT: Lock<VecDeque<Registration>> = Lock::new(VecDeque::new());
static SYSTEM: Lock<VecDeque<Registration>> = Lock::new(VecDeque::new());

/// `IoRegisterBootDriverReinitialization`. IRQL `PASSIVE_LEVEL`.
///
/// # Safety
/// `routine` may be called with `context` once boot devices are up.
pub(crate) unsafe extern "win64" fn IoRegisterBootDriverReinitialization(
    driver: *mut DriverObject,
    routine: ReinitializeRoutine,
    context: Pvoid,
) {
    BOOT.lock().push_back(Registration { driver, routine, context });
}

/// `IoRegisterDriverReinitialization`. IRQL `PASSIVE_LEVEL`.
///
/// # Safety
/// `routine` may be called with `context` once all drivers were started.
pub(crate) unsafe extern "win64" fn IoRegisterDriverReinitialization(
    driver: *mut DriverObject,
    routine: ReinitializeRoutine,
    context: Pvoid,
) {
    SYSTEM.lock().push_back(Registration { driver, routine, context });
}

/// Returns true if a routine of a driver's is still to be called. NT's documentation does not say that such a
/// driver is unloaded, and nothing could take the call back. A driver that can be unloaded then is wrong.
pub(crate) fn is_registered(driver: *mut DriverObject) -> bool {
    [&BOOT, &SYSTEM].iter().any(|queue| queue.lock().iter().any(|entry| entry.driver == driver))
}

/// Calls what was registered; a routine may register itself again and is then called again.
unsafe fn run(queue: &Lock<VecDeque<Registration>>) {
    // SAFETY: the driver registered the routine, to be called with its driver object and context.
    unsafe {
        loop {
            let next = queue.lock().pop_front();
            let Some(Registration { driver, routine, context }) = next else { break };
            let extension = (*driver).driver_extension;
            (*extension).count += 1;
            balanced("reinitialize", routine as usize, || routine(driver, context, (*extension).count));
        }
    }
}

/// Calls the boot drivers' routines: boot devices are up.
///
/// # Safety
/// IRQL `PASSIVE_LEVEL`, once.
pub(crate) unsafe fn boot_devices_up() {
    // SAFETY: the caller is at IRQL `PASSIVE_LEVEL`, once.
    unsafe {
        run(&BOOT);
    }
}

/// Calls the other routines: all drivers were started.
///
/// # Safety
/// IRQL `PASSIVE_LEVEL`, once.
pub(crate) unsafe fn drivers_started() {
    // SAFETY: the caller is at IRQL `PASSIVE_LEVEL`, once.
    unsafe {
        run(&SYSTEM);
    }
}
