//! A request's way through Storport: prepared, handed to the miniport, completed by it, completed upwards.
//!
//! A request is *active* from the moment it is prepared for `HwBuildIo` until the miniport completes it, and
//! then *done* until a DPC completes it upwards. One that cannot go to the miniport yet, because its device
//! is paused or the adapter busy, is *waiting*.

use core::mem::size_of;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec;
use alloc::vec::Vec;

use super::adapter::Adapter;
use super::ddi::*;
use super::{grants, interrupt};
use crate::io;
use crate::ke::{self, Lock};
use crate::nt::*;
use crate::storage::pieces::pieces;
use crate::storage::srb::{Direction, Srb, function, srb_status};
use crate::storage::{cdb, irp as request_packet};
use crate::verifier::{Violation, violation};

/// The owner that waits for a request.
pub(super) enum Owner {
    /// The sender of this IRP.
    Irp(*mut Irp),
    /// The scan, on this event.
    Scan(*mut Kevent),
    /// Storport itself, which resets something; the SRB is its own.
    Reset(Reach, #[expect(dead_code, reason = "keeps the SRB")] Box<Srb>),
}

/// A request.
pub(super) struct Request {
    srb: *mut Srb,
    owner: Owner,
    /// `Srb.SrbExtension`, in units of 16 bytes; never initialized for the miniport, so filled with a
    /// pattern.
    extension: Vec<u128>,
    /// The scatter-gather list with its header, in units of 8 bytes; empty without data.
    list: Vec<usize>,
    /// `Srb.DataBuffer` as the sender gave it.
    data_buffer: *mut u8,
    /// Number of its start: those with smaller ones were started before it.
    number: u64,
    /// Interrupt time at which the request has taken too long.
    deadline: u64,
    /// Number of times that it may still be started again after the miniport answered "busy".
    tries: u32,
}

// SAFETY: a request belongs to one queue at a time, and its pointers are the sender's until it is completed.
unsafe impl Send for Request {}

/// All requests of an adapter.
pub(crate) struct Requests {
    queues: Lock<Queues>,
    dpc: Kdpc,
}

struct Queues {
    /// By address of the SRB. The boxes keep lists and extensions where they are.
    active: BTreeMap<usize, Box<Request>>,
    done: VecDeque<Box<Request>>,
    waiting: VecDeque<Box<Request>>,
    /// Requests that must complete before others start, while the adapter is busy.
    busy: u32,
    /// The adapter sleeps.
    frozen: bool,
    /// The miniport said that units came or went.
    changed: bool,
    /// Interrupt time until which a unit is paused, by path, target and unit.
    paused: BTreeMap<[u8; 3], u64>,
    /// Most requests that the miniport has of a unit at once, where it has said so.
    depths: BTreeMap<[u8; 3], u32>,
    /// Requests that the miniport has of each unit.
    outstanding: BTreeMap<[u8; 3], u32>,
    /// Number of the next start.
    next: u64,
    /// Units that are being reset: nothing is started for them.
    resetting: Vec<[u8; 3]>,
}

/// The pattern that fills a new SRB extension.
const EXTENSION_PATTERN: u128 = u128::from_ne_bytes([0xC5; 16]);
/// A data buffer address of a read or write: of the user mode of some process, where nothing is mapped.
pub(super) const NOT_MAPPED: *mut u8 = 0x0000_6BAD_0000_0000 as *mut u8;
/// Requests of a unit that the miniport gets at once, unless it sets another depth (documentation of
/// PORT_CONFIGURATION_INFORMATION, InitialLunQueueDepth).
const DEFAULT_DEPTH: u32 = 20;
/// Number of times that a request that the miniport was too busy for is started again (BusyRetryCount).
const BUSY_RETRIES: u32 = 20;
/// Time that its unit is paused before each time, in 100 ns (BusyPauseTime, 250 ms).
const BUSY_PAUSE: u64 = 2_500_000;
/// Seconds that an SRB may take that resets something.
const RESET_TIMEOUT: u32 = 10;

impl Requests {
    /// Makes a list without requests.
    pub(crate) fn new() -> Self {
        let queues = Queues {
            active: BTreeMap::new(),
            done: VecDeque::new(),
            waiting: VecDeque::new(),
            busy: 0,
            frozen: false,
            changed: false,
            paused: BTreeMap::new(),
            depths: BTreeMap::new(),
            outstanding: BTreeMap::new(),
            next: 0,
            resetting: Vec::new(),
        };
        // SAFETY: a KDPC of zeros is what KeInitializeDpc expects.
        Self { queues: Lock::new(queues), dpc: unsafe { core::mem::zeroed() } }
    }
}

/// Prepares an adapter's queues.
///
/// # Safety
/// `adapter` must stay where it is.
pub(super) unsafe fn init(adapter: *mut Adapter) {
    // SAFETY: by this function's contract, `adapter` must stay where it is.
    unsafe {
        ke::KeInitializeDpc(&raw mut (*adapter).requests.dpc, Some(complete_done), adapter.cast());
    }
}

/// Sends a request to the miniport, or lets it wait. IRQL ≤ DISPATCH_LEVEL.
///
/// # Safety
/// The SRB and its buffers must stay valid until the owner is told.
pub(super) unsafe fn submit(adapter: *mut Adapter, srb: *mut Srb, owner: Owner) {
    // SAFETY: by this function's contract, the SRB and its buffers must stay valid until the owner is told.
    unsafe {
        (*srb).srb_status = srb_status::PENDING;
        let request = Box::new(Request {
            srb,
            owner,
            extension: Vec::new(),
            list: Vec::new(),
            data_buffer: (*srb).data_buffer,
            number: 0,
            deadline: 0,
            tries: BUSY_RETRIES,
        });
        let mut queues = (*adapter).requests.queues.lock();
        if queues.must_wait(&request) {
            queues.waiting.push_back(request);
            return;
        }
        drop(queues);
        start(adapter, request);
    }
}

impl Queues {
    /// Returns true if a request must wait for others or for its unit.
    unsafe fn must_wait(&self, request: &Request) -> bool {
        // SAFETY: the request's SRB is its sender's and stays until the request is completed.
        let address = unsafe { request.address() };
        let depth = self.depths.get(&address).copied().unwrap_or(DEFAULT_DEPTH);
        let outstanding = self.outstanding.get(&address).copied().unwrap_or(0);
        let paused = self.paused.get(&address).is_some_and(|&until| until > ke::clock::interrupt_time());
        self.frozen || self.busy != 0 || paused || outstanding >= depth || self.resetting.contains(&address)
    }
}

/// Brings a request to the miniport: `HwBuildIo`, then `HwStartIo`.
unsafe fn start(adapter: *mut Adapter, mut request: Box<Request>) {
    // SAFETY: the caller keeps `adapter` valid for this call.
    unsafe {
        prepare(&*adapter, &mut request);
        let srb = request.srb;
        (*srb).srb_status = srb_status::PENDING;
        let seconds = u64::from((*srb).time_out_value.max(1));
        request.deadline = ke::clock::interrupt_time() + seconds * 10_000_000;
        let taken = {
            let mut queues = (*adapter).requests.queues.lock();
            request.number = queues.next;
            queues.next += 1;
            let outstanding = queues.outstanding.entry(request.address()).or_default();
            *outstanding += 1;
            DEEPEST.fetch_max(*outstanding, Ordering::Relaxed);
            queues.active.insert(srb as usize, request)
        };
        if taken.is_some() {
            violation(Violation::SrbCompletedTwice, format_args!("srb={srb:p} cause=sent-while-active"));
        }
        let this = &*adapter;
        let extension = this.extension();
        let old = ke::KeRaiseIrqlToDpcLevel();
        let go_on = match this.miniport.hw.hw_build_io {
            Some(build) => this.guarded("HwBuildIo", || build(extension, srb)) != FALSE,
            None => true,
        };
        if go_on {
            if !(*adapter).requests.queues.lock().active.contains_key(&(srb as usize)) {
                violation(
                    Violation::SrbCompletedTwice,
                    format_args!("srb={srb:p} cause=completed-by-build-and-passed-on"),
                );
            }
            // A request that the miniport does not start (FALSE) still belongs to it; the watchdog sees to it.
            if let Some(start) = this.miniport.hw.hw_start_io {
                let call = || this.guarded("HwStartIo", || start(extension, srb));
                if this.is_full_duplex() {
                    with_start_lock(adapter, call);
                } else {
                    interrupt::synchronized(adapter, call);
                }
            }
        }
        ke::KeLowerIrql(old);
    }
}

/// Calls `routine` with the StartIo lock held, at DISPATCH_LEVEL. IRQL ≤ DISPATCH_LEVEL.
///
/// # Safety
/// `adapter` must be valid and the lock not held.
pub(super) unsafe fn with_start_lock<R>(adapter: *mut Adapter, routine: impl FnOnce() -> R) -> R {
    // SAFETY: by this function's contract, `adapter` is valid and the lock not held.
    unsafe {
        let old = ke::KeAcquireSpinLockRaiseToDpc(&raw mut (*adapter).start_lock);
        let result = routine();
        ke::KeReleaseSpinLock(&raw mut (*adapter).start_lock, old);
        result
    }
}

/// Gives the SRB its extension, scatter-gather list and mapped buffer.
unsafe fn prepare(adapter: &Adapter, request: &mut Request) {
    // SAFETY: the request's SRB is its sender's and stays until the request is completed.
    unsafe {
        let srb = &mut *request.srb;
        let bytes =
            adapter.configuration.srb_extension_size.max(adapter.miniport.hw.srb_extension_size) as usize;
        request.extension = vec![EXTENSION_PATTERN; bytes.div_ceil(16)];
        srb.srb_extension = match bytes {
            0 => null_mut(),
            _ => request.extension.as_mut_ptr().cast(),
        };
        srb.data_buffer = request.data_buffer;
        if srb.direction() == Direction::None || srb.data_transfer_length == 0 || srb.data_buffer.is_null() {
            return;
        }
        let address = request.system_address();
        request.list = scatter_gather_list(address as usize, srb.data_transfer_length as usize);
        // The class driver's own terms, which are a user's for a user's buffer, or nothing: both are documented.
        let unmapped = if NEXT_UNMAPPED.fetch_xor(true, Ordering::Relaxed) { null_mut() } else { NOT_MAPPED };
        srb.data_buffer = if is_mapped(adapter, srb) { address } else { unmapped };
    }
}

/// Chooses between the two values of the address of the next buffer that is not mapped.
static NEXT_UNMAPPED: AtomicBool = AtomicBool::new(false);

/// Returns true if the miniport is to have a system address for this SRB's data.
///
/// Documentation ("Use of Mapping Buffers in the Storport I/O Model", HW_INITIALIZATION_DATA):
/// STOR_MAP_ALL_BUFFERS has the effect of STOR_MAP_NON_READ_WRITE_BUFFERS, on every version.
fn is_mapped(adapter: &Adapter, srb: &Srb) -> bool {
    let read_write = srb.function == function::EXECUTE_SCSI && cdb::extent(srb.command()).is_some();
    match adapter.miniport.hw.map_buffers {
        MAP_ALL_BUFFERS | MAP_NON_READ_WRITE_BUFFERS => !read_write,
        MAP_ALL_INCLUDING_READ_WRITE => true,
        _ => false,
    }
}

impl Request {
    /// Returns path, target and unit.
    unsafe fn address(&self) -> [u8; 3] {
        // SAFETY: the request's SRB is its sender's and stays until the request is completed.
        unsafe { [(*self.srb).path_id, (*self.srb).target_id, (*self.srb).lun] }
    }

    /// Returns the system address of the data. With an IRP that has an MDL, the SRB's data buffer is an
    /// address in the MDL's own terms.
    unsafe fn system_address(&self) -> *mut u8 {
        // SAFETY: the sender's IRP and its MDL stay until the request is completed.
        unsafe {
            let mdl = match self.owner {
                Owner::Irp(irp) => (*irp).mdl_address,
                Owner::Scan(_) | Owner::Reset(..) => null_mut(),
            };
            if mdl.is_null() {
                return self.data_buffer;
            }
            let virtual_address = (*mdl).start_va as usize + (*mdl).byte_offset as usize;
            let offset = self.data_buffer as usize - virtual_address;
            request_packet::system_address(mdl).add(offset)
        }
    }
}

/// Returns the scatter-gather list of a buffer, header first.
unsafe fn scatter_gather_list(address: usize, length: usize) -> Vec<usize> {
    let pieces = pieces(address, length);
    let bytes = size_of::<ScatterGatherHeader>() + pieces.len() * size_of::<ScatterGatherElement>();
    let mut list = vec![0usize; bytes / size_of::<usize>()];
    let header: *mut ScatterGatherHeader = list.as_mut_ptr().cast();
    // SAFETY: `list` has room for a header and as many elements as there are pieces.
    unsafe {
        header.write(ScatterGatherHeader { number_of_elements: pieces.len() as u32, reserved: 0 });
        for (n, piece) in pieces.iter().enumerate() {
            header.add(1).cast::<ScatterGatherElement>().add(n).write(ScatterGatherElement {
                physical_address: piece.address as i64,
                length: piece.length,
                reserved: 0,
            });
        }
    }
    list
}

/// Returns the elements of a list.
fn elements(list: &[usize]) -> impl Iterator<Item = ScatterGatherElement> {
    let header: *const ScatterGatherHeader = list.as_ptr().cast();
    // SAFETY: a list that is not empty has a header, and as many elements behind it as that says.
    let count = if list.is_empty() { 0 } else { unsafe { (*header).number_of_elements as usize } };
    // SAFETY: as above.
    (0..count).map(move |n| unsafe { header.add(1).cast::<ScatterGatherElement>().add(n).read() })
}

/// `StorPortGetScatterGatherList`. Any IRQL, while the miniport has the SRB. Null for an SRB without data.
///
/// # Safety
/// `extension` must be the miniport's.
pub(super) unsafe extern "win64" fn StorPortGetScatterGatherList(extension: Pvoid, srb: *mut Srb) -> Pvoid {
    // SAFETY: by this function's contract, `extension` is the miniport's.
    let queues = unsafe { Adapter::of(extension).requests.queues.lock() };
    match queues.active.get(&(srb as usize)) {
        Some(request) if !request.list.is_empty() => request.list.as_ptr().cast_mut().cast(),
        Some(_) => null_mut(),
        None => {
            drop(queues);
            violation(Violation::SrbCompletedTwice, format_args!("srb={srb:p} cause=used-after-completion"))
        }
    }
}

/// Returns the system address of an active SRB's data, for `StorPortGetSystemAddress`.
///
/// # Safety
/// `adapter` must be valid.
pub(super) unsafe fn system_address(adapter: &Adapter, srb: *mut Srb) -> Option<*mut u8> {
    let queues = adapter.requests.queues.lock();
    // SAFETY: by this function's contract, `adapter` is valid.
    unsafe { queues.active.get(&(srb as usize)).filter(|r| !r.list.is_empty()).map(|r| r.system_address()) }
}

/// Returns the MDL of an active SRB, for `StorPortGetOriginalMdl`; null if its sender gave none.
///
/// # Safety
/// As [`system_address`].
pub(super) unsafe fn original_mdl(adapter: &Adapter, srb: *mut Srb) -> *mut Mdl {
    // SAFETY: the caller keeps the contract of [`system_address`].
    unsafe {
        match adapter.requests.queues.lock().active.get(&(srb as usize)).map(|r| &r.owner) {
            Some(Owner::Irp(irp)) => (**irp).mdl_address,
            _ => null_mut(),
        }
    }
}

/// Requests that miniports have completed, by processor.
static COMPLETED: [AtomicU32; ke::processor::MAXIMUM] = [const { AtomicU32::new(0) }; ke::processor::MAXIMUM];

/// Reports how many requests were completed on each processor.
pub(crate) fn report_counts() {
    let completed = (0..ke::processor::count()).map(|number| COMPLETED[number].load(Ordering::Relaxed));
    crate::report!("completions by={}", crate::report::numbers(completed));
    crate::report!("queue-depth most={}", DEEPEST.load(Ordering::Relaxed));
    let busy = BUSY.load(Ordering::Relaxed);
    if busy > 0 {
        crate::report!("busy answers={busy}");
    }
}

/// The most requests that a miniport has had of one unit.
static DEEPEST: AtomicU32 = AtomicU32::new(0);

/// Requests that miniports have answered "busy".
static BUSY: AtomicU32 = AtomicU32::new(0);

/// `StorPortSetDeviceQueueDepth`: most requests of a unit that the miniport gets at once. IRQL ≤ DIRQL.
///
/// # Safety
/// `extension` must be the miniport's.
pub(super) unsafe extern "win64" fn StorPortSetDeviceQueueDepth(
    extension: Pvoid,
    path: u8,
    target: u8,
    lun: u8,
    depth: u32,
) -> Boolean {
    if !(1..=255).contains(&depth) {
        return FALSE;
    }
    // SAFETY: by this function's contract, `extension` is the miniport's.
    unsafe {
        Adapter::of(extension).requests.queues.lock().depths.insert([path, target, lun], depth);
    }
    TRUE
}

/// Takes an `srb` that the miniport completed. Any IRQL.
///
/// # Safety
/// `adapter` must be valid.
pub(super) unsafe fn completed(adapter: *mut Adapter, srb: *mut Srb) {
    COMPLETED[ke::processor::number()].fetch_add(1, Ordering::Relaxed);
    // SAFETY: by this function's contract, `adapter` is valid.
    unsafe {
        let mut queues = (*adapter).requests.queues.lock();
        let Some(mut request) = queues.active.remove(&(srb as usize)) else {
            drop(queues);
            violation(Violation::SrbCompletedTwice, format_args!("srb={srb:p}"))
        };
        let found = (*srb).status();
        if !is_final(found) {
            drop(queues);
            violation(Violation::SrbInvalidStatus, format_args!("srb={srb:p} status={found:#x}"));
        }
        // Two requests may have memory in one page.
        let in_flight = |frame| {
            let mut others = queues.active.values().flat_map(|other| elements(&other.list));
            others.any(|element| grants::frames(&element).contains(&frame))
        };
        if let Some((reference, frame)) = grants::left(elements(&request.list), in_flight) {
            drop(queues);
            violation(
                Violation::MemoryLeftGranted,
                format_args!("srb={srb:p} grant={reference} frame={frame:#x}"),
            );
        }
        let address = request.address();
        if let Some(outstanding) = queues.outstanding.get_mut(&address) {
            *outstanding = outstanding.saturating_sub(1);
        }
        queues.busy = queues.busy.saturating_sub(1);
        if found == srb_status::BUSY && request.tries > 0 {
            // The class driver does not hear of it: the unit is paused, and gets the request again.
            request.tries -= 1;
            BUSY.fetch_add(1, Ordering::Relaxed);
            queues.paused.insert(address, ke::clock::interrupt_time() + BUSY_PAUSE);
            queues.waiting.push_front(request);
        } else {
            queues.done.push_back(request);
        }
        drop(queues);
        ke::KeInsertQueueDpc(&raw mut (*adapter).requests.dpc, null_mut(), null_mut());
    }
}

/// Returns true if a miniport may complete an SRB with this status.
fn is_final(found: u8) -> bool {
    use srb_status::*;
    matches!(
        found,
        SUCCESS
            | ABORTED..=COMMAND_TIMEOUT
            | MESSAGE_REJECTED..=REQUEST_FLUSHED
            | INVALID_LUN..=LINK_DOWN
    )
}

/// Completes every active request at an address with `found`; 0xFF stands for every path, target or unit.
///
/// # Safety
/// `adapter` must be valid.
pub(super) unsafe fn complete_all(adapter: *mut Adapter, path: u8, target: u8, lun: u8, found: u8) {
    let matches = |wanted: u8, is: u8| wanted == 0xFF || wanted == is;
    // SAFETY: by this function's contract, `adapter` is valid.
    unsafe {
        let here: Vec<usize> = {
            let queues = (*adapter).requests.queues.lock();
            let srbs = queues.active.keys().copied();
            srbs.filter(|&srb| {
                let srb = &*(srb as *const Srb);
                matches(path, srb.path_id) && matches(target, srb.target_id) && matches(lun, srb.lun)
            })
            .collect()
        };
        for srb in here {
            (*(srb as *mut Srb)).srb_status = found;
            completed(adapter, srb as *mut Srb);
        }
    }
}

/// `BusChangeDetected`: the adapter's units are looked for again. Any IRQL.
///
/// # Safety
/// `adapter` must be valid.
pub(super) unsafe fn bus_changed(adapter: *mut Adapter) {
    // SAFETY: by this function's contract, `adapter` is valid.
    unsafe {
        (*adapter).requests.queues.lock().changed = true;
        ke::KeInsertQueueDpc(&raw mut (*adapter).requests.dpc, null_mut(), null_mut());
    }
}

/// Tells the owners of done requests, starts those that waited for them, and has PnP look for units, in a
/// DPC.
unsafe extern "win64" fn complete_done(_: *mut Kdpc, context: Pvoid, _: Pvoid, _: Pvoid) {
    let adapter = context.cast::<Adapter>();
    // SAFETY: the caller keeps `context` valid for this call.
    unsafe {
        loop {
            let Some(request) = (*adapter).requests.queues.lock().done.pop_front() else { break };
            finish(adapter, *request);
        }
        if core::mem::take(&mut (*adapter).requests.queues.lock().changed) {
            io::IoInvalidateDeviceRelations((*adapter).pdo, BUS_RELATIONS);
        }
        resume(adapter);
    }
}

/// Tells the owner of one request.
unsafe fn finish(adapter: *mut Adapter, request: Request) {
    // SAFETY: the request has left the miniport; SRB, IRP and event are its owner's, which waits for them.
    unsafe {
        let srb = &mut *request.srb;
        srb.data_buffer = request.data_buffer;
        srb.srb_extension = null_mut();
        match request.owner {
            Owner::Scan(event) => {
                ke::KeSetEvent(event, 0, FALSE);
            }
            Owner::Reset(reach, _) => {
                let address = [srb.path_id, srb.target_id, srb.lun];
                reset_over(adapter, address, reach, srb.status() == srb_status::SUCCESS, request.number);
            }
            Owner::Irp(irp) => {
                (*irp).io_status = IoStatusBlock::new(srb.nt_status(), srb.data_transfer_length as usize);
                io::IofCompleteRequest(irp, 1);
            }
        }
    }
}

/// Starts the waiting requests that need not wait any longer. IRQL ≤ DISPATCH_LEVEL.
///
/// # Safety
/// `adapter` must be valid.
pub(super) unsafe fn resume(adapter: *mut Adapter) {
    // SAFETY: by this function's contract, `adapter` is valid.
    unsafe {
        loop {
            let mut queues = (*adapter).requests.queues.lock();
            let Some(at) = queues.waiting.iter().position(|request| !queues.must_wait(request)) else {
                break;
            };
            let request = queues.waiting.remove(at);
            drop(queues);
            request.into_iter().for_each(|request| start(adapter, request));
        }
    }
}

/// `StorPortBusy`: nothing new is started until `requests` more have completed; `StorPortReady` is 0.
///
/// # Safety
/// `adapter` must be valid.
pub(super) unsafe fn set_busy(adapter: *mut Adapter, requests: u32) -> bool {
    // SAFETY: by this function's contract, `adapter` is valid.
    unsafe {
        let mut queues = (*adapter).requests.queues.lock();
        let active = queues.active.len() as u32;
        queues.busy = requests.min(active);
        let waiting = queues.busy == 0 && !queues.waiting.is_empty();
        drop(queues);
        if waiting {
            ke::KeInsertQueueDpc(&raw mut (*adapter).requests.dpc, null_mut(), null_mut());
        }
        requests == 0 || active != 0
    }
}

/// Holds new requests back, and waits until the miniport has completed those that it has. Returns false if it does
/// not. PASSIVE_LEVEL.
///
/// # Safety
/// `adapter` must be valid.
pub(super) unsafe fn freeze(adapter: *mut Adapter) -> bool {
    /// In milliseconds.
    const PATIENCE: u64 = 30_000;
    // SAFETY: by this function's contract, `adapter` is valid.
    unsafe {
        (*adapter).requests.queues.lock().frozen = true;
        (0..PATIENCE).any(|_| {
            let idle = !any(&*adapter);
            if !idle {
                ke::delay(1);
            }
            idle
        })
    }
}

/// Lets requests go to the miniport again. IRQL ≤ DISPATCH_LEVEL.
///
/// # Safety
/// `adapter` must be valid.
pub(super) unsafe fn thaw(adapter: *mut Adapter) {
    // SAFETY: by this function's contract, `adapter` is valid.
    unsafe {
        (*adapter).requests.queues.lock().frozen = false;
        resume(adapter);
    }
}

/// Pauses a unit for `seconds`, or resumes it with 0.
///
/// # Safety
/// `adapter` must be valid.
pub(super) unsafe fn set_paused(adapter: *mut Adapter, address: [u8; 3], seconds: u32) {
    // SAFETY: by this function's contract, `adapter` is valid.
    unsafe {
        let mut queues = (*adapter).requests.queues.lock();
        match seconds {
            0 => queues.paused.remove(&address),
            _ => queues.paused.insert(address, ke::clock::interrupt_time() + u64::from(seconds) * 10_000_000),
        };
        drop(queues);
        ke::KeInsertQueueDpc(&raw mut (*adapter).requests.dpc, null_mut(), null_mut());
    }
}

/// Returns the number of requests that the miniport has.
pub(super) fn active(adapter: &Adapter) -> usize {
    adapter.requests.queues.lock().active.len()
}

/// Returns true if the miniport has any request.
pub(super) fn any(adapter: &Adapter) -> bool {
    !adapter.requests.queues.lock().active.is_empty()
}

/// Stops the system if the miniport still has a request where it must have none.
pub(super) fn assert_none(adapter: &Adapter) {
    let left = adapter.requests.queues.lock().active.keys().next().copied();
    if let Some(srb) = left {
        violation(Violation::SrbNeverCompleted, format_args!("srb={srb:#x}"));
    }
}

/// The reach of a reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reach {
    /// One logical unit.
    Unit,
    /// The units of a target.
    Target,
    /// All.
    Bus,
}

impl Reach {
    /// Returns its name in reports.
    const fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Target => "target",
            Self::Bus => "bus",
        }
    }

    /// Returns the next one, where this one failed ("Multi-Tier Reset in Storport"). None follows the bus.
    const fn next(self) -> Self {
        match self {
            Self::Unit => Self::Target,
            Self::Target | Self::Bus => Self::Bus,
        }
    }

    /// Returns true if a reset of `at` reaches `address`.
    fn covers(self, at: [u8; 3], address: [u8; 3]) -> bool {
        match self {
            Self::Unit => at == address,
            Self::Target => at[..2] == address[..2],
            Self::Bus => at[0] == address[0],
        }
    }
}

/// Looks for a request that has taken too long, and begins to reset its unit. To be called once a second, at
/// DISPATCH_LEVEL.
///
/// # Safety
/// `adapter` must be valid.
pub(super) unsafe fn watch(adapter: *mut Adapter) {
    let now = ke::clock::interrupt_time();
    // SAFETY: by this function's contract, `adapter` is valid.
    unsafe {
        let late = {
            let mut queues = (*adapter).requests.queues.lock();
            let late = queues.active.values().filter(|request| request.deadline < now);
            let late = late.map(|request| (request.srb, request.address(), request.is_reset()));
            let late: Vec<_> = late.collect();
            if let Some((srb, ..)) = late.iter().find(|(.., is_reset)| *is_reset) {
                let srb = *srb;
                drop(queues);
                violation(Violation::SrbNeverCompleted, format_args!("srb={srb:p} what=reset"));
            }
            let late = late.into_iter().find(|(_, address, _)| !queues.resetting.contains(address));
            queues.resetting.extend(late.map(|(_, address, _)| address));
            late
        };
        if let Some((srb, address, _)) = late {
            crate::log!("storport: request {srb:p} timed out");
            reset(adapter, address, Reach::Unit);
        }
        resume(adapter);
    }
}

impl Request {
    fn is_reset(&self) -> bool {
        matches!(self.owner, Owner::Reset(..))
    }
}

/// Begins a reset on behalf of the unit at `address`. IRQL ≤ DISPATCH_LEVEL.
unsafe fn reset(adapter: *mut Adapter, address: [u8; 3], reach: Reach) {
    crate::log!("storport: resetting {} at {address:?}", reach.name());
    // SAFETY: the caller keeps `adapter` valid for this call.
    unsafe {
        let function = match reach {
            Reach::Unit => function::RESET_LOGICAL_UNIT,
            Reach::Target => function::RESET_DEVICE,
            Reach::Bus => {
                let before = (*adapter).requests.queues.lock().next;
                let done = reset_bus(adapter, address[0]);
                return reset_over(adapter, address, reach, done, before);
            }
        };
        let mut srb = Box::new(Srb::of(function));
        [srb.path_id, srb.target_id, srb.lun] = address;
        srb.time_out_value = RESET_TIMEOUT;
        // "DataTransferLength … not valid" for it.
        srb.data_transfer_length = u32::MAX;
        let request = Request {
            srb: &raw mut *srb,
            owner: Owner::Reset(reach, srb),
            extension: Vec::new(),
            list: Vec::new(),
            data_buffer: null_mut(),
            number: 0,
            deadline: 0,
            tries: 0,
        };
        start(adapter, Box::new(request));
    }
}

/// Ends a reset: `done` says whether the miniport reset what it was asked to. It must have completed every request
/// from before it then ("responsible for completing SRBs": documentation of HwStorResetBus). Otherwise more is reset,
/// and in the end the requests have their time once more. DISPATCH_LEVEL.
unsafe fn reset_over(adapter: *mut Adapter, address: [u8; 3], reach: Reach, done: bool, before: u64) {
    // SAFETY: the caller keeps `adapter` valid for this call.
    unsafe {
        let mut queues = (*adapter).requests.queues.lock();
        let older = |request: &Request| {
            request.number < before && !request.is_reset() && reach.covers(address, request.address())
        };
        let left = queues.active.values().find(|request| older(request)).map(|request| request.srb);
        if let (true, Some(srb)) = (done, left) {
            drop(queues);
            violation(Violation::SrbNeverCompleted, format_args!("srb={srb:p} after={}-reset", reach.name()));
        }
        crate::report!("reset reach={} done={}", reach.name(), u8::from(done));
        if !done && reach != Reach::Bus {
            drop(queues);
            return reset(adapter, address, reach.next());
        }
        let now = ke::clock::interrupt_time();
        for request in queues.active.values_mut() {
            request.deadline = now + u64::from((*request.srb).time_out_value.max(1)) * 10_000_000;
        }
        queues.resetting.retain(|unit| *unit != address);
        drop(queues);
        resume(adapter);
    }
}

/// Calls `HwResetBus`, while nothing is started. Returns its answer. IRQL ≤ DISPATCH_LEVEL.
///
/// # Safety
/// `adapter` must be valid.
pub(super) unsafe fn reset_bus(adapter: *mut Adapter, path: u8) -> bool {
    // SAFETY: by this function's contract, `adapter` is valid.
    unsafe {
        let this = &*adapter;
        let Some(reset) = this.miniport.hw.hw_reset_bus else { return false };
        let extension = this.extension();
        let frozen = core::mem::replace(&mut this.requests.queues.lock().frozen, true);
        let answer =
            with_start_lock(adapter, || this.guarded("HwResetBus", || reset(extension, path.into())));
        this.requests.queues.lock().frozen = frozen;
        answer != FALSE
    }
}
