//! The root enumerator: devices that no bus reports, such as the PCI host bridge.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ptr::null_mut;

use super::{enumerate, node, notification, remove, serialized, start};
use crate::ke::Lock;
use crate::nt::*;
use crate::storage::child::{self, Ids};
use crate::storage::irp;
use crate::{ex, io, ob};

/// A root device: its ids and its resources.
struct Root {
    ids: Ids,
    resources: Vec<CmPartialResourceDescriptor>,
}

static ROOTS: Lock<Vec<(usize, Root)>> = Lock::new(Vec::new());
static DRIVER: Lock<usize> = Lock::new(0);

/// Starts the PnP manager.
///
/// # Safety
/// Called once, at `PASSIVE_LEVEL`.
pub(crate) unsafe fn init() {
    super::init_lock();
    notification::init();
    // SAFETY: by this function's contract, it is called once, at `PASSIVE_LEVEL`.
    unsafe {
        *DRIVER.lock() = io::create_builtin_driver("PnpManager", driver_entry) as usize;
    }
}

unsafe extern "win64" fn driver_entry(driver: *mut DriverObject, _: *mut UnicodeString) -> NtStatus {
    // SAFETY: the caller keeps `driver` valid for this call.
    unsafe {
        (*driver).major_function[usize::from(IRP_MJ_PNP)] = Some(pnp);
        (*driver).major_function[usize::from(IRP_MJ_POWER)] = Some(power);
    }
    status::SUCCESS
}

unsafe extern "win64" fn power(pdo: *mut DeviceObject, packet: *mut Irp) -> NtStatus {
    // SAFETY: the caller keeps `pdo` and `packet` valid for this call.
    unsafe { child::power(pdo, packet) }
}

unsafe extern "win64" fn pnp(pdo: *mut DeviceObject, packet: *mut Irp) -> NtStatus {
    let (ids, resources) = {
        let roots = ROOTS.lock();
        let root = roots.iter().find(|(device, _)| *device == pdo as usize);
        let (_, root) = root.expect("a root device");
        (root.ids.clone(), root.resources.clone())
    };
    // SAFETY: the caller keeps `pdo` and `packet` valid for this call.
    unsafe {
        if (*current_stack_location(packet)).minor_function == IRP_MN_QUERY_RESOURCES {
            let (found, information) = resource_list(&resources, INTERFACE_TYPE_INTERNAL, 0);
            return irp::complete(packet, found, information);
        }
        if let Some(done) = child::answer(pdo, packet, &ids) {
            return done;
        }
        irp::complete(packet, status::SUCCESS, 0)
    }
}

/// Returns a resource list in pool, as the answer to IRP_MN_QUERY_RESOURCES.
///
/// # Safety
/// IRQL ≤ `APC_LEVEL`.
pub(crate) unsafe fn resource_list(
    descriptors: &[CmPartialResourceDescriptor],
    interface_type: i32,
    bus_number: u32,
) -> (NtStatus, usize) {
    if descriptors.is_empty() {
        return (status::SUCCESS, 0);
    }
    let size = size_of::<CmResourceList>() + size_of_val(descriptors);
    let list: *mut CmResourceList = ex::ExAllocatePoolWithTag(1, size, u32::from_le_bytes(*b"PnpR")).cast();
    if list.is_null() {
        return (status::INSUFFICIENT_RESOURCES, 0);
    }
    // SAFETY: the caller is at IRQL ≤ `APC_LEVEL`.
    unsafe {
        *list = CmResourceList {
            count: 1,
            interface_type,
            bus_number,
            version: 1,
            revision: 1,
            partial_count: descriptors.len() as u32,
        };
        let first: *mut u8 = list.add(1).cast();
        core::ptr::copy_nonoverlapping(descriptors.as_ptr().cast(), first, size_of_val(descriptors));
        (status::SUCCESS, list as usize)
    }
}

/// Returns the list of a device that requires these resources, in pool, as the answer to
/// IRP_MN_QUERY_RESOURCE_REQUIREMENTS.
///
/// # Safety
/// IRQL ≤ `APC_LEVEL`.
pub(crate) unsafe fn requirements_list(
    resources: &[CmPartialResourceDescriptor],
    interface_type: i32,
    bus_number: u32,
) -> (NtStatus, usize) {
    if resources.is_empty() {
        return (status::SUCCESS, 0);
    }
    let descriptors: Vec<_> = resources.iter().map(IoResourceDescriptor::fixed).collect();
    let (header, list) = requirements(interface_type, bus_number, &descriptors);
    let tag = u32::from_le_bytes(*b"PnpR");
    let answer: *mut IoResourceRequirementsList =
        ex::ExAllocatePoolWithTag(1, header.list_size as usize, tag).cast();
    if answer.is_null() {
        return (status::INSUFFICIENT_RESOURCES, 0);
    }
    // SAFETY: the caller is at IRQL ≤ `APC_LEVEL`.
    unsafe {
        *answer = header;
        let alternative: *mut IoResourceList = answer.add(1).cast();
        *alternative = list;
        descriptors.as_ptr().copy_to_nonoverlapping(alternative.add(1).cast(), descriptors.len());
        (status::SUCCESS, answer as usize)
    }
}

/// Adds a root device with these hardware ids, the first being its device id, and starts it and what is below
/// it. Returns its PDO.
///
/// # Safety
/// IRQL `PASSIVE_LEVEL`.
pub(crate) unsafe fn add_device(
    enumerator: &str,
    hardware: &[&str],
    compatible: &[&str],
    resources: Vec<CmPartialResourceDescriptor>,
) -> *mut DeviceObject {
    // SAFETY: the caller is at IRQL `PASSIVE_LEVEL`.
    unsafe {
        let pdo = report_device(enumerator, hardware, compatible, resources);
        start_device(pdo);
        pdo
    }
}

/// Adds a root device whose stack is built later. Returns its PDO.
///
/// # Safety
/// IRQL `PASSIVE_LEVEL`.
pub(crate) unsafe fn report_device(
    enumerator: &str,
    hardware: &[&str],
    compatible: &[&str],
    resources: Vec<CmPartialResourceDescriptor>,
) -> *mut DeviceObject {
    let driver = *DRIVER.lock() as *mut DriverObject;
    let mut pdo = null_mut();
    // SAFETY: the caller is at IRQL `PASSIVE_LEVEL`.
    unsafe {
        let made = io::IoCreateDevice(
            driver,
            0,
            null_mut(),
            FILE_DEVICE_CONTROLLER,
            FILE_AUTOGENERATED_DEVICE_NAME,
            FALSE,
            &raw mut pdo,
        );
        assert!(status::success(made), "a root device");
        let strings = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<String>>();
        let ids = Ids {
            device: format!("{enumerator}\\{}", hardware[0].rsplit('\\').next().unwrap_or_default()),
            hardware: strings(hardware),
            compatible: strings(compatible),
            instance: format!("{}", ROOTS.lock().len()),
            description: String::new(),
            location: String::new(),
            address: u32::MAX,
            raw: false,
        };
        ROOTS.lock().push((pdo as usize, Root { ids, resources }));
        (*pdo).flags &= !DO_DEVICE_INITIALIZING;
        serialized(|| {
            ob::reference(pdo.cast());
            node::add(enumerate::identify(pdo, null_mut()).expect("a root device has ids"));
        });
        pdo
    }
}

/// Starts a device that was reported, and what is below it.
///
/// # Safety
/// `pdo` came from [`report_device`]. IRQL `PASSIVE_LEVEL`.
pub(crate) unsafe fn start_device(pdo: *mut DeviceObject) {
    // SAFETY: by this function's contract, `pdo` came from [`report_device`]. IRQL `PASSIVE_LEVEL`.
    unsafe {
        serialized(|| {
            if start::start(pdo) {
                let node = node::of(pdo).expect("the node was just started");
                crate::log!("started {} stack={}", node.instance, start::describe(pdo));
                enumerate::enumerate(pdo);
            }
        });
    }
}

/// Removes a root device in order; whether its drivers agreed.
///
/// # Safety
/// `pdo` came from [`add_device`]. IRQL `PASSIVE_LEVEL`.
pub(crate) unsafe fn remove_device(pdo: *mut DeviceObject) -> bool {
    // SAFETY: by this function's contract, `pdo` came from [`add_device`]. IRQL `PASSIVE_LEVEL`.
    let gone = unsafe { serialized(|| remove::orderly(pdo)) };
    if gone {
        // What comes in its place has its instance, and so its links.
        ROOTS.lock().retain(|(device, _)| *device != pdo as usize);
    }
    gone
}
