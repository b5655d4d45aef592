//! The benchmark (`test=bench`): every workload of the crate `bench`, as IRPs to the top of the first disk's
//! stack.
//!
//! Each slot of a queue has an IRP, an MDL and a buffer of its own, made before the first run and used
//! again for each request, as a program does that keeps a queue. `bench.threads` queues work at once, each on a thread and
//! a processor of its own. Runs are bracketed by asking Xen where the processors' time went, and by the number of calls
//! that drivers made into the guard.

use core::cell::UnsafeCell;
use core::ptr::null_mut;

use alloc::sync::Arc;
use alloc::vec::Vec;

use ::bench::line::{Line, Pass, TRACE_KIND, TRACED_KIND};
use ::bench::runstate::{GET_RUNSTATE_INFO, HYPERVISOR_VCPU_OP};
use ::bench::workload::{MAX_DEPTH, buffer_bytes};
use ::bench::{ALL, Engine, Run, RunState, Spent, Task, drive};
use protocol::BenchWord;
use volume::{BlockDevice, SECTOR};

use crate::boot;
use crate::fs::Device;
use crate::ke::{self, Lock, thread};
use crate::ldr::gate;
use crate::nt::*;
use crate::pnp;
use crate::storage::irp as request_packet;
use crate::{ex, io, mm, report, xen};

/// The file that exports the guard's entry points.
const GUARD: &str = "idefilter.sys";
const TAG: u32 = u32::from_le_bytes(*b"Bnch");

/// Runs the benchmark as the command line's `bench.` words say. PASSIVE_LEVEL.
pub(crate) fn run() {
    let word = |name: BenchWord| match boot::options().bench.iter().find(|(word, _)| *word == name) {
        Some(&(_, value)) => value,
        None => ke::panicked(format_args!("test=bench needs bench.{name}=<number>")),
    };
    let (runs, nanoseconds) = (word(BenchWord::Runs), word(BenchWord::Milliseconds) * 1_000_000);
    let (stamp, pause) = (word(BenchWord::Stamp), word(BenchWord::Pause));
    let threads = word(BenchWord::Threads) as usize;
    if !(1..=ke::processor::count()).contains(&threads) {
        ke::panicked(format_args!("{threads} threads for {} processors", ke::processor::count()));
    }
    let Some(link) = pnp::enabled_interfaces(&GUID_DEVINTERFACE_DISK).into_iter().next() else {
        ke::panicked(format_args!("there is no disk to measure"));
    };
    // SAFETY: the link is that of an interface, and stays until the device is open.
    let device = unsafe { open(&link) };
    let disk = device.sectors() * SECTOR as u64;
    // SAFETY: the device stays open until the queues are gone.
    let mut queues: Vec<_> = (0..threads).map(|_| unsafe { Queue::new(device.object()) }).collect();
    let times = || (0..threads as u64).map(run_state).collect::<Vec<_>>();
    ke::KeSetSystemAffinityThread(1);
    for pass in Pass::measured(runs as u32) {
        for workload in &ALL {
            let task = Task::new(workload, disk, stamp, nanoseconds);
            let (calls, before) = (gate::calls(GUARD), times());
            let run = drive_all(&mut queues, &task);
            let spent = Spent::of_all(&before, &times());
            report!("{} guard_calls={}", Line { workload, pass, run, spent }, gate::calls(GUARD) - calls);
        }
    }
    ke::KeRevertToUserAffinityThread();
    let [queue] = &mut queues[..] else {
        // The marks of a run would be in one processor's part of the trace.
        return;
    };
    report!("{TRACE_KIND}");
    ke::delay(pause);
    for (index, workload) in (0..).zip(&ALL) {
        let (begin, end) = ::bench::marks(index);
        let task = Task::new(workload, disk, stamp, nanoseconds);
        let before = queue.now();
        ::bench::mark(begin);
        let run = drive(queue, &task);
        ::bench::mark(end);
        let spent = Spent { elapsed: queue.now() - before, ..Spent::default() };
        report!("{}", Line { workload, pass: Pass::Traced, run, spent });
    }
    report!("{TRACED_KIND}");
    ke::delay(pause);
}

unsafe fn open(link: &str) -> Device {
    let mut units: Vec<u16> = link.encode_utf16().collect();
    let bytes = (units.len() * 2) as u16;
    let mut name = UnicodeString { length: bytes, maximum_length: bytes, buffer: units.as_mut_ptr() };
    // SAFETY: `name` is a string that lives here, and the caller is at PASSIVE_LEVEL.
    unsafe {
        match Device::open(&raw mut name) {
            Ok(device) => device,
            Err(found) => ke::panicked(format_args!("cannot open {link}: {found:#x}")),
        }
    }
}

/// A queue's part of a run, on a thread of its own.
struct Part<'a> {
    queue: &'a mut Queue,
    task: &'a Task,
    processor: usize,
    run: Run,
}

/// Runs a task on every queue: on the first by this thread, on each other by a thread that goes to the next processor.
/// PASSIVE_LEVEL, on processor 0.
fn drive_all(queues: &mut [Queue], task: &Task) -> Run {
    let Some((own, others)) = queues.split_first_mut() else { return Run::default() };
    let part = |(processor, queue)| Part { queue, task, processor, run: Run::default() };
    let mut parts: Vec<_> = (1..).zip(others).map(part).collect();
    let start = |part: &mut Part<'_>| {
        let context = core::ptr::from_mut(part).cast();
        // SAFETY: the part is the thread's until it has ended, which is waited for below.
        unsafe { thread::create(work, context, thread::NORMAL_PRIORITY, 0) }.expect("a thread")
    };
    let threads: Vec<_> = parts.iter_mut().map(start).collect();
    let run = drive(own, task);
    for thread in threads {
        // SAFETY: each is a thread that was made here, and its last use.
        unsafe { thread::join(thread) };
    }
    parts.iter().fold(run, |run, part| run + part.run)
}

unsafe extern "win64" fn work(part: Pvoid) {
    // SAFETY: whoever made this thread leaves the part alone until it has ended.
    let part = unsafe { &mut *part.cast::<Part<'_>>() };
    ke::KeSetSystemAffinityThread(1 << part.processor);
    part.run = drive(part.queue, part.task);
}

/// Asks Xen where the time of a processor went.
fn run_state(processor: u64) -> RunState {
    let mut state = RunState::default();
    let address = (&raw mut state).expose_provenance() as u64;
    // SAFETY: VCPUOP_get_runstate_info of a processor writes one `struct vcpu_runstate_info` to the address.
    let result = unsafe { xen::hypercall(HYPERVISOR_VCPU_OP, [GET_RUNSTATE_INFO, processor, address]) };
    assert!(result == 0, "VCPUOP_get_runstate_info: {result}");
    state
}

/// A request's place in the queue.
struct Slot {
    ended: Arc<Ended>,
    number: usize,
    irp: *mut Irp,
    mdl: *mut Mdl,
    buffer: *mut u8,
}

/// Requests of a queue that have ended, which may be on another processor than the queue's.
struct Ended {
    /// Slots, and whether each one's request succeeded.
    done: Lock<Vec<(usize, bool)>>,
    /// Signalled when `done` is not empty any more.
    event: UnsafeCell<Kevent>,
}

// SAFETY: the event is used by the dispatcher's routines alone, which take its lock.
unsafe impl Send for Ended {}
// SAFETY: as above.
unsafe impl Sync for Ended {}

impl Ended {
    fn new() -> Arc<Self> {
        let done = Lock::new(Vec::with_capacity(MAX_DEPTH));
        let ended = Arc::new(Self { done, event: UnsafeCell::new(Kevent::unsignaled()) });
        // SAFETY: the event stays where it is, and nobody else knows it.
        unsafe { ke::KeInitializeEvent(ended.event.get(), SYNCHRONIZATION_EVENT.into(), FALSE) };
        ended
    }
}

/// A queue of a device.
struct Queue {
    device: *mut DeviceObject,
    slots: Vec<Slot>,
    ended: Arc<Ended>,
    /// The completions last taken from `ended`; the vector is kept for its memory.
    taken: Vec<(usize, bool)>,
}

impl Queue {
    /// # Safety
    /// The device stays until the queue is dropped.
    unsafe fn new(device: *mut DeviceObject) -> Self {
        let (ended, taken) = (Ended::new(), Vec::with_capacity(MAX_DEPTH));
        let mut queue = Self { device, slots: Vec::new(), ended, taken };
        // SAFETY: by this function's contract, the device stays until the queue is dropped.
        unsafe {
            for number in 0..MAX_DEPTH {
                let bytes = buffer_bytes(number);
                let buffer = ex::ExAllocatePoolWithTag(ex::NON_PAGED_POOL, bytes as usize, TAG);
                let irp = io::IoAllocateIrp((*device).stack_size, FALSE);
                assert!(!buffer.is_null() && !irp.is_null(), "memory for the benchmark's queue");
                let mdl = mm::IoAllocateMdl(buffer, bytes, FALSE, FALSE, null_mut());
                assert!(!mdl.is_null(), "memory for the benchmark's queue");
                mm::MmBuildMdlForNonPagedPool(mdl);
                let ended = Arc::clone(&queue.ended);
                queue.slots.push(Slot { ended, number, irp, mdl, buffer: buffer.cast() });
            }
            queue
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        for slot in &self.slots {
            // SAFETY: no request is in flight after the last `wait`, and all three are the slot's own.
            unsafe {
                (*slot.irp).mdl_address = null_mut();
                io::IoFreeIrp(slot.irp);
                mm::IoFreeMdl(slot.mdl);
                ex::ExFreePoolWithTag(slot.buffer.cast(), TAG);
            }
        }
    }
}

impl Engine for Queue {
    fn now(&mut self) -> u64 {
        ke::interrupt_time() * 100
    }

    fn buffer(&mut self, slot: usize) -> &mut [u8] {
        // SAFETY: the buffer is this long, and the slot's request is not in flight.
        unsafe { core::slice::from_raw_parts_mut(self.slots[slot].buffer, buffer_bytes(slot) as usize) }
    }

    fn submit(&mut self, slot: usize, write: bool, offset: u64, bytes: u32) {
        let slot = &raw mut self.slots[slot];
        // SAFETY: the slot's IRP is not in flight; IRP, MDL and slot stay until it is done.
        unsafe {
            let irp = (*slot).irp;
            io::IoReuseIrp(irp, status::SUCCESS);
            (*(*slot).mdl).byte_count = bytes;
            (*irp).mdl_address = (*slot).mdl;
            let next = next_stack_location(irp);
            (*next).major_function = if write { IRP_MJ_WRITE } else { IRP_MJ_READ };
            let offset = offset as i64;
            (*next).parameters.read =
                ReadWrite { length: bytes, length_pad: 0, key: 0, key_pad: 0, byte_offset: offset };
            set_completion_routine(irp, done, slot.cast());
            io::IofCallDriver(self.device, irp);
        }
    }

    fn wait(&mut self, done: &mut dyn FnMut(usize, bool)) {
        loop {
            core::mem::swap(&mut *self.ended.done.lock(), &mut self.taken);
            if !self.taken.is_empty() {
                break;
            }
            // SAFETY: the event is initialized and stays where it is.
            unsafe { request_packet::wait(self.ended.event.get()) };
        }
        self.taken.drain(..).for_each(|(slot, good)| done(slot, good));
    }
}

/// Completes a slot's IRP, ≤ DISPATCH_LEVEL.
unsafe extern "win64" fn done(_: *mut DeviceObject, irp: *mut Irp, context: Pvoid) -> NtStatus {
    let slot = context.cast::<Slot>();
    // SAFETY: the caller keeps `irp` and `context` valid for this call.
    unsafe {
        let IoStatusBlock { status: found, information, .. } = (*irp).io_status;
        let good = found == status::SUCCESS && information == (*(*slot).mdl).byte_count as usize;
        let number = (*slot).number;
        // From the push on another processor may use the slot again, and drop it with its queue.
        let ended = Arc::clone(&(*slot).ended);
        ended.done.lock().push((number, good));
        ke::KeSetEvent(ended.event.get(), 0, FALSE);
        status::MORE_PROCESSING_REQUIRED
    }
}
