//! The controller: the FDO on a PCI IDE function, whose children are its two channels (`pciide` on NT).

use core::ptr::null_mut;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use crate::io;
use crate::nt::*;
use crate::storage::child::{self, Ids};
use crate::storage::{fdo, irp as request_packet, policy};

/// The structure behind the device extension of one of this driver's devices.
enum Extension {
    Controller(Controller),
    Channel(Place),
}

/// A controller.
struct Controller {
    device: *mut DeviceObject,
    lower: *mut DeviceObject,
    channels: Vec<*mut DeviceObject>,
}

/// The registers of a channel, which `pciide` gives to `atapi` through its private interface.
#[derive(Clone)]
pub(super) struct Place {
    /// 0 for the primary, 1 for the secondary channel, in compatibility mode.
    pub number: u8,
    /// The I/O port of the channel's bus-master registers.
    pub bus_master: Option<u16>,
    ids: Ids,
}

/// Bytes of bus-master registers for each channel.
const BUS_MASTER_CHANNEL: u16 = 8;
/// Bytes of bus-master registers in all, by which they are told from other port resources.
const BUS_MASTER_BYTES: u32 = 16;

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
        fdo::describe(driver, add_device, dispatch_pnp, dispatch_power);
    }
    status::SUCCESS
}

unsafe fn extension_of<'a>(device: *mut DeviceObject) -> &'a mut Extension {
    // SAFETY: the caller keeps `device` valid for this call.
    unsafe { &mut **(*device).device_extension.cast::<*mut Extension>() }
}

/// Returns the place of the channel with this PDO.
///
/// # Safety
/// `pdo` is a PDO of this driver's.
pub(super) unsafe fn place_of(pdo: *mut DeviceObject) -> Option<Place> {
    // SAFETY: by this function's contract, `pdo` is a PDO of this driver's.
    unsafe {
        match extension_of(pdo) {
            Extension::Channel(place) => Some(place.clone()),
            Extension::Controller(_) => None,
        }
    }
}

unsafe extern "win64" fn add_device(driver: *mut DriverObject, pdo: *mut DeviceObject) -> NtStatus {
    // SAFETY: the caller keeps `driver` and `pdo` valid for this call.
    unsafe {
        let (device, lower) = match fdo::attach(driver, pdo, FILE_DEVICE_CONTROLLER, null_mut()) {
            Ok(attached) => attached,
            Err(status) => return status,
        };
        let controller = Controller { device, lower, channels: Vec::new() };
        let extension = Box::into_raw(Box::new(Extension::Controller(controller)));
        fdo::initialized(device, lower, extension, 0)
    }
}

unsafe extern "win64" fn dispatch_power(device: *mut DeviceObject, irp: *mut Irp) -> NtStatus {
    // SAFETY: the caller keeps `device` and `irp` valid for this call.
    unsafe {
        match extension_of(device) {
            Extension::Channel(_) => child::power(device, irp),
            Extension::Controller(controller) => {
                policy::power(device, controller.lower, irp, policy::NOTHING)
            }
        }
    }
}

unsafe extern "win64" fn dispatch_pnp(device: *mut DeviceObject, irp: *mut Irp) -> NtStatus {
    // SAFETY: the caller keeps `device` and `irp` valid for this call.
    unsafe {
        let controller = match extension_of(device) {
            Extension::Channel(place) => {
                // START, REMOVE, surprise removal: the channel stays as long as its controller does.
                return match child::answer(device, irp, &place.ids) {
                    Some(answered) => answered,
                    None => request_packet::complete(irp, status::SUCCESS, 0),
                };
            }
            Extension::Controller(controller) => controller,
        };
        let location = current_stack_location(irp);
        let lower = controller.lower;
        match (*location).minor_function {
            IRP_MN_START_DEVICE => {
                let mut found = request_packet::forward_and_wait(lower, irp);
                if status::success(found) && controller.channels.is_empty() {
                    found =
                        start(controller, (*location).parameters.start_device.allocated_resources_translated);
                }
                request_packet::complete(irp, found, 0)
            }
            _ if fdo::asks_for_children(irp) => fdo::children(lower, irp, &controller.channels),
            IRP_MN_REMOVE_DEVICE => {
                // PnP has removed the channels by now.
                for channel in controller.channels.drain(..) {
                    drop(Box::from_raw((*channel).device_extension.cast::<*mut Extension>().read()));
                    io::IoDeleteDevice(channel);
                }
                fdo::remove::<Extension>(device, lower, irp)
            }
            _ => fdo::pnp(lower, irp),
        }
    }
}

/// Makes the channels' PDOs. PASSIVE_LEVEL.
unsafe fn start(controller: &mut Controller, resources: *const CmResourceList) -> NtStatus {
    let is_bus_master = |d: &&CmPartialResourceDescriptor| {
        // SAFETY: a port resource has a range.
        d.kind == CM_RESOURCE_TYPE_PORT && unsafe { d.u.generic.length } == BUS_MASTER_BYTES
    };
    // SAFETY: the caller keeps `resources` valid for this call.
    unsafe {
        let bus_master = CmResourceList::partials(resources).iter().find(is_bus_master);
        let bus_master = bus_master.map(|d| d.u.generic.start as u16);
        for number in 0..2u8 {
            let place = Place {
                number,
                bus_master: bus_master.map(|base| base + u16::from(number) * BUS_MASTER_CHANNEL),
                ids: ids(number),
            };
            let extension = Box::into_raw(Box::new(Extension::Channel(place)));
            let driver = (*controller.device).driver_object;
            let Some(pdo) = child::create(driver, FILE_DEVICE_CONTROLLER, extension as usize) else {
                drop(Box::from_raw(extension));
                return status::INSUFFICIENT_RESOURCES;
            };
            controller.channels.push(pdo);
        }
        status::SUCCESS
    }
}

/// Returns the ids of a channel, which are the same whatever controller it is on.
fn ids(number: u8) -> Ids {
    Ids {
        device: "PCIIDE\\IDEChannel".into(),
        hardware: vec!["Internal_IDE_Channel".into(), "*PNP0600".into()],
        compatible: Vec::new(),
        instance: if number == 0 { "0".into() } else { "1".into() },
        description: "IDE Channel".into(),
        location: String::from(if number == 0 { "Primary Channel" } else { "Secondary Channel" }),
        address: number.into(),
        raw: false,
    }
}
