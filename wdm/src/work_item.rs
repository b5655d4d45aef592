//! Work items: code at PASSIVE_LEVEL from anywhere up to DISPATCH_LEVEL.
#![expect(unsafe_code, reason = "hands a work item and its context to the I/O manager")]

use alloc::boxed::Box;

use wdk_sys::{
    _WORK_QUEUE_TYPE, PDEVICE_OBJECT, PIO_WORKITEM, PVOID,
    ntddk::{IoAllocateWorkItem, IoFreeWorkItem, IoQueueWorkItem},
};

use crate::{DeviceObject, NtStatus, Result, pool};

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
    // SAFETY: a device object of this driver.
    let item = unsafe { IoAllocateWorkItem(device.as_ptr()) };
    if item.is_null() {
        return Err(NtStatus::INSUFFICIENT_RESOURCES);
    }
    match pool::try_box(Context { item, routine }) {
        Ok(context) => {
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
        Err(status) => {
            // SAFETY: the item was not queued.
            unsafe { IoFreeWorkItem(item) };
            Err(status)
        }
    }
}

unsafe extern "C" fn run<F: FnOnce() + Send + 'static>(_: PDEVICE_OBJECT, context: PVOID) {
    // SAFETY: `queue` handed the box over; a work item may be freed in its own routine.
    let Context { item, routine } = *unsafe { Box::from_raw(context.cast::<Context<F>>()) };
    // SAFETY: the item is dequeued.
    unsafe { IoFreeWorkItem(item) };
    routine();
}
