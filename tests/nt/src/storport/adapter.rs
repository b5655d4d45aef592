//! Adapters: Storport's FDO on the miniport's hardware, its start, stop and removal, and the dispatch
//! routines of the miniport's driver object.

use core::mem::zeroed;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use zerocopy::FromZeros;

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;

use super::ddi::*;
use super::initialize::{Miniport, miniport};
use super::interrupt::{self, Line};
use super::request::Requests;
use super::timer::Timers;
use super::unit::{self, Unit};
use super::{request, scan, timer};
use crate::ke::{self, Lock};
use crate::nt::*;
use crate::storage::policy::{self, Steps};
use crate::storage::property::{self, AdapterDescriptor, BUS_TYPE_SCSI, MiniportDescriptor};
use crate::storage::{child, fdo, irp as request_packet};
use crate::verifier::balanced;
use crate::{cm, io, nt, pnp};

/// The structure behind the device extension of one of Storport's devices.
#[repr(C)]
enum Extension {
    Adapter(Box<Adapter>),
    Unit(NonNull<Unit>),
}

/// An adapter.
pub(crate) struct Adapter {
    /// The miniport as it initialized itself.
    pub miniport: Miniport,
    /// Storport's FDO.
    pub device: *mut DeviceObject,
    /// The adapter's PDO.
    pub pdo: *mut DeviceObject,
    /// The device below the FDO.
    pub lower: *mut DeviceObject,
    /// The port number, for `IOCTL_SCSI_GET_ADDRESS`.
    pub number: u32,
    /// `STORAGE_BUS_TYPE`, as the miniport's service has it in its parameters.
    bus_type: u32,
    /// `Parameters\IoTimeoutValue` in seconds, or 0.
    io_timeout: u16,
    /// The configuration, as the miniport's `HwFindAdapter` left it.
    pub configuration: PortConfiguration,
    /// The miniport's per-adapter memory, in units of 16 bytes; not touched by Storport.
    memory: Vec<u128>,
    ranges: Vec<AccessRange>,
    started: bool,
    stop_supported: bool,
    restart_supported: bool,
    /// Connected interrupt, or null.
    pub interrupt: *mut ke::Interrupt,
    /// Level of the interrupt; DISPATCH_LEVEL if there is none.
    pub dirql: Kirql,
    /// Held at DIRQL.
    pub interrupt_lock: KspinLock,
    /// The StartIo lock, held at DISPATCH_LEVEL.
    pub start_lock: KspinLock,
    /// Set by `EnablePassiveInitialization`, the routine to call after `HwInitialize`.
    pub passive_initialize: AtomicPtr<()>,
    /// Requests on their way.
    pub requests: Requests,
    /// The miniport's timer and the watchdog's.
    pub timers: Timers,
    /// The logical units that were found and are not removed yet.
    #[expect(clippy::vec_box, reason = "a unit's PDO holds its address")]
    pub units: Lock<Vec<Box<Unit>>>,
}

// SAFETY: an adapter is used by one processor at a time for what its locks do not cover: PnP IRPs of one
// device come one after the other.
unsafe impl Send for Adapter {}
// SAFETY: as above; requests, timers and units have locks of their own.
unsafe impl Sync for Adapter {}

static NEXT_NUMBER: AtomicU32 = AtomicU32::new(0);

impl Adapter {
    /// Returns the miniport's device extension.
    pub(crate) fn extension(&self) -> Pvoid {
        self.memory.as_ptr().wrapping_add(1).cast_mut().cast()
    }

    /// Returns the adapter whose device extension a miniport passes.
    ///
    /// # Safety
    /// `extension` must be one that Storport gave out.
    pub(crate) unsafe fn of<'a>(extension: Pvoid) -> &'a mut Adapter {
        // The unit before the extension holds the adapter's address.
        // SAFETY: by this function's contract, `extension` is one that Storport gave out.
        unsafe { &mut *extension.cast::<u128>().sub(1).cast::<*mut Adapter>().read() }
    }

    /// Returns true from its start until it is stopped.
    pub(super) fn is_started(&self) -> bool {
        self.started
    }

    /// Returns true if StartIo and the interrupt may run at the same time.
    pub(crate) fn is_full_duplex(&self) -> bool {
        self.configuration.synchronization_model == FULL_DUPLEX
    }

    /// Calls a routine of the miniport's, and holds it to leaving IRQL and spin locks as they were.
    pub(crate) fn guarded<R>(&self, name: &str, routine: impl FnOnce() -> R) -> R {
        let start = self.miniport.hw.hw_start_io.map_or(0, |routine| routine as usize);
        balanced(name, start, routine)
    }

    /// Returns the descriptor for the class driver.
    pub(crate) fn descriptor(&self) -> AdapterDescriptor {
        let pages = self.configuration.number_of_physical_breaks;
        AdapterDescriptor {
            alignment_mask: self.configuration.alignment_mask,
            ..AdapterDescriptor::new(self.bus_type, self.configuration.maximum_transfer_length, pages)
        }
    }

    /// Returns the miniport's descriptor, from NT 6.2 on.
    pub(crate) fn miniport_descriptor(&self) -> Option<MiniportDescriptor> {
        /// `StoragePortCodeSetStorport`.
        const STORPORT: u32 = 2;
        crate::boot::options().nt.is_nt62().then(|| MiniportDescriptor {
            version: size_of::<MiniportDescriptor>() as u32,
            size: size_of::<MiniportDescriptor>() as u32,
            port_driver: STORPORT,
            io_timeout_value: self.io_timeout,
            ..MiniportDescriptor::new_zeroed()
        })
    }
}

/// Returns the extension of a device of Storport's.
unsafe fn extension_of<'a>(device: *mut DeviceObject) -> &'a mut Extension {
    // SAFETY: the caller keeps `device` valid for this call.
    unsafe { &mut **(*device).device_extension.cast::<*mut Extension>() }
}

/// Returns the logical unit of a PDO of Storport's.
///
/// # Safety
/// `device` is a device of a miniport's driver object.
pub(crate) unsafe fn unit_of<'a>(device: *mut DeviceObject) -> Option<&'a Unit> {
    // SAFETY: by this function's contract, `device` is a device of a miniport's driver object.
    unsafe {
        match extension_of(device) {
            Extension::Unit(unit) => Some(unit.as_ref()),
            Extension::Adapter(_) => None,
        }
    }
}

/// Returns a pointer for the device extension of a unit's PDO.
pub(crate) fn unit_extension(unit: NonNull<Unit>) -> usize {
    Box::into_raw(Box::new(Extension::Unit(unit))) as usize
}

/// Frees what [`unit_extension`] made.
///
/// # Safety
/// `device` must be a unit's PDO that is about to be deleted.
pub(crate) unsafe fn free_unit_extension(device: *mut DeviceObject) {
    // SAFETY: by this function's contract, `device` is a unit's PDO that is about to be deleted.
    unsafe {
        drop(Box::from_raw((*device).device_extension.cast::<*mut Extension>().read()));
    }
}

/// Returns `Parameters\BusType` of a miniport's service; without it a SCSI bus.
fn bus_type(driver: *mut DriverObject) -> u32 {
    parameter(driver, "BusType").unwrap_or(BUS_TYPE_SCSI)
}

/// Returns a number below `Parameters` of a miniport's service.
fn parameter(driver: *mut DriverObject, name: &str) -> Option<u32> {
    let service = crate::io::driver::name_of(driver);
    let parameters = alloc::format!("{}\\{service}\\Parameters", cm::SERVICES);
    cm::get(&parameters, name).and_then(|value| value.as_dword())
}

/// `AddDevice` of every miniport.
pub(crate) unsafe extern "win64" fn add_device(
    driver: *mut DriverObject,
    pdo: *mut DeviceObject,
) -> NtStatus {
    // SAFETY: the caller keeps `driver` and `pdo` valid for this call.
    unsafe {
        let (device, lower) = match fdo::attach(driver, pdo, FILE_DEVICE_CONTROLLER, null_mut()) {
            Ok(attached) => attached,
            Err(status) => return status,
        };
        let adapter = Box::new(Adapter {
            miniport: miniport(driver),
            device,
            pdo,
            lower,
            number: NEXT_NUMBER.fetch_add(1, Ordering::Relaxed),
            bus_type: bus_type(driver),
            io_timeout: parameter(driver, "IoTimeoutValue").map_or(0, |seconds| seconds as u16),
            configuration: zeroed(),
            memory: Vec::new(),
            ranges: Vec::new(),
            started: false,
            stop_supported: false,
            restart_supported: false,
            interrupt: null_mut(),
            dirql: DISPATCH_LEVEL,
            interrupt_lock: 0,
            start_lock: 0,
            passive_initialize: AtomicPtr::new(null_mut()),
            requests: Requests::new(),
            timers: Timers::new(),
            units: Lock::new(Vec::new()),
        });
        let extension = Box::into_raw(Box::new(Extension::Adapter(adapter)));
        if let Extension::Adapter(adapter) = &mut *extension {
            request::init(&mut **adapter);
            timer::init(&mut **adapter);
        }
        fdo::initialized(device, lower, extension, DO_DIRECT_IO)
    }
}

/// Handles IRP_MJ_SYSTEM_CONTROL: no WMI here.
pub(crate) unsafe extern "win64" fn dispatch_system_control(
    device: *mut DeviceObject,
    irp: *mut Irp,
) -> NtStatus {
    // SAFETY: the caller keeps `device` and `irp` valid for this call.
    unsafe {
        match extension_of(device) {
            Extension::Adapter(adapter) => request_packet::pass_down(adapter.lower, irp),
            Extension::Unit(_) => request_packet::complete_unchanged(irp),
        }
    }
}

/// Handles IRP_MJ_DEVICE_CONTROL.
pub(crate) unsafe extern "win64" fn dispatch_device_control(
    device: *mut DeviceObject,
    irp: *mut Irp,
) -> NtStatus {
    // SAFETY: the caller keeps `device` and `irp` valid for this call.
    unsafe {
        match extension_of(device) {
            Extension::Unit(unit) => unit::device_control(unit.as_ptr(), irp),
            Extension::Adapter(adapter) => {
                let control = (*current_stack_location(irp)).parameters.device_io_control;
                let length = control.output_buffer_length as usize;
                let (found, information) = match control.io_control_code {
                    property::IOCTL_STORAGE_QUERY_PROPERTY => {
                        property::give(irp, zerocopy::IntoBytes::as_bytes(&adapter.descriptor()), length, 8)
                    }
                    _ => (status::INVALID_DEVICE_REQUEST, 0),
                };
                request_packet::complete(irp, found, information)
            }
        }
    }
}

/// Handles IRP_MJ_SCSI (and IRP_MJ_INTERNAL_DEVICE_CONTROL, which is the same).
pub(crate) unsafe extern "win64" fn dispatch_scsi(device: *mut DeviceObject, irp: *mut Irp) -> NtStatus {
    // SAFETY: the caller keeps `device` and `irp` valid for this call.
    unsafe {
        match extension_of(device) {
            Extension::Unit(unit) => unit::scsi(unit.as_ptr(), irp),
            Extension::Adapter(_) => request_packet::complete(irp, status::INVALID_DEVICE_REQUEST, 0),
        }
    }
}

/// Handles IRP_MJ_POWER.
pub(crate) unsafe extern "win64" fn dispatch_power(device: *mut DeviceObject, irp: *mut Irp) -> NtStatus {
    // SAFETY: the caller keeps `device` and `irp` valid for this call.
    unsafe {
        let adapter = match extension_of(device) {
            Extension::Unit(_) => return child::power(device, irp),
            Extension::Adapter(adapter) => adapter,
        };
        policy::power(device, adapter.lower, irp, Steps { down: fall_asleep, up: wake })
    }
}

/// Stops the adapter before D3, when the miniport has completed what it has. PASSIVE_LEVEL.
unsafe fn fall_asleep(device: *mut DeviceObject) {
    // SAFETY: the caller keeps `device` valid for this call.
    unsafe {
        let Extension::Adapter(adapter) = extension_of(device) else { return };
        let adapter = &raw mut **adapter;
        if (*adapter).started {
            let idle = request::freeze(adapter);
            crate::log!("storport: adapter {} sleeps idle={}", (*adapter).number, u8::from(idle));
            stop(adapter);
        }
    }
}

/// Starts it again in D0. PASSIVE_LEVEL.
unsafe fn wake(device: *mut DeviceObject) {
    // SAFETY: the caller keeps `device` valid for this call.
    unsafe {
        let Extension::Adapter(adapter) = extension_of(device) else { return };
        let adapter = &raw mut **adapter;
        if !(*adapter).started && (*adapter).restart_supported {
            restart(adapter);
        }
        request::thaw(adapter);
    }
}

/// Handles IRP_MJ_PNP.
pub(crate) unsafe extern "win64" fn dispatch_pnp(device: *mut DeviceObject, irp: *mut Irp) -> NtStatus {
    // SAFETY: the caller keeps `device` and `irp` valid for this call.
    unsafe {
        let adapter: *mut Adapter = match extension_of(device) {
            Extension::Unit(unit) => return unit::pnp(unit.as_ptr(), irp),
            Extension::Adapter(adapter) => &raw mut **adapter,
        };
        let location = current_stack_location(irp);
        let lower = (*adapter).lower;
        match (*location).minor_function {
            IRP_MN_START_DEVICE => {
                let mut found = request_packet::forward_and_wait(lower, irp);
                if status::success(found) {
                    found =
                        start(adapter, (*location).parameters.start_device.allocated_resources_translated);
                }
                request_packet::complete(irp, found, 0)
            }
            _ if fdo::asks_for_children(irp) => {
                if (*adapter).started {
                    scan::scan(adapter);
                }
                let devices = unit::report(&*adapter);
                fdo::children(lower, irp, &devices)
            }
            IRP_MN_STOP_DEVICE | IRP_MN_SURPRISE_REMOVAL => {
                stop(adapter);
                fdo::pnp(lower, irp)
            }
            IRP_MN_REMOVE_DEVICE => {
                remove(adapter);
                fdo::remove::<Extension>(device, lower, irp)
            }
            _ => fdo::pnp(lower, irp),
        }
    }
}

/// Starts an adapter with these resources. PASSIVE_LEVEL.
unsafe fn start(adapter: *mut Adapter, resources: *const CmResourceList) -> NtStatus {
    // SAFETY: the caller keeps `adapter` and `resources` valid for this call.
    unsafe {
        let this = &mut *adapter;
        if !this.memory.is_empty() && this.restart_supported {
            restart(adapter);
            return status::SUCCESS;
        }
        if !supports_bus(this) {
            crate::log!("storport: the miniport's PnpInterface does not name the adapter's bus");
            return status::NO_SUCH_DEVICE;
        }
        // One unit more than the miniport asked for, for the way back from its extension to the adapter.
        let units = (this.miniport.hw.device_extension_size as usize).div_ceil(16);
        let mut memory = alloc::vec![0u128; units + 1];
        memory.as_mut_ptr().cast::<*mut Adapter>().write(adapter);
        this.memory = memory;
        let line = configure(this, resources);
        let found = find(this);
        if found != SP_RETURN_FOUND {
            crate::log!("storport: HwFindAdapter returned {found}");
            return status::DEVICE_CONFIGURATION_ERROR;
        }
        if let Some(line) = line {
            let connected = interrupt::connect(adapter, line);
            if !status::success(connected) {
                return connected;
            }
        }
        if !initialize(adapter) {
            interrupt::disconnect(adapter);
            return status::DEVICE_CONFIGURATION_ERROR;
        }
        query_control_types(this);
        this.started = true;
        timer::start(adapter);
        status::SUCCESS
    }
}

/// Tells whether the miniport's service says that it goes by Plug and Play on the adapter's bus: a 1 below
/// `Parameters\PnpInterface`, named by the bus' INTERFACE_TYPE, or by the miniport's own where the bus does not tell. Without
/// it NT takes the miniport for one that looks for its adapters itself. PASSIVE_LEVEL.
unsafe fn supports_bus(adapter: &Adapter) -> bool {
    let (mut bytes, mut length) = ([0; 4], 0);
    // SAFETY: the adapter's PDO, and a buffer of that length.
    let told = unsafe {
        pnp::IoGetDeviceProperty(
            adapter.pdo,
            nt::property::LEGACY_BUS_TYPE,
            4,
            bytes.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    let bus = if status::success(told) {
        i32::from_le_bytes(bytes)
    } else {
        adapter.miniport.hw.adapter_interface_type
    };
    // SAFETY: the FDO is Storport's, of the miniport's driver object.
    let service = io::driver::name_of(unsafe { (*adapter.device).driver_object });
    let interfaces = format!("{}\\{service}\\Parameters\\PnpInterface", cm::SERVICES);
    cm::get(&interfaces, &format!("{bus}")).and_then(|value| value.as_dword()) == Some(1)
}

/// Fills the configuration as the documentation of PORT_CONFIGURATION_INFORMATION says Storport does before
/// `HwFindAdapter`. Returns the interrupt, if the resources hold one.
unsafe fn configure(adapter: &mut Adapter, resources: *const CmResourceList) -> Option<Line> {
    let hw = &adapter.miniport.hw;
    let mut line = None;
    adapter.ranges.clear();
    // SAFETY: the caller keeps `resources` valid for this call.
    unsafe {
        for descriptor in CmResourceList::partials(resources) {
            match descriptor.kind {
                CM_RESOURCE_TYPE_PORT | CM_RESOURCE_TYPE_MEMORY => {
                    let range = descriptor.u.generic;
                    let in_memory = Boolean::from(descriptor.kind == CM_RESOURCE_TYPE_MEMORY);
                    adapter.ranges.push(AccessRange { start: range.start, length: range.length, in_memory });
                }
                CM_RESOURCE_TYPE_INTERRUPT if line.is_none() => {
                    let given = descriptor.u.interrupt;
                    line = Some(Line {
                        vector: given.vector,
                        irql: given.level as u8,
                        affinity: given.affinity,
                        latched: descriptor.flags & CM_RESOURCE_INTERRUPT_LATCHED != 0,
                        shared: descriptor.share_disposition == CM_RESOURCE_SHARE_SHARED,
                    });
                }
                _ => {}
            }
        }
        adapter.ranges.resize(
            adapter.ranges.len().max(hw.number_of_access_ranges as usize),
            AccessRange { start: 0, length: 0, in_memory: FALSE },
        );
        let uninitialized = SP_UNINITIALIZED_VALUE;
        adapter.configuration = PortConfiguration {
            length: size_of::<PortConfiguration>() as u32,
            adapter_interface_type: hw.adapter_interface_type,
            bus_interrupt_level: line.map_or(0, |line| line.irql.into()),
            bus_interrupt_vector: line.map_or(0, |line| line.vector),
            interrupt_mode: line.map_or(0, |line| line.latched.into()),
            maximum_transfer_length: uninitialized,
            number_of_physical_breaks: uninitialized,
            dma_channel: uninitialized,
            dma_port: uninitialized,
            number_of_access_ranges: adapter.ranges.len() as u32,
            access_ranges: adapter.ranges.as_mut_ptr(),
            initiator_bus_id: [-1; 8],
            scatter_gather: TRUE,
            master: TRUE,
            dma_32_bit_addresses: TRUE,
            map_buffers: hw.map_buffers,
            need_physical_addresses: hw.need_physical_addresses,
            tagged_queuing: hw.tagged_queuing,
            auto_request_sense: hw.auto_request_sense,
            multiple_request_per_lu: hw.multiple_request_per_lu,
            maximum_number_of_targets: MAXIMUM_TARGETS,
            maximum_number_of_logical_units: 1,
            dma_channel2: uninitialized,
            dma_port2: uninitialized,
            device_extension_size: hw.device_extension_size,
            specific_lu_extension_size: hw.specific_lu_extension_size,
            srb_extension_size: hw.srb_extension_size,
            dma_64_bit_addresses: DMA64_SYSTEM_SUPPORTED,
            synchronization_model: HALF_DUPLEX,
            ..zeroed()
        };
        line
    }
}

/// Calls `HwFindAdapter`. PASSIVE_LEVEL.
unsafe fn find(adapter: &mut Adapter) -> u32 {
    let Some(routine) = adapter.miniport.hw.hw_find_adapter else { return 0 };
    // The registry holds no driver parameter to pass as ArgumentString.
    let (mut again, mut argument) = (FALSE, 0u8);
    let context = adapter.miniport.context;
    let configuration = &raw mut adapter.configuration;
    let extension = adapter.extension();
    // SAFETY: the miniport gave the routine, to be called with its extension and these structures.
    unsafe {
        adapter.guarded("HwFindAdapter", || {
            routine(extension, context, null_mut(), &raw mut argument, configuration, &raw mut again)
        })
    }
}

/// Calls `HwInitialize`, and the passive routine if the miniport enabled one.
unsafe fn initialize(adapter: *mut Adapter) -> bool {
    // SAFETY: the caller keeps `adapter` valid for this call.
    unsafe {
        let this = &*adapter;
        let Some(routine) = this.miniport.hw.hw_initialize else { return false };
        let extension = this.extension();
        let done =
            interrupt::synchronized(adapter, || this.guarded("HwInitialize", || routine(extension)) != FALSE);
        let passive = this.passive_initialize.load(Ordering::Acquire);
        if !done || passive.is_null() {
            return done;
        }
        let passive: HwPassiveInitialize = core::mem::transmute(passive);
        this.guarded("HwPassiveInitialize", || passive(extension)) != FALSE
    }
}

/// Asks which control types the miniport supports. PASSIVE_LEVEL.
unsafe fn query_control_types(adapter: &mut Adapter) {
    let mut list =
        SupportedControlTypes { max_control_type: CONTROL_TYPES as u32, supported: [FALSE; CONTROL_TYPES] };
    // SAFETY: the list lives here for the call and has room for what it asks about.
    let answer = unsafe { control(adapter, QUERY_SUPPORTED_CONTROL_TYPES, (&raw mut list).cast()) };
    let supports = |kind: u32| answer == 0 && list.supported[kind as usize] != FALSE;
    (adapter.stop_supported, adapter.restart_supported) = (supports(STOP_ADAPTER), supports(RESTART_ADAPTER));
}

/// Calls `HwAdapterControl`; 0 is success.
unsafe fn control(adapter: *const Adapter, kind: u32, parameters: Pvoid) -> u32 {
    // SAFETY: the caller keeps `adapter` and `parameters` valid for this call.
    unsafe {
        let this = &*adapter;
        let extension = this.extension();
        match this.miniport.hw.hw_adapter_control {
            Some(routine) => this.guarded("HwAdapterControl", || routine(extension, kind, parameters)),
            None => 1,
        }
    }
}

/// Stops an adapter that is started: no request is on its way, or the miniport has lost one.
unsafe fn stop(adapter: *mut Adapter) {
    // SAFETY: the caller keeps `adapter` valid for this call.
    unsafe {
        if !core::mem::replace(&mut (*adapter).started, false) {
            return;
        }
        if request::any(&*adapter) {
            request::reset_bus(adapter, 0);
        }
        request::assert_none(&*adapter);
        timer::stop(adapter);
        if (*adapter).stop_supported {
            interrupt::synchronized(adapter, || control(adapter, STOP_ADAPTER, null_mut()));
        }
    }
}

/// Starts an adapter that was stopped and supports that.
unsafe fn restart(adapter: *mut Adapter) {
    // SAFETY: the caller keeps `adapter` valid for this call.
    unsafe {
        interrupt::synchronized(adapter, || control(adapter, RESTART_ADAPTER, null_mut()));
        (*adapter).started = true;
        timer::start(adapter);
    }
}

/// Undoes `AddDevice` and START, except for the device object.
unsafe fn remove(adapter: *mut Adapter) {
    // SAFETY: the caller keeps `adapter` valid for this call.
    unsafe {
        stop(adapter);
        interrupt::disconnect(adapter);
        if let Some(free) = (*adapter).miniport.hw.hw_free_adapter_resources
            && !(*adapter).memory.is_empty()
        {
            let extension = (*adapter).extension();
            (*adapter).guarded("HwFreeAdapterResources", || free(extension));
        }
        unit::remove_all(adapter);
    }
}
