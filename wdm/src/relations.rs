//! Device relations: the list of devices an IRP_MN_QUERY_DEVICE_RELATIONS answers with.
#![expect(unsafe_code, reason = "edits a variable-length DEVICE_RELATIONS in place")]

use wdk_sys::{DEVICE_RELATIONS, PDEVICE_OBJECT};

use crate::{DeviceObject, DeviceReference, Irp, NtStatus, Result, pool};

/// Returns the number of bytes of a DEVICE_RELATIONS with `count` objects.
const fn bytes(count: usize) -> usize {
    core::mem::offset_of!(DEVICE_RELATIONS, Objects) + count * size_of::<PDEVICE_OBJECT>()
}

/// Returns the devices that a completed relations IRP lists; none where it has no list.
pub fn devices(irp: &Irp) -> impl Iterator<Item = DeviceObject> + '_ {
    let objects: &[PDEVICE_OBJECT] = list(irp).map_or(&[], |list| list);
    // SAFETY: every entry is a device object that the list holds a reference of while the IRP lives.
    objects.iter().filter_map(|&object| unsafe { DeviceObject::from_raw(object) })
}

/// Takes every device out of the list for which `keep` answers false, and drops the reference the
/// list held of it. Called on an IRP that the lower drivers have completed and that this driver owns
/// again ([`Irp::forward_and_wait`]). PASSIVE_LEVEL. Answers how many were taken out.
pub fn retain(irp: &mut Irp, mut keep: impl FnMut(DeviceObject) -> bool) -> usize {
    let Some(objects) = list(irp) else { return 0 };
    let mut kept = 0;
    for at in 0..objects.len() {
        // SAFETY: every entry is a device object that the list holds a reference of.
        let Some(device) = (unsafe { DeviceObject::from_raw(objects[at]) }) else { continue };
        if keep(device) {
            objects[kept] = objects[at];
            kept += 1;
        } else {
            // SAFETY: the entry leaves the list, so its reference is this function's to drop.
            drop(unsafe { DeviceReference::from_owned(device) });
        }
    }
    let taken = objects.len() - kept;
    // SAFETY: `list` found a DEVICE_RELATIONS here; fewer entries than before remain.
    unsafe { (*(irp.information() as *mut DEVICE_RELATIONS)).Count = kept as u32 };
    taken
}

/// Adds `devices` to the list the IRP carries (none yet, or a function driver's above): a bus
/// driver's answer. Takes a reference of each. PASSIVE_LEVEL.
///
/// # Errors
/// `INSUFFICIENT_RESOURCES`; the IRP is then unchanged.
pub fn append(irp: &mut Irp, devices: &[DeviceObject]) -> Result {
    let old: &[PDEVICE_OBJECT] = list(irp).map_or(&[], |list| list);
    let count = old.len() + devices.len();
    let layout = core::alloc::Layout::from_size_align(bytes(count), 8)
        .map_err(|_| NtStatus::INSUFFICIENT_RESOURCES)?;
    let new = pool::allocate(layout).cast::<DEVICE_RELATIONS>();
    if new.is_null() {
        return Err(NtStatus::INSUFFICIENT_RESOURCES);
    }
    let before = irp.information();
    // SAFETY: the block has room for the count and its objects, and nobody else knows it; the old
    // list is a pool block that nobody refers to once it is replaced.
    unsafe {
        (*new).Count = count as u32;
        let objects = (&raw mut (*new).Objects).cast::<PDEVICE_OBJECT>();
        for (n, &object) in old.iter().enumerate() {
            objects.add(n).write(object);
        }
        for (n, device) in devices.iter().enumerate() {
            objects.add(old.len() + n).write(device.reference().into_owned().as_ptr());
        }
        if before != 0 {
            pool::free(before as *mut u8);
        }
    }
    irp.set_information(new.addr());
    Ok(())
}

/// Returns the objects of the list in IoStatus.Information, if there is one.
fn list(irp: &Irp) -> Option<&'static mut [PDEVICE_OBJECT]> {
    let relations = irp.information() as *mut DEVICE_RELATIONS;
    // SAFETY: for a relations IRP Information is null or a DEVICE_RELATIONS with Count entries, which
    // belongs to whoever owns the IRP. The caller does not keep the slice past the IRP.
    unsafe {
        let count = relations.as_ref()?.Count as usize;
        let objects = (&raw mut (*relations).Objects).cast::<PDEVICE_OBJECT>();
        Some(core::slice::from_raw_parts_mut(objects, count))
    }
}
