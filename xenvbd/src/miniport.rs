//! The routines that Storport calls: the top of this driver.
//!
//! They turn Storport's structures into [`Srb`]s and calls of [`Adapter`], and decide nothing themselves.
//!
//! # Which lock Storport holds
//! The adapter runs in full-duplex mode and has no interrupt of its own, so:
//!
//! | routine | IRQL | lock |
//! |---|---|---|
//! | `HwFindAdapter` | PASSIVE | none |
//! | `HwInitialize` | up to DIRQL | none that matters |
//! | `HwBuildIo` | ≤ DISPATCH | none: several processors at once |
//! | `HwStartIo` | DISPATCH | StartIo lock; never reached, as `HwBuildIo` does all there is to do |
//! | `HwResetBus` | DISPATCH | StartIo lock |
//! | `HwAdapterControl` | PASSIVE to query, up to DIRQL to stop and restart | interrupt lock to stop and restart |
//!
//! Storport must be able to complete requests from xenpci's DPC, outside all of these: full-duplex mode
//! allows `StorPortNotification(RequestComplete)` there. `HwBuildIo` answers FALSE for every SRB (its
//! documentation: the SRB is not passed on to `HwStartIo`), so that requests of several processors meet in no
//! lock of the adapter's. A request is completed with no queue lock held.
#![expect(unsafe_code, reason = "Storport's C interface: raw structures and callbacks")]

use core::ffi::c_void;
use core::mem::{offset_of, zeroed};
use core::ptr::{NonNull, null_mut};
use core::slice;
use core::sync::atomic::{AtomicPtr, Ordering};

use vbd::{Answer, Srb as _};
use wdk_sys::storage::{StorPortInitialize, StorPortNotification};
use wdk_sys::{
    _INTERFACE_TYPE, _SCSI_ADAPTER_CONTROL_STATUS, _SCSI_NOTIFICATION_TYPE, BOOLEAN, FALSE,
    HW_INITIALIZATION_DATA, NTSTATUS, PBOOLEAN, PCHAR, PDRIVER_OBJECT, PHW_BUILDIO,
    PORT_CONFIGURATION_INFORMATION, PPORT_CONFIGURATION_INFORMATION, PSCSI_REQUEST_BLOCK,
    PSCSI_SUPPORTED_CONTROL_TYPE_LIST, PUNICODE_STRING, PVOID, SCSI_ADAPTER_CONTROL_STATUS,
    SCSI_ADAPTER_CONTROL_TYPE, SP_RETURN_ERROR, SP_RETURN_FOUND, TRUE, UCHAR, ULONG,
};
use wdm::{DriverObject, debug_print};
use xenpci_interface::Status;

use crate::adapter::{self, Adapter, Configuration};
use crate::srb::{Port, Request, Srb};
use crate::{DRIVER, hal};

// wdk-sys declares Storport's routines and links nothing for them.
#[link(name = "storport", kind = "static", modifiers = "-bundle")]
unsafe extern "C" {}

// What mingw's headers and the overlay give must be what NT has.
const _: () = {
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

/// STOR_MAP_NON_READ_WRITE_BUFFERS: a read or write has no system address, which would be made for each of them
/// (NT 6.2), or never is, whatever is asked for (documentation of MapBuffers for the versions before).
const MAP_NON_READ_WRITE: UCHAR = 2;

/// Time between two looks after the backends, in microseconds.
const TICK: ULONG = 1_000_000;

/// StorSynchronizeFullDuplex.
const FULL_DUPLEX: ULONG = 1;
/// SCSI_DMA64_MINIPORT_SUPPORTED: buffers anywhere in physical memory.
pub(crate) const DMA64_SUPPORTED: UCHAR = 1;

/// Pointers that this driver needs where Storport gives it nothing of its own.
///
/// `HwFindAdapter` gets neither the driver object nor a context (its documentation: "HwContext: set to
/// NULL"), and xenpci's call that it has opened its services has none either.
struct Anchor {
    driver: AtomicPtr<c_void>,
    /// Storport's device extension of the adapter that runs, null while it is stopped.
    running: AtomicPtr<Extension>,
    /// Storport's own unload routine, called after this driver's.
    unload: AtomicPtr<c_void>,
}

static ANCHOR: Anchor = Anchor {
    driver: AtomicPtr::new(null_mut()),
    running: AtomicPtr::new(null_mut()),
    unload: AtomicPtr::new(null_mut()),
};

/// The device extension, zeroed by Storport when it is first made.
#[repr(C)]
struct Extension {
    adapter: AtomicPtr<Adapter>,
}

/// Returns the data that a port driver is told of any copy of this miniport: without its routines and the
/// size of its extensions.
pub(crate) fn initialization_data(nt62: bool) -> HW_INITIALIZATION_DATA {
    // SAFETY: a structure of numbers and nullable pointers, for which zero is a valid value.
    let mut data: HW_INITIALIZATION_DATA = unsafe { zeroed() };
    data.HwInitializationDataSize =
        if nt62 { INITIALIZATION_DATA_NT62 } else { INITIALIZATION_DATA_NT52 } as ULONG;
    // The parent is xenpci's bus, of none of the types that Storport knows.
    data.AdapterInterfaceType = _INTERFACE_TYPE::Internal;
    data.MapBuffers = MAP_NON_READ_WRITE;
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
pub(crate) unsafe fn register(driver: PDRIVER_OBJECT, path: PUNICODE_STRING, nt62: bool) -> NTSTATUS {
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

/// Returns the driver object.
fn driver_object() -> DriverObject {
    // SAFETY: stored by `register` before Storport could call anything; it lives as long as this image.
    unsafe { DriverObject::from_raw(ANCHOR.driver.load(Ordering::Acquire).cast()) }
}

/// # Safety
/// `extension` is the device extension that Storport passes.
unsafe fn adapter_of<'a>(extension: PVOID) -> Option<&'a Adapter> {
    // SAFETY: the caller's promise; the adapter outlives its device.
    unsafe { (*extension.cast::<Extension>()).adapter.load(Ordering::Acquire).as_ref() }
}

/// Carries out HwFindAdapter. PASSIVE_LEVEL: with ScsiRestartAdapter supported, Storport never calls it
/// otherwise.
unsafe extern "C" fn hw_find_adapter(
    extension: PVOID,
    _context: PVOID,
    _bus_information: PVOID,
    _argument: PCHAR,
    configuration: PPORT_CONFIGURATION_INFORMATION,
    _again: PBOOLEAN,
) -> ULONG {
    // A device that PnP stopped, or removed, and starts again finds its adapter as it was.
    let adapter = match adapter::current() {
        Some(adapter) => Found::Now(adapter),
        None => match make_adapter() {
            Ok(adapter) => adapter,
            Err(error) => {
                debug_print!(DRIVER, "no adapter: {error}");
                return SP_RETURN_ERROR;
            }
        },
    };
    // Where no disk can come in this boot there is one target id, at which nothing is.
    let wanted = match adapter {
        Found::Never => Configuration { targets: 1, maximum_transfer: 4096 },
        Found::Now(_) | Found::Later => Adapter::configuration(),
    };
    // SAFETY: Storport's extension, which it has just made, for this call.
    unsafe { (*extension.cast::<Extension>()).use_adapter(adapter.now()) };
    // Not before: whoever has a change of the bus to tell would tell it by the extension of before, which is gone.
    if let Some(adapter) = adapter.now() {
        adapter.unstop();
    }
    ANCHOR.running.store(extension.cast(), Ordering::Release);
    // SAFETY: Storport's configuration, for this call.
    unsafe {
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

/// The state of the adapter's disks.
#[derive(Clone, Copy)]
enum Found {
    /// They may be shown.
    Now(&'static Adapter),
    /// xenpci has not opened its services: [`opened`] is called if it does.
    Later,
    /// There are none in this boot.
    Never,
}

impl Found {
    const fn now(self) -> Option<&'static Adapter> {
        match self {
            Self::Now(adapter) => Some(adapter),
            Self::Later | Self::Never => None,
        }
    }
}

impl Extension {
    /// Has the routines that get this extension work on `adapter`. ≤ DISPATCH_LEVEL.
    fn use_adapter(&self, adapter: Option<&'static Adapter>) {
        if let Some(adapter) = adapter {
            adapter.attach(Some(Port::new(NonNull::from(self).cast())));
        }
        let adapter = adapter.map_or(null_mut(), |adapter| core::ptr::from_ref(adapter).cast_mut());
        self.adapter.store(adapter, Ordering::Release);
    }
}

/// Connects the disks now that xenpci has opened its services, with the adapter's device started.
/// PASSIVE_LEVEL.
unsafe extern "system" fn opened(_context: *mut c_void) {
    match make_adapter() {
        Ok(found) => {
            // SAFETY: null, or Storport's extension of an adapter that it has not stopped. xenpci calls this in
            // the course of its bus relations, during which PnP removes none of its children.
            let extension = unsafe { ANCHOR.running.load(Ordering::Acquire).as_ref() };
            if let (Some(extension), Some(adapter)) = (extension, found.now()) {
                extension.use_adapter(Some(adapter));
                Port::new(NonNull::from(extension).cast()).bus_changed();
            }
        }
        Err(error) => debug_print!(DRIVER, "no adapter: {error}"),
    }
}

/// Makes the adapter and asks for leave to show its disks. PASSIVE_LEVEL.
fn make_adapter() -> Result<Found, hal::Error> {
    let adapter = match Adapter::find(driver_object()) {
        // xenpci says why, where the boot was to be a PV boot.
        Err(hal::Error::NoInterface) => match hal::Platform::wait(opened) {
            Ok(()) => return Ok(Found::Later),
            // They were opened in between.
            Err(Status::EXISTS) => Adapter::find(driver_object())?,
            Err(_) => return Ok(Found::Never),
        },
        found => found?,
    };
    let found = adapter::make_current(adapter);
    match found.expose() {
        Ok(()) => Ok(Found::Now(found)),
        Err(withheld) => {
            debug_print!(DRIVER, "no PV disk is shown: {withheld}");
            remove_adapter();
            Ok(Found::Never)
        }
    }
}

/// Takes the adapter back and ends it. PASSIVE_LEVEL; Storport has no request for it any more.
fn remove_adapter() {
    if let Some(found) = adapter::current() {
        found.leave();
    }
    // SAFETY: Storport calls nothing any more that would reach it, and `leave` has ended the callbacks and the
    // threads that did.
    if let Some(adapter) = unsafe { adapter::take_current() } {
        adapter.disconnect();
    }
}

/// Notes that the system's drivers have been started. PASSIVE_LEVEL.
fn started(driver: DriverObject) {
    adapter::set_system_started();
    // SAFETY: the driver's own object, of which NT reads this field when it unloads the driver.
    unsafe { (*driver.as_ptr()).DriverUnload = Some(driver_unload) };
}

/// Carries out HwInitialize, up to DIRQL. The rings are connected already.
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

/// Carries out HwTimer, DISPATCH_LEVEL.
unsafe extern "C" fn hw_timer(extension: PVOID) {
    // SAFETY: Storport's extension.
    if let Some(adapter) = unsafe { adapter_of(extension) } {
        adapter.tick();
    }
    call_timer(extension);
}

/// Does nothing for HwInterrupt. Required, and never called: the adapter has no interrupt resource, its
/// events come through xenpci.
unsafe extern "C" fn hw_interrupt(_extension: PVOID) -> BOOLEAN {
    FALSE as BOOLEAN
}

/// Carries out HwBuildIo, ≤ DISPATCH_LEVEL, without a lock. FALSE: the SRB is answered, or on its way to the
/// backend.
unsafe extern "C" fn hw_build_io(extension: PVOID, srb: PSCSI_REQUEST_BLOCK) -> BOOLEAN {
    let Some(port) = NonNull::new(extension).map(Port::new) else { return FALSE as BOOLEAN };
    // SAFETY: Storport's extension and SRB, which it gives to no other routine.
    let (adapter, Some(srb)) = (unsafe { adapter_of(extension) }, unsafe { Srb::new(srb, port) }) else {
        return FALSE as BOOLEAN;
    };
    match adapter {
        Some(adapter) => adapter.handle(srb),
        None => srb.complete(Answer::NoDevice),
    }
    FALSE as BOOLEAN
}

/// Does nothing for HwStartIo. Required, and never called: `HwBuildIo` passes no SRB on.
unsafe extern "C" fn hw_start_io(_extension: PVOID, _srb: PSCSI_REQUEST_BLOCK) -> BOOLEAN {
    FALSE as BOOLEAN
}

/// Carries out HwResetBus, DISPATCH_LEVEL. FALSE, "not reset", as long as a backend has requests: TRUE would say that
/// every request has been completed.
unsafe extern "C" fn hw_reset_bus(extension: PVOID, _path: ULONG) -> BOOLEAN {
    // SAFETY: Storport's extension.
    let done = unsafe { adapter_of(extension) }.is_none_or(Adapter::reset);
    BOOLEAN::from(done)
}

/// Control types of HwAdapterControl (SCSI_ADAPTER_CONTROL_TYPE).
mod control {
    use wdk_sys::{_SCSI_ADAPTER_CONTROL_TYPE, SCSI_ADAPTER_CONTROL_TYPE};

    pub(super) const QUERY: SCSI_ADAPTER_CONTROL_TYPE =
        _SCSI_ADAPTER_CONTROL_TYPE::ScsiQuerySupportedControlTypes;
    pub(super) const STOP: SCSI_ADAPTER_CONTROL_TYPE = _SCSI_ADAPTER_CONTROL_TYPE::ScsiStopAdapter;
    pub(super) const RESTART: SCSI_ADAPTER_CONTROL_TYPE = _SCSI_ADAPTER_CONTROL_TYPE::ScsiRestartAdapter;
}

/// Says in the list which control types are served, where `control` is the one that asks for it. Any IRQL.
///
/// # Safety
/// With the type that queries, `list` is valid, with `MaxControlType` entries.
pub(crate) unsafe fn support(control: SCSI_ADAPTER_CONTROL_TYPE, list: PSCSI_SUPPORTED_CONTROL_TYPE_LIST) {
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

/// Carries out HwAdapterControl. PASSIVE_LEVEL to query, up to DIRQL otherwise.
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
        (control::STOP, adapter) => {
            ANCHOR.running.store(null_mut(), Ordering::Release);
            if let Some(adapter) = adapter {
                adapter.stop();
            }
        }
        (control::RESTART, adapter) => {
            ANCHOR.running.store(extension.cast(), Ordering::Release);
            if let Some(adapter) = adapter {
                adapter.unstop();
            }
            // Whether Storport kept the timer through a power state is not documented; asking again replaces
            // it.
            call_timer(extension);
        }
        _ => return _SCSI_ADAPTER_CONTROL_STATUS::ScsiAdapterControlUnsuccessful,
    }
    _SCSI_ADAPTER_CONTROL_STATUS::ScsiAdapterControlSuccess
}

/// Carries out DriverUnload, PASSIVE_LEVEL: the adapter's device is gone. Frees what Storport does not know
/// of, then lets Storport finish.
unsafe extern "C" fn driver_unload(driver: PDRIVER_OBJECT) {
    hal::Platform::wait_no_more();
    remove_adapter();
    let unload = ANCHOR.unload.load(Ordering::Acquire);
    if !unload.is_null() {
        // SAFETY: stored by `register` from Storport's own DriverUnload, of this type.
        let unload: unsafe extern "C" fn(PDRIVER_OBJECT) = unsafe { core::mem::transmute(unload) };
        // SAFETY: called as NT calls it, with the driver object.
        unsafe { unload(driver) };
    }
}
