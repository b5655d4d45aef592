//! The bus: an FDO on the host bridge, a PDO for each function.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicU8, Ordering};

use protocol::Controller;

use super::config::{Place, Words};
use super::function::{CLASS_IDE, CLASS_SCSI, COMMAND, DECODE, Header, resources};
use crate::ex::worker::Work;
use crate::ke::Lock;
use crate::nt::*;
use crate::storage::child::{self, Ids};
use crate::storage::fdo;
use crate::storage::irp;
use crate::storage::policy;
use crate::{boot, ex, io, ke, report};

/// A device of this driver's.
enum Extension {
    Bus { lower: *mut DeviceObject, number: u8 },
    Function(Function),
}

struct Function {
    place: Place,
    header: Header,
    ids: Ids,
    resources: Vec<CmPartialResourceDescriptor>,
    /// Still there at the last enumeration.
    present: bool,
    /// Configuration space from D3 on, which the function has lost if the system was in S3.
    asleep: Option<Box<Words>>,
}

/// Every function's PDO.
static FUNCTIONS: Lock<Vec<usize>> = Lock::new(Vec::new());

/// Starts the driver: its DriverEntry.
///
/// # Safety
/// Called by the I/O manager with the driver object.
pub(crate) unsafe extern "win64" fn driver_entry(
    driver: *mut DriverObject,
    _: *mut UnicodeString,
) -> NtStatus {
    // SAFETY: by this function's contract, it is called by the I/O manager with the driver object.
    unsafe {
        (*(*driver).driver_extension).add_device = Some(add_device);
        (*driver).major_function[usize::from(IRP_MJ_PNP)] = Some(pnp);
        (*driver).major_function[usize::from(IRP_MJ_POWER)] = Some(power);
    }
    status::SUCCESS
}

unsafe fn extension<'a>(device: *mut DeviceObject) -> &'a mut Extension {
    // SAFETY: the caller keeps `device` valid for this call.
    unsafe { &mut **(*device).device_extension.cast::<*mut Extension>() }
}

unsafe fn create(
    driver: *mut DriverObject,
    characteristics: u32,
    inner: Extension,
) -> Option<*mut DeviceObject> {
    let mut device = null_mut();
    // SAFETY: the caller keeps `driver` valid for this call.
    unsafe {
        let made = io::IoCreateDevice(
            driver,
            size_of::<usize>() as u32,
            null_mut(),
            FILE_DEVICE_BUS_EXTENDER,
            characteristics,
            FALSE,
            &raw mut device,
        );
        if !status::success(made) {
            return None;
        }
        (*device).device_extension.cast::<*mut Extension>().write(Box::into_raw(Box::new(inner)));
        Some(device)
    }
}

unsafe extern "win64" fn add_device(driver: *mut DriverObject, pdo: *mut DeviceObject) -> NtStatus {
    // SAFETY: the caller keeps `driver` and `pdo` valid for this call.
    unsafe {
        let Some(bus) = create(driver, 0, Extension::Bus { lower: null_mut(), number: 0 }) else {
            return status::INSUFFICIENT_RESOURCES;
        };
        let attached = io::IoAttachDeviceToDeviceStack(bus, pdo);
        *extension(bus) = Extension::Bus { lower: attached, number: 0 };
        (*bus).flags &= !DO_DEVICE_INITIALIZING;
        status::SUCCESS
    }
}

unsafe extern "win64" fn power(device: *mut DeviceObject, packet: *mut Irp) -> NtStatus {
    // SAFETY: the caller keeps `device` and `packet` valid for this call.
    unsafe {
        match extension(device) {
            Extension::Function(function) => {
                function.power(packet);
                child::power(device, packet)
            }
            Extension::Bus { lower, .. } => policy::power(device, *lower, packet, policy::NOTHING),
        }
    }
}

impl Function {
    /// Takes the function out of the way before the system sleeps, and sets it up again in D0, as pci.sys does at the
    /// request of the power policy's owner.
    unsafe fn power(&mut self, packet: *mut Irp) {
        // SAFETY: the caller owns the IRP.
        let (minor, power) = unsafe {
            let location = current_stack_location(packet);
            ((*location).minor_function, (*location).parameters.power)
        };
        if minor != IRP_MN_SET_POWER || power.kind != DEVICE_POWER_STATE {
            return;
        }
        if power.state == POWER_DEVICE_D0 {
            if let Some(words) = self.asleep.take() {
                self.place.restore(&words);
            }
        } else if power.shutdown_type == POWER_ACTION_SLEEP {
            self.asleep = Some(Box::new(self.place.save()));
            self.place.write(COMMAND, self.place.read(COMMAND) & 0xFFFF & !DECODE);
        }
    }
}

unsafe extern "win64" fn pnp(device: *mut DeviceObject, packet: *mut Irp) -> NtStatus {
    // SAFETY: the caller keeps `device` and `packet` valid for this call.
    unsafe {
        match extension(device) {
            Extension::Function(function) => function_pnp(device, function, packet),
            Extension::Bus { lower, number } => bus_pnp(device, *lower, number, packet),
        }
    }
}

unsafe fn bus_pnp(
    bus: *mut DeviceObject,
    lower: *mut DeviceObject,
    number: &mut u8,
    packet: *mut Irp,
) -> NtStatus {
    // SAFETY: the caller keeps `bus`, `lower` and `packet` valid for this call.
    unsafe {
        let location = current_stack_location(packet);
        match (*location).minor_function {
            IRP_MN_START_DEVICE => {
                let raw = (*location).parameters.start_device.allocated_resources;
                let is_number =
                    |part: &&CmPartialResourceDescriptor| part.kind == CM_RESOURCE_TYPE_BUS_NUMBER;
                if let Some(part) = CmResourceList::partials(raw).iter().find(is_number) {
                    *number = part.u.bus_number.start as u8;
                }
                let found = irp::forward_and_wait(lower, packet);
                irp::complete(packet, found, 0)
            }
            // From here on the buses have nothing on them (`phase::start_boot_drivers`).
            _ if fdo::asks_for_children(packet) && boot::options().silent_roots && *number >= 2 => {
                irp::complete(packet, status::INSUFFICIENT_RESOURCES, 0)
            }
            _ if fdo::asks_for_children(packet) => {
                let devices = scan((*bus).driver_object, *number);
                if boot::options().late_relations {
                    answer_late(lower, packet, &devices)
                } else {
                    fdo::children(lower, packet, &devices)
                }
            }
            IRP_MN_REMOVE_DEVICE => fdo::remove::<Extension>(bus, lower, packet),
            _ => fdo::pnp(lower, packet),
        }
    }
}

/// Answers like a bus that has to ask its hardware first. The answer comes when the dispatch routine has long
/// returned, on another thread and at `DISPATCH_LEVEL`, where whoever waits for it above may do no more than
/// say so.
unsafe fn answer_late(lower: *mut DeviceObject, packet: *mut Irp, devices: &[*mut DeviceObject]) -> NtStatus {
    // SAFETY: the caller keeps `lower` and `packet` valid for this call.
    unsafe {
        unsafe extern "win64" fn answer(context: Pvoid) {
            // SAFETY: the caller keeps `context` valid for this call.
            unsafe {
                let (lower, packet) = *Box::from_raw(context.cast::<(*mut DeviceObject, *mut Irp)>());
                // A worker runs before the thread that gave it work; whoever does not wait for the answer must be
                // ahead of it.
                ke::delay(10);
                irp::forward_and_wait(lower, packet);
                let old = ke::KeRaiseIrqlToDpcLevel();
                irp::complete_unchanged(packet);
                ke::KeLowerIrql(old);
                crate::log!("the PCI bus answered for its children late");
            }
        }
        let (found, information) = child::relations(devices, (*packet).io_status.information as *mut _);
        (*packet).io_status = IoStatusBlock::new(found, information);
        if !status::success(found) {
            return irp::complete_unchanged(packet);
        }
        mark_irp_pending(packet);
        ex::worker::queue(ex::worker::Work {
            routine: answer,
            context: Box::into_raw(Box::new((lower, packet))).cast(),
        });
        status::PENDING
    }
}

/// Looks at every place of a bus; makes PDOs of new functions, notes the missing ones, returns those that are
/// there.
unsafe fn scan(driver: *mut DriverObject, bus: u8) -> Vec<*mut DeviceObject> {
    let mut known: Vec<*mut DeviceObject> =
        FUNCTIONS.lock().iter().map(|&pdo| pdo as *mut DeviceObject).collect();
    // SAFETY: the caller keeps `driver` valid for this call.
    unsafe {
        known.retain(|&pdo| matches!(extension(pdo), Extension::Function(f) if f.place.bus == bus));
        for device in 0..32 {
            let single = |function| Place { bus, device, function };
            if !single(0).exists() {
                continue;
            }
            let functions = if single(0).read(0x0C) & 0x0080_0000 != 0 { 8 } else { 1 };
            for place in (0..functions).map(single) {
                let Some(header) = Header::read(place) else { continue };
                if boot::options().unreported && header.class >> 8 == CLASS_IDE {
                    continue;
                }
                let is_this = |pdo: &&*mut DeviceObject| {
                    let of = extension(**pdo);
                    matches!(of, Extension::Function(f) if f.place == place && f.header.device == header.device)
                };
                if known.iter().any(|pdo| is_this(&pdo)) {
                    continue;
                }
                let inner = Function {
                    place,
                    header,
                    ids: header.ids(place),
                    resources: resources(place, &header),
                    present: true,
                    asleep: None,
                };
                if let Some(pdo) = create(driver, FILE_AUTOGENERATED_DEVICE_NAME, Extension::Function(inner))
                {
                    (*pdo).flags &= !DO_DEVICE_INITIALIZING;
                    FUNCTIONS.lock().push(pdo as usize);
                    known.push(pdo);
                }
            }
        }
        known.retain(|&pdo| {
            let Extension::Function(function) = extension(pdo) else { return false };
            function.present =
                Header::read(function.place).is_some_and(|h| h.device == function.header.device);
            function.present
        });
    }
    known
}

/// Returns the base of the Xen platform device's memory BAR, if the device is there and has one.
pub(crate) fn platform_memory() -> Option<u64> {
    /// 5853:0001, and its second BAR.
    const XEN: u32 = 0x0001_5853;
    const MEMORY_BAR: u8 = 0x14;
    let place = |device| Place { bus: 0, device, function: 0 };
    let platform = (0..32).map(place).find(|place| place.read(0) == XEN)?;
    Some(u64::from(platform.read(MEMORY_BAR) & !0xF)).filter(|base| *base != 0)
}

/// Returns true if a SCSI controller stands in configuration space.
pub(crate) fn has_scsi() -> bool {
    let place = |device| Place { bus: 0, device, function: 0 };
    (0..32).any(|device| Header::read(place(device)).is_some_and(|header| header.class >> 8 == CLASS_SCSI))
}

/// Returns true if the request is the first of its kind that asks the controller of the word `unidentified` what it
/// is. A filter above the bus asks before the PnP manager does.
unsafe fn is_unidentified(function: &Function, location: *mut IoStackLocation) -> bool {
    static ASKED: AtomicU8 = AtomicU8::new(0);
    let class = match boot::options().unidentified {
        Some(Controller::Ide) => CLASS_IDE,
        Some(Controller::Scsi) => CLASS_SCSI,
        None => return false,
    };
    // SAFETY: the caller keeps `location` valid for this call.
    let kind = unsafe {
        match (*location).minor_function {
            IRP_MN_READ_CONFIG => 1,
            IRP_MN_QUERY_ID if (*location).parameters.query_id.id_type == BUS_QUERY_DEVICE_ID => 2,
            _ => return false,
        }
    };
    function.header.class >> 8 == class && ASKED.fetch_or(kind, Ordering::Relaxed) & kind == 0
}

/// Completes a request that was pended. PASSIVE_LEVEL.
unsafe extern "win64" fn refuse(packet: Pvoid) {
    // SAFETY: the context is the request, which is this driver's until it is completed.
    unsafe { irp::complete(packet.cast(), status::NOT_SUPPORTED, 0) };
}

unsafe fn function_pnp(pdo: *mut DeviceObject, function: &mut Function, packet: *mut Irp) -> NtStatus {
    // SAFETY: the caller keeps `pdo` and `packet` valid for this call.
    unsafe {
        let location = current_stack_location(packet);
        if is_unidentified(function, location) {
            return irp::complete(packet, status::INSUFFICIENT_RESOURCES, 0);
        }
        match (*location).minor_function {
            IRP_MN_QUERY_RESOURCES => {
                let (found, information) = crate::pnp::resource_list(
                    &function.resources,
                    INTERFACE_TYPE_PCI_BUS,
                    function.place.bus.into(),
                );
                return irp::complete(packet, found, information);
            }
            IRP_MN_QUERY_RESOURCE_REQUIREMENTS => {
                let (found, information) = crate::pnp::requirements_list(
                    &function.resources,
                    INTERFACE_TYPE_PCI_BUS,
                    function.place.bus.into(),
                );
                return irp::complete(packet, found, information);
            }
            IRP_MN_QUERY_BUS_INFORMATION => {
                let tag = u32::from_le_bytes(*b"PciB");
                let answer: *mut PnpBusInformation =
                    ex::ExAllocatePoolWithTag(1, size_of::<PnpBusInformation>(), tag).cast();
                if answer.is_null() {
                    return irp::complete(packet, status::INSUFFICIENT_RESOURCES, 0);
                }
                *answer = PnpBusInformation {
                    bus_type_guid: GUID_BUS_TYPE_PCI,
                    legacy_bus_type: INTERFACE_TYPE_PCI_BUS,
                    bus_number: function.place.bus.into(),
                };
                return irp::complete(packet, status::SUCCESS, answer as usize);
            }
            // Documented for children, and nowhere said to work before they are started.
            IRP_MN_READ_CONFIG if !boot::options().no_read_config => {
                let config = (*location).parameters.read_write_config;
                let read = super::config::HalGetBusDataByOffset(
                    PCI_CONFIGURATION,
                    function.place.bus.into(),
                    u32::from(function.place.device) | u32::from(function.place.function) << 5,
                    config.buffer,
                    config.offset,
                    config.length,
                );
                return irp::complete(packet, status::SUCCESS, read as usize);
            }
            // Later, and with an error: a bus may pend any request but a few.
            IRP_MN_READ_CONFIG => {
                mark_irp_pending(packet);
                ex::worker::queue(Work { routine: refuse, context: packet.cast() });
                return status::PENDING;
            }
            _ => {}
        }
        let minor = (*location).minor_function;
        if let Some(done) = child::answer(pdo, packet, &function.ids) {
            return done;
        }
        let place = function.place;
        match minor {
            IRP_MN_START_DEVICE => {
                let lists = (*location).parameters.start_device;
                if let Err(cause) = super::start::check(place, &function.resources, lists) {
                    crate::log!(
                        "pci: {:02x}:{:02x}.{} is not started: {cause}",
                        place.bus,
                        place.device,
                        place.function
                    );
                    return irp::complete(packet, status::INVALID_PARAMETER, 0);
                }
                place.write(COMMAND, place.read(COMMAND) & 0xFFFF | DECODE);
            }
            IRP_MN_REMOVE_DEVICE => {
                place.write(COMMAND, place.read(COMMAND) & 0xFFFF & !DECODE);
                if !function.present {
                    FUNCTIONS.lock().retain(|&known| known != pdo as usize);
                    let done = irp::complete(packet, status::SUCCESS, 0);
                    drop(Box::from_raw((*pdo).device_extension.cast::<*mut Extension>().read()));
                    io::IoDeleteDevice(pdo);
                    return done;
                }
            }
            _ => {}
        }
        irp::complete(packet, status::SUCCESS, 0)
    }
}

/// Tells which of the bus's functions reached the PnP manager and which were taken out on the way up. Says so
/// once for each function and outcome.
///
/// # Safety
/// `bus` is a PDO, `reported` its relations as they arrived.
pub(crate) unsafe fn report_relations(bus: *mut DeviceObject, reported: &[*mut DeviceObject]) {
    static SAID: Lock<Vec<(usize, bool)>> = Lock::new(Vec::new());
    // SAFETY: by this function's contract, `bus` is a PDO, `reported` its relations as they arrived.
    unsafe {
        let above = (*bus).attached_device;
        let is_ours = !above.is_null() && crate::io::driver::name_of((*above).driver_object) == "pci";
        if !is_ours {
            return;
        }
        let Extension::Bus { number, .. } = *extension(above) else { return };
        let all: Vec<usize> = FUNCTIONS.lock().clone();
        for pdo in all {
            let hidden = !reported.contains(&(pdo as *mut DeviceObject));
            let Extension::Function(Function { place, header, present: true, .. }) =
                extension(pdo as *mut DeviceObject)
            else {
                continue;
            };
            if place.bus != number {
                continue;
            }
            let mut said = SAID.lock();
            if said.contains(&(pdo, hidden)) {
                continue;
            }
            said.push((pdo, hidden));
            drop(said);
            report!(
                "pci bdf={:02x}:{:02x}.{} ids={:04x}:{:04x} seen=1 hidden={}",
                place.bus,
                place.device,
                place.function,
                header.vendor,
                header.device,
                u8::from(hidden)
            );
        }
    }
}
