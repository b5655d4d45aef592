//! Takes emulated devices out of bus relations.
//!
//! A child is identified by asking its PDO for its ids (IRP_MN_QUERY_ID), which its bus answers from the
//! moment it reports the child. Whether every controller was found is not left to that:
//! [`crate::controllers`] counts them without the bus driver's help.

use alloc::vec::Vec;

use guard::controllers::{Controller, classify};
use guard::pci_id::Parts;
use guard::policy::HidePolicy;
use guard::storage_id::{self, Child};
use wdm::pnp::IdType;
use wdm::{DeviceObject, Irp, relations, request, unicode};

/// What an edit did.
pub struct Found {
    /// Children that are to be taken out.
    pub seen: u32,
    /// Those of them that are no longer in the bus's answer.
    pub hidden: u32,
}

/// Edits the bus relations of an IRP that the bus has completed: takes out the controllers that the policy
/// hides. PASSIVE_LEVEL.
pub fn hide_controllers(irp: &mut Irp, policy: HidePolicy) -> Found {
    hide(irp, |child| controller(child).is_some_and(|controller| policy.hides(controller)))
}

/// The same for the children of a storage controller: takes out its hard disks. PASSIVE_LEVEL.
pub fn hide_disks(irp: &mut Irp) -> Found {
    hide(irp, |child| kind(child) == Child::Disk)
}

/// How many children are hard disks. PASSIVE_LEVEL.
pub fn count_disks(irp: &Irp) -> u32 {
    relations::devices(irp).filter(|&child| kind(child) == Child::Disk).count() as u32
}

/// The children that are channels. PASSIVE_LEVEL.
///
/// # Errors
/// `INSUFFICIENT_RESOURCES`.
pub fn channels(irp: &Irp) -> wdm::Result<Vec<DeviceObject>> {
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

/// The emulated disk controller that a child of a PCI bus is. One that does not say what it is, is none: the
/// count in configuration space then differs, and nothing is exposed.
fn controller(child: DeviceObject) -> Option<Controller> {
    let mut parts = Parts::default();
    for ids in ids(child) {
        unicode::strings(&ids).for_each(|id| parts.read(id));
    }
    classify(&parts.function()?)
}

/// What a child of a storage controller is. One that does not say so may be a disk.
fn kind(child: DeviceObject) -> Child {
    let Ok(hardware) = request::query_id(child, IdType::HARDWARE) else { return Child::Disk };
    let compatible = request::query_id(child, IdType::COMPATIBLE).unwrap_or_default();
    storage_id::child(unicode::strings(&hardware).chain(unicode::strings(&compatible)))
}

/// Its hardware ids and its compatible ids; empty where it does not answer.
fn ids(child: DeviceObject) -> [Vec<u16>; 2] {
    [IdType::HARDWARE, IdType::COMPATIBLE].map(|list| request::query_id(child, list).unwrap_or_default())
}
