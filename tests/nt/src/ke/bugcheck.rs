//! `KeBugCheckEx` and its callbacks.

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::lock::{Lock, disable_interrupts};
use super::processor::{self, processor};
use super::smp;
use crate::mm::{PAGE_SIZE, map};
use crate::nt::*;
use crate::{diskdump, inject, ldr, po, report};

static STOPPING: AtomicBool = AtomicBool::new(false);

/// Returns true if a bugcheck is under way: nothing is written to disks any more.
pub(crate) fn stopping() -> bool {
    STOPPING.load(Ordering::Relaxed)
}

/// `KiBugCheckData`: code and parameters of the bugcheck that is under way.
#[expect(non_upper_case_globals, reason = "variables have NT's names")]
pub(crate) static KiBugCheckData: [AtomicUsize; 5] = [const { AtomicUsize::new(0) }; 5];

/// The processor that stops the system, plus one.
static STOPPER: AtomicUsize = AtomicUsize::new(0);

/// Ends this processor's part if another one is stopping the system. Any IRQL.
pub(crate) fn stop_here_if_stopping() {
    let stopper = STOPPER.load(Ordering::Acquire);
    if stopper != 0 && stopper != processor::number() + 1 {
        loop {
            // SAFETY: nothing of this processor's is needed any more.
            unsafe { core::arch::asm!("cli", "hlt") };
        }
    }
}

struct Callbacks {
    plain: ListEntry,
    reason: ListEntry,
}

// SAFETY: the records on the lists are their drivers' until deregistered; reached only under the lock.
unsafe impl Send for Callbacks {}

static CALLBACKS: Lock<Callbacks> =
    Lock::new(Callbacks { plain: ListEntry::UNLINKED, reason: ListEntry::UNLINKED });

unsafe fn head(list: *mut ListEntry) -> *mut ListEntry {
    // SAFETY: the caller keeps `list` valid for this call.
    unsafe {
        if (*list).flink.is_null() {
            ListEntry::init(list);
        }
    }
    list
}

/// `KeRegisterBugCheckCallback`. Any IRQL.
///
/// # Safety
/// `record` was initialized and stays valid until deregistered.
pub(crate) unsafe extern "win64" fn KeRegisterBugCheckCallback(
    record: *mut BugcheckCallbackRecord,
    routine: BugcheckCallback,
    buffer: Pvoid,
    length: u32,
    component: *const u8,
) -> Boolean {
    let mut callbacks = CALLBACKS.lock();
    // SAFETY: by this function's contract, `record` was initialized and stays valid until deregistered.
    unsafe {
        if (*record).state != BUFFER_EMPTY {
            return FALSE;
        }
        (*record).callback_routine = Some(routine);
        (*record).buffer = buffer;
        (*record).length = length;
        (*record).component = component;
        (*record).checksum = (routine as usize)
            .wrapping_add(buffer as usize)
            .wrapping_add(length as usize)
            .wrapping_add(component as usize);
        (*record).state = BUFFER_INSERTED;
        ListEntry::insert_tail(head(&raw mut callbacks.plain), &raw mut (*record).entry);
    }
    TRUE
}

/// `KeDeregisterBugCheckCallback`. Any IRQL.
///
/// # Safety
/// `record` was given to [`KeRegisterBugCheckCallback`].
pub(crate) unsafe extern "win64" fn KeDeregisterBugCheckCallback(
    record: *mut BugcheckCallbackRecord,
) -> Boolean {
    let _callbacks = CALLBACKS.lock();
    // SAFETY: by this function's contract, `record` was given to [`KeRegisterBugCheckCallback`].
    unsafe {
        if (*record).state != BUFFER_INSERTED {
            return FALSE;
        }
        ListEntry::remove(&raw mut (*record).entry);
        (*record).state = BUFFER_EMPTY;
    }
    TRUE
}

/// `KeRegisterBugCheckReasonCallback`. Any IRQL.
///
/// # Safety
/// `record` was initialized and stays valid until deregistered.
pub(crate) unsafe extern "win64" fn KeRegisterBugCheckReasonCallback(
    record: *mut BugcheckReasonCallbackRecord,
    routine: BugcheckReasonCallback,
    reason: u32,
    component: *const u8,
) -> Boolean {
    let mut callbacks = CALLBACKS.lock();
    // SAFETY: by this function's contract, `record` was initialized and stays valid until deregistered.
    unsafe {
        if (*record).state != BUFFER_EMPTY {
            return FALSE;
        }
        (*record).callback_routine = Some(routine);
        (*record).reason = reason;
        (*record).component = component;
        (*record).checksum =
            (routine as usize).wrapping_add(reason as usize).wrapping_add(component as usize);
        (*record).state = BUFFER_INSERTED;
        ListEntry::insert_tail(head(&raw mut callbacks.reason), &raw mut (*record).entry);
    }
    TRUE
}

/// `KeDeregisterBugCheckReasonCallback`. Any IRQL.
///
/// # Safety
/// `record` was given to [`KeRegisterBugCheckReasonCallback`].
pub(crate) unsafe extern "win64" fn KeDeregisterBugCheckReasonCallback(
    record: *mut BugcheckReasonCallbackRecord,
) -> Boolean {
    let _callbacks = CALLBACKS.lock();
    // SAFETY: by this function's contract, `record` was given to [`KeRegisterBugCheckReasonCallback`].
    unsafe {
        if (*record).state != BUFFER_INSERTED {
            return FALSE;
        }
        ListEntry::remove(&raw mut (*record).entry);
        (*record).state = BUFFER_EMPTY;
    }
    TRUE
}

/// Returns true if a registered callback lies in a range of code.
pub(crate) fn callback_within(start: usize, end: usize) -> bool {
    let mut callbacks = CALLBACKS.lock();
    let within = |routine: usize| (start..end).contains(&routine);
    // SAFETY: registered records are valid, and the lock of their lists is held.
    unsafe {
        any(head(&raw mut callbacks.plain), |record: *mut BugcheckCallbackRecord| {
            (*record).callback_routine.is_some_and(|routine| within(routine as usize))
        }) || any(head(&raw mut callbacks.reason), |record: *mut BugcheckReasonCallbackRecord| {
            (*record).callback_routine.is_some_and(|routine| within(routine as usize))
        })
    }
}

/// Returns true if a record of a list is as described.
///
/// # Safety
/// The records are valid, and the lock of the list is held.
unsafe fn any<T>(list: *mut ListEntry, described: impl Fn(*mut T) -> bool) -> bool {
    // SAFETY: by this function's contract, the records are valid, and the lock of the list is held.
    unsafe {
        let mut at = (*list).flink;
        while at != list {
            if described(at.cast()) {
                return true;
            }
            at = (*at).flink;
        }
    }
    false
}

/// Calls the reason callbacks for secondary data, as a crash dump does. Each record is taken off its list first, so
/// that a callback that crashes is not called again.
unsafe fn call_reason_callbacks() {
    // SAFETY: a registered record stays valid until it is deregistered, and each is taken off its list
    // before it is used.
    unsafe {
        loop {
            let record = {
                let mut callbacks = CALLBACKS.lock();
                ListEntry::pop(head(&raw mut callbacks.reason))
            };
            let Some(record) = record.map(|entry| entry.cast::<BugcheckReasonCallbackRecord>()) else {
                break;
            };
            if (*record).reason == CALLBACK_SECONDARY_DUMP_DATA {
                secondary_dump_data(record);
            }
        }
    }
}

/// Calls the plain callbacks. Each record is taken off its list first.
unsafe fn call_callbacks() {
    // SAFETY: as in `call_reason_callbacks`.
    unsafe {
        loop {
            let record = {
                let mut callbacks = CALLBACKS.lock();
                ListEntry::pop(head(&raw mut callbacks.plain))
            };
            let Some(record) = record.map(|entry| entry.cast::<BugcheckCallbackRecord>()) else { break };
            if let Some(routine) = (*record).callback_routine {
                (*record).state = BUFFER_STARTED;
                routine((*record).buffer, (*record).length);
                (*record).state = BUFFER_FINISHED;
            }
        }
    }
}

/// Bytes of dump data in a line.
const DUMP_LINE: usize = 128;

/// Asks for secondary dump data the way the dump code does, and writes what came, by GUID, to the host, and
/// to the dump if one is written.
unsafe fn secondary_dump_data(record: *mut BugcheckReasonCallbackRecord) {
    // SAFETY: the caller keeps `record` valid for this call.
    unsafe {
        let Some(routine) = (*record).callback_routine else { return };
        let mut data = SecondaryDumpData {
            in_buffer: core::ptr::null_mut(),
            in_buffer_length: PAGE_SIZE as u32,
            maximum_allowed: 16 * PAGE_SIZE as u32,
            guid: Guid { data1: 0, data2: 0, data3: 0, data4: [0; 8] },
            out_buffer: core::ptr::null_mut(),
            out_buffer_length: 0,
        };
        let mut buffer = [0u64; PAGE_SIZE / 8];
        data.in_buffer = buffer.as_mut_ptr().cast();
        routine(
            CALLBACK_SECONDARY_DUMP_DATA,
            record,
            (&raw mut data).cast(),
            size_of::<SecondaryDumpData>() as u32,
        );
        if data.out_buffer.is_null() || data.out_buffer_length == 0 {
            return;
        }
        let readable = map::protection(data.out_buffer as usize) & map::PRESENT != 0
            || map::translate(data.out_buffer as usize).is_some();
        report!(
            "dump guid={:08x} bytes={} readable={}",
            data.guid.data1,
            data.out_buffer_length,
            u8::from(readable)
        );
        if !readable {
            return;
        }
        let bytes =
            core::slice::from_raw_parts(data.out_buffer.cast::<u8>(), data.out_buffer_length as usize);
        diskdump::secondary_data(&data.guid, bytes);
        for (n, chunk) in bytes.chunks(DUMP_LINE).enumerate() {
            report!("dumpdata guid={:08x} at={} hex={}", data.guid.data1, n * DUMP_LINE, report::Hex(chunk));
        }
    }
}

/// Stops the system. Any IRQL.
pub(crate) fn bugcheck(code: u32, p1: usize, p2: usize, p3: usize, p4: usize) -> ! {
    disable_interrupts();
    stop_here_if_stopping();
    STOPPER.store(processor::number() + 1, Ordering::Release);
    smp::stop_others();
    let again = STOPPING.swap(true, Ordering::Relaxed);
    let level = processor().irql.replace(HIGH_LEVEL);
    report!("bugcheck code={code:#x} p1={p1:#x} p2={p2:#x} p3={p3:#x} p4={p4:#x}");
    if !again {
        for (place, value) in KiBugCheckData.iter().zip([code as usize, p1, p2, p3, p4]) {
            place.store(value, Ordering::Relaxed);
        }
        crate::log!("bugcheck at irql={level} thread={:p}", super::thread::current());
        // SAFETY: registered callbacks may be called at a bugcheck. The other processors have stopped, and interrupts are
        // off.
        unsafe {
            call_reason_callbacks();
            diskdump::write(code, [p1, p2, p3, p4]);
            // Behind the dump (WDK, "Writing a Bug Check Callback Routine").
            call_callbacks();
        }
    }
    inject::report_counts();
    report!("end verdict=stopped");
    po::power_off()
}

/// `KeBugCheckEx`. Any IRQL.
pub(crate) extern "win64" fn KeBugCheckEx(code: u32, p1: usize, p2: usize, p3: usize, p4: usize) -> ! {
    ldr::print_stack(stack_pointer());
    bugcheck(code, p1, p2, p3, p4)
}

/// `KeBugCheck`. Any IRQL.
pub(crate) extern "win64" fn KeBugCheck(code: u32) -> ! {
    KeBugCheckEx(code, 0, 0, 0, 0)
}

fn stack_pointer() -> usize {
    let value: usize;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mov {}, rsp", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Reports a panic of the executive itself as such, then stops as a bugcheck does.
pub(crate) fn panicked(message: fmt::Arguments) -> ! {
    disable_interrupts();
    report!("dbg nt: panic {message}");
    ldr::print_stack(stack_pointer());
    // MANUALLY_INITIATED_CRASH is what NT calls a stop that is nobody's fault but the system's own; the line
    // above tells it apart.
    bugcheck(0xE2, 0, 0, 0, 0)
}
