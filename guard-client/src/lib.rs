//! Safe client of the guard, which lives in `idefilter.sys`: events, status and signals.
//!
//! A driver that links this crate imports from `idefilter.sys`, and so does not load without it. That is a part
//! of the guard: a driver that touches disks must not run where nothing guards them.
//!
//! Layouts, numbers and meanings are those of [`guard::abi`].
//!
//! | to | call |
//! |---|---|
//! | tell the guard what happened, and hear what to do | [`event`] |
//! | know how the boot stands | [`status`] |
//! | be called when the guard wants something | [`Subscription::new`] |
//! | leave a line in the activity log | [`note`] |
//! | read the activity log, and the guard's record | [`line()`], [`record()`] |
#![no_std]
#![expect(unsafe_code, reason = "calls another driver's exports, and is called back with an address")]

extern crate alloc;
#[cfg(test)]
extern crate std;

use alloc::boxed::Box;
use core::ffi::c_void;
use core::num::NonZeroU32;
use core::ptr::NonNull;

use guard::abi::{self, ABI_VERSION, PhaseNumber, RawEvent, Signals, Status, Watcher};
use guard::channel::LogLine;
use guard::{Action, Event, Reason, record};

#[cfg(test)]
mod exports;

// The tests bring exports of their own.
#[cfg_attr(not(test), link(name = "idefilter", kind = "static", modifiers = "-bundle"))]
unsafe extern "system" {
    fn XenguardEvent(event: *const RawEvent) -> u64;
    fn XenguardStatus(status: *mut Status, size: u32) -> u32;
    fn XenguardWatch(watcher: Option<Watcher>, context: *mut c_void) -> u32;
    fn XenguardUnwatch(number: u32);
    fn XenguardNote(text: *const u8, length: u32);
    fn XenguardLine(from: u64, line: *mut u8) -> u32;
    fn XenguardRecord(record: *mut u8);
}

/// Tells the guard of an event and returns its order. An event that may not cross is answered with a withhold.
/// IRQL ≤ DISPATCH_LEVEL.
pub fn event(event: Event) -> Action {
    let Some(raw) = RawEvent::pack(event) else { return Action::Withhold(Reason::EventRefused) };
    // SAFETY: the event lives across the call, and the guard only reads it.
    abi::unpack_action(unsafe { XenguardEvent(&raw const raw) })
}

/// Returns the state of the boot; `None` where the guard is of another version. IRQL ≤ DISPATCH_LEVEL.
#[must_use]
pub fn status() -> Option<Status> {
    let mut status = Status::default();
    // SAFETY: the structure has room for the size given, and every bit pattern is a value of it.
    let written = unsafe { XenguardStatus(&raw mut status, Status::SIZE as u32) };
    (written as usize == Status::SIZE && status.abi == ABI_VERSION).then_some(status)
}

/// Returns true if PV disks may still appear in this boot, or have appeared: only then is there a reason to
/// touch Xen. IRQL ≤ DISPATCH_LEVEL.
#[must_use]
pub fn may_expose() -> bool {
    status().map_or(PhaseNumber::UNSEALED, |status| status.phase).may_expose()
}

/// Adds a line `<driver>: <text>` to the activity log. Any IRQL, HIGH_LEVEL and the writing of a crash dump
/// included.
pub fn note(line: &[u8]) {
    let length = u32::try_from(line.len()).unwrap_or(u32::MAX);
    // SAFETY: there are that many bytes, which the guard only reads.
    unsafe { XenguardNote(line.as_ptr(), length) };
}

/// Returns the bytes of the first line of the activity log from number `from` on; `None` where it is still to come. IRQL ≤
/// DISPATCH_LEVEL.
#[must_use]
pub fn line(from: u64) -> Option<[u8; LogLine::BYTES]> {
    let mut line = [0; LogLine::BYTES];
    // SAFETY: there is room for a line.
    (unsafe { XenguardLine(from, line.as_mut_ptr()) } != 0).then_some(line)
}

/// Writes the guard's record to a place. IRQL ≤ DISPATCH_LEVEL.
pub fn record(place: &mut [u8; record::SIZE]) {
    // SAFETY: there is room for a record.
    unsafe { XenguardRecord(place.as_mut_ptr()) };
}

/// A receiver of the guard's signals.
pub trait Receiver: Send + Sync + 'static {
    /// Takes signals, at DISPATCH_LEVEL with the guard's lock held: sets an event or queues work, and never
    /// calls the guard.
    fn signalled(&self, signals: Signals);
}

/// A subscription to the guard's signals. Dropping it ends it: the receiver is not running any more then, and
/// is dropped too. IRQL ≤ DISPATCH_LEVEL, not from within the receiver.
pub struct Subscription<R: Receiver> {
    number: NonZeroU32,
    /// From a box, which the guard's callback borrows.
    receiver: NonNull<R>,
}

// SAFETY: the value owns the receiver, which may be sent and shared.
unsafe impl<R: Receiver> Send for Subscription<R> {}
// SAFETY: as for Send; the value gives no access to the receiver.
unsafe impl<R: Receiver> Sync for Subscription<R> {}

impl<R: Receiver> Subscription<R> {
    /// Registers a receiver. IRQL ≤ DISPATCH_LEVEL.
    ///
    /// # Errors
    /// Gives the receiver back where the guard has no room for another one.
    pub fn new(receiver: Box<R>) -> Result<Subscription<R>, Box<R>> {
        let receiver = NonNull::from(Box::leak(receiver));
        // SAFETY: the routine is called with the receiver's address only until the registration is ended, in
        // `drop`, and until then the receiver is not freed.
        let number = unsafe { XenguardWatch(Some(pass_on::<R>), receiver.as_ptr().cast()) };
        match NonZeroU32::new(number) {
            Some(number) => Ok(Subscription { number, receiver }),
            // SAFETY: leaked above, and the guard did not keep the address.
            None => Err(unsafe { Box::from_raw(receiver.as_ptr()) }),
        }
    }
}

impl<R: Receiver> Drop for Subscription<R> {
    fn drop(&mut self) {
        // SAFETY: the number is this value's own. When the call returns, the routine is not running and will
        // not be called again.
        unsafe { XenguardUnwatch(self.number.get()) };
        // SAFETY: leaked in `new`, and nobody has the address any more.
        drop(unsafe { Box::from_raw(self.receiver.as_ptr()) });
    }
}

/// Calls the receiver. DISPATCH_LEVEL.
unsafe extern "system" fn pass_on<R: Receiver>(context: *mut c_void, signals: Signals) {
    // SAFETY: the address of a receiver that lives until its registration has ended.
    unsafe { &*context.cast::<R>() }.signalled(signals);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use guard::decision::Decision;
    use guard::policy::HidePolicy;

    use super::*;

    struct Count(Arc<AtomicU32>);

    impl Receiver for Count {
        fn signalled(&self, signals: Signals) {
            self.0.fetch_add(signals.0, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_guard_is_reached() {
        let _alone = exports::alone();
        assert!(!may_expose(), "an unsealed guard exposes nothing");
        assert_eq!(event(Event::ExposureRequested), Action::Withhold(Reason::Unsealed));
        assert_eq!(
            event(Event::Decided(Decision::Pv(HidePolicy::Disks))),
            Action::Withhold(Reason::EventRefused),
            "a decision does not cross"
        );
        exports::step(Event::Decided(Decision::Pv(HidePolicy::Disks)));
        let status = status().expect("of this version");
        assert_eq!((status.phase, status.policy), (PhaseNumber::HIDING, abi::PolicyNumber::DISKS));
        assert!(may_expose());
    }

    /// A guard of another version has another status, which is not read.
    #[test]
    fn another_version_is_no_status() {
        let _alone = exports::alone();
        exports::with_other_version(|| {
            assert_eq!(status(), None);
            assert!(!may_expose());
        });
    }

    /// The exports write what the caller has room for: what is behind it stays.
    #[test]
    fn the_callers_room_is_kept() {
        let _alone = exports::alone();
        let mut room = [0xA5_u8; 2 * Status::SIZE];
        for size in 0..=Status::SIZE {
            room.fill(0xA5);
            // SAFETY: the array has room for the size given.
            let written = unsafe { XenguardStatus(room.as_mut_ptr().cast(), size as u32) };
            assert_eq!(written as usize, size);
            assert!(room[size..].iter().all(|&byte| byte == 0xA5), "{size}");
        }
    }

    #[test]
    fn a_line_arrives() {
        let _alone = exports::alone();
        let next = exports::lines() + 1;
        assert_eq!(line(next), None, "still to come");
        note(b"xenvbd: started");
        let found = LogLine::from_bytes(&line(next).expect("it came"));
        assert_eq!((found.line.number, found.line.text(), found.lost), (next, "xenvbd: started", 0));
    }

    #[test]
    fn the_record_is_the_guards() {
        let _alone = exports::alone();
        let _ = event(Event::Exposed);
        let mut place = [0xA5; record::SIZE];
        record(&mut place);
        let found = record::Record::parse(&place).expect("a record");
        assert_eq!(found.entries(0).count(), 1);
    }

    #[test]
    fn signals_arrive_until_the_subscription_is_dropped() {
        let _alone = exports::alone();
        let count = Arc::new(AtomicU32::new(0));
        let receiver = || Box::new(Count(Arc::clone(&count)));
        let subscription = Subscription::new(receiver()).ok().expect("there is room");
        assert!(Subscription::new(receiver()).is_err(), "these exports have room for one");
        exports::raise(Signals::TAKE_CENSUS);
        assert_eq!(count.load(Ordering::Relaxed), 2);
        drop(subscription);
        exports::raise(Signals::TAKE_CENSUS);
        assert_eq!((count.load(Ordering::Relaxed), Arc::strong_count(&count)), (2, 1));
    }
}
