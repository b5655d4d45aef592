//! Requests that wait for an event, and that may be cancelled at any moment.
//!
//! A pended IRP that nobody completes keeps its sender's thread from ending, so each one has a cancel routine.
//! The routine and whoever takes the IRP out settle who completes it by one exchange of the IRP's
//! `CancelRoutine` (WDK, "Using the System's Cancel Spin Lock", and the samples' cancel-safe queues): who finds
//! the routine still there has the IRP.
#![expect(unsafe_code, reason = "links IRPs through the fields that NT leaves to the driver that holds them")]

use core::mem::ManuallyDrop;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, Ordering};
use core::time::Duration;

use wdk_sys::{FILE_OBJECT, PDEVICE_OBJECT, PIRP, PVOID, ntddk::IoReleaseCancelSpinLock};

use crate::{Disposition, Irp, NtStatus, SpinLock, time};

/// `Tail.Overlay.DriverContext`: the queue.
const OWNER: usize = 0;
/// `Tail.Overlay.DriverContext`: the next IRP of the queue, or null.
const NEXT: usize = 1;

/// The file object that a request was sent through, to tell the requests of one opener.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileId(NonNull<FILE_OBJECT>);

// SAFETY: the address is only compared.
unsafe impl Send for FileId {}
// SAFETY: as above.
unsafe impl Sync for FileId {}

impl FileId {
    /// Makes one from a stack location's pointer; `None` for null.
    pub(crate) const fn new(file: *mut FILE_OBJECT) -> Option<Self> {
        match NonNull::new(file) {
            Some(file) => Some(Self(file)),
            None => None,
        }
    }
}

/// IRPs that are pended, oldest first. It stays at its place from the first [`pend`](Self::pend) to the end of
/// [`drain`](Self::drain).
pub struct IrpQueue {
    list: SpinLock<List>,
}

/// A list through the IRPs' own fields.
struct List {
    first: PIRP,
}

// SAFETY: the IRPs are pended, that is their holder's, and reached under the lock alone.
unsafe impl Send for List {}

impl Default for IrpQueue {
    fn default() -> Self {
        Self::new()
    }
}

impl IrpQueue {
    /// Makes an empty queue.
    #[must_use]
    pub const fn new() -> Self {
        Self { list: SpinLock::new(List { first: ptr::null_mut() }) }
    }

    /// Pends an IRP until it is taken out or cancelled; the dispatch routine returns the disposition. IRQL ≤
    /// DISPATCH_LEVEL.
    ///
    /// # Safety
    /// The queue is not moved or dropped before [`drain`](Self::drain) has returned, and nothing is pended
    /// after that.
    pub unsafe fn pend(&self, irp: Irp) -> Disposition {
        let (irp, disposition) = irp.pend();
        let raw = irp.into_raw();
        let mut list = self.list.lock();
        // SAFETY: the IRP was given to the queue, and its context fields are the holder's.
        unsafe {
            *context(raw, OWNER) = (&raw const *self).cast_mut().cast();
            list.append(raw);
            set_cancel_routine(raw, cancel as *mut ());
            if is_cancelled(raw) && !set_cancel_routine(raw, ptr::null_mut()).is_null() {
                // Cancelled before there was a routine that could have been called.
                list.remove(raw);
                drop(list);
                let _ = Irp::from_raw(raw).complete(NtStatus::CANCELLED);
            }
        }
        disposition
    }

    /// Completes everything with `status`, and waits until a cancellation that is under way has left the
    /// queue. PASSIVE_LEVEL.
    pub fn drain(&self, status: NtStatus) {
        loop {
            while let Some(irp) = self.take() {
                let _ = irp.complete(status);
            }
            if self.is_empty() {
                return;
            }
            time::sleep(Duration::from_millis(1));
        }
    }

    /// Takes the oldest IRP out, to be completed by the caller. IRQL ≤ DISPATCH_LEVEL.
    #[must_use]
    pub fn take(&self) -> Option<Irp> {
        self.take_where(|_| true)
    }

    /// Takes the oldest IRP out that was sent through this file. IRQL ≤ DISPATCH_LEVEL.
    #[must_use]
    pub fn take_of(&self, file: FileId) -> Option<Irp> {
        self.take_where(|irp| irp.location().file() == Some(file))
    }

    /// Returns true if none waits. IRQL ≤ DISPATCH_LEVEL.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.lock().first.is_null()
    }

    /// Takes the oldest IRP out that is wanted. The question is asked with the queue's lock held, so that what makes an IRP
    /// wanted is seen here or by whoever looks when it has come. IRQL ≤ DISPATCH_LEVEL.
    #[must_use]
    pub fn take_where(&self, mut wanted: impl FnMut(&mut Irp) -> bool) -> Option<Irp> {
        let mut list = self.list.lock();
        let mut at = list.first;
        while !at.is_null() {
            // SAFETY: the IRPs of the list are the queue's while the lock is held; ManuallyDrop keeps this
            // view of one from being taken for its owner.
            unsafe {
                let mut view = ManuallyDrop::new(Irp::from_raw(at));
                // One without its routine is being cancelled, and leaves the list by itself.
                if wanted(&mut view) && !set_cancel_routine(at, ptr::null_mut()).is_null() {
                    list.remove(at);
                    return Some(Irp::from_raw(at));
                }
                at = context(at, NEXT).read().cast();
            }
        }
        None
    }
}

impl List {
    /// # Safety
    /// The IRP is in no list, and the caller's.
    unsafe fn append(&mut self, irp: PIRP) {
        // SAFETY: every IRP of the list is the queue's while the caller has the list.
        unsafe {
            *context(irp, NEXT) = ptr::null_mut();
            let mut link: *mut PVOID = (&raw mut self.first).cast();
            while !(*link).is_null() {
                link = context((*link).cast(), NEXT);
            }
            *link = irp.cast();
        }
    }

    /// # Safety
    /// The IRP is in the list.
    unsafe fn remove(&mut self, irp: PIRP) {
        // SAFETY: as above.
        unsafe {
            let mut link: *mut PVOID = (&raw mut self.first).cast();
            while *link != irp.cast() {
                link = context((*link).cast(), NEXT);
            }
            *link = *context(irp, NEXT);
        }
    }
}

/// Returns a place of `Tail.Overlay.DriverContext`.
///
/// # Safety
/// The IRP is valid and pended by this driver.
unsafe fn context(irp: PIRP, place: usize) -> *mut PVOID {
    // SAFETY: by contract; the four pointers are the driver's while it holds the IRP.
    unsafe {
        (&raw mut (*irp).Tail.Overlay.__bindgen_anon_1.__bindgen_anon_1.DriverContext)
            .cast::<PVOID>()
            .add(place)
    }
}

/// Does the work of IoSetCancelRoutine: returns the routine that was set before.
///
/// # Safety
/// The IRP is valid and pended by this driver.
unsafe fn set_cancel_routine(irp: PIRP, routine: *mut ()) -> *mut () {
    // SAFETY: by contract; IoCancelIrp exchanges the field as one operation, too.
    unsafe { AtomicPtr::from_ptr((&raw mut (*irp).CancelRoutine).cast()) }.swap(routine, Ordering::SeqCst)
}

/// # Safety
/// As [`set_cancel_routine`].
unsafe fn is_cancelled(irp: PIRP) -> bool {
    // SAFETY: by contract; IoCancelIrp sets it before it looks for a routine.
    unsafe { (&raw const (*irp).Cancel).read_volatile() != 0 }
}

/// Cancels an IRP: DISPATCH_LEVEL, with the system's cancel lock held.
unsafe extern "C" fn cancel(_: PDEVICE_OBJECT, irp: PIRP) {
    // SAFETY: IoCancelIrp called with the lock held and took the routine out, so that this is the one that
    // completes the IRP. The queue is there as long as the IRP is in it, and not touched afterwards.
    unsafe {
        IoReleaseCancelSpinLock((*irp).CancelIrql);
        let queue = &*context(irp, OWNER).read().cast::<IrpQueue>();
        queue.list.lock().remove(irp);
        let _ = Irp::from_raw(irp).complete(NtStatus::CANCELLED);
    }
}
