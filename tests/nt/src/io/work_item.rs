//! Work items for devices.

use alloc::boxed::Box;

use crate::ex::worker::{self, Work};
use crate::ldr::gate;
use crate::nt::*;
use crate::ob;

/// `IO_WORKITEM`: opaque to drivers.
pub(crate) struct WorkItem {
    device: *mut DeviceObject,
    /// The driver that allocated it.
    driver: usize,
    queued: bool,
}

static ALLOCATED: crate::ke::Lock<alloc::vec::Vec<usize>> = crate::ke::Lock::new(alloc::vec::Vec::new());

/// `IoAllocateWorkItem`. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `device` is a device object.
pub(crate) unsafe extern "win64" fn IoAllocateWorkItem(device: *mut DeviceObject) -> *mut WorkItem {
    let item = Box::into_raw(Box::new(WorkItem { device, driver: gate::caller(), queued: false }));
    ALLOCATED.lock().push(item as usize);
    item
}

/// `IoFreeWorkItem`. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `item` is not queued and not used any more.
pub(crate) unsafe extern "win64" fn IoFreeWorkItem(item: *mut WorkItem) {
    // SAFETY: by this function's contract, `item` is not queued and not used any more.
    unsafe {
        if (*item).queued {
            crate::verifier::violation(
                crate::verifier::Violation::QueuedObjectFreed,
                format_args!(
                    "work-item={item:p} driver={} object=work-item",
                    crate::ldr::driver_name((*item).driver)
                ),
            );
        }
        ALLOCATED.lock().retain(|&other| other != item as usize);
        drop(Box::from_raw(item));
    }
}

/// Returns the number of work items a driver has allocated.
pub(crate) fn allocated_by(driver: usize) -> usize {
    // SAFETY: items on the list exist.
    ALLOCATED.lock().iter().filter(|&&item| unsafe { (*(item as *const WorkItem)).driver } == driver).count()
}

/// `IoQueueWorkItem`: the device object is referenced until the routine has returned. IRQL ≤
/// `DISPATCH_LEVEL`.
///
/// # Safety
/// `item` stays valid until the routine is called with the context.
pub(crate) unsafe extern "win64" fn IoQueueWorkItem(
    item: *mut WorkItem,
    routine: WorkitemRoutine,
    _queue_type: u32,
    context: Pvoid,
) {
    // SAFETY: by this function's contract, `item` stays valid until the routine is called with the context.
    unsafe {
        (*item).queued = true;
        ob::reference((*item).device.cast());
    }
    worker::queue(Work {
        routine: run,
        context: Box::into_raw(Box::new(Queued { item, routine, context })).cast(),
    });
}

struct Queued {
    item: *mut WorkItem,
    routine: WorkitemRoutine,
    context: Pvoid,
}

unsafe extern "win64" fn run(queued: Pvoid) {
    // SAFETY: the caller keeps `queued` valid for this call.
    unsafe {
        let queued = Box::from_raw(queued.cast::<Queued>());
        let device = (*queued.item).device;
        // The routine may free the item.
        (*queued.item).queued = false;
        crate::verifier::balanced("work-item", queued.routine as usize, || {
            (queued.routine)(device, queued.context)
        });
        ob::dereference(device.cast());
    }
}
