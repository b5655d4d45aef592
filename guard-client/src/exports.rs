//! Exports as idefilter.sys has them, over a guard of the test's own.

use core::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use guard::abi::{self, RawEvent, Signals, Status, Watcher};
use guard::activity::Ring;
use guard::channel::LogLine;
use guard::record::{self, Record};
use guard::{Action, Event, Guard};

static GUARD: Mutex<Guard> = Mutex::new(Guard::new());
static RECORD: Mutex<Record> = Mutex::new(Record::new());
static RING: Ring = Ring::new();
static OTHER_VERSION: AtomicBool = AtomicBool::new(false);
/// Held by a test: there is one guard for all.
static TEST: Mutex<()> = Mutex::new(());
/// The one watcher, with its context as a number.
static WATCHER: Mutex<Option<(Watcher, usize)>> = Mutex::new(None);

/// Feeds the guard as idefilter does.
pub(crate) fn step(event: Event) {
    let _: Action = GUARD.lock().expect("not poisoned").step(event);
}

/// Keeps other tests from the exports while the answer lives, and makes the guard anew.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    // A test that failed leaves nothing behind that the next one needs.
    let alone = TEST.lock().unwrap_or_else(PoisonError::into_inner);
    *GUARD.lock().expect("not poisoned") = Guard::new();
    *RECORD.lock().expect("not poisoned") = Record::new();
    alone
}

/// Runs `test` while the guard says that it is of another version.
pub(crate) fn with_other_version(test: impl FnOnce()) {
    OTHER_VERSION.store(true, Ordering::SeqCst);
    test();
    OTHER_VERSION.store(false, Ordering::SeqCst);
}

/// Calls the watcher.
pub(crate) fn raise(signals: Signals) {
    if let Some((watcher, context)) = *WATCHER.lock().expect("not poisoned") {
        // SAFETY: registered with this context and not taken out yet.
        unsafe { watcher(context as *mut c_void, signals) };
    }
}

/// Returns the number of lines of the activity log.
pub(crate) fn lines() -> u64 {
    RING.last()
}

#[unsafe(no_mangle)]
unsafe extern "system" fn XenguardEvent(event: *const RawEvent) -> u64 {
    // SAFETY: null, or an event.
    let event = unsafe { event.as_ref() }.copied();
    abi::answer(event, |event| {
        let action = GUARD.lock().expect("not poisoned").step(event);
        RECORD.lock().expect("not poisoned").add(0, event, action);
        action
    })
}

#[unsafe(no_mangle)]
unsafe extern "system" fn XenguardStatus(status: *mut Status, size: u32) -> u32 {
    let mut answer = Status::of(&GUARD.lock().expect("not poisoned"));
    answer.abi += u32::from(OTHER_VERSION.load(Ordering::SeqCst));
    let bytes = answer.bytes_for(size);
    // SAFETY: the caller has room for `size` bytes.
    unsafe { status.cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    bytes.len() as u32
}

#[unsafe(no_mangle)]
unsafe extern "system" fn XenguardWatch(watcher: Option<Watcher>, context: *mut c_void) -> u32 {
    let mut place = WATCHER.lock().expect("not poisoned");
    if place.is_some() {
        return 0;
    }
    *place = watcher.map(|watcher| (watcher, context as usize));
    1
}

#[unsafe(no_mangle)]
unsafe extern "system" fn XenguardUnwatch(_number: u32) {
    *WATCHER.lock().expect("not poisoned") = None;
}

#[unsafe(no_mangle)]
unsafe extern "system" fn XenguardNote(text: *const u8, length: u32) {
    // SAFETY: the caller has that many bytes.
    RING.add(0, unsafe { std::slice::from_raw_parts(text, length as usize) });
}

#[unsafe(no_mangle)]
unsafe extern "system" fn XenguardLine(from: u64, line: *mut u8) -> u32 {
    let Some((found, lost)) = RING.from(from) else { return 0 };
    // SAFETY: the caller has room for a line.
    unsafe { line.cast::<[u8; LogLine::BYTES]>().write(LogLine { line: found, lost }.to_bytes()) };
    1
}

#[unsafe(no_mangle)]
unsafe extern "system" fn XenguardRecord(record: *mut u8) {
    let found = *RECORD.lock().expect("not poisoned").as_bytes();
    // SAFETY: the caller has room for a record.
    unsafe { record.cast::<[u8; record::SIZE]>().write(found) };
}
