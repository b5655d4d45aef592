//! The edge to Storport: the only file of this driver that names a field of the WDK's bindings.
//!
//! Storport calls the routines at the end of this file; they turn its structures into [`Srb`]s and calls of
//! [`Adapter`]. Nothing else here decides anything.
//!
//! # Which lock Storport holds
//! The adapter runs in full-duplex mode and has no interrupt of its own, so:
//!
//! | routine | IRQL | lock |
//! |---|---|---|
//! | `HwFindAdapter` | PASSIVE | none |
//! | `HwInitialize` | up to DIRQL | none that matters |
//! | `HwBuildIo` | ≤ DISPATCH | none: several processors at once |
//! | `HwStartIo` | DISPATCH | StartIo lock |
//! | `HwResetBus` | DISPATCH | StartIo lock |
//! | `HwAdapterControl` | PASSIVE to query, up to DIRQL to stop and restart | interrupt lock to stop and restart |
//!
//! Storport must be able to complete requests from xenpci's DPC, outside all of these: full-duplex mode
//! allows `StorPortNotification(RequestComplete)` there. Lock order: Storport's StartIo lock, then a
//! [`crate::target::Target`]'s queue lock; a request is completed with no queue lock held.
#![allow(unsafe_code, reason = "Storport's C interface: raw structures and callbacks")]

use alloc::boxed::Box;
use core::ffi::c_void;
use core::mem::{offset_of, zeroed};
use core::ptr::{NonNull, null_mut};
use core::slice;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use scsi::{FixedSense, Sense};
use wdk_sys::storage::{StorPortGetScatterGatherList, StorPortInitialize, StorPortNotification};
use wdk_sys::{
    _INTERFACE_TYPE, _SCSI_ADAPTER_CONTROL_STATUS, _SCSI_NOTIFICATION_TYPE, BOOLEAN, FALSE,
    HW_INITIALIZATION_DATA, NTSTATUS, PBOOLEAN, PCHAR, PDRIVER_OBJECT, PHW_BUILDIO,
    PORT_CONFIGURATION_INFORMATION, PPORT_CONFIGURATION_INFORMATION, PSCSI_REQUEST_BLOCK,
    PSCSI_SUPPORTED_CONTROL_TYPE_LIST, PUNICODE_STRING, PVOID, SCSI_ADAPTER_CONTROL_STATUS,
    SCSI_ADAPTER_CONTROL_TYPE, SCSI_REQUEST_BLOCK, SP_RETURN_ERROR, SP_RETURN_FOUND,
    SRB_FLAGS_DISABLE_AUTOSENSE, SRB_FUNCTION_EXECUTE_SCSI, SRB_FUNCTION_FLUSH, SRB_FUNCTION_POWER,
    SRB_FUNCTION_RESET_BUS, SRB_FUNCTION_RESET_DEVICE, SRB_FUNCTION_RESET_LOGICAL_UNIT,
    SRB_FUNCTION_SHUTDOWN, SRB_STATUS_AUTOSENSE_VALID, SRB_STATUS_BUS_RESET, SRB_STATUS_BUSY,
    SRB_STATUS_DATA_OVERRUN, SRB_STATUS_ERROR, SRB_STATUS_INVALID_REQUEST, SRB_STATUS_NO_DEVICE,
    SRB_STATUS_SUCCESS, STOR_SCATTER_GATHER_ELEMENT, STOR_SCATTER_GATHER_LIST, TRUE, UCHAR, ULONG,
};
use wdm::{DriverObject, debug_print};
use xen::blkif::{self, Element};
use zerocopy::IntoBytes;

use crate::adapter::Adapter;
use crate::queue::Request;
use crate::{DRIVER, hal};

// wdk-sys declares Storport's routines and links nothing for them.
#[link(name = "storport", kind = "static", modifiers = "-bundle")]
unsafe extern "C" {}

// What mingw's headers and the overlay give must be what NT has.
const _: () = {
    assert!(size_of::<SCSI_REQUEST_BLOCK>() == 88);
    assert!(offset_of!(SCSI_REQUEST_BLOCK, DataTransferLength) == 16);
    assert!(offset_of!(SCSI_REQUEST_BLOCK, DataBuffer) == 24);
    assert!(offset_of!(SCSI_REQUEST_BLOCK, SrbExtension) == 56);
    assert!(offset_of!(SCSI_REQUEST_BLOCK, Cdb) == 72);
    assert!(size_of::<STOR_SCATTER_GATHER_ELEMENT>() == 24);
    assert!(offset_of!(STOR_SCATTER_GATHER_LIST, List) == 16);
    assert!(size_of::<HW_INITIALIZATION_DATA>() == INITIALIZATION_DATA_NT62);
    assert!(
        offset_of!(HW_INITIALIZATION_DATA, HwBuildIo) + size_of::<PHW_BUILDIO>() == INITIALIZATION_DATA_NT52
    );
    assert!(offset_of!(PORT_CONFIGURATION_INFORMATION, MaximumTransferLength) == 24);
    assert!(offset_of!(PORT_CONFIGURATION_INFORMATION, AlignmentMask) == 48);
};

/// Size of HW_INITIALIZATION_DATA up to NT 6.1.
///
/// The structure ends at `HwBuildIo` there. What follows was added by Windows 8 (documentation of
/// HW_INITIALIZATION_DATA, fields `HwFreeAdapterResources` to `HwCleanupTracing`: "added in Windows 8.
/// Virtual miniports for previous versions of Windows should use VIRTUAL_HW_INITIALIZATION_DATA instead"):
/// the longer structure of NT 6.0 and 6.1 is another one, for virtual miniports, which this driver is not.
const INITIALIZATION_DATA_NT52: usize = 136;
/// Size of HW_INITIALIZATION_DATA from NT 6.2 on.
const INITIALIZATION_DATA_NT62: usize = 208;

/// STOR_MAP_ALL_BUFFERS, until NT 6.1: every buffer has a system address.
const MAP_ALL: UCHAR = 1;
/// STOR_MAP_ALL_BUFFERS_INCLUDING_READ_WRITE, from NT 6.2 on, where 1 leaves reads and writes out.
const MAP_ALL_NT62: UCHAR = 3;

/// Time between two looks after the backends, in microseconds.
const TICK: ULONG = 1_000_000;

/// StorSynchronizeFullDuplex.
const FULL_DUPLEX: ULONG = 1;
/// SCSI_DMA64_MINIPORT_SUPPORTED: buffers anywhere in physical memory.
pub const DMA64_SUPPORTED: UCHAR = 1;

/// What a driver that Storport owns has to find again where Storport gives it nothing of its own.
///
/// `HwFindAdapter` gets neither the driver object nor a context (its documentation: "HwContext: set to
/// NULL"), and a miniport has no routine for the removal of its adapter; both are reached from here. Each
/// field is set once, in `DriverEntry` or `HwFindAdapter`.
struct Anchor {
    driver: AtomicPtr<c_void>,
    adapter: AtomicPtr<Adapter>,
    /// Storport's own unload routine, called after this driver's.
    unload: AtomicPtr<c_void>,
    /// The system's drivers have been started.
    started: AtomicBool,
}

static ANCHOR: Anchor = Anchor {
    driver: AtomicPtr::new(null_mut()),
    adapter: AtomicPtr::new(null_mut()),
    unload: AtomicPtr::new(null_mut()),
    started: AtomicBool::new(false),
};

/// Storport's handle of the adapter: the device extension's address.
#[derive(Clone, Copy)]
pub struct Port(NonNull<c_void>);

// SAFETY: the handle is only handed back to Storport, which synchronizes its own state.
unsafe impl Send for Port {}
// SAFETY: as above.
unsafe impl Sync for Port {}

impl Port {
    /// Storport's device extension as its handle.
    pub const fn new(extension: NonNull<c_void>) -> Self {
        Self(extension)
    }

    /// Has Storport look again which units there are. ≤ DISPATCH_LEVEL; the adapter is initialized and not
    /// stopped.
    pub fn bus_changed(self) {
        // SAFETY: Storport's own handle; this type of notification takes nothing more.
        unsafe { StorPortNotification(_SCSI_NOTIFICATION_TYPE::BusChangeDetected, self.0.as_ptr(), 0) };
    }
}

/// The device extension, zeroed by Storport when it is first made.
#[repr(C)]
struct Extension {
    adapter: AtomicPtr<Adapter>,
}

/// Storport's configuration that the adapter decides.
pub struct Configuration {
    /// Number of targets on the one bus; ids run from 0.
    pub targets: u8,
    /// Most bytes of one SRB.
    pub maximum_transfer: u32,
}

/// What an SRB asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// A SCSI command.
    ExecuteScsi,
    /// Everything written so far is to reach the medium.
    Flush,
    /// Give up what is pending on a unit, a target or the bus.
    Reset,
    /// A change of power state, which this adapter has no use for.
    Power,
    /// Anything else.
    Other,
}

/// How an SRB ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done, with this many bytes of data.
    Done {
        /// Bytes moved; fewer than asked for is an underrun, reported as such.
        transferred: u32,
    },
    /// CHECK CONDITION with sense data.
    Sense(Sense),
    /// Nothing is at this address.
    NoDevice,
    /// The SRB makes no sense here.
    InvalidRequest,
    /// Given up by a reset before it was begun.
    Reset,
    /// Nothing can be sent now: Storport tries again.
    Busy,
}

/// A request of Storport's, from the call that brings it until [`Srb::complete`].
pub struct Srb(NonNull<SCSI_REQUEST_BLOCK>);

// SAFETY: an SRB belongs to the miniport until it is completed, and to one holder of this value at a time.
unsafe impl Send for Srb {}

impl Srb {
    /// An SRB that Storport brings; `None` for a null pointer.
    ///
    /// # Safety
    /// Storport has just passed `srb` to the miniport, and no other `Srb` of it exists.
    pub unsafe fn new(srb: PSCSI_REQUEST_BLOCK) -> Option<Self> {
        NonNull::new(srb).map(Self)
    }

    fn block(&self) -> &SCSI_REQUEST_BLOCK {
        // SAFETY: Storport's SRB stays valid until it is completed, which consumes `self`.
        unsafe { self.0.as_ref() }
    }

    /// What is asked for.
    pub fn function(&self) -> Function {
        match ULONG::from(self.block().Function) {
            SRB_FUNCTION_EXECUTE_SCSI => Function::ExecuteScsi,
            SRB_FUNCTION_FLUSH | SRB_FUNCTION_SHUTDOWN => Function::Flush,
            SRB_FUNCTION_RESET_BUS | SRB_FUNCTION_RESET_DEVICE | SRB_FUNCTION_RESET_LOGICAL_UNIT => {
                Function::Reset
            }
            SRB_FUNCTION_POWER => Function::Power,
            _ => Function::Other,
        }
    }

    /// Bus and target; this adapter has bus 0 only.
    pub fn target(&self) -> Option<usize> {
        (self.block().PathId == 0).then_some(self.block().TargetId.into())
    }

    /// Logical unit number.
    pub fn lun(&self) -> u8 {
        self.block().Lun
    }

    /// The command descriptor block.
    pub fn cdb(&self) -> &[u8] {
        let block = self.block();
        &block.Cdb[..usize::from(block.CdbLength).min(block.Cdb.len())]
    }

    /// Bytes of the data buffer.
    pub fn data_length(&self) -> u32 {
        self.block().DataTransferLength
    }

    /// System address of the data buffer, if it has one.
    pub fn data(&self) -> Option<NonNull<u8>> {
        NonNull::new(self.block().DataBuffer.cast())
    }

    /// The data buffer's first bytes; none where it has fewer, or no system address.
    pub fn bytes(&self, count: usize) -> Option<&[u8]> {
        let data = self.data().filter(|_| count <= self.data_length() as usize)?;
        // SAFETY: the buffer has `data_length` bytes, mapped as `MapBuffers` asks, while the SRB is pending.
        Some(unsafe { slice::from_raw_parts(data.as_ptr(), count) })
    }

    /// As [`Srb::bytes`], to be read into or written from.
    pub fn bytes_mut(&mut self, count: usize) -> Option<&mut [u8]> {
        let data = self.data().filter(|_| count <= self.data_length() as usize)?;
        // SAFETY: as in `bytes`; the buffer is this SRB's, which is borrowed as long.
        Some(unsafe { slice::from_raw_parts_mut(data.as_ptr(), count) })
    }

    /// Copies `reply` into the data buffer, as far as it goes; the number of bytes copied.
    pub fn reply(&mut self, reply: &[u8]) -> u32 {
        let Some(data) = self.data() else { return 0 };
        let count = reply.len().min(self.data_length() as usize);
        // SAFETY: the buffer has `data_length` bytes, mapped as `MapBuffers` asks; `reply` is this driver's
        // own.
        unsafe { reply.as_ptr().copy_to_nonoverlapping(data.as_ptr(), count) };
        count as u32
    }

    /// The scatter-gather list of the data buffer; empty if there is none.
    pub fn scatter_list(&self, port: Port) -> ScatterList {
        // SAFETY: the SRB is pending, and the adapter is a physical one that needs physical addresses.
        let list = unsafe { StorPortGetScatterGatherList(port.0.as_ptr(), self.0.as_ptr()) };
        ScatterList(NonNull::new(list.cast()))
    }

    /// The SRB's extension, which holds its [`Request`].
    pub fn extension(&self) -> Option<NonNull<Request>> {
        NonNull::new(self.block().SrbExtension.cast())
    }

    /// Ends the request. Storport may reuse the SRB, its extension and its buffer from here on.
    pub fn complete(mut self, port: Port, answer: Answer) {
        // SAFETY: as in `block`; the reference ends before Storport is called.
        let block = unsafe { self.0.as_mut() };
        let (srb_status, scsi_status) = match answer {
            Answer::Done { transferred } if transferred < block.DataTransferLength => {
                // An underrun, too, is reported by this status (documentation of SCSI_REQUEST_BLOCK).
                block.DataTransferLength = transferred;
                (SRB_STATUS_DATA_OVERRUN, scsi::status::GOOD)
            }
            Answer::Done { .. } => (SRB_STATUS_SUCCESS, scsi::status::GOOD),
            Answer::Sense(sense) => {
                block.DataTransferLength = 0;
                let valid = if put_sense(block, &sense.fixed()) { SRB_STATUS_AUTOSENSE_VALID } else { 0 };
                (SRB_STATUS_ERROR | valid, scsi::status::CHECK_CONDITION)
            }
            Answer::NoDevice => (SRB_STATUS_NO_DEVICE, scsi::status::GOOD),
            Answer::InvalidRequest => (SRB_STATUS_INVALID_REQUEST, scsi::status::GOOD),
            Answer::Reset => (SRB_STATUS_BUS_RESET, scsi::status::GOOD),
            Answer::Busy => (SRB_STATUS_BUSY, scsi::status::GOOD),
        };
        block.SrbStatus = srb_status as UCHAR;
        block.ScsiStatus = scsi_status;
        // SAFETY: the SRB is pending and completed once, as `self` is consumed; no queue lock is held.
        unsafe {
            StorPortNotification(_SCSI_NOTIFICATION_TYPE::RequestComplete, port.0.as_ptr(), self.0.as_ptr());
        }
    }
}

/// Copies sense data into the SRB's buffer; whether there is one.
fn put_sense(block: &mut SCSI_REQUEST_BLOCK, sense: &FixedSense) -> bool {
    let count = usize::from(block.SenseInfoBufferLength).min(size_of::<FixedSense>());
    let Some(buffer) = NonNull::new(block.SenseInfoBuffer.cast::<u8>()) else { return false };
    if count == 0 || block.SrbFlags & SRB_FLAGS_DISABLE_AUTOSENSE != 0 {
        return false;
    }
    // SAFETY: the buffer has `SenseInfoBufferLength` bytes of system memory.
    unsafe { sense.as_bytes().as_ptr().copy_to_nonoverlapping(buffer.as_ptr(), count) };
    true
}

/// Storport's scatter-gather list of one SRB, valid while the SRB is pending.
#[derive(Clone, Copy)]
pub struct ScatterList(Option<NonNull<STOR_SCATTER_GATHER_LIST>>);

// SAFETY: read only; it belongs to an SRB, which moves between processors as a whole.
unsafe impl Send for ScatterList {}

impl ScatterList {
    /// No list.
    pub const NONE: Self = Self(None);

    fn elements(&self) -> &[STOR_SCATTER_GATHER_ELEMENT] {
        let Some(list) = self.0 else { return &[] };
        // SAFETY: Storport's list is valid while the SRB is pending, and has `NumberOfElements` elements
        // behind its header.
        unsafe {
            let count = (*list.as_ptr()).NumberOfElements as usize;
            slice::from_raw_parts((&raw const (*list.as_ptr()).List).cast(), count)
        }
    }
}

impl blkif::ScatterList for ScatterList {
    fn element(&self, index: usize) -> Option<Element> {
        let element = self.elements().get(index)?;
        // SAFETY: every part of the union is the same 64 bits.
        let address = unsafe { element.PhysicalAddress.QuadPart } as u64;
        Some(Element { address, length: element.Length })
    }
}

/// What a port driver is told of any copy of this miniport: without its routines and the size of its
/// extensions.
pub fn initialization_data(nt62: bool) -> HW_INITIALIZATION_DATA {
    // SAFETY: a structure of numbers and nullable pointers, for which zero is a valid value.
    let mut data: HW_INITIALIZATION_DATA = unsafe { zeroed() };
    data.HwInitializationDataSize =
        if nt62 { INITIALIZATION_DATA_NT62 } else { INITIALIZATION_DATA_NT52 } as ULONG;
    // The parent is xenpci's bus, of none of the types that Storport knows.
    data.AdapterInterfaceType = _INTERFACE_TYPE::Internal;
    data.MapBuffers = if nt62 { MAP_ALL_NT62 } else { MAP_ALL };
    // Storport's documentation: each of these must be TRUE.
    data.NeedPhysicalAddresses = TRUE as BOOLEAN;
    data.TaggedQueuing = TRUE as BOOLEAN;
    data.AutoRequestSense = TRUE as BOOLEAN;
    data.MultipleRequestPerLu = TRUE as BOOLEAN;
    data
}

/// Registers the miniport with Storport. PASSIVE_LEVEL, from `DriverEntry`.
///
/// # Safety
/// The pointers are `DriverEntry`'s own.
pub unsafe fn register(driver: PDRIVER_OBJECT, path: PUNICODE_STRING, nt62: bool) -> NTSTATUS {
    ANCHOR.driver.store(driver.cast(), Ordering::Release);
    let mut data = initialization_data(nt62);
    data.HwInitialize = Some(hw_initialize);
    data.HwStartIo = Some(hw_start_io);
    data.HwInterrupt = Some(hw_interrupt);
    data.HwFindAdapter = hw_find_adapter as *mut c_void;
    data.HwResetBus = Some(hw_reset_bus);
    data.HwAdapterControl = Some(hw_adapter_control);
    data.HwBuildIo = Some(hw_build_io);
    data.DeviceExtensionSize = size_of::<Extension>() as ULONG;
    data.SrbExtensionSize = size_of::<Request>() as ULONG;
    // SAFETY: the pointers are DriverEntry's own, and the structure has the size it says on this NT.
    let status =
        unsafe { StorPortInitialize(driver.cast(), path.cast(), &raw mut data, null_mut()) } as NTSTATUS;
    if status >= 0 {
        // SAFETY: DriverEntry still has the driver object to itself. Storport has set its unload routine.
        unsafe {
            // NT calls `started` whatever has become of the only device meanwhile, and the call cannot be
            // taken back: until then the driver cannot be unloaded.
            let previous = (*driver).DriverUnload.take();
            ANCHOR
                .unload
                .store(previous.map_or(null_mut(), |unload| unload as *mut c_void), Ordering::Release);
        }
        driver_object().reinitialize(true, started);
    }
    status
}

/// The driver object.
fn driver_object() -> DriverObject {
    // SAFETY: stored by `register` before Storport could call anything; it lives as long as this image.
    unsafe { DriverObject::from_raw(ANCHOR.driver.load(Ordering::Acquire).cast()) }
}

/// The adapter, once `HwFindAdapter` has made it.
pub fn adapter() -> Option<&'static Adapter> {
    // SAFETY: a leaked box, which `remove_adapter` takes back only after everything that calls this has
    // ended: the callback for arriving disks, and Storport's calls.
    unsafe { ANCHOR.adapter.load(Ordering::Acquire).as_ref() }
}

/// # Safety
/// `extension` is the device extension that Storport passes.
unsafe fn adapter_of<'a>(extension: PVOID) -> Option<&'a Adapter> {
    // SAFETY: the caller's promise; the adapter outlives its device.
    unsafe { (*extension.cast::<Extension>()).adapter.load(Ordering::Acquire).as_ref() }
}

/// HwFindAdapter. PASSIVE_LEVEL: with ScsiRestartAdapter supported, Storport never calls it otherwise.
unsafe extern "C" fn hw_find_adapter(
    extension: PVOID,
    _context: PVOID,
    _bus_information: PVOID,
    _argument: PCHAR,
    configuration: PPORT_CONFIGURATION_INFORMATION,
    _again: PBOOLEAN,
) -> ULONG {
    // A device that PnP stopped, or removed, and starts again finds its adapter as it was.
    let adapter = match adapter() {
        Some(adapter) => {
            adapter.restart();
            Some(adapter)
        }
        None => match make_adapter() {
            Ok(adapter) => adapter,
            Err(error) => {
                debug_print!(DRIVER, "no adapter: {error}");
                return SP_RETURN_ERROR;
            }
        },
    };
    // Without disks there is one target id, at which nothing is.
    let wanted = adapter.map_or(Configuration { targets: 1, maximum_transfer: 4096 }, Adapter::configuration);
    if let Some(adapter) = adapter {
        adapter.attach(NonNull::new(extension).map(Port));
    }
    let adapter = adapter.map_or(null_mut(), |adapter| core::ptr::from_ref(adapter).cast_mut());
    // SAFETY: Storport's extension and configuration, for this call.
    unsafe {
        (*extension.cast::<Extension>()).adapter.store(adapter, Ordering::Release);
        let configuration = &mut *configuration;
        configuration.MaximumTransferLength = wanted.maximum_transfer;
        // One element per page, and one more for a buffer that starts inside one.
        configuration.NumberOfPhysicalBreaks = wanted.maximum_transfer / 4096 + 1;
        configuration.AlignmentMask = 0;
        configuration.NumberOfBuses = 1;
        configuration.MaximumNumberOfTargets = wanted.targets;
        configuration.MaximumNumberOfLogicalUnits = 1;
        configuration.ScatterGather = TRUE as BOOLEAN;
        configuration.Master = TRUE as BOOLEAN;
        configuration.CachesData = FALSE as BOOLEAN;
        configuration.Dma64BitAddresses = DMA64_SUPPORTED;
        configuration.ResetTargetSupported = TRUE as BOOLEAN;
        configuration.SynchronizationModel = FULL_DUPLEX;
    }
    SP_RETURN_FOUND
}

/// Makes the adapter and asks for leave to show its disks; `None` where there is none to show. PASSIVE_LEVEL.
fn make_adapter() -> Result<Option<&'static Adapter>, hal::Error> {
    let adapter = Box::into_raw(Adapter::find(driver_object())?);
    ANCHOR.adapter.store(adapter, Ordering::Release);
    // SAFETY: just leaked. It is taken back below, or by `driver_unload`.
    let found: &'static Adapter = unsafe { &*adapter };
    match found.expose() {
        Ok(()) => Ok(Some(found)),
        Err(withheld) => {
            debug_print!(DRIVER, "no PV disk is shown: {withheld}");
            remove_adapter();
            Ok(None)
        }
    }
}

/// Takes the adapter back and ends it. PASSIVE_LEVEL; Storport has no request for it any more.
fn remove_adapter() {
    if let Some(found) = adapter() {
        found.leave();
    }
    let adapter = ANCHOR.adapter.swap(null_mut(), Ordering::AcqRel);
    if !adapter.is_null() {
        // SAFETY: leaked by `make_adapter` and taken back once, by the swap. Storport calls nothing any more
        // that would reach it, and `leave` has ended the callbacks and the thread that did.
        let adapter = unsafe { Box::from_raw(adapter) };
        adapter.disconnect();
    }
}

/// Whether the system's drivers have been started. Any IRQL.
pub fn system_started() -> bool {
    ANCHOR.started.load(Ordering::Acquire)
}

/// The system's drivers have been started. PASSIVE_LEVEL.
fn started(driver: DriverObject) {
    ANCHOR.started.store(true, Ordering::Release);
    // SAFETY: the driver's own object, of which NT reads this field when it unloads the driver.
    unsafe { (*driver.as_ptr()).DriverUnload = Some(driver_unload) };
}

/// HwInitialize, up to DIRQL. The rings are connected already.
unsafe extern "C" fn hw_initialize(extension: PVOID) -> BOOLEAN {
    call_timer(extension);
    TRUE as BOOLEAN
}

/// Has Storport call [`hw_timer`] after [`TICK`]. Up to DIRQL.
fn call_timer(extension: PVOID) {
    let routine: unsafe extern "C" fn(PVOID) = hw_timer;
    // SAFETY: Storport's extension; this type of notification takes a routine and a time.
    unsafe {
        StorPortNotification(_SCSI_NOTIFICATION_TYPE::RequestTimerCall, extension, routine, TICK);
    }
}

/// HwTimer, DISPATCH_LEVEL.
unsafe extern "C" fn hw_timer(extension: PVOID) {
    // SAFETY: Storport's extension.
    if let Some(adapter) = unsafe { adapter_of(extension) } {
        adapter.tick();
    }
    call_timer(extension);
}

/// HwInterrupt. Required, and never called: the adapter has no interrupt resource, its events come through
/// xenpci.
unsafe extern "C" fn hw_interrupt(_extension: PVOID) -> BOOLEAN {
    FALSE as BOOLEAN
}

/// HwBuildIo, ≤ DISPATCH_LEVEL, without a lock. TRUE hands the SRB on to HwStartIo.
unsafe extern "C" fn hw_build_io(extension: PVOID, srb: PSCSI_REQUEST_BLOCK) -> BOOLEAN {
    let Some(port) = NonNull::new(extension).map(Port) else { return FALSE as BOOLEAN };
    // SAFETY: Storport's extension and SRB; HwStartIo gets this SRB only after this routine answered TRUE.
    let (adapter, Some(srb)) = (unsafe { adapter_of(extension) }, unsafe { Srb::new(srb) }) else {
        return FALSE as BOOLEAN;
    };
    let goes_on = match adapter {
        Some(adapter) => adapter.build(port, srb),
        None => {
            srb.complete(port, Answer::NoDevice);
            false
        }
    };
    BOOLEAN::from(goes_on)
}

/// HwStartIo, DISPATCH_LEVEL. The SRB's extension holds the request that HwBuildIo put there.
unsafe extern "C" fn hw_start_io(extension: PVOID, srb: PSCSI_REQUEST_BLOCK) -> BOOLEAN {
    // SAFETY: Storport's extension and SRB. HwBuildIo answered TRUE, so its request is in the SRB's
    // extension.
    unsafe {
        if let (Some(adapter), Some(request)) =
            (adapter_of(extension), NonNull::new((*srb).SrbExtension.cast::<Request>()))
        {
            adapter.start((*srb).TargetId.into(), request);
        }
    }
    TRUE as BOOLEAN
}

/// HwResetBus, DISPATCH_LEVEL.
unsafe extern "C" fn hw_reset_bus(extension: PVOID, _path: ULONG) -> BOOLEAN {
    // SAFETY: Storport's extension.
    if let Some(adapter) = unsafe { adapter_of(extension) } {
        adapter.reset();
    }
    TRUE as BOOLEAN
}

/// Control types of HwAdapterControl (SCSI_ADAPTER_CONTROL_TYPE).
mod control {
    use wdk_sys::{_SCSI_ADAPTER_CONTROL_TYPE, SCSI_ADAPTER_CONTROL_TYPE};

    pub const QUERY: SCSI_ADAPTER_CONTROL_TYPE = _SCSI_ADAPTER_CONTROL_TYPE::ScsiQuerySupportedControlTypes;
    pub const STOP: SCSI_ADAPTER_CONTROL_TYPE = _SCSI_ADAPTER_CONTROL_TYPE::ScsiStopAdapter;
    pub const RESTART: SCSI_ADAPTER_CONTROL_TYPE = _SCSI_ADAPTER_CONTROL_TYPE::ScsiRestartAdapter;
}

/// Says in the list which control types are served, where `control` is the one that asks for it. Any IRQL.
///
/// # Safety
/// With the type that queries, `list` is valid, with `MaxControlType` entries.
pub unsafe fn support(control: SCSI_ADAPTER_CONTROL_TYPE, list: PSCSI_SUPPORTED_CONTROL_TYPE_LIST) {
    if control != control::QUERY {
        return;
    }
    // SAFETY: the caller's promise.
    let supported = unsafe {
        let count = (*list).MaxControlType as usize;
        slice::from_raw_parts_mut((&raw mut (*list).SupportedTypeList).cast::<BOOLEAN>(), count)
    };
    for known in [control::QUERY, control::STOP, control::RESTART] {
        if let Some(entry) = supported.get_mut(known as usize) {
            *entry = TRUE as BOOLEAN;
        }
    }
}

/// HwAdapterControl. PASSIVE_LEVEL to query, up to DIRQL otherwise.
unsafe extern "C" fn hw_adapter_control(
    extension: PVOID,
    control: SCSI_ADAPTER_CONTROL_TYPE,
    parameters: PVOID,
) -> SCSI_ADAPTER_CONTROL_STATUS {
    // SAFETY: Storport's extension.
    let adapter = unsafe { adapter_of(extension) };
    match (control, adapter) {
        // SAFETY: for this control type the parameter is such a list.
        (control::QUERY, _) => unsafe { support(control, parameters.cast()) },
        // Storport has seen every request complete before it stops the adapter.
        (control::STOP, Some(adapter)) => adapter.stop(),
        (control::RESTART, Some(adapter)) => {
            adapter.restart();
            // Whether Storport kept the timer through a power state is not documented; asking again replaces
            // it.
            call_timer(extension);
        }
        (control::STOP | control::RESTART, None) => (),
        _ => return _SCSI_ADAPTER_CONTROL_STATUS::ScsiAdapterControlUnsuccessful,
    }
    _SCSI_ADAPTER_CONTROL_STATUS::ScsiAdapterControlSuccess
}

/// DriverUnload, PASSIVE_LEVEL: the adapter's device is gone. Frees what Storport does not know of, then lets
/// Storport finish.
unsafe extern "C" fn driver_unload(driver: PDRIVER_OBJECT) {
    remove_adapter();
    let unload = ANCHOR.unload.load(Ordering::Acquire);
    if !unload.is_null() {
        // SAFETY: stored by `register` from Storport's own DriverUnload, of this type.
        let unload: unsafe extern "C" fn(PDRIVER_OBJECT) = unsafe { core::mem::transmute(unload) };
        // SAFETY: called as NT calls it, with the driver object.
        unsafe { unload(driver) };
    }
}
