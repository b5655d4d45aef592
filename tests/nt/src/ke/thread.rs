//! Threads and the scheduler: 32 priorities, round robin within one, preemptive below `DISPATCH_LEVEL`.

use alloc::collections::{BTreeMap, VecDeque};
use core::arch::naked_asm;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::lock::{Lock, disable_interrupts, restore_interrupts};
use super::processor::{self, MAXIMUM, processor};
use super::wait::{self, WaitBlock};
use super::{irql, smp};
use crate::mm::map;
use crate::mm::space::STACKS;
use crate::nt::*;
use crate::ob;

/// Pages of a kernel stack. NT x64 has 6 (24 KiB); the executive's own frames are not optimized for depth.
const STACK_PAGES: usize = 12;
/// Ticks a thread runs before others of its priority do.
const QUANTUM: u32 = 3;
/// Priority of an ordinary system thread.
pub(crate) const NORMAL_PRIORITY: i32 = 8;

/// A thread: the body of a thread object. Waits on it end when it terminates.
#[repr(C)]
pub(crate) struct Thread {
    /// The dispatcher object that others wait on.
    pub header: DispatcherHeader,
    stack: usize,
    stack_pointer: usize,
    priority: i32,
    quantum: u32,
    /// The processor it runs on.
    processor: usize,
    start: Option<StartRoutine>,
    context: Pvoid,
    /// The wait in progress.
    pub(super) wait: WaitBlock,
    /// Ends the wait in progress.
    pub(super) timer: Ktimer,
    /// Status the thread ended with.
    pub exit_status: NtStatus,
    /// Owner of the thread: id of the driver that made it.
    pub driver: usize,
}

/// The threads of one processor. A thread stays with its processor until it asks for another, which is a
/// schedule that NT may make, too.
struct Ready {
    queues: [VecDeque<*mut Thread>; 32],
    /// A thread that ended, whose stack is freed by the next one to run.
    ended: *mut Thread,
    /// A thread that goes to another processor, which the next one to run sends there.
    leaving: *mut Thread,
    idle: *mut Thread,
}

// SAFETY: thread objects are valid while they are ready; reached only under the lock.
unsafe impl Send for Ready {}

static READY: [Lock<Ready>; MAXIMUM] = [const {
    Lock::new(Ready {
        queues: [const { VecDeque::new() }; 32],
        ended: null_mut(),
        leaving: null_mut(),
        idle: null_mut(),
    })
}; MAXIMUM];

/// Threads made so far: they go to the processors in turn.
static MADE: AtomicUsize = AtomicUsize::new(0);

/// Returns the threads of the processor this runs on.
fn own() -> &'static Lock<Ready> {
    &READY[processor::number()]
}

static ALIVE: AtomicUsize = AtomicUsize::new(0);

/// Threads that have not ended, by the id of the driver that made them.
static BY_DRIVER: Lock<BTreeMap<usize, usize>> = Lock::new(BTreeMap::new());

/// Returns the number of a driver's threads that have not ended. IRQL ≤ `DISPATCH_LEVEL`.
pub(crate) fn alive_of(driver: usize) -> usize {
    BY_DRIVER.lock().get(&driver).copied().unwrap_or(0)
}

/// Waits of drivers' threads so far.
static WAITS: AtomicUsize = AtomicUsize::new(0);

/// Returns the number of times that drivers' threads have waited so far.
pub(crate) fn waits_of_drivers() -> usize {
    WAITS.load(Ordering::Relaxed)
}

/// Returns the running thread.
pub(crate) fn current() -> *mut Thread {
    let thread: *mut Thread;
    // SAFETY: the GS base is that of this processor's data.
    unsafe {
        core::arch::asm!("mov {}, gs:[{at}]", out(reg) thread,
             at = const core::mem::offset_of!(processor::Processor, current_thread),
             options(nostack, preserves_flags, readonly));
    }
    thread
}

unsafe fn initialize(thread: *mut Thread, priority: i32) {
    // SAFETY: the caller keeps `thread` valid for this call.
    unsafe {
        (*thread).header = DispatcherHeader {
            kind: THREAD_OBJECT,
            absolute: 0,
            size: 0,
            inserted: 0,
            signal_state: 0,
            wait_list_head: ListEntry::UNLINKED,
        };
        ListEntry::init(&raw mut (*thread).header.wait_list_head);
        (*thread).priority = priority;
        (*thread).quantum = QUANTUM;
        super::timer::KeInitializeTimer(&raw mut (*thread).timer);
        (*thread).timer.header.kind = wait::WAIT_TIMER;
    }
}

/// Makes the code that runs now the processor's idle thread.
pub(crate) fn init() {
    let thread = ob::create::<Thread>(ob::Kind::Thread);
    // SAFETY: the object is fresh and nobody else knows it.
    unsafe { initialize(thread, 0) };
    // SAFETY: as above.
    unsafe { (*thread).processor = processor::number() };
    own().lock().idle = thread;
    processor().current_thread.set(thread);
}

/// Creates a thread that is ready to run. The caller has one reference to its object, the thread another.
/// IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `start` may be called with `context` in a thread of its own.
pub(crate) unsafe fn create(
    start: StartRoutine,
    context: Pvoid,
    priority: i32,
    driver: usize,
) -> Option<*mut Thread> {
    let stack = STACKS.allocate(STACK_PAGES, map::READ_WRITE)?;
    let thread = ob::create::<Thread>(ob::Kind::Thread);
    // SAFETY: by this function's contract, `start` may be called with `context` in a thread of its own.
    unsafe {
        ob::reference(thread.cast());
        initialize(thread, priority);
        (*thread).stack = stack;
        (*thread).start = Some(start);
        (*thread).context = context;
        (*thread).driver = driver;
        (*thread).processor = MADE.fetch_add(1, Ordering::Relaxed) % processor::count();
        // What `swap` pops: six registers, then its return address. Behind it the stack is aligned as at a
        // function's first instruction.
        let top = (stack + STACK_PAGES * PAGE_SIZE) as *mut usize;
        let frame = top.sub(2 + FRAME_WORDS);
        core::ptr::write_bytes(frame, 0, FRAME_WORDS);
        initial_sse_state(frame.cast());
        frame.add(FRAME_WORDS - 1).write(first_instruction as *const () as usize);
        (*thread).stack_pointer = frame as usize;
        ALIVE.fetch_add(1, Ordering::Relaxed);
        *BY_DRIVER.lock().entry(driver).or_default() += 1;
        ready(thread);
        Some(thread)
    }
}

/// Waits until a thread has ended, and gives its creator's reference back. IRQL `PASSIVE_LEVEL`.
///
/// # Safety
/// `thread` is of [`create`], and not used after this.
pub(crate) unsafe fn join(thread: *mut Thread) {
    // SAFETY: by this function's contract, the thread's object is referenced since it was made.
    unsafe {
        wait::KeWaitForSingleObject(thread.cast(), EXECUTIVE, KERNEL_MODE, FALSE, core::ptr::null());
        ob::dereference(thread.cast());
    }
}

/// Words that `swap` leaves on the stack: the FXSAVE area, an alignment word, six registers, the return
/// address.
const FRAME_WORDS: usize = 64 + 6 + 1 + 1;

unsafe fn initial_sse_state(area: *mut u8) {
    // FCW and MXCSR after FNINIT and reset (Intel SDM volume 1, 8.1.5 and 10.2.3).
    // SAFETY: the caller keeps `area` valid for this call.
    unsafe {
        area.cast::<u16>().write(0x37F);
        area.add(24).cast::<u32>().write(0x1F80);
    }
}

/// Saves the running context at `*save` and continues the one at `load`. SSE registers are kept because a
/// driver's caller expects xmm6 to xmm15 preserved.
#[unsafe(naked)]
unsafe extern "sysv64" fn swap(save: *mut usize, load: usize) {
    naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "sub rsp, 520",
        "fxsave64 [rsp]",
        "mov [rdi], rsp",
        "mov rsp, rsi",
        "fxrstor64 [rsp]",
        "add rsp, 520",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
    )
}

/// Begins a new thread, at `DISPATCH_LEVEL` with interrupts disabled.
#[unsafe(naked)]
unsafe extern "sysv64" fn first_instruction() {
    naked_asm!("xor ebp, ebp", "call {}", "ud2", sym begin)
}

unsafe extern "sysv64" fn begin() -> ! {
    // SAFETY: the scheduler has switched to this thread, which has a start routine and its context.
    unsafe {
        free_ended();
        restore_interrupts(true);
        irql::lower(PASSIVE_LEVEL);
        let thread = current();
        let start = (*thread).start.expect("a thread without a start routine");
        start((*thread).context);
        terminate(status::SUCCESS)
    }
}

/// Makes a thread ready, and asks for a switch if it is better than the running one.
pub(super) unsafe fn ready(thread: *mut Thread) {
    // SAFETY: the caller keeps `thread` valid for this call.
    unsafe {
        let number = (*thread).processor;
        let mut ready = READY[number].lock();
        (*thread).quantum = QUANTUM;
        ready.queues[(*thread).priority as usize].push_back(thread);
        let here = number == processor::number();
        if !here || (*thread).priority > (*current()).priority || current() == ready.idle {
            processor::numbered(number).switch_pending.store(true, Ordering::Release);
        }
        drop(ready);
        if !here {
            smp::interrupt(number);
        }
    }
}

/// Takes the best ready thread, or the idle thread.
fn next() -> *mut Thread {
    let mut ready = own().lock();
    let best = ready.queues.iter_mut().rev().find_map(VecDeque::pop_front);
    best.unwrap_or(ready.idle)
}

/// Switches to a thread. Interrupts disabled, IRQL `DISPATCH_LEVEL`; so they are on return.
unsafe fn switch_to(thread: *mut Thread) {
    processor().switch_pending.store(false, Ordering::Release);
    let old = current();
    // SAFETY: the caller keeps `thread` valid for this call.
    unsafe {
        if old != thread {
            processor().current_thread.set(thread);
            swap(&raw mut (*old).stack_pointer, (*thread).stack_pointer);
            free_ended();
        }
    }
}

/// Frees the thread that ended before this one came to run, or sends the one that left to its processor.
unsafe fn free_ended() {
    let leaving = core::mem::replace(&mut own().lock().leaving, null_mut());
    // SAFETY: a thread that has ended or left this processor runs on its stack no more.
    unsafe {
        if !leaving.is_null() {
            ready(leaving);
        }
        let ended = core::mem::replace(&mut own().lock().ended, null_mut());
        if !ended.is_null() {
            STACKS.free((*ended).stack, STACK_PAGES);
            ob::dereference(ended.cast());
        }
    }
}

/// Gives the processor to a better or equal thread. Interrupts disabled, IRQL `DISPATCH_LEVEL`.
pub(super) fn reschedule() {
    processor().switch_pending.store(false, Ordering::Release);
    let thread = current();
    // SAFETY: the running thread's object is valid; threads on the queues are, too.
    unsafe {
        {
            let mut ready = own().lock();
            let better = (*thread).priority as usize..32;
            let waiting = ready.queues[better].iter().any(|queue| !queue.is_empty());
            if !waiting && thread != ready.idle {
                return;
            }
            if thread != ready.idle {
                ready.queues[(*thread).priority as usize].push_back(thread);
            }
        }
        switch_to(next());
    }
}

/// Lets the running thread wait: it is on no ready queue until [`ready`] puts it there. Interrupts disabled,
/// IRQL `DISPATCH_LEVEL`.
pub(super) fn block() {
    // SAFETY: the running thread was made to be found by whoever ends its wait.
    unsafe {
        if (*current()).driver != 0 {
            WAITS.fetch_add(1, Ordering::Relaxed);
        }
        switch_to(next());
    }
}

/// Counts a tick of the clock.
pub(super) fn quantum_tick() {
    let thread = current();
    // SAFETY: the running thread's object is valid.
    unsafe {
        (*thread).quantum = (*thread).quantum.saturating_sub(1);
        if (*thread).quantum == 0 {
            (*thread).quantum = QUANTUM;
            processor().switch_pending.store(true, Ordering::Release);
        }
    }
}

/// Ends the running thread.
pub(crate) fn terminate(exit_status: NtStatus) -> ! {
    let thread = current();
    irql::set(DISPATCH_LEVEL);
    disable_interrupts();
    // SAFETY: the running thread's object is valid; the next one to run frees its stack.
    unsafe {
        (*thread).exit_status = exit_status;
        // Before whoever waits for its end may go on.
        if let Some(alive) = BY_DRIVER.lock().get_mut(&(*thread).driver) {
            *alive -= 1;
        }
        wait::signal(&raw mut (*thread).header);
        own().lock().ended = thread;
    }
    ALIVE.fetch_sub(1, Ordering::Relaxed);
    block();
    unreachable!("a terminated thread ran")
}

/// Runs the idle loop on the boot thread.
pub(crate) fn idle() -> ! {
    loop {
        irql::lower(PASSIVE_LEVEL);
        // SAFETY: waits for an interrupt; `sti` takes effect after `hlt`, so none is lost.
        unsafe { core::arch::asm!("sti", "hlt") };
    }
}

/// Bounds of the running thread's stack; `None` for the idle thread.
pub(crate) fn current_stack() -> Option<(usize, usize)> {
    let thread = current();
    if thread.is_null() {
        return None;
    }
    // SAFETY: the running thread's object is valid.
    let stack = unsafe { (*thread).stack };
    (stack != 0).then_some((stack, stack + STACK_PAGES * PAGE_SIZE))
}

/// `KeSetPriorityThread`: the old priority. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `thread` is a valid thread object.
pub(crate) unsafe extern "win64" fn KeSetPriorityThread(thread: *mut Thread, priority: i32) -> i32 {
    // SAFETY: by this function's contract, `thread` is a valid thread object.
    let old = unsafe {
        {
            let number = (*thread).processor;
            let mut ready = READY[number].lock();
            let old = core::mem::replace(&mut (*thread).priority, priority.clamp(1, 31));
            let queue = &mut ready.queues[old as usize];
            if let Some(at) = queue.iter().position(|&other| other == thread) {
                queue.remove(at);
                ready.queues[(*thread).priority as usize].push_back(thread);
            }
            processor::numbered(number).switch_pending.store(true, Ordering::Release);
            drop(ready);
            if number != processor::number() {
                smp::interrupt(number);
            }
            old
        }
    };
    let level = irql::current();
    if level < DISPATCH_LEVEL {
        irql::lower(level);
    }
    old
}

/// `KeGetCurrentThread` as a function. Any IRQL.
pub(crate) extern "win64" fn KeGetCurrentThread() -> *mut Thread {
    current()
}

/// `KeSetSystemAffinityThread`: the running thread goes on on one of these processors. IRQL ≤
/// `DISPATCH_LEVEL`; at `DISPATCH_LEVEL` NT moves the thread when the level drops, which drivers must not
/// rely on and is not done here.
pub(crate) extern "win64" fn KeSetSystemAffinityThread(affinity: usize) {
    let allowed = affinity & processor::KeQueryActiveProcessors();
    let own = 1 << processor::number();
    if allowed == 0 || allowed & own != 0 || irql::current() >= DISPATCH_LEVEL {
        return;
    }
    move_to(allowed.trailing_zeros() as usize);
}

/// `KeRevertToUserAffinityThread`: any processor will do again. IRQL ≤ `DISPATCH_LEVEL`.
pub(crate) extern "win64" fn KeRevertToUserAffinityThread() {}

/// Continues the running thread on another processor. Below `DISPATCH_LEVEL`.
fn move_to(number: usize) {
    let level = irql::raise(DISPATCH_LEVEL);
    disable_interrupts();
    let thread = current();
    // SAFETY: the thread is running here, and is made ready over there by `leave`, when its context has been
    // saved.
    unsafe {
        (*thread).processor = number;
        own().lock().leaving = thread;
        switch_to(next());
    }
    restore_interrupts(true);
    irql::lower(level);
}
