//! The system worker threads.

use alloc::collections::VecDeque;

use crate::ke::{KeInitializeSemaphore, KeReleaseSemaphore, KeWaitForSingleObject, Lock, thread};
use crate::nt::*;
use crate::verifier;

/// Something to run at `PASSIVE_LEVEL` in a worker thread.
pub(crate) struct Work {
    pub routine: unsafe extern "win64" fn(context: Pvoid),
    pub context: Pvoid,
}

// SAFETY: a work's context belongs to whoever runs it.
unsafe impl Send for Work {}

struct Queue {
    works: VecDeque<Work>,
}

static QUEUE: Lock<Queue> = Lock::new(Queue { works: VecDeque::new() });

struct Available(core::cell::UnsafeCell<Ksemaphore>);

// SAFETY: the semaphore is only used through the kernel's routines, which hold interrupts off.
unsafe impl Sync for Available {}

static AVAILABLE: Available =
    Available(core::cell::UnsafeCell::new(Ksemaphore { header: Kevent::unsignaled().header, limit: 0 }));

/// Worker threads: work may wait, so there are several.
const WORKERS: usize = 3;
const PRIORITY: i32 = 12;

/// Starts the workers.
pub(crate) fn init() {
    // SAFETY: called once before anything is queued.
    unsafe {
        KeInitializeSemaphore(AVAILABLE.0.get(), 0, i32::MAX);
        for _ in 0..WORKERS {
            let worker = thread::create(work, core::ptr::null_mut(), PRIORITY, 0).expect("a worker thread");
            crate::ob::dereference(worker.cast());
        }
    }
}

/// Queues work. IRQL ≤ `DISPATCH_LEVEL`.
pub(crate) fn queue(work: Work) {
    QUEUE.lock().works.push_back(work);
    // SAFETY: the semaphore was initialized.
    unsafe { KeReleaseSemaphore(AVAILABLE.0.get(), 0, 1, FALSE) };
}

unsafe extern "win64" fn work(_context: Pvoid) {
    // SAFETY: the semaphore was initialized before this thread began, and a routine is queued with its context.
    unsafe {
        loop {
            KeWaitForSingleObject(AVAILABLE.0.get().cast(), EXECUTIVE, KERNEL_MODE, FALSE, core::ptr::null());
            let work = QUEUE.lock().works.pop_front();
            if let Some(work) = work {
                verifier::balanced("work", work.routine as usize, || (work.routine)(work.context));
            }
        }
    }
}

/// `ExQueueWorkItem`. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `item` is initialized and stays valid until its routine is called.
pub(crate) unsafe extern "win64" fn ExQueueWorkItem(item: *mut WorkQueueItem, _queue_type: u32) {
    // SAFETY: by this function's contract, `item` is initialized and stays valid until its routine is
    // called.
    unsafe {
        let routine = (*item).worker_routine.expect("a work item without a routine");
        queue(Work { routine, context: (*item).parameter });
    }
}
