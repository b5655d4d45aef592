//! The kernel: IRQL, interrupts, DPCs, timers, threads, waits, spin locks, bugchecks.

pub(crate) mod apic;
pub(crate) mod bugcheck;
pub(crate) mod clock;
pub(crate) mod descriptor;
pub(crate) mod dpc;
pub(crate) mod event;
pub(crate) mod interrupt;
pub(crate) mod irql;
mod lock;
pub(crate) mod msr;
pub(crate) mod processor;
pub(crate) mod smp;
pub(crate) mod spinlock;
pub(crate) mod thread;
pub(crate) mod timer;
pub(crate) mod trap;
pub(crate) mod wait;

pub(crate) use bugcheck::*;
pub(crate) use clock::*;
pub(crate) use dpc::*;
pub(crate) use event::*;
pub(crate) use interrupt::{
    Interrupt, IoConnectInterrupt, IoConnectInterruptEx, IoDisconnectInterrupt, IoDisconnectInterruptEx,
    KeSynchronizeExecution, storm,
};
pub(crate) use irql::{KeLowerIrql, KeRaiseIrqlToDpcLevel, KfRaiseIrql};
pub(crate) use lock::{Lock, disable_interrupts, restore_interrupts};
pub(crate) use processor::{KeNumberProcessors, KeQueryActiveProcessors, processor};
pub(crate) use smp::KeIpiGenericCall;
pub(crate) use spinlock::*;
pub(crate) use thread::{
    KeGetCurrentThread, KeRevertToUserAffinityThread, KeSetPriorityThread, KeSetSystemAffinityThread,
};
pub(crate) use timer::*;
pub(crate) use wait::*;
