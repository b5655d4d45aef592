//! Properties that drivers may ask for about a device.

use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::configure::key;
use super::node;
use crate::cm::{self, Value};
use crate::nt::*;
use crate::ob;

/// The PDO whose ids cannot be read; 0 for none.
static NAMELESS: AtomicUsize = AtomicUsize::new(0);

/// Lets nobody read a device's ids any more.
pub(crate) fn hide_ids(pdo: *mut DeviceObject) {
    NAMELESS.store(pdo as usize, Ordering::Relaxed);
}

/// `IoGetDeviceProperty`. IRQL `PASSIVE_LEVEL`.
///
/// # Safety
/// `pdo` is a PDO, `buffer` has `length` bytes, `result` is writable.
pub(crate) unsafe extern "win64" fn IoGetDeviceProperty(
    pdo: *mut DeviceObject,
    which: u32,
    length: u32,
    buffer: Pvoid,
    result: *mut u32,
) -> NtStatus {
    // SAFETY: by this function's contract, `pdo` is a PDO, `buffer` has `length` bytes, `result` is
    // writable.
    unsafe {
        *result = 0;
        let Some(node) = node::of(pdo) else { return status::INVALID_DEVICE_REQUEST };
        let ids = matches!(which, property::HARDWARE_ID | property::COMPATIBLE_IDS);
        if ids && NAMELESS.load(Ordering::Relaxed) == pdo as usize {
            return status::INSUFFICIENT_RESOURCES;
        }
        let text = |text: &str| (!text.is_empty()).then(|| Value::text(text).data);
        let number = |number: u32| (number != u32::MAX).then(|| number.to_le_bytes().to_vec());
        let list = |list: &[String]| (!list.is_empty()).then(|| Value::multi(list).data);
        let answer: Option<Vec<u8>> = match which {
            property::DEVICE_DESCRIPTION => text(&node.description),
            property::HARDWARE_ID => list(&node.hardware),
            property::COMPATIBLE_IDS => list(&node.compatible),
            property::CLASS_GUID => node.class.as_deref().and_then(text),
            property::LOCATION_INFORMATION => text(&node.location),
            property::PHYSICAL_DEVICE_OBJECT_NAME => text(&ob::name(pdo.cast()).unwrap_or_default()),
            property::BUS_TYPE_GUID => node.bus.map(|(guid, ..)| {
                core::slice::from_raw_parts((&raw const guid).cast::<u8>(), size_of::<Guid>()).to_vec()
            }),
            property::LEGACY_BUS_TYPE => node.bus.map(|(_, kind, _)| kind.to_le_bytes().to_vec()),
            property::BUS_NUMBER => node.bus.and_then(|(.., bus)| number(bus)),
            property::ENUMERATOR_NAME => text(node.instance.split('\\').next().unwrap_or_default()),
            property::ADDRESS => number(node.capabilities.address),
            property::UI_NUMBER => number(node.capabilities.ui_number),
            _ => return status::NOT_SUPPORTED,
        };
        let Some(answer) = answer else { return status::OBJECT_NAME_NOT_FOUND };
        *result = answer.len() as u32;
        if (length as usize) < answer.len() {
            return status::BUFFER_TOO_SMALL;
        }
        core::ptr::copy_nonoverlapping(answer.as_ptr(), buffer.cast(), answer.len());
        status::SUCCESS
    }
}

/// `IoOpenDeviceRegistryKey`. IRQL `PASSIVE_LEVEL`.
///
/// # Safety
/// `pdo` is a PDO, `handle` writable.
pub(crate) unsafe extern "win64" fn IoOpenDeviceRegistryKey(
    pdo: *mut DeviceObject,
    kind: u32,
    _access: u32,
    handle: *mut Handle,
) -> NtStatus {
    let Some(node) = node::of(pdo) else { return status::INVALID_DEVICE_REQUEST };
    let path = match kind {
        PLUGPLAY_REGKEY_DEVICE => alloc::format!("{}\\Device Parameters", key(&node.instance)),
        PLUGPLAY_REGKEY_DRIVER => {
            let Some(class) = node.class else { return status::OBJECT_NAME_NOT_FOUND };
            alloc::format!("{}\\Class\\{class}\\{}", cm::CONTROL, node.instance.replace('\\', "#"))
        }
        _ => return status::INVALID_PARAMETER,
    };
    cm::make(&path);
    // SAFETY: by this function's contract, `pdo` is a PDO, `handle` writable.
    unsafe { cm::open_handle(path, handle) }
}
