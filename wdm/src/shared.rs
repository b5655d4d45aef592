//! A value with several owners, in non-paged pool. Making one can fail, unlike `Arc::new`, which stops the system
//! when memory has run out.
#![expect(unsafe_code, reason = "counts references to a block by hand")]

use alloc::boxed::Box;
use core::ops::Deref;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering, fence};

use crate::{Result, pool};

/// An owner of a shared value. The value is dropped with its last owner, at that owner's IRQL.
pub struct Shared<T: Send + Sync>(NonNull<Inner<T>>);

struct Inner<T> {
    owners: AtomicUsize,
    value: T,
}

// SAFETY: owners on several threads share the value, which may be shared and be dropped by any of them.
unsafe impl<T: Send + Sync> Send for Shared<T> {}
// SAFETY: as for Send.
unsafe impl<T: Send + Sync> Sync for Shared<T> {}

impl<T: Send + Sync> Shared<T> {
    /// Moves a value into pool; this is its first owner. IRQL ≤ DISPATCH_LEVEL.
    ///
    /// # Errors
    /// `INSUFFICIENT_RESOURCES`.
    pub fn new(value: T) -> Result<Self> {
        let inner = pool::try_box(Inner { owners: AtomicUsize::new(1), value })?;
        Ok(Self(NonNull::from(Box::leak(inner))))
    }

    /// Returns the address of the value, which stays where it is.
    #[must_use]
    pub fn as_ptr(this: &Self) -> *const T {
        &raw const **this
    }
}

impl<T: Send + Sync> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the block lives as long as it has an owner, and nobody has a `&mut` to it.
        &unsafe { self.0.as_ref() }.value
    }
}

impl<T: Send + Sync> Clone for Shared<T> {
    /// Makes another owner. Any IRQL.
    fn clone(&self) -> Self {
        // SAFETY: as for `deref`. A new owner comes from one that there is, so that no order is needed.
        unsafe { self.0.as_ref() }.owners.fetch_add(1, Ordering::Relaxed);
        Self(self.0)
    }
}

impl<T: Send + Sync> Drop for Shared<T> {
    fn drop(&mut self) {
        // SAFETY: as for `deref`. What other owners did with the value comes before its end.
        if unsafe { self.0.as_ref() }.owners.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        fence(Ordering::Acquire);
        // SAFETY: the last owner is gone, and the block came from a box.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}
