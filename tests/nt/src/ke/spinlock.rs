//! Spin locks. Finding a lock taken on the processor that asks means a deadlock, which is reported; one that
//! another processor has is waited for.

use alloc::vec::Vec;

use core::sync::atomic::{AtomicUsize, Ordering};

use super::lock::Lock;
use super::{bugcheck, clock, irql, processor};
use crate::inject;
use crate::ldr::gate;
use crate::nt::{DISPATCH_LEVEL, Kirql, KspinLock, PASSIVE_LEVEL};
use crate::verifier::{Violation, violation};

/// Addresses of the locks held now and the processors that hold them, in the order they were taken.
static HELD: Lock<Vec<(usize, usize)>> = Lock::new(Vec::new());

/// Returns the lock's word, as every processor sees it.
unsafe fn word<'a>(lock: *mut KspinLock) -> &'a AtomicUsize {
    // SAFETY: the caller keeps `lock` valid for this call.
    unsafe { AtomicUsize::from_ptr(lock.cast()) }
}

/// Takes a spin lock at the current level.
///
/// # Safety
/// `lock` is a valid spin lock.
pub(super) unsafe fn acquire(lock: *mut KspinLock) {
    let own = (lock as usize, processor::number());
    // SAFETY: by this function's contract, `lock` is a valid spin lock.
    unsafe {
        if HELD.lock().contains(&own) {
            violation(Violation::SpinLockRecursive, format_args!("lock={lock:p} value={:#x}", *lock));
        }
        let since = clock::interrupt_time();
        while word(lock).compare_exchange_weak(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
            // With one processor nobody could give it up: its word was never a lock's.
            if processor::count() == 1 || clock::interrupt_time() > since + DEADLOCK {
                violation(Violation::SpinLockRecursive, format_args!("lock={lock:p} value={:#x}", *lock));
            }
            bugcheck::stop_here_if_stopping();
            core::hint::spin_loop();
        }
        HELD.lock().push(own);
    }
}

/// Time that a processor may hold a lock that another waits for, in 100 ns: processors themselves are shared
/// here.
const DEADLOCK: u64 = 20 * 10_000_000;

/// Releases a spin lock at the current level.
///
/// # Safety
/// `lock` is a valid spin lock.
pub(super) unsafe fn release(lock: *mut KspinLock) {
    let was_held = {
        let mut held = HELD.lock();
        let own = (lock as usize, processor::number());
        let at = held.iter().position(|&other| other == own);
        at.map(|at| held.remove(at)).is_some()
    };
    if !was_held {
        violation(Violation::SpinLockReleasedWrongly, format_args!("lock={lock:p} held=0"));
    }
    // SAFETY: by this function's contract, `lock` is a valid spin lock.
    unsafe {
        word(lock).store(0, Ordering::Release);
    }
}

/// Returns the number of locks that this processor holds, for checks around driver routines.
pub(crate) fn held() -> usize {
    let number = processor::number();
    HELD.lock().iter().filter(|held| held.1 == number).count()
}

/// Returns true if a held lock lies in a range of memory.
pub(crate) fn held_within(start: usize, end: usize) -> bool {
    HELD.lock().iter().any(|(lock, _)| (start..end).contains(lock))
}

fn at_least_dispatch(routine: &str, lock: *mut KspinLock) {
    let level = irql::current();
    if level < DISPATCH_LEVEL {
        violation(Violation::WrongIrql, format_args!("routine={routine} irql={level} lock={lock:p}"));
    }
}

fn released_at_dispatch(routine: &str, lock: *mut KspinLock) {
    let level = irql::current();
    if level != DISPATCH_LEVEL {
        violation(
            Violation::SpinLockReleasedWrongly,
            format_args!("routine={routine} irql={level} lock={lock:p}"),
        );
    }
}

/// Raises to `DISPATCH_LEVEL` and takes the lock; the level before. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `lock` is a valid spin lock.
pub(crate) unsafe extern "win64" fn KeAcquireSpinLockRaiseToDpc(lock: *mut KspinLock) -> Kirql {
    let old = irql::raise(DISPATCH_LEVEL);
    // SAFETY: by this function's contract, `lock` is a valid spin lock.
    unsafe {
        acquire(lock);
    }
    old
}

/// Releases the lock and lowers to `old`. IRQL `DISPATCH_LEVEL`.
///
/// # Safety
/// The caller holds the lock, taken at `old`.
pub(crate) unsafe extern "win64" fn KeReleaseSpinLock(lock: *mut KspinLock, old: Kirql) {
    let driver = gate::caller();
    released_at_dispatch("KeReleaseSpinLock", lock);
    // SAFETY: by this function's contract, the caller holds the lock, taken at `old`.
    unsafe {
        release(lock);
    }
    irql::lower(old);
    if old == PASSIVE_LEVEL {
        inject::wait_if_held_up(driver);
    }
}

/// Takes the lock. IRQL ≥ `DISPATCH_LEVEL`.
///
/// # Safety
/// `lock` is a valid spin lock.
pub(crate) unsafe extern "win64" fn KeAcquireSpinLockAtDpcLevel(lock: *mut KspinLock) {
    at_least_dispatch("KeAcquireSpinLockAtDpcLevel", lock);
    // SAFETY: by this function's contract, `lock` is a valid spin lock.
    unsafe {
        acquire(lock);
    }
}

/// Releases the lock. IRQL ≥ `DISPATCH_LEVEL`.
///
/// # Safety
/// The caller holds the lock.
pub(crate) unsafe extern "win64" fn KeReleaseSpinLockFromDpcLevel(lock: *mut KspinLock) {
    if irql::current() < DISPATCH_LEVEL {
        released_at_dispatch("KeReleaseSpinLockFromDpcLevel", lock);
    }
    // SAFETY: by this function's contract, the caller holds the lock.
    unsafe {
        release(lock);
    }
}
