//! The dump port driver: what it calls of the miniport's copy, and what it has for it (documentation
//! "Restrictions on Miniport Drivers that Manage the Boot Drive").

use core::cell::UnsafeCell;
use core::fmt;
use core::ptr::null_mut;

use crate::ldr::Export;
use crate::mm::{PAGE_SIZE, direct, map};
use crate::nt::*;
use crate::storage::pieces::pieces;
use crate::storage::srb::{Direction, Srb, function, srb_status};
use crate::storage::{cdb, inquiry, sense};
use crate::storport::ddi::*;
use crate::verifier::{Violation, violation};
use crate::{boot, ke};

/// Bytes of the common buffer, the most that a request moves.
pub(crate) const COMMON_BUFFER: usize = 64 << 10;
/// Bytes that the miniport may have for its extensions together.
const EXTENSIONS: usize = 32 << 10;
/// Seconds that a request may take.
const TIMEOUT: u32 = 120;
/// Time between two polls of a request that is on its way, in microseconds.
const POLL: u32 = 100;
/// Words of a scatter-gather list of the common buffer.
const LIST: usize = 2 + 3 * (COMMON_BUFFER / PAGE_SIZE + 1);
/// Pages that may be mapped, in all starts together.
const MAPPINGS: usize = 16;

/// The purpose of a start, as Storport's header numbers them for `DumpMode`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// `DUMP_MODE_CRASH`.
    Crash = 1,
    /// `DUMP_MODE_HIBER`.
    Hibernate = 2,
    /// `DUMP_MODE_MARK_MEMORY`: the memory that the copy will need is to be named.
    MarkMemory = 3,
    /// `DUMP_MODE_RESUME`: the hibernation file is to be read.
    Resume = 4,
}

impl Mode {
    /// Returns its name in reports.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::Hibernate => "hibernate",
            Self::MarkMemory => "mark-memory",
            Self::Resume => "resume",
        }
    }
}

/// The reason why nothing, or not everything, was written.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Failure {
    /// DriverEntry's status.
    Entry(NtStatus),
    /// HwFindAdapter's answer.
    Find(u32),
    /// HwInitialize said no.
    Initialize,
    /// A request's status and where it was: the first byte of its command.
    Request(u8, u8),
    /// It was still on its way when time was up.
    TimedOut(u8),
    /// There is not as much room.
    NoRoom,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry(status) => write!(f, "entry status={status:#x}"),
            Self::Find(answer) => write!(f, "find answer={answer}"),
            Self::Initialize => write!(f, "initialize"),
            Self::Request(command, status) => write!(f, "request command={command:#x} status={status:#x}"),
            Self::TimedOut(command) => write!(f, "timeout command={command:#x}"),
            Self::NoRoom => write!(f, "room"),
        }
    }
}

#[repr(C, align(4096))]
struct Buffer([u8; COMMON_BUFFER]);
#[repr(C, align(16))]
struct Extensions([u8; EXTENSIONS]);

struct State {
    entry: DriverInitialize,
    target: u8,
    hw: HwInitializationData,
    configuration: PortConfiguration,
    /// HwFindAdapter runs.
    finding: bool,
    /// The request that the miniport has.
    active: *mut Srb,
    /// Ranges for `StorPortGetDeviceBase`, reserved when nothing was wrong yet.
    window: usize,
    mapped: usize,
    list: [u64; LIST],
}

struct Place {
    state: UnsafeCell<Option<State>>,
    buffer: UnsafeCell<Buffer>,
    extensions: UnsafeCell<Extensions>,
}

// SAFETY: used by one processor with interrupts off, and filled before by one thread.
unsafe impl Sync for Place {}

static PLACE: Place = Place {
    state: UnsafeCell::new(None),
    buffer: UnsafeCell::new(Buffer([0; COMMON_BUFFER])),
    extensions: UnsafeCell::new(Extensions([0; EXTENSIONS])),
};

unsafe fn state<'a>() -> &'a mut State {
    // SAFETY: the state has one user: the one processor that still runs.
    unsafe { (*PLACE.state.get()).as_mut().expect("the dump stack was loaded") }
}

/// Returns the common buffer.
///
/// # Safety
/// One user at a time.
pub(crate) unsafe fn buffer<'a>() -> &'a mut [u8; COMMON_BUFFER] {
    // SAFETY: by this function's contract, one user at a time.
    unsafe { &mut (*PLACE.buffer.get()).0 }
}

/// Keeps the copy's entry and the target that takes the dump. PASSIVE_LEVEL.
///
/// # Safety
/// `entry` is the copy's DriverEntry. No dump is being written.
pub(crate) unsafe fn prepare(entry: DriverInitialize, target: u8) {
    // SAFETY: by this function's contract, `entry` is the copy's DriverEntry. No dump is being written.
    unsafe {
        *PLACE.state.get() = Some(State {
            entry,
            target,
            hw: core::mem::zeroed(),
            configuration: core::mem::zeroed(),
            finding: false,
            active: null_mut(),
            window: crate::mm::space::MAPPINGS.reserve(MAPPINGS),
            mapped: 0,
            list: [0; LIST],
        });
    }
}

/// Starts the copy: DriverEntry, HwFindAdapter, HwInitialize, then INQUIRY and READ CAPACITY of the target.
/// Answers its last block. An image may be started again: its memory is then as the earlier start left it. HIGH_LEVEL.
///
/// # Safety
/// After [`prepare`]; nothing else runs.
pub(crate) unsafe fn start(mode: Mode) -> Result<u32, Failure> {
    // SAFETY: by this function's contract, after [`prepare`]; nothing else runs.
    unsafe {
        let state = state();
        let entry = state.entry;
        (*PLACE.extensions.get()).0.fill(0);
        let entered = leveled("DriverEntry", || entry(null_mut(), null_mut()));
        if !status::success(entered) {
            return Err(Failure::Entry(entered));
        }
        let hw = state.hw;
        state.configuration = PortConfiguration {
            length: PortConfiguration::length(boot::options().nt) as u32,
            dump_mode: if boot::options().nt.is_nt62() { mode as u8 } else { 0 },
            adapter_interface_type: hw.adapter_interface_type,
            maximum_transfer_length: COMMON_BUFFER as u32,
            number_of_physical_breaks: (COMMON_BUFFER / PAGE_SIZE) as u32,
            initiator_bus_id: [-1; 8],
            scatter_gather: TRUE,
            master: TRUE,
            map_buffers: hw.map_buffers,
            need_physical_addresses: hw.need_physical_addresses,
            maximum_number_of_targets: MAXIMUM_TARGETS,
            dma_64_bit_addresses: DMA64_SYSTEM_SUPPORTED,
            ..core::mem::zeroed()
        };
        let find = hw.hw_find_adapter.ok_or(Failure::Find(0))?;
        let (mut again, mut argument) = (FALSE, *b"dump=1;\0");
        state.finding = true;
        let configuration = &raw mut state.configuration;
        let found = leveled("HwFindAdapter", || {
            find(extension(), null_mut(), null_mut(), argument.as_mut_ptr(), configuration, &raw mut again)
        });
        state.finding = false;
        if found != SP_RETURN_FOUND {
            return Err(Failure::Find(found));
        }
        let initialize = hw.hw_initialize.ok_or(Failure::Initialize)?;
        if leveled("HwInitialize", || initialize(extension())) == FALSE {
            return Err(Failure::Initialize);
        }
        execute(&cdb::inquiry(None, inquiry::LENGTH as u16), Direction::In, inquiry::LENGTH)?;
        execute(&cdb::read_capacity_10(), Direction::In, 8)?;
        let capacity = buffer();
        Ok(u32::from_be_bytes([capacity[0], capacity[1], capacity[2], capacity[3]]))
    }
}

/// Sends a command whose data is in the common buffer, and polls until it is complete. HIGH_LEVEL.
///
/// # Safety
/// After [`start`] has begun.
pub(crate) unsafe fn execute(command: &[u8], direction: Direction, length: usize) -> Result<(), Failure> {
    // SAFETY: by this function's contract, after [`start`] has begun.
    unsafe {
        let state = state();
        let mut sense = [0; sense::LENGTH];
        let data = buffer().as_mut_ptr();
        let mut srb = Srb::execute(command, direction, data, length as u32, TIMEOUT, &mut sense);
        srb.target_id = state.target;
        let bytes = state.hw.srb_extension_size.max(state.configuration.srb_extension_size) as usize;
        if bytes > 0 {
            srb.srb_extension = (*PLACE.extensions.get()).0.as_mut_ptr().add(EXTENSIONS - bytes).cast();
        }
        if length == 0 {
            srb.data_buffer = null_mut();
        }
        let srb = &raw mut srb;
        state.active = srb;
        let hw = state.hw;
        let go_on =
            hw.hw_build_io.is_none_or(|build| leveled("HwBuildIo", || build(extension(), srb)) != FALSE);
        if go_on && let Some(start) = hw.hw_start_io {
            leveled("HwStartIo", || start(extension(), srb));
        }
        for _ in 0..TIMEOUT * (1_000_000 / POLL) {
            if self::state().active.is_null() {
                let found = (*srb).status();
                let good = found == srb_status::SUCCESS || found == srb_status::DATA_OVERRUN;
                return if good { Ok(()) } else { Err(Failure::Request(command[0], found)) };
            }
            if let Some(interrupt) = hw.hw_interrupt {
                leveled("HwInterrupt", || interrupt(extension()));
            }
            ke::KeStallExecutionProcessor(POLL);
        }
        self::state().active = null_mut();
        Err(Failure::TimedOut(command[0]))
    }
}

/// Ends the writing with `SRB_FUNCTION_FLUSH`: what was written is durable.
///
/// # Safety
/// As [`execute`].
pub(crate) unsafe fn synchronize() -> Result<(), Failure> {
    // SAFETY: the caller keeps the contract of [`execute`].
    unsafe { execute(&cdb::synchronize_cache(), Direction::None, 0) }
}

fn extension() -> Pvoid {
    PLACE.extensions.get().cast()
}

/// Calls a routine of the miniport's and holds it to staying at HIGH_LEVEL with interrupts off.
fn leveled<R>(name: &str, routine: impl FnOnce() -> R) -> R {
    let result = routine();
    let interrupts = ke::disable_interrupts();
    if ke::irql::current() != HIGH_LEVEL || interrupts {
        violation(
            Violation::IrqlNotRestored,
            format_args!("routine={name} irql={} interrupts={}", ke::irql::current(), u8::from(interrupts)),
        );
    }
    result
}

/// The routines of Storport that `diskdump.sys` offers. Each must be called at HIGH_LEVEL, which shows that
/// the copy calls.
pub(crate) static DISKDUMP: &[Export] = crate::exports! {
    15..=15 {
        dump::StorPortDebugPrint,
        dump::StorPortGetDeviceBase,
        dump::StorPortGetScatterGatherList,
        dump::StorPortInitialize,
        dump::StorPortNotification,
        dump::StorPortSetDeviceQueueDepth,
        dump::StorPortStallExecution,
    }
};

/// The routines, by Storport's names.
mod dump {
    use super::*;

    /// `StorPortInitialize`, with null arguments.
    pub(super) unsafe extern "win64" fn StorPortInitialize(
        _: Pvoid,
        _: Pvoid,
        data: *const HwInitializationData,
        _: Pvoid,
    ) -> u32 {
        // SAFETY: the caller keeps `data` valid for this call.
        unsafe {
            let size = (*data).size as usize;
            if size != SIZE_NT52 && size != SIZE_NT62 {
                return status::REVISION_MISMATCH as u32;
            }
            let state = state();
            data.cast::<u8>().copy_to_nonoverlapping((&raw mut state.hw).cast(), size);
            if (state.hw.device_extension_size + state.hw.srb_extension_size) as usize > EXTENSIONS {
                return status::INSUFFICIENT_RESOURCES as u32;
            }
            status::SUCCESS as u32
        }
    }

    /// `StorPortNotification`: there are no timers, DPCs or locks here, and no bus changes.
    pub(super) unsafe extern "win64" fn StorPortNotification(kind: u32, _: Pvoid, a: usize) {
        /// `RequestComplete`.
        const REQUEST_COMPLETE: u32 = 0;
        // SAFETY: only the miniport of the dump calls this, on the one processor that still runs.
        unsafe {
            let state = state();
            if kind != REQUEST_COMPLETE {
                violation(
                    Violation::WrongIrql,
                    format_args!("routine=StorPortNotification kind={kind:#x} in=dump"),
                );
            }
            let srb = a as *mut Srb;
            if state.active.is_null() || state.active != srb {
                violation(Violation::SrbCompletedTwice, format_args!("srb={srb:p} in=dump"));
            }
            if (*srb).status() == srb_status::PENDING || (*srb).function != function::EXECUTE_SCSI {
                violation(Violation::SrbInvalidStatus, format_args!("srb={srb:p} in=dump"));
            }
            state.active = null_mut();
        }
    }

    /// `StorPortGetDeviceBase`, only for HwFindAdapter.
    pub(super) unsafe extern "win64" fn StorPortGetDeviceBase(
        _: Pvoid,
        _bus: u32,
        _number: u32,
        address: PhysicalAddress,
        bytes: u32,
        in_io_space: Boolean,
    ) -> Pvoid {
        // SAFETY: only the miniport of the dump calls this, on the one processor that still runs.
        unsafe {
            let state = state();
            let pages = (address as usize % PAGE_SIZE + bytes as usize).div_ceil(PAGE_SIZE);
            if !state.finding || in_io_space != FALSE || state.mapped + pages > MAPPINGS {
                return null_mut();
            }
            let start = state.window + state.mapped * PAGE_SIZE;
            state.mapped += pages;
            let first = address as u64 & !(PAGE_SIZE as u64 - 1);
            for page in 0..pages {
                let at = (page * PAGE_SIZE) as u64;
                map::map(start + at as usize, first + at, map::READ_WRITE | map::UNCACHED);
            }
            (start + address as usize % PAGE_SIZE) as Pvoid
        }
    }

    /// `StorPortGetScatterGatherList` of the active request.
    pub(super) unsafe extern "win64" fn StorPortGetScatterGatherList(_: Pvoid, srb: *mut Srb) -> Pvoid {
        // SAFETY: the caller keeps `srb` valid for this call.
        unsafe {
            let state = state();
            if srb != state.active || (*srb).data_buffer.is_null() {
                return null_mut();
            }
            let pieces = pieces((*srb).data_buffer as usize, (*srb).data_transfer_length as usize);
            state.list[0] = pieces.len() as u64;
            for (n, piece) in pieces.iter().enumerate() {
                state.list[2 + 3 * n] = piece.address;
                state.list[3 + 3 * n] = piece.length.into();
            }
            state.list.as_mut_ptr().cast()
        }
    }

    /// `StorPortSetDeviceQueueDepth`: here for those that import it, as boot miniports with deep queues do; one
    /// request is on its way at a time.
    pub(super) unsafe extern "win64" fn StorPortSetDeviceQueueDepth(
        _: Pvoid,
        _: u8,
        _: u8,
        _: u8,
        _: u32,
    ) -> Boolean {
        FALSE
    }

    /// `StorPortStallExecution`.
    pub(super) unsafe extern "win64" fn StorPortStallExecution(microseconds: u32) {
        ke::KeStallExecutionProcessor(microseconds);
    }

    /// `StorPortDebugPrint`: the message with its format as it is.
    pub(super) unsafe extern "win64" fn StorPortDebugPrint(_level: u32, message: *const u8) {
        // SAFETY: the caller keeps `message` valid for this call.
        let text = unsafe { core::ffi::CStr::from_ptr(message.cast()) };
        crate::log!("diskdump: {}", text.to_str().unwrap_or("?"));
    }
}

/// Returns a physical page as the executive itself sees it.
///
/// # Safety
/// The page is memory.
pub(crate) unsafe fn page<'a>(physical: u64) -> &'a [u8] {
    // SAFETY: by this function's contract, the page is memory.
    unsafe { core::slice::from_raw_parts(direct(physical) as *const u8, PAGE_SIZE) }
}
