//! Resources that a device is started with.
//!
//! Each device keeps what the firmware gave it (IRP_MN_QUERY_RESOURCES); there is no rebalancing. Its drivers
//! may add to what it requires (IRP_MN_FILTER_RESOURCE_REQUIREMENTS): of that, interrupt messages are granted
//! where this NT has them, which is from 6.0 on, and the first alternative that can be granted is taken.

use alloc::vec::Vec;

use super::stack;
use crate::boot;
use crate::ke::interrupt;
use crate::nt::*;

/// A resource list and its translation; both empty for a device without resources.
pub(super) struct Resources {
    pub raw: Vec<u8>,
    pub translated: Vec<u8>,
}

/// Asks a device's stack what it has and requires, and assigns its resources; `None` where no alternative of
/// what it requires can be had.
///
/// # Safety
/// `pdo` has its stack and is not started. IRQL `PASSIVE_LEVEL`, serialized.
pub(super) unsafe fn assign(pdo: *mut DeviceObject) -> Option<Resources> {
    let none = Resources { raw: Vec::new(), translated: Vec::new() };
    // SAFETY: by this function's contract, `pdo` has its stack and is not started. IRQL `PASSIVE_LEVEL`,
    // serialized.
    unsafe {
        let Some((header, has)) = boot_configuration(pdo) else { return Some(none) };
        let mut raw = has.clone();
        if let Some(required) = requirements(pdo) {
            let granted = required.iter().find_map(|alternative| grant(alternative, &has))?;
            raw.extend(granted);
        }
        let translated: Vec<_> = raw.iter().map(translate).collect();
        Some(Resources { raw: list(&header, &raw), translated: list(&header, &translated) })
    }
}

/// Returns the boot configuration; `None` where there is none.
unsafe fn boot_configuration(
    pdo: *mut DeviceObject,
) -> Option<(CmResourceList, Vec<CmPartialResourceDescriptor>)> {
    // SAFETY: the caller keeps `pdo` valid for this call.
    unsafe {
        let answer = stack::send(pdo, IRP_MN_QUERY_RESOURCES, None);
        if !status::success(answer.status) || answer.information == 0 {
            return None;
        }
        let list = answer.information as *const CmResourceList;
        let header = *list;
        let descriptors: Vec<_> = (0..header.partial_count as usize)
            .map(|n| list.add(1).cast::<CmPartialResourceDescriptor>().add(n).read_unaligned())
            .collect();
        crate::ex::ExFreePoolWithTag(answer.information as Pvoid, 0);
        (!descriptors.is_empty()).then_some((header, descriptors))
    }
}

/// Returns what the bus driver says that the device requires, as its drivers have changed it: the
/// alternatives in order. Returns `None` where the bus driver says nothing.
unsafe fn requirements(pdo: *mut DeviceObject) -> Option<Vec<Vec<IoResourceDescriptor>>> {
    // SAFETY: the caller keeps `pdo` valid for this call.
    unsafe {
        let answer = stack::send(pdo, IRP_MN_QUERY_RESOURCE_REQUIREMENTS, None);
        if !status::success(answer.status) || answer.information == 0 {
            return None;
        }
        let filtered = stack::filter_requirements(pdo, answer.information);
        let list = filtered as *const IoResourceRequirementsList;
        let copies = alternatives(list).into_iter().map(<[_]>::to_vec).collect();
        crate::ex::ExFreePoolWithTag(filtered as Pvoid, 0);
        Some(copies)
    }
}

/// Grants an alternative: what it requires beyond what the device has.
fn grant(
    required: &[IoResourceDescriptor],
    has: &[CmPartialResourceDescriptor],
) -> Option<Vec<CmPartialResourceDescriptor>> {
    let messages: Vec<_> = required.iter().filter_map(IoResourceDescriptor::message).collect();
    // What is no message is what the device has: nothing else can be had here.
    if required.len() - messages.len() != has.len() {
        return None;
    }
    if !messages.is_empty() && !boot::options().grants_messages() {
        return None;
    }
    // Checked first: vectors are not given back.
    let processors: Vec<usize> = messages.into_iter().collect::<Option<_>>()?;
    if !interrupt::has_messages(&processors) {
        return None;
    }
    Some(processors.into_iter().map(message).collect())
}

/// Returns an interrupt message of a processor as a raw resource. The device has no capability that it could
/// be written to.
fn message(processor: usize) -> CmPartialResourceDescriptor {
    let vector = interrupt::message_for(processor);
    CmPartialResourceDescriptor {
        kind: CM_RESOURCE_TYPE_INTERRUPT,
        share_disposition: CM_RESOURCE_SHARE_DEVICE_EXCLUSIVE,
        flags: CM_RESOURCE_INTERRUPT_LATCHED | CM_RESOURCE_INTERRUPT_MESSAGE,
        u: ResourceArguments {
            // `MessageInterrupt.Raw`: group, how many messages, vector, processors.
            interrupt: ResourceInterrupt { level: 1 << 16, vector: vector.into(), affinity: 1 << processor },
        },
    }
}

/// Translates an interrupt like the HAL: to its vector, and the IRQL that it interrupts at.
fn translate(raw: &CmPartialResourceDescriptor) -> CmPartialResourceDescriptor {
    let mut descriptor = *raw;
    if descriptor.kind == CM_RESOURCE_TYPE_INTERRUPT {
        // SAFETY: an interrupt's arguments.
        let raw = unsafe { descriptor.u.interrupt };
        let (vector, affinity) = if descriptor.flags & CM_RESOURCE_INTERRUPT_MESSAGE != 0 {
            (raw.vector as u8, raw.affinity)
        } else {
            let level_triggered = descriptor.flags & CM_RESOURCE_INTERRUPT_LATCHED == 0;
            (interrupt::vector_for(raw.vector as u8, level_triggered), 1)
        };
        let level = u32::from(interrupt::level_of(vector));
        descriptor.u.interrupt = ResourceInterrupt { level, vector: vector.into(), affinity };
    }
    descriptor
}

/// Returns a resource list in its bytes.
fn list(header: &CmResourceList, descriptors: &[CmPartialResourceDescriptor]) -> Vec<u8> {
    let header = CmResourceList { partial_count: descriptors.len() as u32, ..*header };
    // SAFETY: both are plain data without padding.
    unsafe {
        let head = core::slice::from_raw_parts((&raw const header).cast::<u8>(), size_of_val(&header));
        let rest = core::slice::from_raw_parts(descriptors.as_ptr().cast::<u8>(), size_of_val(descriptors));
        [head, rest].concat()
    }
}
