//! Suspend and resume, as the adapter takes part in it.
//!
//! xenpci's suspend thread calls, and the thread of the vbds, which is the one that talks with backends, does the
//! work: it holds every queue before the guest is suspended, and takes up no other work until it goes on.
//! Afterwards every target connects to its new backend, which gets again, in order, what the old one had not
//! answered; then the census is taken. After a suspend that was cancelled the backends are there as before:
//! the queues are let go, and nothing else is done. After hibernation that ends where it began, a copy of
//! this driver may have been connected to any of the backends: every target ends that session, and begins
//! anew.

use core::time::Duration;
use wdm::Shared;

use wdm::event::{Event, Kind};
use wdm::time;
use xenpci_interface::suspend::{Call, Meeting, Phase};

/// Time that the thread of the vbds has for an answer: it may be waiting for backends to answer before a suspend, or for the
/// end of one and the handshake with the next. The toolstack (libxl) gives up after 60 seconds.
const PATIENCE: Duration = Duration::from_secs(50);

/// The place where xenpci's thread and the one of the vbds meet.
pub(crate) struct SuspendGate {
    meeting: Meeting,
    /// Set at each answer.
    answered: Event,
    /// The event that the thread of the vbds waits for.
    vbd_event: Shared<Event>,
}

impl SuspendGate {
    /// Makes a place where nobody has called. ≤ DISPATCH_LEVEL.
    ///
    /// # Errors
    /// `INSUFFICIENT_RESOURCES`.
    pub(crate) fn new(vbd_event: Shared<Event>) -> wdm::Result<Self> {
        Ok(Self { meeting: Meeting::new(), answered: Event::new(Kind::Synchronization)?, vbd_event })
    }

    /// Has the thread of the vbds do its part, on xenpci's thread, and returns true if it has. `epoch` is the one of
    /// now. PASSIVE_LEVEL.
    pub(crate) fn call(&self, phase: Phase, epoch: u32) -> bool {
        let made = self.meeting.call(phase, epoch);
        self.vbd_event.set();
        let began = time::interrupt_time();
        loop {
            // An answer may belong to an earlier call, which was given up.
            if self.meeting.is_answered(made) {
                return !self.meeting.is_refused(made);
            }
            let waited = time::since(began);
            let Some(left) = PATIENCE.checked_sub(waited).filter(|left| !left.is_zero()) else {
                return false;
            };
            self.answered.wait_timeout(left);
        }
    }

    /// Takes up what is asked, once, on the thread of the vbds. Any IRQL.
    pub(crate) fn take(&self) -> Option<Call> {
        self.meeting.take()
    }

    /// Says that the guest must not be suspended now, on the thread of the vbds. ≤ DISPATCH_LEVEL.
    pub(crate) fn refuse(&self, call: Call) {
        self.meeting.refuse(call);
        self.answered.set();
    }

    /// Says that what was asked is done, on the thread of the vbds. ≤ DISPATCH_LEVEL.
    pub(crate) fn answer(&self, call: Call) {
        self.meeting.answer(call);
        self.answered.set();
    }
}
