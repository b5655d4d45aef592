//! Deferred procedure calls.

use core::ptr::null_mut;

use core::sync::atomic::Ordering;

use super::lock::{Lock, disable_interrupts, restore_interrupts};
use super::processor::{self, MAXIMUM, processor};
use super::{irql, smp};
use crate::nt::*;
use crate::verifier;

struct Queue {
    head: *mut Kdpc,
    tail: *mut Kdpc,
}

// SAFETY: the pointers are followed only under the queue's lock.
unsafe impl Send for Queue {}

/// Queues by processor.
static QUEUES: Lock<[Queue; MAXIMUM]> =
    Lock::new([const { Queue { head: null_mut(), tail: null_mut() } }; MAXIMUM]);

/// In a DPC's number: it has a target processor (NT 5.2's `MAXIMUM_PROCESSORS`).
const TARGETED: u8 = 64;

/// `KeInitializeDpc`. Any IRQL.
///
/// # Safety
/// `dpc` is writable and not queued.
pub(crate) unsafe extern "win64" fn KeInitializeDpc(
    dpc: *mut Kdpc,
    routine: Option<DeferredRoutine>,
    context: Pvoid,
) {
    // SAFETY: by this function's contract, `dpc` is writable and not queued.
    unsafe {
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
}

/// Queues a DPC; `FALSE` if it is queued already. Any IRQL.
///
/// # Safety
/// `dpc` is initialized and stays where it is until it has run.
pub(crate) unsafe extern "win64" fn KeInsertQueueDpc(
    dpc: *mut Kdpc,
    argument1: Pvoid,
    argument2: Pvoid,
) -> Boolean {
    let target_number;
    // SAFETY: by this function's contract, `dpc` is initialized and stays where it is until it has run.
    unsafe {
        {
            let mut queues = QUEUES.lock();
            if !(*dpc).dpc_data.is_null() {
                return FALSE;
            }
            let target =
                (*dpc).number.checked_sub(TARGETED).map(usize::from).filter(|&n| n < processor::count());
            target_number = target.unwrap_or_else(processor::number);
            let queue = &mut queues[target_number];
            (*dpc).system_argument1 = argument1;
            (*dpc).system_argument2 = argument2;
            // Marks a queued DPC, as NT does with its queue's address: here the queue's number and one.
            (*dpc).dpc_data = (target_number + 1) as Pvoid;
            (*dpc).dpc_list_entry = ListEntry::UNLINKED;
            if queue.head.is_null() {
                queue.head = dpc;
            } else {
                (*queue.tail).dpc_list_entry.flink = &raw mut (*dpc).dpc_list_entry;
            }
            queue.tail = dpc;
            processor::numbered(target_number).dpc_pending.store(true, Ordering::Release);
        }
    }
    if target_number != processor::number() {
        smp::interrupt(target_number);
    } else if irql::current() < DISPATCH_LEVEL {
        irql::lower(irql::current());
    }
    TRUE
}

/// `KeSetTargetProcessorDpc`. Any IRQL, while the DPC is not queued.
///
/// # Safety
/// `dpc` is initialized.
pub(crate) unsafe extern "win64" fn KeSetTargetProcessorDpc(dpc: *mut Kdpc, number: i8) {
    // SAFETY: by this function's contract, `dpc` is initialized.
    unsafe {
        (*dpc).number = TARGETED + number as u8;
    }
}

/// `KeSetImportanceDpc`. Any IRQL. DPCs of every importance are run in the order they were queued.
///
/// # Safety
/// `dpc` is initialized.
pub(crate) unsafe extern "win64" fn KeSetImportanceDpc(dpc: *mut Kdpc, importance: u32) {
    // SAFETY: by this function's contract, `dpc` is initialized.
    unsafe {
        (*dpc).importance = importance as u8;
    }
}

unsafe fn next_of(dpc: *mut Kdpc) -> *mut Kdpc {
    // SAFETY: the caller keeps `dpc` valid for this call.
    unsafe {
        let link = (*dpc).dpc_list_entry.flink;
        if link.is_null() {
            null_mut()
        } else {
            link.byte_sub(core::mem::offset_of!(Kdpc, dpc_list_entry)).cast()
        }
    }
}

/// Takes a DPC off the queue; `FALSE` if it was not queued. Any IRQL.
///
/// # Safety
/// `dpc` is initialized.
pub(crate) unsafe extern "win64" fn KeRemoveQueueDpc(dpc: *mut Kdpc) -> Boolean {
    let mut queues = QUEUES.lock();
    // SAFETY: by this function's contract, `dpc` is initialized.
    unsafe {
        let Some(number) = ((*dpc).dpc_data as usize).checked_sub(1) else { return FALSE };
        let queue = &mut queues[number];
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
}

/// Returns true if a queued DPC lies in a range of memory.
pub(crate) fn queued_within(start: usize, end: usize) -> bool {
    for queue in QUEUES.lock().iter() {
        let mut at = queue.head;
        while !at.is_null() {
            if (start..end).contains(&(at as usize)) {
                return true;
            }
            // SAFETY: queued DPCs are valid until they have run.
            at = unsafe { next_of(at) };
        }
    }
    false
}

/// Runs expired timers and queued DPCs at `DISPATCH_LEVEL` until none is left. Called with interrupts
/// disabled; they are enabled while a routine runs.
pub(super) fn retire() {
    let (processor, number) = (processor(), processor::number());
    processor.in_dpc.store(true, Ordering::SeqCst);
    processor.dpc_pending.store(false, Ordering::SeqCst);
    super::timer::expire();
    loop {
        let dpc = {
            let mut queues = QUEUES.lock();
            let queue = &mut queues[number];
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
    processor.in_dpc.store(false, Ordering::SeqCst);
}

/// Returns once every DPC queued before has run. IRQL `PASSIVE_LEVEL`.
pub(crate) extern "win64" fn KeFlushQueuedDpcs() {
    // No DPC of this processor's is left once the level has been below `DISPATCH_LEVEL`; those of others are
    // waited for.
    irql::lower(irql::current());
    for number in (0..processor::count()).filter(|&number| number != processor::number()) {
        let other = processor::numbered(number);
        while !QUEUES.lock()[number].head.is_null() || other.in_dpc.load(Ordering::SeqCst) {
            super::delay(1);
        }
    }
}
