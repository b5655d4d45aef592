//! Kernel objects that live in a driver's own memory: events, DPCs, timers (ntddk.h, wdm.h).

use super::def::{ListEntry, Pvoid};
use crate::layout;

/// `PASSIVE_LEVEL`.
pub(crate) const PASSIVE_LEVEL: u8 = 0;
/// `APC_LEVEL`.
pub(crate) const APC_LEVEL: u8 = 1;
/// `DISPATCH_LEVEL`.
pub(crate) const DISPATCH_LEVEL: u8 = 2;
/// `CLOCK_LEVEL` on x64.
pub(crate) const CLOCK_LEVEL: u8 = 13;
/// `HIGH_LEVEL` on x64.
pub(crate) const HIGH_LEVEL: u8 = 15;

/// `KernelMode` as `KPROCESSOR_MODE`.
pub(crate) const KERNEL_MODE: i8 = 0;
/// `Executive` as `KWAIT_REASON`.
pub(crate) const EXECUTIVE: u32 = 0;

/// `DISPATCHER_HEADER`. `kind` is one of the `*_OBJECT` numbers below.
#[repr(C)]
pub(crate) struct DispatcherHeader {
    pub kind: u8,
    pub absolute: u8,
    pub size: u8,
    pub inserted: u8,
    pub signal_state: i32,
    pub wait_list_head: ListEntry,
}
layout!(DispatcherHeader, 0x18, signal_state @ 4, wait_list_head @ 8);

/// `EventNotificationObject`; also `NotificationEvent` as `EVENT_TYPE`.
pub(crate) const NOTIFICATION_EVENT: u8 = 0;
/// `EventSynchronizationObject`; also `SynchronizationEvent` as `EVENT_TYPE`.
pub(crate) const SYNCHRONIZATION_EVENT: u8 = 1;
/// `SemaphoreObject`.
pub(crate) const SEMAPHORE_OBJECT: u8 = 5;
/// `ThreadObject`.
pub(crate) const THREAD_OBJECT: u8 = 6;
/// `TimerNotificationObject`.
pub(crate) const TIMER_NOTIFICATION_OBJECT: u8 = 8;
/// `TimerSynchronizationObject`.
pub(crate) const TIMER_SYNCHRONIZATION_OBJECT: u8 = 9;

/// `KEVENT`.
#[repr(C)]
pub(crate) struct Kevent {
    pub header: DispatcherHeader,
}
layout!(Kevent, 0x18);

/// `KSEMAPHORE`.
#[repr(C)]
pub(crate) struct Ksemaphore {
    pub header: DispatcherHeader,
    pub limit: i32,
}
layout!(Ksemaphore, 0x20, limit @ 0x18);

/// `KDEFERRED_ROUTINE`.
pub(crate) type DeferredRoutine =
    unsafe extern "win64" fn(dpc: *mut Kdpc, context: Pvoid, argument1: Pvoid, argument2: Pvoid);

/// `KDPC`. `dpc_data` is not null while the DPC is queued.
#[repr(C)]
pub(crate) struct Kdpc {
    pub kind: u8,
    pub importance: u8,
    pub number: u8,
    pub expedite: u8,
    pub dpc_list_entry: ListEntry,
    pub deferred_routine: Option<DeferredRoutine>,
    pub deferred_context: Pvoid,
    pub system_argument1: Pvoid,
    pub system_argument2: Pvoid,
    pub dpc_data: Pvoid,
}
layout!(Kdpc, 0x40, dpc_list_entry @ 8, deferred_routine @ 0x18, dpc_data @ 0x38);

/// `DpcObject` in `KDPC.Type`.
pub(crate) const DPC_OBJECT: u8 = 0x13;

/// `KTIMER`.
#[repr(C)]
pub(crate) struct Ktimer {
    pub header: DispatcherHeader,
    /// Interrupt time at which it expires, in 100 ns.
    pub due_time: u64,
    pub timer_list_entry: ListEntry,
    pub dpc: *mut Kdpc,
    /// Period in milliseconds, 0 for one shot.
    pub period: i32,
}
layout!(Ktimer, 0x40, due_time @ 0x18, timer_list_entry @ 0x20, dpc @ 0x30, period @ 0x38);

/// `KSPIN_LOCK`.
pub(crate) type KspinLock = usize;

/// `KDEVICE_QUEUE`.
#[repr(C)]
pub(crate) struct KdeviceQueue {
    pub kind: i16,
    pub size: i16,
    pub device_list_head: ListEntry,
    pub lock: KspinLock,
    pub busy: u8,
}
layout!(KdeviceQueue, 0x28, device_list_head @ 8, lock @ 0x18, busy @ 0x20);

/// `KSERVICE_ROUTINE`.
pub(crate) type ServiceRoutine = unsafe extern "win64" fn(interrupt: Pvoid, context: Pvoid) -> u8;
/// `KSYNCHRONIZE_ROUTINE`.
pub(crate) type SynchronizeRoutine = unsafe extern "win64" fn(context: Pvoid) -> u8;
/// `KSTART_ROUTINE`.
pub(crate) type StartRoutine = unsafe extern "win64" fn(context: Pvoid);

/// `BufferEmpty` in `KBUGCHECK_CALLBACK_RECORD.State`.
pub(crate) const BUFFER_EMPTY: u8 = 0;
/// `BufferInserted`.
pub(crate) const BUFFER_INSERTED: u8 = 1;
/// `BufferStarted`.
pub(crate) const BUFFER_STARTED: u8 = 2;
/// `BufferFinished`.
pub(crate) const BUFFER_FINISHED: u8 = 3;

/// `KBUGCHECK_CALLBACK_ROUTINE`.
pub(crate) type BugcheckCallback = unsafe extern "win64" fn(buffer: Pvoid, length: u32);

/// `KBUGCHECK_CALLBACK_RECORD`.
#[repr(C)]
pub(crate) struct BugcheckCallbackRecord {
    pub entry: ListEntry,
    pub callback_routine: Option<BugcheckCallback>,
    pub buffer: Pvoid,
    pub length: u32,
    pub component: *const u8,
    pub checksum: usize,
    pub state: u8,
}
layout!(BugcheckCallbackRecord, 0x40, component @ 0x28, state @ 0x38);

/// `KBUGCHECK_REASON_CALLBACK_ROUTINE`.
pub(crate) type BugcheckReasonCallback = unsafe extern "win64" fn(
    reason: u32,
    record: *mut BugcheckReasonCallbackRecord,
    data: Pvoid,
    data_length: u32,
);

/// `KBUGCHECK_REASON_CALLBACK_RECORD`.
#[repr(C)]
pub(crate) struct BugcheckReasonCallbackRecord {
    pub entry: ListEntry,
    pub callback_routine: Option<BugcheckReasonCallback>,
    pub component: *const u8,
    pub checksum: usize,
    pub reason: u32,
    pub state: u8,
}
layout!(BugcheckReasonCallbackRecord, 0x30, checksum @ 0x20, reason @ 0x28, state @ 0x2C);

/// `KbCallbackSecondaryDumpData`.
pub(crate) const CALLBACK_SECONDARY_DUMP_DATA: u32 = 2;

/// `KBUGCHECK_SECONDARY_DUMP_DATA`.
#[repr(C)]
pub(crate) struct SecondaryDumpData {
    pub in_buffer: Pvoid,
    pub in_buffer_length: u32,
    pub maximum_allowed: u32,
    pub guid: super::def::Guid,
    pub out_buffer: Pvoid,
    pub out_buffer_length: u32,
}
layout!(SecondaryDumpData, 0x30, guid @ 0x10, out_buffer @ 0x20, out_buffer_length @ 0x28);
