//! Work items: code at PASSIVE_LEVEL from anywhere up to DISPATCH_LEVEL.
#![expect(unsafe_code, reason = "hands a work item and its context to the I/O manager")]

use alloc::boxed::Box;
use core::mem::MaybeUninit;

use wdk_sys::{
    _WORK_QUEUE_TYPE, PDEVICE_OBJECT, PIO_WORKITEM, PVOID,
    ntddk::{IoAllocateWorkItem, IoFreeWorkItem, IoQueueWorkItem},
};

use crate::{DeviceObject, NtStatus, Result, pool};

struct Context<T, F> {
    item: PIO_WORKITEM,
    value: T,
    routine: F,
}

/// Has a system worker thread run `routine` once at PASSIVE_LEVEL; the I/O manager keeps `device` (one
/// of this driver's) referenced until it has returned, so the driver is not unloaded under it.
/// IRQL ≤ DISPATCH_LEVEL.
///
/// # Errors
/// `INSUFFICIENT_RESOURCES`.
pub fn queue<F: FnOnce() + Send + 'static>(device: DeviceObject, routine: F) -> Result {
    queue_for(device, routine, |routine| routine()).map_err(|_routine| NtStatus::INSUFFICIENT_RESOURCES)
}

/// Does the same with a value that `routine` gets.
///
/// # Errors
/// The value, where memory has run out.
pub fn queue_for<T: Send + 'static, F: FnOnce(T) + Send + 'static>(
    device: DeviceObject,
    value: T,
    routine: F,
) -> core::result::Result<(), T> {
    let Ok(mut context) = pool::try_box(MaybeUninit::<Context<T, F>>::uninit()) else { return Err(value) };
    // SAFETY: a device object of this driver.
    let item = unsafe { IoAllocateWorkItem(device.as_ptr()) };
    if item.is_null() {
        return Err(value);
    }
    context.write(Context { item, value, routine });
    // SAFETY: item and context are handed over to the routine, which runs once.
    unsafe {
        IoQueueWorkItem(
            item,
            Some(run::<T, F>),
            _WORK_QUEUE_TYPE::DelayedWorkQueue,
            Box::into_raw(context).cast(),
        );
    }
    Ok(())
}

unsafe extern "C" fn run<T: Send + 'static, F: FnOnce(T) + Send + 'static>(
    _: PDEVICE_OBJECT,
    context: PVOID,
) {
    // SAFETY: `queue_for` wrote the box and handed it over; a work item may be freed in its own routine.
    let Context { item, value, routine } = *unsafe { Box::from_raw(context.cast::<Context<T, F>>()) };
    // SAFETY: the item is dequeued.
    unsafe { IoFreeWorkItem(item) };
    routine(value);
}
