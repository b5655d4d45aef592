//! Properties of a device that PnP has enumerated (IoGetDeviceProperty). PASSIVE_LEVEL. The device
//! must be a PDO with a device node: asking for another one is a bugcheck (0xCA) on NT.
#![expect(unsafe_code, reason = "calls IoGetDeviceProperty with a buffer")]

use alloc::vec::Vec;

use wdk_sys::{DEVICE_REGISTRY_PROPERTY, PVOID, ULONG, ntddk::IoGetDeviceProperty};

use crate::{DeviceObject, NtStatus, Result, pool, status::check, unicode};

/// Reads a property of text (a string or a list) of any length.
fn text(pdo: DeviceObject, property: DEVICE_REGISTRY_PROPERTY::Type) -> Result<Vec<u16>> {
    let mut length = 128;
    loop {
        let mut buffer = pool::try_vec::<u16>(length)?;
        let room = (buffer.len() * 2) as ULONG;
        let mut needed: ULONG = 0;
        let place: PVOID = buffer.as_mut_ptr().cast();
        // SAFETY: a PDO by this module's contract, and a buffer of the size given.
        let status = unsafe { IoGetDeviceProperty(pdo.as_ptr(), property, room, place, &raw mut needed) };
        match NtStatus(status) {
            NtStatus::BUFFER_TOO_SMALL if needed > room => length = needed as usize / 2 + 1,
            status => {
                status.to_result()?;
                buffer.truncate(needed as usize / 2);
                return Ok(buffer);
            }
        }
    }
}

/// Reads a property of text into `into`; answers the units that were read. Allocates nothing.
fn text_into(
    pdo: DeviceObject,
    property: DEVICE_REGISTRY_PROPERTY::Type,
    into: &mut [u16],
) -> Result<&[u16]> {
    let mut needed: ULONG = 0;
    let room = size_of_val(into) as ULONG;
    // SAFETY: a PDO by this module's contract, and a buffer of the size given.
    check(unsafe {
        IoGetDeviceProperty(pdo.as_ptr(), property, room, into.as_mut_ptr().cast(), &raw mut needed)
    })?;
    Ok(&into[..into.len().min(needed as usize / 2)])
}

/// Reads the hardware ids as [`hardware_ids`] does, without an allocation.
///
/// # Errors
/// What IoGetDeviceProperty answers, `BUFFER_TOO_SMALL` where there are more.
pub fn hardware_ids_into(pdo: DeviceObject, into: &mut [u16]) -> Result<&[u16]> {
    text_into(pdo, DEVICE_REGISTRY_PROPERTY::DevicePropertyHardwareID, into)
}

/// Reads the compatible ids as [`compatible_ids`] does, without an allocation.
///
/// # Errors
/// What IoGetDeviceProperty answers, `BUFFER_TOO_SMALL` where there are more.
pub fn compatible_ids_into(pdo: DeviceObject, into: &mut [u16]) -> Result<&[u16]> {
    text_into(pdo, DEVICE_REGISTRY_PROPERTY::DevicePropertyCompatibleIDs, into)
}

/// Reads the GUID of the device's setup class as text, `{4D36E97D-E325-11CE-BFC1-08002BE10318}`, without an
/// allocation.
///
/// # Errors
/// What IoGetDeviceProperty answers.
pub fn class_guid_into(pdo: DeviceObject, into: &mut [u16]) -> Result<&[u16]> {
    text_into(pdo, DEVICE_REGISTRY_PROPERTY::DevicePropertyClassGuid, into).map(unicode::until_nul)
}

fn number(pdo: DeviceObject, property: DEVICE_REGISTRY_PROPERTY::Type) -> Result<u32> {
    let mut value: ULONG = 0;
    let mut needed: ULONG = 0;
    // SAFETY: a PDO by this module's contract, and a buffer of the size given.
    check(unsafe {
        IoGetDeviceProperty(
            pdo.as_ptr(),
            property,
            size_of::<ULONG>() as ULONG,
            (&raw mut value).cast(),
            &raw mut needed,
        )
    })?;
    Ok(value)
}

/// Returns the hardware ids, best first: walk them with [`unicode::strings`].
///
/// # Errors
/// What IoGetDeviceProperty answers.
pub fn hardware_ids(pdo: DeviceObject) -> Result<Vec<u16>> {
    text(pdo, DEVICE_REGISTRY_PROPERTY::DevicePropertyHardwareID)
}

/// Returns the compatible ids, best first: walk them with [`unicode::strings`].
///
/// # Errors
/// What IoGetDeviceProperty answers; `OBJECT_NAME_NOT_FOUND` for a device without any.
pub fn compatible_ids(pdo: DeviceObject) -> Result<Vec<u16>> {
    text(pdo, DEVICE_REGISTRY_PROPERTY::DevicePropertyCompatibleIDs)
}

/// Returns the enumerator: `PCI`, `SCSI`, `IDE`, …
///
/// # Errors
/// What IoGetDeviceProperty answers.
pub fn enumerator(pdo: DeviceObject) -> Result<Vec<u16>> {
    let mut name = text(pdo, DEVICE_REGISTRY_PROPERTY::DevicePropertyEnumeratorName)?;
    name.truncate(unicode::until_nul(&name).len());
    Ok(name)
}

/// Returns the name of the device object, `\Device\NTPNP_PCI0004`.
///
/// # Errors
/// What IoGetDeviceProperty answers.
pub fn object_name(pdo: DeviceObject) -> Result<Vec<u16>> {
    let mut name = text(pdo, DEVICE_REGISTRY_PROPERTY::DevicePropertyPhysicalDeviceObjectName)?;
    name.truncate(unicode::until_nul(&name).len());
    Ok(name)
}

/// Returns the number of the bus the device is on.
///
/// # Errors
/// `OBJECT_NAME_NOT_FOUND` where the bus has no number, …
pub fn bus_number(pdo: DeviceObject) -> Result<u32> {
    number(pdo, DEVICE_REGISTRY_PROPERTY::DevicePropertyBusNumber)
}

/// Returns the device's address on its bus: for a PCI function device << 16 | function.
///
/// # Errors
/// `OBJECT_NAME_NOT_FOUND` where the bus gives no address, …
pub fn address(pdo: DeviceObject) -> Result<u32> {
    number(pdo, DEVICE_REGISTRY_PROPERTY::DevicePropertyAddress)
}
