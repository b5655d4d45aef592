//! Parts of drivers that asked to be called when the guard wants something of them, or has news: three of xenpci's and
//! one of xenvbd's.
#![expect(unsafe_code, reason = "calls what other drivers gave")]

use core::ffi::c_void;

use guard::abi::{Signals, Watcher};
use wdm::SpinLock;

/// Largest number of them.
const CAPACITY: usize = 8;

#[derive(Clone, Copy)]
struct Entry {
    watcher: Watcher,
    context: *mut c_void,
}

// SAFETY: the context is the watcher's, which may be called from any thread.
unsafe impl Send for Entry {}

static WATCHERS: SpinLock<[Option<Entry>; CAPACITY]> = SpinLock::new([None; CAPACITY]);

/// Adds a watcher; its number, from 1, or 0 where there is no room. IRQL ≤ DISPATCH_LEVEL.
pub(crate) fn add(watcher: Watcher, context: *mut c_void) -> u32 {
    let mut watchers = WATCHERS.lock();
    let free = watchers.iter_mut().zip(1..).find(|(slot, _)| slot.is_none());
    free.map_or(0, |(slot, number)| {
        *slot = Some(Entry { watcher, context });
        number
    })
}

/// Takes a watcher out. When this returns it is not running and will not be called again. IRQL ≤
/// DISPATCH_LEVEL.
pub(crate) fn remove(number: u32) {
    let at = (number as usize).wrapping_sub(1);
    if let Some(slot) = WATCHERS.lock().get_mut(at) {
        *slot = None;
    }
}

/// Calls every watcher. IRQL ≤ DISPATCH_LEVEL. The lock is held meanwhile, so that none is called after it
/// was removed; a watcher only passes the word on.
pub(crate) fn raise(signals: Signals) {
    let watchers = WATCHERS.lock();
    for entry in watchers.iter().flatten() {
        // SAFETY: who added it keeps it callable with this context until it is removed.
        unsafe { (entry.watcher)(entry.context, signals) };
    }
}
