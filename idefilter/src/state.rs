//! The one guard of the boot, with its record, behind a spin lock. It is valid, and unsealed, from the
//! image's first byte: also where this driver is only mapped, because others import from it, and its
//! DriverEntry has not run.

use guard::controllers::Present;
use guard::machine::{BUGCHECK_CODE, BugCheck, Phase};
use guard::policy::HidePolicy;
use guard::{Action, Event, Guard, abi};
use wdm::{SpinLock, bugcheck};

use crate::{record::Record, unplug};

struct State {
    guard: Guard,
    record: Record,
}

static STATE: SpinLock<State> = SpinLock::new(State { guard: Guard::new(), record: Record::new() });

/// Feeds the guard and records what it answers. A stop is also written to qemu's log, the first time.
/// IRQL ≤ DISPATCH_LEVEL.
pub fn step(event: Event) -> Action {
    let (action, first_stop) = {
        let mut state = STATE.lock();
        let stopped = matches!(state.guard.phase(), Phase::Stopped(_));
        let action = state.guard.step(event);
        state.record.add(event, action);
        (action, !stopped)
    };
    if let Action::Stop(BugCheck { reason, own, enumerated }) = action
        && first_stop
    {
        unplug::log(format_args!(
            "xenguard: stop {BUGCHECK_CODE:#010x} reason={:#x} own={own} enumerated={enumerated}: {}",
            reason.code(),
            reason.text()
        ));
    }
    action
}

/// The state of the boot as other drivers see it. IRQL ≤ DISPATCH_LEVEL.
pub fn status() -> abi::Status {
    abi::Status::of(&STATE.lock().guard)
}

/// Whether this is a PV boot, whatever became of it.
pub fn is_pv() -> bool {
    match STATE.lock().guard.phase() {
        Phase::Hiding | Phase::Granted | Phase::Exposed | Phase::Withheld(_) => true,
        Phase::Unsealed | Phase::Emulated(_) | Phase::Stopped(_) => false,
    }
}

/// Emulated controllers counted in configuration space, 0 before they were.
pub fn controllers() -> u32 {
    STATE.lock().guard.controllers().map_or(0, Present::total)
}

/// The hide policy of this boot.
pub fn policy() -> HidePolicy {
    STATE.lock().guard.policy()
}

/// Stops the system; P4 is the address of the record.
pub fn stop(BugCheck { reason, own, enumerated }: BugCheck) -> ! {
    let record = STATE.as_ptr().addr() + core::mem::offset_of!(State, record);
    bugcheck::stop(BUGCHECK_CODE, [reason.code() as usize, own as usize, enumerated as usize, record])
}
