//! Work items: code at PASSIVE_LEVEL from anywhere up to DISPATCH_LEVEL.
#![expect(unsafe_code, reason = "hands a work item and its context to the I/O manager")]

use alloc::boxed::Box;
use core::mem::MaybeUninit;

use wdk_sys::{
    _WORK_QUEUE_TYPE, PDEVICE_OBJECT, PIO_WORKITEM, PVOID,
    ntddk::{IoAllocateWorkItem, IoFreeWorkItem, IoQueueWorkItem},
};

use crate::{DeviceObject, NtStatus, Result, pool};

/// A work item that is there before it is needed, so that no memory has to be had then. It is queued again only when its
/// routine has begun.
pub(crate) struct Reserved(PIO_WORKITEM);

// SAFETY: the I/O manager's routines take a work item from any thread.
unsafe impl Send for Reserved {}
// SAFETY: as above.
unsafe impl Sync for Reserved {}

impl Reserved {
    /// Allocates a work item of one of this driver's devices. IRQL ≤ DISPATCH_LEVEL.
    ///
    /// # Errors
    /// `INSUFFICIENT_RESOURCES`.
    pub(crate) fn new(device: DeviceObject) -> Result<Self> {
        // SAFETY: a device object of this driver.
        let item = unsafe { IoAllocateWorkItem(device.as_ptr()) };
        if item.is_null() { Err(NtStatus::INSUFFICIENT_RESOURCES) } else { Ok(Self(item)) }
    }

    /// Has a system worker thread run `routine` with the device and `context` at PASSIVE_LEVEL. IRQL ≤ DISPATCH_LEVEL.
    ///
    /// # Safety
    /// It is not queued already, the routine is right for the context, and the device outlives the routine's begin.
    pub(crate) unsafe fn queue(&self, routine: unsafe extern "C" fn(PDEVICE_OBJECT, PVOID), context: PVOID) {
        // SAFETY: by this function's contract.
        unsafe { IoQueueWorkItem(self.0, Some(routine), _WORK_QUEUE_TYPE::DelayedWorkQueue, context) };
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        // SAFETY: it was allocated by `new`, and is not queued: its device is being deleted.
        unsafe { IoFreeWorkItem(self.0) };
    }
}

struct Context<F> {
    item: PIO_WORKITEM,
    routine: F,
}

/// Has a system worker thread run `routine` once at PASSIVE_LEVEL; the I/O manager keeps `device` (one
/// of this driver's) referenced until it has returned, so the driver is not unloaded under it.
/// IRQL ≤ DISPATCH_LEVEL.
///
/// # Errors
/// `INSUFFICIENT_RESOURCES`.
pub fn queue<F: FnOnce() + Send + 'static>(device: DeviceObject, routine: F) -> Result {
    let mut context = pool::try_box(MaybeUninit::<Context<F>>::uninit())?;
    // SAFETY: a device object of this driver.
    let item = unsafe { IoAllocateWorkItem(device.as_ptr()) };
    if item.is_null() {
        return Err(NtStatus::INSUFFICIENT_RESOURCES);
    }
    context.write(Context { item, routine });
    // SAFETY: item and context are handed over to the routine, which runs once.
    unsafe {
        IoQueueWorkItem(
            item,
            Some(run::<F>),
            _WORK_QUEUE_TYPE::DelayedWorkQueue,
            Box::into_raw(context).cast(),
        );
    }
    Ok(())
}

unsafe extern "C" fn run<F: FnOnce() + Send + 'static>(_: PDEVICE_OBJECT, context: PVOID) {
    // SAFETY: `queue` wrote the box and handed it over; a work item may be freed in its own routine.
    let Context { item, routine } = *unsafe { Box::from_raw(context.cast::<Context<F>>()) };
    // SAFETY: the item is dequeued.
    unsafe { IoFreeWorkItem(item) };
    routine();
}
