//! Remove locks, watched so that one still held when its device goes is noticed.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::ke::{KeInitializeEvent, KeSetEvent, KeWaitForSingleObject, Lock};
use crate::nt::*;
use crate::verifier::{Violation, violation};

/// Locks that were initialized and whose memory is still in use, by address.
static LOCKS: Lock<BTreeMap<usize, State>> = Lock::new(BTreeMap::new());

/// State of a lock.
#[derive(Clone, Default)]
struct State {
    /// Tags that it is held with.
    tags: Vec<usize>,
    /// It was acquired once: whoever deletes its device has to wait for it.
    used: bool,
}

/// Seconds that [`IoReleaseRemoveLockAndWaitEx`] waits before it takes the lock for leaked.
const PATIENCE: i64 = 10;

/// `IoInitializeRemoveLockEx`. IRQL `PASSIVE_LEVEL`.
///
/// # Safety
/// `lock` is writable and not in use.
pub(crate) unsafe extern "win64" fn IoInitializeRemoveLockEx(
    lock: *mut IoRemoveLock,
    _tag: u32,
    _maximum_minutes: u32,
    _high_watermark: u32,
    _size: u32,
) {
    // SAFETY: by this function's contract, `lock` is writable and not in use.
    unsafe {
        (*lock).removed = FALSE;
        (*lock).io_count = 1;
        KeInitializeEvent(&raw mut (*lock).remove_event, u32::from(SYNCHRONIZATION_EVENT), FALSE);
    }
    LOCKS.lock().insert(lock as usize, State::default());
}

/// `IoAcquireRemoveLockEx`: `STATUS_DELETE_PENDING` once removal began. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `lock` is initialized.
pub(crate) unsafe extern "win64" fn IoAcquireRemoveLockEx(
    lock: *mut IoRemoveLock,
    tag: Pvoid,
    _file: *const u8,
    _line: u32,
    _size: u32,
) -> NtStatus {
    let mut locks = LOCKS.lock();
    let Some(state) = locks.get_mut(&(lock as usize)) else {
        drop(locks);
        violation(Violation::RemoveLockLeaked, format_args!("lock={lock:p} cause=not-initialized"));
    };
    // SAFETY: by this function's contract, `lock` is initialized.
    unsafe {
        if (*lock).removed != FALSE {
            return status::DELETE_PENDING;
        }
        (*lock).io_count += 1;
    }
    state.tags.push(tag as usize);
    state.used = true;
    status::SUCCESS
}

unsafe fn release(lock: *mut IoRemoveLock, tag: Pvoid) {
    let mut locks = LOCKS.lock();
    let known = locks.get_mut(&(lock as usize)).map(|State { tags, .. }| {
        let at = tags.iter().position(|&other| other == tag as usize);
        at.map(|at| tags.swap_remove(at)).is_some()
    });
    drop(locks);
    match known {
        None => violation(Violation::RemoveLockLeaked, format_args!("lock={lock:p} cause=not-initialized")),
        Some(false) => violation(
            Violation::RemoveLockLeaked,
            format_args!("lock={lock:p} tag={tag:p} cause=released-not-acquired"),
        ),
        Some(true) => {}
    }
    // SAFETY: the caller keeps `lock` and `tag` valid for this call.
    unsafe {
        (*lock).io_count -= 1;
        if (*lock).io_count == 0 {
            KeSetEvent(&raw mut (*lock).remove_event, 0, FALSE);
        }
    }
}

/// `IoReleaseRemoveLockEx`. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `lock` was acquired with this tag.
pub(crate) unsafe extern "win64" fn IoReleaseRemoveLockEx(lock: *mut IoRemoveLock, tag: Pvoid, _size: u32) {
    // SAFETY: by this function's contract, `lock` was acquired with this tag.
    unsafe {
        release(lock, tag);
    }
}

/// `IoReleaseRemoveLockAndWaitEx`: refuses new holders and waits for the last. IRQL `PASSIVE_LEVEL`.
///
/// # Safety
/// `lock` was acquired with this tag.
pub(crate) unsafe extern "win64" fn IoReleaseRemoveLockAndWaitEx(
    lock: *mut IoRemoveLock,
    tag: Pvoid,
    _size: u32,
) {
    // SAFETY: by this function's contract, `lock` was acquired with this tag.
    unsafe {
        (*lock).removed = TRUE;
        release(lock, tag);
        (*lock).io_count -= 1;
        if (*lock).io_count > 0 {
            let timeout = -PATIENCE * 10_000_000;
            let event = (&raw mut (*lock).remove_event).cast();
            if KeWaitForSingleObject(event, EXECUTIVE, KERNEL_MODE, FALSE, &timeout) == status::TIMEOUT {
                leaked(lock as usize, "never-released");
            }
        }
    }
}

fn leaked(lock: usize, cause: &str) -> ! {
    let State { tags, .. } = LOCKS.lock().get(&lock).cloned().unwrap_or_default();
    violation(
        Violation::RemoveLockLeaked,
        format_args!("lock={lock:#x} held={} tags={tags:x?} cause={cause}", tags.len()),
    );
}

/// Checks the memory of a device extension that is being freed.
pub(super) fn memory_freed(start: usize, end: usize, driver: &str) {
    let inside: Vec<usize> = LOCKS.lock().range(start..end).map(|(&lock, _)| lock).collect();
    for lock in inside {
        let State { tags: held, used } = LOCKS.lock().remove(&lock).unwrap_or_default();
        if !held.is_empty() {
            violation(
                Violation::RemoveLockLeaked,
                format_args!(
                    "lock={lock:#x} driver={driver} held={} tags={held:x?} cause=device-deleted",
                    held.len()
                ),
            );
        }
        // SAFETY: the lock lies in memory that its device still has.
        if used && unsafe { (*(lock as *const IoRemoveLock)).removed } == FALSE {
            violation(
                Violation::RemoveLockLeaked,
                format_args!("lock={lock:#x} driver={driver} cause=not-waited-for"),
            );
        }
    }
}
