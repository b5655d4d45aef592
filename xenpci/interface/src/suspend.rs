//! Meeting of two threads around a suspend: xenpci's suspend thread, which calls the client, and the client's
//! thread, which does the work and may be busy for longer than xenpci waits.
//!
//! An answer belongs to one call. A client that was still at work for an earlier call when a later one came
//! answers the earlier one first, and that must not pass for the later one's: xenpci would suspend the guest while
//! no queue is held. The epoch travels with the call, since the client may look at it only when the guest has gone
//! on again.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::{RESUMED, REVIVED, SUSPENDING};

/// The phase of a call around a suspend ([`crate::SuspendCallback`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Phase {
    /// The guest is about to be suspended.
    Suspending = SUSPENDING,
    /// The guest goes on.
    Resumed = RESUMED,
    /// The guest goes on after hibernation, where it was.
    Revived = REVIVED,
}

impl Phase {
    /// Returns the phase with this number.
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Phase> {
        match number {
            SUSPENDING => Some(Phase::Suspending),
            RESUMED => Some(Phase::Resumed),
            REVIVED => Some(Phase::Revived),
            _ => None,
        }
    }
}

/// A call, as the client's thread takes it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// The phase.
    pub phase: Phase,
    /// The epoch when the call was made.
    pub epoch: u32,
    number: u32,
}

/// A call that was made and is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made(u32);

/// The place where the two threads meet. Waiting and waking are the caller's and the client's own.
#[derive(Debug)]
pub struct Meeting {
    /// The call that nobody has taken up: epoch, number and phase. [`NOTHING`] for none.
    call: AtomicU64,
    /// The number of the last call that was answered.
    answered: AtomicU32,
    /// The number of the last call that was refused; at first that of none.
    refused: AtomicU32,
    /// The number of the last call that was made, below [`NUMBERS`].
    made: AtomicU32,
}

/// No call.
const NOTHING: u64 = u64::MAX;
/// Call numbers run below this, and have two bits of phase beside them in a word.
const NUMBERS: u32 = 1 << 29;

impl Default for Meeting {
    fn default() -> Meeting {
        Meeting::new()
    }
}

impl Meeting {
    /// Returns a place where nobody has called.
    #[must_use]
    pub const fn new() -> Meeting {
        Meeting {
            call: AtomicU64::new(NOTHING),
            answered: AtomicU32::new(0),
            refused: AtomicU32::new(NUMBERS),
            made: AtomicU32::new(0),
        }
    }

    /// Makes a call; one that was not taken up yet is forgotten. One thread at a time. Any IRQL.
    pub fn call(&self, phase: Phase, epoch: u32) -> Made {
        let number = (self.made.load(Ordering::Relaxed) + 1) % NUMBERS;
        self.made.store(number, Ordering::Relaxed);
        let call = u64::from(epoch) << 32 | u64::from(number << 2 | phase as u32);
        self.call.store(call, Ordering::Release);
        Made(number)
    }

    /// Takes the call up, once. Any IRQL.
    pub fn take(&self) -> Option<Call> {
        let call = self.call.swap(NOTHING, Ordering::AcqRel);
        if call == NOTHING {
            return None;
        }
        let low = (call & u64::from(u32::MAX)) as u32;
        Phase::from_number(low & 3).map(|phase| Call { phase, epoch: (call >> 32) as u32, number: low >> 2 })
    }

    /// Answers a call. Any IRQL.
    pub fn answer(&self, call: Call) {
        self.answered.store(call.number, Ordering::Release);
    }

    /// Answers a call with no. Any IRQL.
    pub fn refuse(&self, call: Call) {
        self.refused.store(call.number, Ordering::Release);
        self.answer(call);
    }

    /// Returns true if this very call was answered with no. Any IRQL.
    #[must_use]
    pub fn is_refused(&self, made: Made) -> bool {
        self.refused.load(Ordering::Acquire) == made.0
    }

    /// Returns true if this very call was answered, with yes or no. Any IRQL.
    #[must_use]
    pub fn is_answered(&self, made: Made) -> bool {
        self.answered.load(Ordering::Acquire) == made.0
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::vec::Vec;

    use super::*;

    #[test]
    fn a_call_is_taken_up_once_and_answered() {
        let meeting = Meeting::new();
        assert_eq!(meeting.take(), None);
        let made = meeting.call(Phase::Revived, u32::MAX);
        assert!(!meeting.is_answered(made));
        let call = meeting.take().expect("a call");
        assert_eq!((call.phase, call.epoch, meeting.take()), (Phase::Revived, u32::MAX, None));
        meeting.answer(call);
        assert!(meeting.is_answered(made));
    }

    #[test]
    fn a_refusal_belongs_to_its_call() {
        let meeting = Meeting::new();
        let made = meeting.call(Phase::Suspending, 0);
        assert!(!meeting.is_refused(made));
        let call = meeting.take().expect("a call");
        let next = meeting.call(Phase::Suspending, 0);
        meeting.refuse(call);
        assert!(meeting.is_refused(made) && meeting.is_answered(made));
        assert!(!meeting.is_refused(next) && !meeting.is_answered(next));
        meeting.answer(meeting.take().expect("a call"));
        assert!(meeting.is_answered(next) && !meeting.is_refused(next));
    }

    #[test]
    fn numbers_come_round() {
        let meeting = Meeting::new();
        meeting.made.store(NUMBERS - 1, Ordering::Relaxed);
        let made = meeting.call(Phase::Suspending, 7);
        let call = meeting.take().expect("a call");
        assert_eq!((call.phase, call.epoch), (Phase::Suspending, 7));
        let next = meeting.call(Phase::Resumed, 7);
        meeting.answer(call);
        assert!(meeting.is_answered(made) && !meeting.is_answered(next));
    }

    /// Two threads that meet, with the answers' meaning left open.
    trait Protocol {
        type Call: Copy;
        type Made: Copy;
        fn call(&self, phase: Phase) -> Self::Made;
        fn take(&self) -> Option<(Phase, Self::Call)>;
        fn answer(&self, call: Self::Call);
        fn is_answered(&self, made: Self::Made) -> bool;
    }

    impl Protocol for Meeting {
        type Call = Call;
        type Made = Made;
        fn call(&self, phase: Phase) -> Made {
            Meeting::call(self, phase, 0)
        }
        fn take(&self) -> Option<(Phase, Call)> {
            Meeting::take(self).map(|call| (call.phase, call))
        }
        fn answer(&self, call: Call) {
            Meeting::answer(self, call);
        }
        fn is_answered(&self, made: Made) -> bool {
            Meeting::is_answered(self, made)
        }
    }

    /// An answer that says only that something was answered since the last call, as it was once built.
    #[derive(Default)]
    struct WithoutNumbers {
        phase: Cell<Option<Phase>>,
        done: Cell<bool>,
    }

    impl Protocol for WithoutNumbers {
        type Call = ();
        type Made = ();
        fn call(&self, phase: Phase) {
            self.done.set(false);
            self.phase.set(Some(phase));
        }
        fn take(&self) -> Option<(Phase, ())> {
            self.phase.take().map(|phase| (phase, ()))
        }
        fn answer(&self, (): ()) {
            self.done.set(true);
        }
        fn is_answered(&self, (): ()) -> bool {
            self.done.get()
        }
    }

    /// The client's thread.
    #[derive(Clone, Copy)]
    enum Client<C> {
        /// Looks for a call.
        Idle,
        /// Holds its queues, and is about to answer.
        Holding(C),
        /// Holds its queues until it is told to go on.
        Held,
        /// Connects to its backends again, which may take long, and is about to answer.
        Connecting(C),
    }

    /// A step of the two threads.
    #[derive(Clone, Copy, PartialEq, Eq, Hash)]
    enum Step {
        /// xenpci's thread makes the next call of its cycle.
        Call,
        /// It looks for the answer and finds it.
        Answered,
        /// It has waited for too long.
        GivesUp,
        /// The client's thread goes on.
        Client,
    }

    /// Runs one order of steps, as far as each is possible. Returns whether the guest was suspended while the
    /// client did not hold its queues.
    fn suspended_unheld<P: Protocol>(protocol: &P, steps: &[Step]) -> bool {
        let mut client = Client::Idle;
        let mut calls = [Phase::Suspending, Phase::Resumed].into_iter().cycle();
        let mut made: Option<(Phase, P::Made)> = None;
        for step in steps {
            match (step, made, client) {
                (Step::Call, None, _) => {
                    let phase = calls.next().expect("a cycle");
                    made = Some((phase, protocol.call(phase)));
                }
                (Step::Answered, Some((phase, number)), _) if protocol.is_answered(number) => {
                    let held = matches!(client, Client::Held);
                    if phase == Phase::Suspending && !held {
                        return true;
                    }
                    made = None;
                }
                (Step::GivesUp, Some(_), _) => made = None,
                (Step::Client, _, Client::Idle) => match protocol.take() {
                    Some((Phase::Suspending, call)) => client = Client::Holding(call),
                    Some((_, call)) => protocol.answer(call),
                    None => {}
                },
                (Step::Client, _, Client::Holding(call)) => {
                    client = Client::Held;
                    protocol.answer(call);
                }
                (Step::Client, _, Client::Held) => match protocol.take() {
                    Some((Phase::Suspending, call)) => protocol.answer(call),
                    Some((_, call)) => client = Client::Connecting(call),
                    None => {}
                },
                (Step::Client, _, Client::Connecting(call)) => {
                    client = Client::Idle;
                    protocol.answer(call);
                }
                _ => {}
            }
        }
        false
    }

    /// Runs every order of up to `length` steps on a fresh meeting; whether one suspended the guest unheld.
    fn any_order<P: Protocol>(fresh: impl Fn() -> P, length: u32) -> bool {
        const STEPS: [Step; 4] = [Step::Call, Step::Answered, Step::GivesUp, Step::Client];
        (0..4_usize.pow(length)).any(|order| {
            let steps: Vec<_> = (0..length).map(|digit| STEPS[order / 4_usize.pow(digit) % 4]).collect();
            suspended_unheld(&fresh(), &steps)
        })
    }

    /// The race that numbers are there for: the client is still connecting after a resume, xenpci has given up
    /// waiting and begins the next suspend, and the client's answer to the resume comes.
    #[test]
    fn without_numbers_a_late_answer_suspends_the_guest() {
        let race = [
            Step::Call,
            Step::Client,
            Step::Client,
            Step::Answered,
            Step::Call,
            Step::Client,
            Step::GivesUp,
            Step::Call,
            Step::Client,
            Step::Answered,
        ];
        assert!(suspended_unheld(&WithoutNumbers::default(), &race));
        assert!(!suspended_unheld(&Meeting::new(), &race));
    }

    /// No order of ten steps suspends the guest while its queues are not held.
    #[test]
    fn an_answer_belongs_to_its_call() {
        assert!(!any_order(Meeting::new, 10));
    }
}
