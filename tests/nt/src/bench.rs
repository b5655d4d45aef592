//! The benchmark (`test=bench`): every workload of the crate `bench`, as IRPs to the top of the first disk's
//! stack.
//!
//! Each slot of the queue has an IRP, an MDL and a buffer of its own, made before the first run and used
//! again for each request, as a program does that keeps a queue. Runs are bracketed by asking Xen where the
//! processor's time went, and by the number of calls that drivers made into the guard.

use core::ptr::null_mut;

use alloc::boxed::Box;
use alloc::vec::Vec;

use ::bench::line::{Line, Pass, TRACE_KIND, TRACED_KIND};
use ::bench::runstate::{GET_RUNSTATE_INFO, HYPERVISOR_VCPU_OP};
use ::bench::workload::{MAX_DEPTH, buffer_bytes};
use ::bench::{ALL, Engine, RunState, Spent, drive};
use protocol::BenchWord;
use volume::{BlockDevice, SECTOR};

use crate::boot;
use crate::fs::Device;
use crate::ke::{self, Lock};
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
    let Some(link) = pnp::enabled_interfaces(&GUID_DEVINTERFACE_DISK).into_iter().next() else {
        ke::panicked(format_args!("there is no disk to measure"));
    };
    // SAFETY: the link is that of an interface, and stays until the device is open.
    let device = unsafe { open(&link) };
    let disk = device.sectors() * SECTOR as u64;
    // SAFETY: the device stays open until the queue is gone.
    let mut queue = unsafe { Queue::new(device.object()) };
    for pass in Pass::measured(runs as u32) {
        for workload in &ALL {
            let (calls, before) = (gate::calls(GUARD), run_state());
            let run = drive(&mut *queue, workload, disk, stamp, nanoseconds);
            let spent = run_state().since(&before);
            report!("{} guard_calls={}", Line { workload, pass, run, spent }, gate::calls(GUARD) - calls);
        }
    }
    report!("{TRACE_KIND}");
    ke::delay(pause);
    for (index, workload) in (0..).zip(&ALL) {
        let (begin, end) = ::bench::marks(index);
        let before = queue.now();
        ::bench::mark(begin);
        let run = drive(&mut *queue, workload, disk, stamp, nanoseconds);
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

/// Asks Xen where the time of this processor went.
fn run_state() -> RunState {
    let mut state = RunState::default();
    let address = (&raw mut state).expose_provenance() as u64;
    // SAFETY: VCPUOP_get_runstate_info of processor 0 writes one `struct vcpu_runstate_info` to the address.
    let result = unsafe { xen::hypercall(HYPERVISOR_VCPU_OP, [GET_RUNSTATE_INFO, 0, address]) };
    assert!(result == 0, "VCPUOP_get_runstate_info: {result}");
    state
}

/// A request's place in the queue.
struct Slot {
    queue: *mut Queue,
    number: usize,
    irp: *mut Irp,
    mdl: *mut Mdl,
    buffer: *mut u8,
}

/// The queue of a device.
struct Queue {
    device: *mut DeviceObject,
    slots: Vec<Slot>,
    /// Slots whose requests are done, and whether each succeeded.
    done: Lock<Vec<(usize, bool)>>,
    /// The completions last taken from `done`; the vector is kept for its memory.
    taken: Vec<(usize, bool)>,
    /// Signalled when `done` is not empty any more.
    event: Kevent,
}

impl Queue {
    /// # Safety
    /// The device stays until the queue is dropped.
    unsafe fn new(device: *mut DeviceObject) -> Box<Self> {
        let mut queue = Box::new(Self {
            device,
            slots: Vec::new(),
            done: Lock::new(Vec::with_capacity(MAX_DEPTH)),
            taken: Vec::with_capacity(MAX_DEPTH),
            event: Kevent::unsignaled(),
        });
        // SAFETY: by this function's contract, the device stays until the queue is dropped.
        unsafe {
            ke::KeInitializeEvent(&raw mut queue.event, SYNCHRONIZATION_EVENT.into(), FALSE);
            let this = &raw mut *queue;
            for number in 0..MAX_DEPTH {
                let bytes = buffer_bytes(number);
                let buffer = ex::ExAllocatePoolWithTag(ex::NON_PAGED_POOL, bytes as usize, TAG);
                let irp = io::IoAllocateIrp((*device).stack_size, FALSE);
                assert!(!buffer.is_null() && !irp.is_null(), "memory for the benchmark's queue");
                let mdl = mm::IoAllocateMdl(buffer, bytes, FALSE, FALSE, null_mut());
                assert!(!mdl.is_null(), "memory for the benchmark's queue");
                mm::MmBuildMdlForNonPagedPool(mdl);
                queue.slots.push(Slot { queue: this, number, irp, mdl, buffer: buffer.cast() });
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
            core::mem::swap(&mut *self.done.lock(), &mut self.taken);
            if !self.taken.is_empty() {
                break;
            }
            // SAFETY: the event is initialized and stays where it is, in the queue's box.
            unsafe { request_packet::wait(&raw mut self.event) };
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
        let queue = (*slot).queue;
        let good = found == status::SUCCESS && information == (*(*slot).mdl).byte_count as usize;
        (*queue).done.lock().push(((*slot).number, good));
        ke::KeSetEvent(&raw mut (*queue).event, 0, FALSE);
        status::MORE_PROCESSING_REQUIRED
    }
}
