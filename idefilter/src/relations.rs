//! Takes emulated disk controllers out of bus relations.
//!
//! A child is identified by asking its PDO for its ids (IRP_MN_QUERY_ID), which the PCI bus builds from
//! configuration space and answers from the moment it reports the child. Whether every controller was found
//! is not left to that: [`crate::controllers`] counts them without the bus driver's help.

use guard::controllers::classify;
use guard::policy::HidePolicy;
use wdm::pnp::IdType;
use wdm::{DeviceObject, Irp, relations, request, unicode};

use crate::pci_id;

/// What an edit did.
pub struct Found {
    /// Emulated controllers the bus reported that the policy takes out.
    pub seen: u32,
    /// Those of them that are no longer in its answer.
    pub hidden: u32,
}

/// Edits the bus relations of an IRP that the bus has completed. PASSIVE_LEVEL.
pub fn hide_controllers(irp: &mut Irp, policy: HidePolicy) -> Found {
    let mut seen = 0;
    relations::retain(irp, |child| {
        let emulated = is_to_be_hidden(child, policy);
        seen += u32::from(emulated);
        !emulated
    });
    // What is still there is counted from the list itself, not concluded from the edit.
    let left = relations::devices(irp).filter(|&child| is_to_be_hidden(child, policy)).count();
    Found { seen, hidden: seen.saturating_sub(left as u32) }
}

/// Whether a child is an emulated disk controller that the policy takes out. One that does not say what it is, is not: the count in
/// configuration space then differs, and nothing is exposed.
fn is_to_be_hidden(child: DeviceObject, policy: HidePolicy) -> bool {
    let mut parts = pci_id::Parts::default();
    for list in [IdType::HARDWARE, IdType::COMPATIBLE] {
        if let Ok(ids) = request::query_id(child, list) {
            unicode::strings(&ids).for_each(|id| parts.read(id));
        }
    }
    parts.function().and_then(|function| classify(&function)).is_some_and(|kind| policy.hides(kind))
}
