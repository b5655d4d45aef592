//! The interrupt request level, kept in memory.
//!
//! CR8 writes are avoided (qemu's SVM emulation aborts on them with interrupts pending), so the level is a
//! field of the processor. It still has its real meaning: an interrupt at or below the current level is held
//! back un-acknowledged, which keeps the local APIC from delivering its priority class again, and is run when
//! the level drops. The software interrupts, DPCs and thread switches, run when it drops below
//! `DISPATCH_LEVEL`.

use super::lock::{disable_interrupts, restore_interrupts};
use super::processor::{self, processor};
use super::{dpc, interrupt, thread};
use crate::mm::paged;
use crate::nt::{DISPATCH_LEVEL, HIGH_LEVEL, Kirql};
use crate::verifier::{Violation, violation};
use core::sync::atomic::Ordering;

/// Returns the current IRQL.
pub(crate) fn current() -> Kirql {
    processor::level()
}

/// Sets the level without running anything: for code that raises and lowers in balance itself.
pub(super) fn set(level: Kirql) {
    // The thread stays on its processor, and interrupts leave the level as they find it.
    let old = processor().irql.replace(level);
    if level >= DISPATCH_LEVEL && old < DISPATCH_LEVEL {
        paged::trim();
    }
}

/// Raises to `new`; the level before. Raising to a lower level is a violation.
pub(crate) fn raise(new: Kirql) -> Kirql {
    let old = current();
    if new < old || new > HIGH_LEVEL {
        violation(Violation::WrongIrql, format_args!("routine=KeRaiseIrql from={old} to={new}"));
    }
    set(new);
    old
}

/// Lowers to `new` and runs what the old level held back. Lowering to a higher level is a violation.
pub(crate) fn lower(new: Kirql) {
    let processor = processor();
    let old = current();
    if new > old {
        violation(Violation::WrongIrql, format_args!("routine=KeLowerIrql from={old} to={new}"));
    }
    let pending = |flag: &core::sync::atomic::AtomicBool| flag.load(Ordering::Acquire);
    let interrupts = disable_interrupts();
    loop {
        let held = (new + 1..=old).rev().find(|&level| processor.held[usize::from(level)].get() != 0);
        if let Some(level) = held {
            let vector = processor.held[usize::from(level)].take();
            interrupt::service(vector, level);
        } else if new < DISPATCH_LEVEL && pending(&processor.dpc_pending) && !pending(&processor.in_dpc) {
            set(DISPATCH_LEVEL);
            dpc::retire();
        } else if new < DISPATCH_LEVEL && pending(&processor.switch_pending) && !pending(&processor.in_dpc) {
            set(DISPATCH_LEVEL);
            thread::reschedule();
        } else {
            break;
        }
    }
    set(new);
    restore_interrupts(interrupts);
}

/// Raises the IRQL. Exported as the HAL's x64 kernels do for drivers that do not inline CR8.
pub(crate) extern "win64" fn KfRaiseIrql(new: Kirql) -> Kirql {
    raise(new)
}

/// Raises the IRQL to `DISPATCH_LEVEL`.
pub(crate) extern "win64" fn KeRaiseIrqlToDpcLevel() -> Kirql {
    raise(DISPATCH_LEVEL)
}

/// Lowers the IRQL.
pub(crate) extern "win64" fn KeLowerIrql(new: Kirql) {
    lower(new);
}
