//! Deferred procedure calls.

use core::ptr::null_mut;

use super::irql;
use super::lock::{Lock, disable_interrupts, restore_interrupts};
use super::processor::processor;
use crate::nt::*;
use crate::verifier;

struct Queue {
    head: *mut Kdpc,
    tail: *mut Kdpc,
}

// SAFETY: the pointers are followed only under the queue's lock.
unsafe impl Send for Queue {}

static QUEUE: Lock<Queue> = Lock::new(Queue { head: null_mut(), tail: null_mut() });

/// Marks a queued DPC in `DpcData`, as NT does with its queue's address.
const QUEUED: Pvoid = 1 as Pvoid;

/// `KeInitializeDpc`. Any IRQL.
///
/// # Safety
/// `dpc` is writable and not queued.
pub unsafe extern "win64" fn KeInitializeDpc(
    dpc: *mut Kdpc,
    routine: Option<DeferredRoutine>,
    context: Pvoid,
) {
    *dpc = Kdpc {
        kind: DPC_OBJECT,
        importance: 1,
        number: 0,
        expedite: 0,
        dpc_list_entry: ListEntry::UNLINKED,
        deferred_routine: routine,
        deferred_context: context,
        system_argument1: null_mut(),
        system_argument2: null_mut(),
        dpc_data: null_mut(),
    };
}

/// Queues a DPC; `FALSE` if it is queued already. Any IRQL.
///
/// # Safety
/// `dpc` is initialized and stays where it is until it has run.
pub unsafe extern "win64" fn KeInsertQueueDpc(dpc: *mut Kdpc, argument1: Pvoid, argument2: Pvoid) -> Boolean {
    {
        let mut queue = QUEUE.lock();
        if !(*dpc).dpc_data.is_null() {
            return FALSE;
        }
        (*dpc).system_argument1 = argument1;
        (*dpc).system_argument2 = argument2;
        (*dpc).dpc_data = QUEUED;
        (*dpc).dpc_list_entry = ListEntry::UNLINKED;
        if queue.head.is_null() {
            queue.head = dpc;
        } else {
            (*queue.tail).dpc_list_entry.flink = &raw mut (*dpc).dpc_list_entry;
        }
        queue.tail = dpc;
        processor().dpc_pending.set(true);
    }
    if irql::current() < DISPATCH_LEVEL {
        irql::lower(irql::current());
    }
    TRUE
}

unsafe fn next_of(dpc: *mut Kdpc) -> *mut Kdpc {
    let link = (*dpc).dpc_list_entry.flink;
    if link.is_null() {
        null_mut()
    } else {
        link.byte_sub(core::mem::offset_of!(Kdpc, dpc_list_entry)).cast()
    }
}

/// Takes a DPC off the queue; `FALSE` if it was not queued. Any IRQL.
///
/// # Safety
/// `dpc` is initialized.
pub unsafe extern "win64" fn KeRemoveQueueDpc(dpc: *mut Kdpc) -> Boolean {
    let mut queue = QUEUE.lock();
    if (*dpc).dpc_data.is_null() {
        return FALSE;
    }
    let (mut previous, mut at) = (null_mut::<Kdpc>(), queue.head);
    while !at.is_null() && at != dpc {
        previous = at;
        at = next_of(at);
    }
    assert!(!at.is_null(), "a DPC marked as queued is not on the queue");
    if previous.is_null() {
        queue.head = next_of(dpc);
    } else {
        (*previous).dpc_list_entry.flink = (*dpc).dpc_list_entry.flink;
    }
    if queue.tail == dpc {
        queue.tail = previous;
    }
    (*dpc).dpc_data = null_mut();
    TRUE
}

/// Whether a queued DPC lies in a range of memory.
pub fn queued_within(start: usize, end: usize) -> bool {
    let queue = QUEUE.lock();
    let mut at = queue.head;
    while !at.is_null() {
        if (start..end).contains(&(at as usize)) {
            return true;
        }
        // SAFETY: queued DPCs are valid until they have run.
        at = unsafe { next_of(at) };
    }
    false
}

/// Runs expired timers and queued DPCs at `DISPATCH_LEVEL` until none is left. Called with interrupts
/// disabled; they are enabled while a routine runs.
pub(super) fn retire() {
    let processor = processor();
    processor.in_dpc.set(true);
    processor.dpc_pending.set(false);
    super::timer::expire();
    loop {
        let dpc = {
            let mut queue = QUEUE.lock();
            let dpc = queue.head;
            if dpc.is_null() {
                break;
            }
            // SAFETY: queued DPCs are valid until they have run.
            queue.head = unsafe { next_of(dpc) };
            dpc
        };
        // SAFETY: the DPC left the queue; its owner keeps it and what its routine needs alive until then.
        unsafe {
            let (routine, context) = ((*dpc).deferred_routine, (*dpc).deferred_context);
            let (argument1, argument2) = ((*dpc).system_argument1, (*dpc).system_argument2);
            (*dpc).dpc_data = null_mut();
            let routine = routine.expect("a DPC without a routine");
            restore_interrupts(true);
            verifier::balanced("dpc", routine as usize, || routine(dpc, context, argument1, argument2));
            disable_interrupts();
        }
    }
    processor.in_dpc.set(false);
}

/// Returns once every DPC queued before has run. IRQL `PASSIVE_LEVEL`.
pub extern "win64" fn KeFlushQueuedDpcs() {
    // With one processor no DPC is left once the level has been below `DISPATCH_LEVEL`.
    irql::lower(irql::current());
}
