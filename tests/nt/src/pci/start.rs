//! The bus driver's part in a function's START: it holds the resources against those that it reported.
//!
//! A function driver that had added resources of its own takes them out before it passes START down (WDK,
//! IRP_MN_FILTER_RESOURCE_REQUIREMENTS), as their type or altogether. What is left over, pci.sys programs: an
//! interrupt message is written into the function's MSI capability, and into its header where it has none.

use super::config::Place;
use crate::nt::*;

/// Status register: there is a capability list. It stands in the upper half of the doubleword at 4.
const CAPABILITY_LIST: u32 = 0x10 << 16;
/// Offset of the first capability's offset.
const CAPABILITIES: u8 = 0x34;
/// Capability ids of MSI and MSI-X.
const MSI: [u8; 2] = [0x05, 0x11];

/// Returns true if a function has a capability that interrupt messages are written to.
fn has_msi(place: Place) -> bool {
    if place.read(super::function::COMMAND) & CAPABILITY_LIST == 0 {
        return false;
    }
    let mut at = place.read(CAPABILITIES) as u8 & 0xFC;
    // As many as fit behind the header.
    for _ in 0..48 {
        if at < 0x40 {
            return false;
        }
        let head = place.read(at);
        if MSI.contains(&(head as u8)) {
            return true;
        }
        at = (head >> 8) as u8 & 0xFC;
    }
    false
}

/// Holds the lists of a START against the resources that the bus reported for the function.
///
/// # Errors
/// What is wrong with the lists, in a few words.
///
/// # Safety
/// The lists are null or valid, with one full descriptor each.
pub(super) unsafe fn check(
    place: Place,
    reported: &[CmPartialResourceDescriptor],
    lists: StartDevice,
) -> Result<(), &'static str> {
    // SAFETY: by this function's contract, the lists are null or valid, with one full descriptor each.
    unsafe {
        let raw = CmResourceList::partials(lists.allocated_resources);
        let translated = CmResourceList::partials(lists.allocated_resources_translated);
        if raw.len() != translated.len() || raw.iter().zip(translated).any(|(raw, own)| raw.kind != own.kind)
        {
            return Err("raw and translated resources differ in kind");
        }
        let theirs =
            |descriptor: &&CmPartialResourceDescriptor| descriptor.kind != CM_RESOURCE_TYPE_DEVICE_PRIVATE;
        let is_message = |descriptor: &CmPartialResourceDescriptor| {
            descriptor.kind == CM_RESOURCE_TYPE_INTERRUPT && { descriptor.flags }
                & CM_RESOURCE_INTERRUPT_MESSAGE
                != 0
        };
        if raw.iter().chain(translated).any(is_message) && !has_msi(place) {
            return Err("an interrupt message for a function without MSI");
        }
        let same = |own: &CmPartialResourceDescriptor, given: &CmPartialResourceDescriptor| {
            // An interrupt is told by its line, a range by its start and length.
            let value = |descriptor: &CmPartialResourceDescriptor| match descriptor.kind {
                CM_RESOURCE_TYPE_INTERRUPT => (i64::from({ descriptor.u.interrupt }.vector), 0),
                _ => ({ descriptor.u.generic }.start, { descriptor.u.generic }.length),
            };
            own.kind == given.kind && value(own) == value(given)
        };
        let mut given = raw.iter().filter(theirs).filter(|descriptor| !is_message(descriptor));
        if reported.iter().any(|own| !given.next().is_some_and(|given| same(own, given))) {
            return Err("a resource is missing");
        }
        if given.next().is_some() { Err("a resource that the bus did not report") } else { Ok(()) }
    }
}
