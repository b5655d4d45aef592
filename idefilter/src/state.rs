//! The one guard of the boot, with its record, behind a spin lock. It is valid, and unsealed, from the
//! image's first byte: also where this driver is only mapped, because others import from it, and its
//! DriverEntry has not run.
#![expect(unsafe_code, reason = "hands the record to the crash dump")]

use core::sync::atomic::{AtomicBool, Ordering};

use guard::abi::{self, Signals};
use guard::census::Counts;
use guard::controllers::Present;
use guard::machine::{BUGCHECK_CODE, BugCheck, Phase, Unplug};
use guard::policy::HidePolicy;
use guard::record::{self, Record};
use guard::{Action, Event, Guard};
use wdm::{SpinLock, bugcheck, time};

use crate::{log, news, signals, unplug};

struct State {
    guard: Guard,
    record: Record,
    /// The last census, for displays.
    census: Option<Counts>,
    /// The status that [`Signals::CHANGED`] was last raised for.
    last_status: Option<abi::Status>,
}

static STATE: SpinLock<State> =
    SpinLock::new(State { guard: Guard::new(), record: Record::new(), census: None, last_status: None });

/// True if qemu is to be asked to unplug its disks. Set before the guard is sealed.
static UNPLUG_WANTED: AtomicBool = AtomicBool::new(true);

/// Keeps `Parameters\Unplug`, for when the guard orders it.
pub(crate) fn set_unplug_wanted(wanted: bool) {
    UNPLUG_WANTED.store(wanted, Ordering::Relaxed);
}

/// Feeds the guard, records what it answers, and carries out what needs nobody else: the unplug, a word to
/// xenpci or xenvbd, and of a stop the line in qemu's log. The caller obeys the rest. IRQL ≤ DISPATCH_LEVEL.
pub(crate) fn step(event: Event) -> Action {
    let mut action = feed(event);
    if action == Action::Unplug {
        action = feed(Event::Unplugged(take_away_disks()));
    }
    if status_changed() {
        signals::raise(Signals::CHANGED);
    }
    match action {
        Action::AskAgain => signals::raise(Signals::ASK_AGAIN),
        Action::CensusNow => signals::raise(Signals::TAKE_CENSUS),
        _ => {}
    }
    news::tell();
    action
}

/// Feeds the guard one of this driver's own events and carries out its order. IRQL ≤ DISPATCH_LEVEL.
pub(crate) fn tell(event: Event) {
    obey(step(event));
}

/// Carries out what the guard ordered and [`step`] has not.
pub(crate) fn obey(action: Action) {
    match action {
        Action::Stop(bugcheck) => stop(bugcheck),
        Action::Withhold(reason) | Action::Note(reason) => {
            log!("reason={:#x} {}", reason.code(), reason.text());
        }
        // The caller that asked refuses the start; signals to the other drivers have been raised.
        Action::Deny(_) | Action::CensusNow | Action::AskAgain => {}
        Action::Nothing | Action::Unplug | Action::Expose => {}
    }
}

fn feed(event: Event) -> Action {
    let mut state = STATE.lock();
    let stopped = matches!(state.guard.phase(), Phase::Stopped(_));
    let action = state.guard.step(event);
    state.record.add(time::interrupt_time(), event, action);
    if let Event::Census { counts, .. } = event {
        state.census = Some(counts);
    }
    if let Action::Stop(bugcheck) = action
        && !stopped
    {
        // Behind the lock another thread may be told to stop the system, and would do so before this was said.
        announce(bugcheck);
    }
    action
}

/// Tells the admin what happened and what to do, in qemu's log, which the host keeps, and on the debugger's
/// console.
fn announce(BugCheck { reason, own, enumerated }: BugCheck) {
    let line = format_args!(
        "xenguard: stop {BUGCHECK_CODE:#010x} reason={:#x} own={own} enumerated={enumerated}: {}",
        reason.code(),
        reason.text()
    );
    unplug::log(line);
    let advice = format_args!(
        "xenguard: stopped before a disk could be mounted twice; choose the boot entry without GPLPV, and see \
         reason {:#x} in docs/bugcheck.md",
        reason.code()
    );
    unplug::log(advice);
    log!("{line}");
    log!("{advice}");
}

/// Runs the unplug protocol; how it ended.
fn take_away_disks() -> Unplug {
    let end = unplug::run(UNPLUG_WANTED.load(Ordering::Relaxed));
    let name = match end {
        Unplug::NotAsked => "not-asked",
        Unplug::Acknowledged => "acknowledged",
        Unplug::Refused => "refused",
    };
    log!("unplug={name}");
    end
}

/// Returns the state of the boot as other drivers see it. IRQL ≤ DISPATCH_LEVEL.
pub(crate) fn status() -> abi::Status {
    STATE.lock().status()
}

/// Returns true if the status is another one than when this was last asked. IRQL ≤ DISPATCH_LEVEL.
fn status_changed() -> bool {
    let mut state = STATE.lock();
    let status = state.status();
    state.last_status.replace(status) != Some(status)
}

impl State {
    fn status(&self) -> abi::Status {
        abi::Status::of(&self.guard).with_census(self.census)
    }
}

/// Returns a copy of the record. IRQL ≤ DISPATCH_LEVEL.
pub(crate) fn record() -> Record {
    STATE.lock().record.clone()
}

/// Writes the record's bytes to a place. IRQL ≤ DISPATCH_LEVEL.
pub(crate) fn copy_record(place: &mut [u8; record::SIZE]) {
    place.copy_from_slice(STATE.lock().record.as_bytes());
}

/// Returns the record's bytes, without the lock: for the crash dump, at HIGH_LEVEL on the one processor that
/// still runs.
pub(crate) fn record_at_stop() -> &'static [u8] {
    // SAFETY: every other processor is halted, and this one is in the bugcheck, which nothing returns from.
    unsafe { (*STATE.as_ptr()).record.as_bytes() }
}

/// Returns true if this is a PV boot, whatever became of it.
pub(crate) fn is_pv() -> bool {
    match STATE.lock().guard.phase() {
        Phase::Hiding | Phase::Granted | Phase::Exposed | Phase::Withheld(_) => true,
        Phase::Unsealed | Phase::Emulated(_) | Phase::Stopped(_) => false,
    }
}

/// Returns true if PV disks may still appear, or have: emulated disks must stay away.
pub(crate) fn may_expose() -> bool {
    matches!(STATE.lock().guard.phase(), Phase::Hiding | Phase::Granted | Phase::Exposed)
}

/// Returns the hide policy of this boot.
pub(crate) fn policy() -> HidePolicy {
    STATE.lock().guard.policy()
}

/// Returns the emulated controllers counted in configuration space; `None` before they were.
pub(crate) fn controllers() -> Option<Present> {
    STATE.lock().guard.controllers()
}

/// Stops the system; P4 is the address of the record.
fn stop(bugcheck: BugCheck) -> ! {
    let record = STATE.as_ptr().addr() + core::mem::offset_of!(State, record);
    bugcheck::stop(BUGCHECK_CODE, bugcheck.parameters(record))
}
