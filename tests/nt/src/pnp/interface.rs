//! Device interfaces: registered by drivers, enabled and disabled, found by class.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, Ordering};

use super::{node, notification};
use crate::ke::Lock;
use crate::ldr::gate;
use crate::mm::pool;
use crate::nt::*;
use crate::ob::{self, namespace};

struct Interface {
    class: Guid,
    pdo: usize,
    link: String,
    enabled: bool,
}

static INTERFACES: Lock<Vec<Interface>> = Lock::new(Vec::new());

const TAG: u32 = u32::from_le_bytes(*b"PnpI");

unsafe fn new_string(text: &[u16], driver: usize) -> Option<*mut u16> {
    let memory: *mut u16 = pool::allocate(pool::Type::Paged, size_of_val(text), TAG, driver).cast();
    if memory.is_null() {
        return None;
    }
    // SAFETY: `memory` is new and has room for the text and its terminator.
    unsafe {
        core::ptr::copy_nonoverlapping(text.as_ptr(), memory, text.len());
    }
    Some(memory)
}

/// `IoRegisterDeviceInterface`. IRQL `PASSIVE_LEVEL`. The link's buffer is the caller's to free.
///
/// # Safety
/// `pdo` is a PDO, `class` readable, `reference` null or valid, `link` writable.
pub(crate) unsafe extern "win64" fn IoRegisterDeviceInterface(
    pdo: *mut DeviceObject,
    class: *const Guid,
    reference: *mut UnicodeString,
    link: *mut UnicodeString,
) -> NtStatus {
    let driver = gate::caller();
    // SAFETY: by this function's contract, `pdo` is a PDO, `class` readable, `reference` null or valid,
    // `link` writable.
    unsafe {
        *link = UnicodeString::EMPTY;
        let (Some(node), Some(name)) = (node::of(pdo), ob::name(pdo.cast())) else {
            return status::INVALID_DEVICE_REQUEST;
        };
        let instance = node.instance.replace('\\', "#");
        let mut text = format!("\\??\\{instance}#{}", (*class).braced().to_lowercase());
        let mut target = name;
        if !reference.is_null() && (*reference).length > 0 {
            let reference = (*reference).text();
            text = format!("{text}\\{reference}");
            target = format!("{target}\\{reference}");
        }
        let mut interfaces = INTERFACES.lock();
        match interfaces.iter_mut().find(|i| i.link.eq_ignore_ascii_case(&text)) {
            Some(interface) if interface.pdo == pdo as usize => {}
            // Another device in the place of one that has gone.
            Some(interface) => {
                interface.pdo = pdo as usize;
                namespace::remove(&text);
                namespace::link(&text, &target);
            }
            None => {
                namespace::link(&text, &target);
                interfaces.push(Interface {
                    class: *class,
                    pdo: pdo as usize,
                    link: text.clone(),
                    enabled: false,
                });
            }
        }
        drop(interfaces);
        let units: Vec<u16> = text.encode_utf16().chain([0]).collect();
        let Some(buffer) = new_string(&units, driver) else { return status::INSUFFICIENT_RESOURCES };
        let length = ((units.len() - 1) * 2) as u16;
        *link = UnicodeString { length, maximum_length: length + 2, buffer };
        status::SUCCESS
    }
}

/// `IoSetDeviceInterfaceState`: whoever asked to be told is told by the event worker, later. IRQL
/// `PASSIVE_LEVEL`.
///
/// # Safety
/// `link` is valid.
pub(crate) unsafe extern "win64" fn IoSetDeviceInterfaceState(
    link: *mut UnicodeString,
    enable: Boolean,
) -> NtStatus {
    // SAFETY: by this function's contract, `link` is valid.
    let text = unsafe { (*link).text() };
    let changed = {
        let mut interfaces = INTERFACES.lock();
        let Some(interface) = interfaces.iter_mut().find(|i| i.link.eq_ignore_ascii_case(&text)) else {
            return status::OBJECT_NAME_NOT_FOUND;
        };
        let changed = interface.enabled != (enable != FALSE);
        interface.enabled = enable != FALSE;
        changed.then_some(interface.class)
    };
    match changed {
        Some(class) => {
            notification::changed(class, text, enable != FALSE);
            status::SUCCESS
        }
        None if enable != FALSE => status::OBJECT_NAME_EXISTS,
        None => status::OBJECT_NAME_NOT_FOUND,
    }
}

/// Disables what a device's driver left enabled: PnP does so when the device goes.
pub(super) fn disable_all(pdo: *mut DeviceObject) {
    let gone: Vec<(Guid, String)> = {
        let mut interfaces = INTERFACES.lock();
        let enabled = interfaces.iter_mut().filter(|i| i.pdo == pdo as usize && i.enabled);
        enabled
            .map(|interface| {
                interface.enabled = false;
                (interface.class, interface.link.clone())
            })
            .collect()
    };
    for (class, link) in gone {
        notification::changed(class, link, false);
    }
}

/// Returns the links of a class's enabled interfaces.
pub(crate) fn enabled(class: &Guid) -> Vec<String> {
    let interfaces = INTERFACES.lock();
    interfaces.iter().filter(|i| i.class == *class && i.enabled).map(|i| i.link.to_string()).collect()
}

/// Enables one more interface of a class for each device of a driver's that has one, as a filter may do on its own.
///
/// # Safety
/// IRQL `PASSIVE_LEVEL`; the devices stay during the call.
pub(crate) unsafe fn enable_again(class: &Guid, driver: *mut DriverObject) {
    let devices: Vec<usize> = {
        let interfaces = INTERFACES.lock();
        interfaces.iter().filter(|i| i.class == *class && i.enabled).map(|i| i.pdo).collect()
    };
    for pdo in devices.into_iter().map(|pdo| pdo as *mut DeviceObject) {
        // SAFETY: by this function's contract; the interfaces of a device that has gone are disabled.
        unsafe {
            if (*pdo).driver_object != driver {
                continue;
            }
            let units: Vec<u16> = "again".encode_utf16().collect();
            let length = (units.len() * 2) as u16;
            let mut reference =
                UnicodeString { length, maximum_length: length, buffer: units.as_ptr().cast_mut() };
            let mut link = UnicodeString::EMPTY;
            let mut found = IoRegisterDeviceInterface(pdo, class, &raw mut reference, &raw mut link);
            if status::success(found) {
                found = IoSetDeviceInterfaceState(&raw mut link, TRUE);
            }
            crate::log!("fault: a second interface of a disk, status {found:#x}");
        }
    }
}

/// `IoGetDeviceInterfaces` fails.
static UNLISTED: AtomicBool = AtomicBool::new(false);

/// Has every later `IoGetDeviceInterfaces` fail, as without memory.
pub(crate) fn list_no_more() {
    UNLISTED.store(true, Ordering::Relaxed);
}

/// `IoGetDeviceInterfaces`: a list that the caller frees. IRQL `PASSIVE_LEVEL`.
///
/// # Safety
/// `class` is readable, `list` writable.
pub(crate) unsafe extern "win64" fn IoGetDeviceInterfaces(
    class: *const Guid,
    pdo: *mut DeviceObject,
    flags: u32,
    list: *mut *mut u16,
) -> NtStatus {
    let driver = gate::caller();
    crate::work::LISTED.add(1);
    // SAFETY: by this function's contract, `class` is readable, `list` writable.
    unsafe {
        *list = null_mut();
        if UNLISTED.load(Ordering::Relaxed) {
            return status::INSUFFICIENT_RESOURCES;
        }
        if crate::boot::options().unregistered_class && !INTERFACES.lock().iter().any(|i| i.class == *class) {
            return status::OBJECT_NAME_NOT_FOUND;
        }
        let units: Vec<u16> = {
            let interfaces = INTERFACES.lock();
            let wanted = interfaces.iter().filter(|i| {
                i.class == *class
                    && (pdo.is_null() || i.pdo == pdo as usize)
                    && (i.enabled || flags & DEVICE_INTERFACE_INCLUDE_NONACTIVE != 0)
            });
            wanted.flat_map(|i| i.link.encode_utf16().chain([0]).collect::<Vec<_>>()).chain([0]).collect()
        };
        match new_string(&units, driver) {
            Some(buffer) => {
                *list = buffer;
                status::SUCCESS
            }
            None => status::INSUFFICIENT_RESOURCES,
        }
    }
}
