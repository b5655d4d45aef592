//! Takes emulated devices out of bus relations.
//!
//! A child is identified by what its PDO answers from the moment that its bus reports it: configuration space
//! (IRP_MN_READ_CONFIG) and the device id (IRP_MN_QUERY_ID). The lists of ids are reserved for the system (Driver
//! Verifier, 0xC9). Whether every controller was found is not left to that:
//! [`crate::controllers`] counts them without the bus driver's help.

use alloc::vec::Vec;

use guard::bus_memory::BusMemory;
use guard::controllers::{Controller, PciFunction, classify, classify_ids};
use guard::pci_id::Parts;
use guard::policy::HidePolicy;
use guard::storage_id::{self, Child};
use wdm::pnp::IdType;
use wdm::{DeviceObject, Irp, relations, request};

/// Counts of an edit.
pub(crate) struct Found {
    /// Children that are to be taken out.
    pub seen: u32,
    /// Children among them that are no longer in the bus's answer.
    pub hidden: u32,
}

/// Edits the bus relations of an IRP that the bus has completed: takes out the controllers that the policy hides,
/// as the bus has decided before or decides now. PASSIVE_LEVEL.
pub(crate) fn hide_controllers(
    irp: &mut Irp,
    policy: HidePolicy,
    memory: &mut BusMemory<DeviceObject>,
) -> Found {
    let is_alias = |child| controller(child).is_some_and(|controller| policy.hides(controller));
    let mut seen = 0;
    relations::retain(irp, |child| {
        let decided = memory.decide(child, || is_alias(child));
        seen += u32::from(decided.alias);
        !decided.hide
    });
    // What is still there is counted from the list itself, not concluded from the edit.
    let left =
        relations::devices(irp).filter(|&child| memory.decide(child, || is_alias(child)).alias).count();
    memory.end_report();
    // A child may say only now what it is, after it was let through.
    let (left, seen) = (left as u32, seen.max(left as u32));
    Found { seen, hidden: seen.saturating_sub(left) }
}

/// Takes hard disks out of the children of a storage controller, in the same way. PASSIVE_LEVEL.
pub(crate) fn hide_disks(irp: &mut Irp) -> Found {
    hide(irp, |child| kind(child) == Child::Disk)
}

/// Returns the number of children that are hard disks. PASSIVE_LEVEL.
pub(crate) fn count_disks(irp: &Irp) -> u32 {
    relations::devices(irp).filter(|&child| kind(child) == Child::Disk).count() as u32
}

/// Returns the children that are channels. PASSIVE_LEVEL.
///
/// # Errors
/// `INSUFFICIENT_RESOURCES`.
pub(crate) fn channels(irp: &Irp) -> wdm::Result<Vec<DeviceObject>> {
    let mut found = Vec::new();
    for child in relations::devices(irp) {
        if kind(child) == Child::Channel {
            found.try_reserve(1).map_err(|_| wdm::NtStatus::INSUFFICIENT_RESOURCES)?;
            found.push(child);
        }
    }
    Ok(found)
}

fn hide(irp: &mut Irp, is_alias: impl Fn(DeviceObject) -> bool) -> Found {
    let mut seen = 0;
    relations::retain(irp, |child| {
        let alias = is_alias(child);
        seen += u32::from(alias);
        !alias
    });
    // What is still there is counted from the list itself, not concluded from the edit.
    let left = relations::devices(irp).filter(|&child| is_alias(child)).count();
    Found { seen, hidden: seen.saturating_sub(left as u32) }
}

/// Returns the emulated disk controller that a child of a PCI bus is. A child that answers with neither its
/// configuration header nor a device id counts as no controller. The guard then sees fewer controllers than
/// configuration space has, and exposes nothing.
fn controller(child: DeviceObject) -> Option<Controller> {
    let mut header = [0; PciFunction::HEADER];
    if request::read_config(child, 0, &mut header) == Ok(header.len()) {
        return classify(&PciFunction::from_header(&header)?);
    }
    // A bus need not answer this for a child that is not started. Its device id has all but the class.
    let mut parts = Parts::default();
    parts.read(&request::query_id(child, IdType::DEVICE).ok()?);
    let (vendor, device, subsystem) = parts.ids()?;
    classify_ids(vendor, device, subsystem)
}

/// Returns the kind of a storage controller's child, by its device id. A child without a device id may be a
/// disk.
fn kind(child: DeviceObject) -> Child {
    request::query_id(child, IdType::DEVICE).map_or(Child::Disk, |id| storage_id::child([id.as_slice()]))
}
