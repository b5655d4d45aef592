//! Running alone: one processor works while every other one is held.
#![expect(unsafe_code, reason = "runs a routine on every processor, and disables interrupts")]

use core::arch::asm;
use core::cell::UnsafeCell;
use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use wdk_sys::{
    ULONG_PTR,
    ntddk::{KeIpiGenericCall, KeQueryActiveProcessors},
};

use crate::processor;

struct Meeting<F, R> {
    /// Processors of the first group that are not here yet; below zero where there are more groups.
    missing: AtomicI32,
    /// The one that works has been found.
    taken: AtomicBool,
    done: AtomicBool,
    work: UnsafeCell<Option<F>>,
    result: UnsafeCell<Option<R>>,
}

/// Runs `work` on the first processor with interrupts disabled, while every other processor is held with
/// interrupts disabled, too. `work` and what it touches must be resident; it must not call the kernel. IRQL <
/// IPI_LEVEL.
///
/// # Panics
/// Where the kernel's inter-processor call did not call.
pub fn alone<R, F: FnOnce() -> R>(work: F) -> R {
    // SAFETY: callable at any IRQL.
    let processors = unsafe { KeQueryActiveProcessors() }.count_ones();
    let meeting = Meeting {
        missing: AtomicI32::new(processors.cast_signed()),
        taken: AtomicBool::new(false),
        done: AtomicBool::new(false),
        work: UnsafeCell::new(Some(work)),
        result: UnsafeCell::new(None),
    };
    let context = core::ptr::from_ref(&meeting).expose_provenance() as ULONG_PTR;
    // SAFETY: the routine is called on every processor before this returns, at IPI_LEVEL, with a live
    // context.
    unsafe { KeIpiGenericCall(Some(meet::<F, R>), context) };
    let result = meeting.result.into_inner();
    result.expect("the work was done before the call returned")
}

unsafe extern "C" fn meet<F: FnOnce() -> R, R>(context: ULONG_PTR) -> ULONG_PTR {
    // SAFETY: `alone`'s meeting, which lives until every processor has left this routine.
    let meeting = unsafe { &*core::ptr::with_exposed_provenance::<Meeting<F, R>>(context as usize) };
    let flags: u64;
    // SAFETY: clears the interrupt flag, put back below.
    unsafe { asm!("pushfq", "pop {}", "cli", out(reg) flags) };
    meeting.missing.fetch_sub(1, Ordering::AcqRel);
    if processor::current() != 0 || meeting.taken.swap(true, Ordering::AcqRel) {
        while !meeting.done.load(Ordering::Acquire) {
            spin_loop();
        }
    } else {
        while meeting.missing.load(Ordering::Acquire) > 0 {
            spin_loop();
        }
        // SAFETY: `taken` lets one processor through, once (another group has a first one of its own);
        // `alone` looks at the result after every processor has left.
        unsafe {
            if let Some(work) = (*meeting.work.get()).take() {
                *meeting.result.get() = Some(work());
            }
        }
        meeting.done.store(true, Ordering::Release);
    }
    if flags & 1 << 9 != 0 {
        // SAFETY: interrupts were enabled when this routine was called.
        unsafe { asm!("sti") };
    }
    0
}
