//! Interrupt objects: vectors, shared chains, service routines at their IRQL under their spin lock.
//!
//! The vector says the IRQL (its upper four bits), as on NT x64. A line gets its vector when the PnP manager
//! translates it, an interrupt message when it is granted: it interrupts one processor, and no I/O APIC has a
//! part in it.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use super::lock::{Lock, disable_interrupts, restore_interrupts};
use super::processor::{self, MAXIMUM, processor};
use super::{apic, clock, irql, panicked, smp, spinlock};
use crate::nt::*;
use crate::verifier;

/// `KINTERRUPT`: opaque to drivers.
pub(crate) struct Interrupt {
    routine: ServiceRoutine,
    context: Pvoid,
    lock: *mut KspinLock,
    own_lock: KspinLock,
    vector: u8,
    level: Kirql,
    synchronize: Kirql,
}

struct Line {
    /// Of the I/O APIC; none for a message.
    pin: Option<u8>,
    vector: u8,
    /// Processors that it interrupts.
    affinity: usize,
    level_triggered: bool,
    chain: Vec<*mut Interrupt>,
}

// SAFETY: the chains are reached only under the lock or at the line's own IRQL, where they do not change.
unsafe impl Send for Line {}

static LINES: Lock<Vec<Line>> = Lock::new(Vec::new());

/// Vectors for device lines, given out in this order: one for each IRQL from 11 down to 3.
const VECTORS: [u8; 9] = [0xB0, 0xA0, 0x90, 0x80, 0x70, 0x60, 0x50, 0x40, 0x30];

/// Returns the IRQL at which a vector interrupts.
pub(crate) const fn level_of(vector: u8) -> Kirql {
    vector >> 4
}

/// Returns the vector of an interrupt line, given to it at the first asking.
pub(crate) fn vector_for(pin: u8, level_triggered: bool) -> u8 {
    let mut lines = LINES.lock();
    if let Some(line) = lines.iter().find(|line| line.pin == Some(pin)) {
        return line.vector;
    }
    let vector = VECTORS[lines.iter().filter(|line| line.pin.is_some()).count()];
    lines.push(Line { pin: Some(pin), vector, affinity: 1, level_triggered, chain: Vec::new() });
    vector
}

/// Vectors for messages, given out in this order: one for each processor.
const MESSAGES: [u8; MAXIMUM] = [0xA8, 0x98, 0x88, 0x78, 0x68, 0x58, 0x48, 0x38];

/// Returns true if each of these processors can have a message more.
pub(crate) fn has_messages(processors: &[usize]) -> bool {
    let used = LINES.lock().iter().filter(|line| line.pin.is_none()).count();
    used + processors.len() <= MESSAGES.len() && processors.iter().all(|&number| number < processor::count())
}

/// Returns the vector of a new message for a processor, of which there must be one ([`has_messages`]).
pub(crate) fn message_for(processor: usize) -> u8 {
    let mut lines = LINES.lock();
    let vector = MESSAGES[lines.iter().filter(|line| line.pin.is_none()).count()];
    let affinity = 1 << processor;
    lines.push(Line { pin: None, vector, affinity, level_triggered: false, chain: Vec::new() });
    vector
}

/// Takes a hardware interrupt, interrupts disabled. Runs it, or holds it back if the IRQL says so.
pub(crate) fn arrived(vector: u8) {
    if vector == apic::SPURIOUS {
        return;
    }
    let processor = processor();
    let (level, old) = (level_of(vector), irql::current());
    if old >= level {
        // Not acknowledged: the local APIC delivers nothing of this class or below until `service` does so.
        processor.held[usize::from(level)].set(vector);
        return;
    }
    let caller = processor.caller.get();
    service(vector, level);
    // The level is `level` now and drops to what it was: DPCs and a thread switch happen here.
    irql::lower(old);
    processor.caller.set(caller);
}

/// Calls that a service routine gets in a storm, and milliseconds that the calls go on for on processors other than the
/// one that raised it.
const STORM_CALLS: u32 = 4;
const STORM: u64 = 100;

/// Interrupts that are to come again and again.
struct Storm {
    /// By vector; cleared when it begins.
    raised: [AtomicBool; 256],
    /// Number of the processor that raised them.
    by: AtomicUsize,
    /// Value of the time-stamp counter at which they end elsewhere.
    end: AtomicU64,
}

static STORMS: Storm = Storm {
    raised: [const { AtomicBool::new(false) }; 256],
    by: AtomicUsize::new(0),
    end: AtomicU64::new(0),
};

/// Has every connected interrupt come on its processors, and its routines called again and again: another device may hold
/// the line, and a message may be on its way. What the routines need must be there. ≤ DIRQL.
pub(crate) fn storm() {
    STORMS.by.store(processor::number(), Ordering::Relaxed);
    STORMS.end.store(clock::tsc() + clock::tsc_frequency() / 1000 * STORM, Ordering::Relaxed);
    for line in LINES.lock().iter().filter(|line| !line.chain.is_empty()) {
        STORMS.raised[usize::from(line.vector)].store(true, Ordering::Release);
        let processors = 0..processor::count();
        processors
            .filter(|number| line.affinity & 1 << number != 0)
            .for_each(|number| smp::raise(number, line.vector));
    }
}

/// Runs an interrupt's service routines at its level and acknowledges it. Called and returns with interrupts
/// disabled; leaves the IRQL at `level`.
pub(super) fn service(vector: u8, level: Kirql) {
    irql::set(level);
    if vector == clock::VECTOR {
        clock::tick();
        apic::end_of_interrupt();
        return;
    }
    if vector == smp::VECTOR {
        smp::interrupted();
        apic::end_of_interrupt();
        return;
    }
    let chain = {
        let lines = LINES.lock();
        // Another processor's vector is connected to nothing here.
        let here = |line: &&Line| line.vector == vector && line.affinity & 1 << processor::number() != 0;
        lines.iter().find(here).map(|line| line.chain.clone())
    };
    COUNTS[processor::number()][usize::from(vector)].fetch_add(1, Ordering::Relaxed);
    let storms = STORMS.raised[usize::from(vector)].swap(false, Ordering::Acquire);
    let mut rounds = 0;
    loop {
        for &interrupt in chain.iter().flatten() {
            restore_interrupts(true);
            // SAFETY: an interrupt object stays valid until it is disconnected, which waits for its routine.
            unsafe {
                verifier::balanced("isr", (*interrupt).routine as usize, || {
                    synchronized(interrupt, || ((*interrupt).routine)(interrupt.cast(), (*interrupt).context))
                });
            }
            disable_interrupts();
        }
        rounds += 1;
        let elsewhere = processor::number() != STORMS.by.load(Ordering::Relaxed);
        let goes_on = elsewhere && clock::tsc() < STORMS.end.load(Ordering::Relaxed);
        if !storms || rounds >= STORM_CALLS && !goes_on {
            break;
        }
    }
    apic::end_of_interrupt();
}

unsafe fn synchronized(interrupt: *mut Interrupt, routine: impl FnOnce() -> u8) -> u8 {
    let old = irql::current();
    // SAFETY: the caller keeps `interrupt` valid for this call.
    unsafe {
        if old < (*interrupt).synchronize {
            irql::raise((*interrupt).synchronize);
        }
        spinlock::acquire((*interrupt).lock);
        let result = routine();
        spinlock::release((*interrupt).lock);
        if irql::current() > old {
            irql::lower(old);
        }
        result
    }
}

/// `IoConnectInterrupt`. IRQL `PASSIVE_LEVEL`.
///
/// # Safety
/// The routine may be called with the context until the interrupt is disconnected.
pub(crate) unsafe extern "win64" fn IoConnectInterrupt(
    object: *mut *mut Interrupt,
    routine: ServiceRoutine,
    context: Pvoid,
    lock: *mut KspinLock,
    vector: u32,
    level: Kirql,
    synchronize: Kirql,
    _mode: u32,
    share: Boolean,
    affinity: usize,
    _floating_save: Boolean,
) -> NtStatus {
    let request =
        Request { routine, context, lock, vector, level, synchronize, share: share != FALSE, affinity };
    // SAFETY: by this function's contract, the routine may be called with the context until the interrupt
    // is disconnected.
    unsafe { connect(object, request) }
}

/// A request to connect an interrupt.
struct Request {
    routine: ServiceRoutine,
    context: Pvoid,
    lock: *mut KspinLock,
    vector: u32,
    level: Kirql,
    synchronize: Kirql,
    share: bool,
    affinity: usize,
}

unsafe fn connect(object: *mut *mut Interrupt, request: Request) -> NtStatus {
    let Request { routine, context, lock, vector, level, synchronize, share, affinity } = request;
    // SAFETY: the caller keeps `object` valid for this call.
    unsafe {
        *object = null_mut();
        if synchronize < level || level_of(vector as u8) != level {
            return status::INVALID_PARAMETER;
        }
        let interrupt = Box::into_raw(Box::new(Interrupt {
            routine,
            context,
            lock: null_mut(),
            own_lock: 0,
            vector: vector as u8,
            level,
            synchronize,
        }));
        (*interrupt).lock = if lock.is_null() { &raw mut (*interrupt).own_lock } else { lock };
        let mut lines = LINES.lock();
        let Some(line) = lines.iter_mut().find(|line| u32::from(line.vector) == vector) else {
            drop(lines);
            drop(Box::from_raw(interrupt));
            return status::INVALID_PARAMETER;
        };
        if affinity & line.affinity == 0 {
            drop(lines);
            drop(Box::from_raw(interrupt));
            return status::INVALID_PARAMETER;
        }
        if !share && !line.chain.is_empty() {
            drop(lines);
            drop(Box::from_raw(interrupt));
            return status::CONFLICTING_ADDRESSES;
        }
        line.chain.push(interrupt);
        let first = line.chain.len() == 1;
        let (pin, level_triggered) = (line.pin, line.level_triggered);
        *object = interrupt;
        drop(lines);
        if let (true, Some(pin)) = (first, pin) {
            apic::unmask(pin, vector as u8, level_triggered);
        }
        status::SUCCESS
    }
}

/// `IoDisconnectInterrupt`. IRQL `PASSIVE_LEVEL`.
///
/// # Safety
/// `interrupt` came from [`IoConnectInterrupt`] and is not used any more.
pub(crate) unsafe extern "win64" fn IoDisconnectInterrupt(interrupt: *mut Interrupt) {
    let mut lines = LINES.lock();
    // SAFETY: by this function's contract, `interrupt` came from [`IoConnectInterrupt`] and is not used any
    // more.
    unsafe {
        let line = lines.iter_mut().find(|line| line.vector == (*interrupt).vector);
        let line = line.expect("IoDisconnectInterrupt of an interrupt on no line");
        let before = line.chain.len();
        line.chain.retain(|&other| other != interrupt);
        assert!(line.chain.len() < before, "IoDisconnectInterrupt of an interrupt that is not connected");
        if let (true, Some(pin)) = (line.chain.is_empty(), line.pin) {
            apic::mask(pin);
        }
        drop(lines);
        debug_assert!(irql::current() < (*interrupt).level);
        drop(Box::from_raw(interrupt));
    }
}

/// `IO_CONNECT_INTERRUPT_PARAMETERS` with its member `FullySpecified`.
#[repr(C)]
pub(crate) struct ConnectInterruptParameters {
    version: u32,
    physical_device: *mut DeviceObject,
    object: *mut *mut Interrupt,
    routine: ServiceRoutine,
    context: Pvoid,
    lock: *mut KspinLock,
    synchronize: Kirql,
    floating_save: Boolean,
    share: Boolean,
    vector: u32,
    level: Kirql,
    mode: i32,
    affinity: usize,
    group: u16,
}
crate::layout!(ConnectInterruptParameters, 80, object @ 16, synchronize @ 48, vector @ 52, level @ 56, mode @ 60, affinity @ 64);

/// `IO_DISCONNECT_INTERRUPT_PARAMETERS`.
#[repr(C)]
pub(crate) struct DisconnectInterruptParameters {
    version: u32,
    object: *mut Interrupt,
}
crate::layout!(DisconnectInterruptParameters, 16, object @ 8);

/// `CONNECT_FULLY_SPECIFIED`.
const FULLY_SPECIFIED: u32 = 1;

/// `IoConnectInterruptEx`, of NT 6.0 and later, for fully specified interrupts. IRQL `PASSIVE_LEVEL`.
///
/// # Safety
/// The parameters are valid; the routine may be called with the context until the interrupt is disconnected.
pub(crate) unsafe extern "win64" fn IoConnectInterruptEx(
    parameters: *mut ConnectInterruptParameters,
) -> NtStatus {
    /// `Latched`.
    const LATCHED: i32 = 1;
    // SAFETY: by this function's contract, the parameters are valid; the routine may be called with the
    // context until the interrupt is disconnected.
    unsafe {
        let it = &*parameters;
        if it.version != FULLY_SPECIFIED {
            panicked(format_args!("IoConnectInterruptEx of version {} is not here", it.version));
        }
        let edge =
            LINES.lock().iter().any(|line| u32::from(line.vector) == it.vector && !line.level_triggered);
        if it.physical_device.is_null() || edge != (it.mode == LATCHED) {
            return status::INVALID_PARAMETER;
        }
        let request = Request {
            routine: it.routine,
            context: it.context,
            lock: it.lock,
            vector: it.vector,
            level: it.level,
            synchronize: it.synchronize,
            share: it.share != FALSE,
            affinity: it.affinity,
        };
        connect(it.object, request)
    }
}

/// `IoDisconnectInterruptEx`. IRQL `PASSIVE_LEVEL`.
///
/// # Safety
/// The parameters' interrupt came from [`IoConnectInterruptEx`] and is not used any more.
pub(crate) unsafe extern "win64" fn IoDisconnectInterruptEx(parameters: *mut DisconnectInterruptParameters) {
    // SAFETY: by this function's contract, the parameters' interrupt came from [`IoConnectInterruptEx`] and
    // is not used any more.
    unsafe {
        let it = &*parameters;
        if it.version != FULLY_SPECIFIED {
            panicked(format_args!("IoDisconnectInterruptEx of version {} is not here", it.version));
        }
        IoDisconnectInterrupt(it.object);
    }
}

/// `KeSynchronizeExecution`: a routine at the interrupt's IRQL under its spin lock. IRQL ≤ its IRQL.
///
/// # Safety
/// `interrupt` is connected; the routine may be called with the context.
pub(crate) unsafe extern "win64" fn KeSynchronizeExecution(
    interrupt: *mut Interrupt,
    routine: SynchronizeRoutine,
    context: Pvoid,
) -> Boolean {
    // SAFETY: by this function's contract, `interrupt` is connected; the routine may be called with the
    // context.
    unsafe { synchronized(interrupt, || routine(context)) }
}

/// Device interrupts taken, by processor and vector.
static COUNTS: [[AtomicU32; 256]; MAXIMUM] = [const { [const { AtomicU32::new(0) }; 256] }; MAXIMUM];

/// Reports how often each processor took each device interrupt.
pub(crate) fn report_counts() {
    let lines: Vec<(u8, bool)> = LINES.lock().iter().map(|line| (line.vector, line.pin.is_none())).collect();
    for (vector, message) in lines {
        let taken =
            (0..processor::count()).map(|number| COUNTS[number][usize::from(vector)].load(Ordering::Relaxed));
        let (message, taken) = (u8::from(message), crate::report::numbers(taken));
        crate::report!("interrupts vector={vector:#x} message={message} taken={taken}");
    }
}

/// Returns true if a routine of any connected interrupt lies in a range of code.
pub(crate) fn connected_within(start: usize, end: usize) -> bool {
    let lines = LINES.lock();
    // SAFETY: connected interrupt objects are valid.
    lines
        .iter()
        .flat_map(|line| &line.chain)
        .any(|&i| (start..end).contains(&(unsafe { (*i).routine } as usize)))
}
