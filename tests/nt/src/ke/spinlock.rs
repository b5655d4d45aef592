//! Spin locks. On one processor nobody spins: finding a lock taken means a deadlock, which is reported.

use alloc::vec::Vec;

use super::irql;
use super::lock::Lock;
use crate::nt::{DISPATCH_LEVEL, Kirql, KspinLock};
use crate::verifier::{Violation, violation};

/// Addresses of the locks held now, in the order they were taken.
static HELD: Lock<Vec<usize>> = Lock::new(Vec::new());

/// Takes a spin lock at the current level.
///
/// # Safety
/// `lock` is a valid spin lock.
pub(super) unsafe fn acquire(lock: *mut KspinLock) {
    let taken = {
        let mut held = HELD.lock();
        let taken = held.contains(&(lock as usize));
        if !taken {
            held.push(lock as usize);
        }
        taken
    };
    if taken || *lock != 0 {
        violation(Violation::SpinLockRecursive, format_args!("lock={lock:p} value={:#x}", *lock));
    }
    *lock = 1;
}

/// Releases a spin lock at the current level.
///
/// # Safety
/// `lock` is a valid spin lock.
pub(super) unsafe fn release(lock: *mut KspinLock) {
    let was_held = {
        let mut held = HELD.lock();
        let at = held.iter().position(|&other| other == lock as usize);
        at.map(|at| held.remove(at)).is_some()
    };
    if !was_held {
        violation(Violation::SpinLockReleasedWrongly, format_args!("lock={lock:p} held=0"));
    }
    *lock = 0;
}

/// Number of locks held, for checks around driver routines.
pub fn held() -> usize {
    HELD.lock().len()
}

/// Whether a held lock lies in a range of memory.
pub fn held_within(start: usize, end: usize) -> bool {
    HELD.lock().iter().any(|lock| (start..end).contains(lock))
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
pub unsafe extern "win64" fn KeAcquireSpinLockRaiseToDpc(lock: *mut KspinLock) -> Kirql {
    let old = irql::raise(DISPATCH_LEVEL);
    acquire(lock);
    old
}

/// Releases the lock and lowers to `old`. IRQL `DISPATCH_LEVEL`.
///
/// # Safety
/// The caller holds the lock, taken at `old`.
pub unsafe extern "win64" fn KeReleaseSpinLock(lock: *mut KspinLock, old: Kirql) {
    released_at_dispatch("KeReleaseSpinLock", lock);
    release(lock);
    irql::lower(old);
}

/// Takes the lock. IRQL ≥ `DISPATCH_LEVEL`.
///
/// # Safety
/// `lock` is a valid spin lock.
pub unsafe extern "win64" fn KeAcquireSpinLockAtDpcLevel(lock: *mut KspinLock) {
    at_least_dispatch("KeAcquireSpinLockAtDpcLevel", lock);
    acquire(lock);
}

/// Releases the lock. IRQL ≥ `DISPATCH_LEVEL`.
///
/// # Safety
/// The caller holds the lock.
pub unsafe extern "win64" fn KeReleaseSpinLockFromDpcLevel(lock: *mut KspinLock) {
    if irql::current() < DISPATCH_LEVEL {
        released_at_dispatch("KeReleaseSpinLockFromDpcLevel", lock);
    }
    release(lock);
}
