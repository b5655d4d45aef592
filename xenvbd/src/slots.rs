//! Target ids, and the disks behind them, which come and go while requests run.
//!
//! A request looks its target up without a lock: it counts itself as a user of the slot, then reads the
//! pointer. Who takes a target out clears the pointer and waits until nobody uses it. Both sides are
//! sequentially consistent, so either the user sees that the target has gone, or the other side sees the
//! user. Each processor counts the users that began on it, in memory of its own: requests of two processors write
//! nothing that both have.
#![expect(unsafe_code, reason = "lends a target to whoever is counted as its user")]

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use core::time::Duration;

use wdm::{NtStatus, processor, time};

use crate::target::Target;

/// Most disks of the adapter: a target id has a byte, and Storport allows 255 targets.
pub(crate) const MAX_TARGETS: usize = 255;

/// Time that [`Slots::take`] sleeps between two looks at the users; a user is there for the length of a call.
const LOOK: Duration = Duration::from_millis(1);

/// Counts of one processor, and a cache line's worth behind them that is nobody's.
const STRIDE: usize = MAX_TARGETS + 64 / size_of::<AtomicU32>();

/// The disks by target id.
pub(crate) struct Slots {
    targets: Vec<AtomicPtr<Target>>,
    /// The users of each slot, for each processor [`STRIDE`] counts.
    users: Vec<AtomicU32>,
}

impl Slots {
    /// Makes slots without disks. IRQL ≤ DISPATCH_LEVEL.
    ///
    /// # Errors
    /// `INSUFFICIENT_RESOURCES`.
    pub(crate) fn new() -> Result<Self, NtStatus> {
        let (mut targets, mut users) = (Vec::new(), Vec::new());
        let counts = processor::count() * STRIDE;
        targets.try_reserve_exact(MAX_TARGETS).map_err(|_| NtStatus::INSUFFICIENT_RESOURCES)?;
        users.try_reserve_exact(counts).map_err(|_| NtStatus::INSUFFICIENT_RESOURCES)?;
        targets.resize_with(MAX_TARGETS, AtomicPtr::default);
        users.resize_with(counts, AtomicU32::default);
        Ok(Self { targets, users })
    }

    /// Calls `work` with a target, if there is one at `id`. Any IRQL; `work` must not wait for the target's
    /// removal.
    pub(crate) fn with<R>(&self, id: usize, work: impl FnOnce(&Target) -> R) -> Option<R> {
        let target = self.targets.get(id)?;
        // A processor that was added later shares a count.
        let processor = processor::current() % (self.users.len() / STRIDE);
        let users = &self.users[processor * STRIDE + id];
        users.fetch_add(1, Ordering::SeqCst);
        // SAFETY: a leaked box that `take` does not give back before the count above is taken down again.
        let result = unsafe { target.load(Ordering::SeqCst).as_ref() }.map(work);
        users.fetch_sub(1, Ordering::SeqCst);
        result
    }

    /// Calls `work` with each target. As [`Slots::with`].
    pub(crate) fn each(&self, mut work: impl FnMut(usize, &Target)) {
        for id in 0..self.targets.len() {
            self.with(id, |target| work(id, target));
        }
    }

    /// Returns true if there is no disk at `id`. Any IRQL.
    pub(crate) fn is_vacant(&self, id: usize) -> bool {
        self.targets.get(id).is_some_and(|target| target.load(Ordering::SeqCst).is_null())
    }

    /// Puts a disk at a vacant id. Any IRQL.
    ///
    /// # Errors
    /// The target, where the id is taken or beyond the limit.
    pub(crate) fn insert(&self, id: usize, target: Box<Target>) -> Result<(), Box<Target>> {
        let Some(place) = self.targets.get(id) else { return Err(target) };
        let target = Box::into_raw(target);
        let placed = place.compare_exchange(null_mut(), target, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        // SAFETY: the box above, where it was not placed.
        if placed { Ok(()) } else { Err(unsafe { Box::from_raw(target) }) }
    }

    /// Takes a disk out: no request finds it any more. PASSIVE_LEVEL; waits until nobody uses it.
    pub(crate) fn take(&self, id: usize) -> Option<Box<Target>> {
        let target = self.targets.get(id)?.swap(null_mut(), Ordering::SeqCst);
        if target.is_null() {
            return None;
        }
        // One after the other: whoever uses it has begun before the swap, on one of them.
        for users in self.users.iter().skip(id).step_by(STRIDE) {
            while users.load(Ordering::SeqCst) != 0 {
                time::sleep(LOOK);
            }
        }
        // SAFETY: leaked by `insert`, taken out once by the swap, and no user is left.
        Some(unsafe { Box::from_raw(target) })
    }
}
