//! The controllers above a disk, as evidence of where it comes from.
//!
//! NT has no routine that names the parent of a device. But the device object at the bottom of a disk's stack
//! was made by the driver of its controller, and that driver's other device objects sit on the controllers it
//! serves: on PCI functions, or on the channels of an IDE controller, which another driver made. What all of
//! them are, the disk's is.

use guard::pci_id::Parts;
use guard::provenance::Provenance;
use wdm::{DeviceObject, DriverObject, property, unicode, utf16};

/// Returns the provenance that the controllers of the driver that made a disk's physical device object agree
/// on. PASSIVE_LEVEL.
pub(crate) fn provenance(pdo: DeviceObject) -> Provenance {
    controllers_of(pdo.driver(), |adapter| match function(adapter) {
        Some(provenance) => provenance,
        None if is_channel(adapter) => {
            controllers_of(adapter.driver(), |controller| function(controller).unwrap_or(Provenance::Unknown))
        }
        None => Provenance::Unknown,
    })
}

/// Returns the provenance that the devices agree on that this driver serves. Those are the devices at the
/// bottom of stacks that it is in and that are not its own.
fn controllers_of(driver: DriverObject, of: impl Fn(DeviceObject) -> Provenance) -> Provenance {
    let Ok(devices) = driver.devices() else { return Provenance::Unknown };
    Provenance::of_all(devices.iter().filter_map(|device| {
        let bottom = device.base();
        // What no bus has reported has no properties to ask for.
        let known =
            |device: DeviceObject| if device.is_enumerated() { of(device) } else { Provenance::Unknown };
        (bottom.driver() != driver).then(|| known(*bottom))
    }))
}

/// Returns the provenance of a PCI function; `None` for another device.
fn function(pdo: DeviceObject) -> Option<Provenance> {
    let ids = property::hardware_ids(pdo).ok()?;
    let mut parts = Parts::default();
    unicode::strings(&ids).for_each(|id| parts.read(id));
    parts.function().map(|function| Provenance::of(&function))
}

/// Returns true if a device is a channel of an IDE controller.
fn is_channel(pdo: DeviceObject) -> bool {
    property::enumerator(pdo).is_ok_and(|name| unicode::eq_ignore_case(&name, utf16!("PCIIDE")))
}
