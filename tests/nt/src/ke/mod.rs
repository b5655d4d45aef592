//! The kernel: IRQL, interrupts, DPCs, timers, threads, waits, spin locks, bugchecks.

pub mod apic;
pub mod bugcheck;
pub mod clock;
pub mod descriptor;
pub mod dpc;
pub mod event;
pub mod interrupt;
pub mod irql;
mod lock;
pub mod msr;
pub mod processor;
pub mod smp;
pub mod spinlock;
pub mod thread;
pub mod timer;
pub mod trap;
pub mod wait;

pub use bugcheck::*;
pub use clock::*;
pub use dpc::*;
pub use event::*;
pub use interrupt::{
    Interrupt, IoConnectInterrupt, IoConnectInterruptEx, IoDisconnectInterrupt, IoDisconnectInterruptEx,
    KeSynchronizeExecution,
};
pub use irql::{KeLowerIrql, KeRaiseIrqlToDpcLevel, KfRaiseIrql};
pub use lock::{Lock, disable_interrupts, restore_interrupts};
pub use processor::{KeNumberProcessors, KeQueryActiveProcessors, processor};
pub use smp::KeIpiGenericCall;
pub use spinlock::*;
pub use thread::{
    KeGetCurrentThread, KeRevertToUserAffinityThread, KeSetPriorityThread, KeSetSystemAffinityThread,
};
pub use timer::*;
pub use wait::*;
