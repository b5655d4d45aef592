//! Resource requirements (wdm.h).

use super::{CM_RESOURCE_SHARE_DEVICE_EXCLUSIVE, CM_RESOURCE_TYPE_INTERRUPT, CmPartialResourceDescriptor};
use crate::layout;

/// `IO_RESOURCE_DESCRIPTOR`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct IoResourceDescriptor {
    pub option: u8,
    pub kind: u8,
    pub share_disposition: u8,
    pub spare1: u8,
    pub flags: u16,
    pub spare2: u16,
    pub u: RequirementArguments,
}
layout!(IoResourceDescriptor, 32, flags @ 4, u @ 8);

/// The arguments of a requirement.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) union RequirementArguments {
    pub generic: RequiredRange,
    pub interrupt: RequiredInterrupt,
}

/// `u.Generic`, `u.Port`, `u.Memory`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct RequiredRange {
    pub length: u32,
    pub alignment: u32,
    pub minimum: i64,
    pub maximum: i64,
}
layout!(RequiredRange, 24, minimum @ 8, maximum @ 16);

/// `u.Interrupt` as of NT 6.1.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct RequiredInterrupt {
    pub minimum_vector: u32,
    pub maximum_vector: u32,
    pub affinity_policy: u16,
    pub group: u16,
    pub priority_policy: u32,
    pub targeted_processors: u64,
}
layout!(RequiredInterrupt, 24, affinity_policy @ 8, group @ 10, targeted_processors @ 16);

/// `IO_RESOURCE_LIST`, up to its descriptors, which follow.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct IoResourceList {
    pub version: u16,
    pub revision: u16,
    pub count: u32,
}
layout!(IoResourceList, 8, count @ 4);

/// `IO_RESOURCE_REQUIREMENTS_LIST`, up to its alternative lists, which follow, the preferred one first.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct IoResourceRequirementsList {
    pub list_size: u32,
    pub interface_type: i32,
    pub bus_number: u32,
    pub slot_number: u32,
    pub reserved: [u32; 3],
    pub alternative_lists: u32,
}
layout!(IoResourceRequirementsList, 32, alternative_lists @ 28);

/// `CM_RESOURCE_INTERRUPT_MESSAGE`.
pub(crate) const CM_RESOURCE_INTERRUPT_MESSAGE: u16 = 2;
/// `CM_RESOURCE_INTERRUPT_POLICY_INCLUDED`.
pub(crate) const CM_RESOURCE_INTERRUPT_POLICY_INCLUDED: u16 = 4;
/// `CM_RESOURCE_INTERRUPT_MESSAGE_TOKEN`.
pub(crate) const CM_RESOURCE_INTERRUPT_MESSAGE_TOKEN: u32 = u32::MAX - 1;
/// `IrqPolicySpecifiedProcessors`.
pub(crate) const IRQ_POLICY_SPECIFIED_PROCESSORS: u16 = 4;

impl IoResourceDescriptor {
    /// Requires just what a device has.
    pub(crate) fn fixed(has: &CmPartialResourceDescriptor) -> Self {
        // SAFETY: the kind says which argument it is.
        let u = unsafe {
            if has.kind == CM_RESOURCE_TYPE_INTERRUPT {
                let vector = { has.u.interrupt }.vector;
                RequirementArguments {
                    interrupt: RequiredInterrupt {
                        minimum_vector: vector,
                        maximum_vector: vector,
                        affinity_policy: 0,
                        group: 0,
                        priority_policy: 0,
                        targeted_processors: 0,
                    },
                }
            } else {
                let range = has.u.generic;
                let (start, length) = (range.start, range.length);
                let maximum = start + i64::from(length) - 1;
                RequirementArguments {
                    generic: RequiredRange { length, alignment: 1, minimum: start, maximum },
                }
            }
        };
        let (kind, share_disposition, flags) = (has.kind, has.share_disposition, has.flags);
        Self { option: 0, kind, share_disposition, spare1: 0, flags, spare2: 0, u }
    }

    /// Returns `Some` if it is an interrupt message, with the processor that it is for.
    pub(crate) fn message(&self) -> Option<Option<usize>> {
        let flags = CM_RESOURCE_INTERRUPT_MESSAGE;
        if self.kind != CM_RESOURCE_TYPE_INTERRUPT || self.flags & flags == 0 {
            return None;
        }
        // SAFETY: an interrupt's argument.
        let interrupt = unsafe { self.u.interrupt };
        let targets = interrupt.targeted_processors;
        let whole = self.share_disposition == CM_RESOURCE_SHARE_DEVICE_EXCLUSIVE
            && interrupt.minimum_vector == CM_RESOURCE_INTERRUPT_MESSAGE_TOKEN
            && interrupt.maximum_vector == CM_RESOURCE_INTERRUPT_MESSAGE_TOKEN
            && self.flags & CM_RESOURCE_INTERRUPT_POLICY_INCLUDED != 0
            && interrupt.affinity_policy == IRQ_POLICY_SPECIFIED_PROCESSORS
            && interrupt.group == 0
            && targets.is_power_of_two();
        Some(whole.then(|| targets.trailing_zeros() as usize))
    }
}

/// Returns the alternatives of a requirements list.
///
/// # Safety
/// `list` is a whole list.
pub(crate) unsafe fn alternatives<'a>(
    list: *const IoResourceRequirementsList,
) -> alloc::vec::Vec<&'a [IoResourceDescriptor]> {
    // SAFETY: by this function's contract, `list` is a whole list.
    unsafe {
        let mut at: *const IoResourceList = list.add(1).cast();
        (0..(*list).alternative_lists)
            .map(|_| {
                let first: *const IoResourceDescriptor = at.add(1).cast();
                let count = (*at).count as usize;
                at = first.add(count).cast();
                assert!(
                    at as usize <= list as usize + (*list).list_size as usize,
                    "a requirements list is short"
                );
                core::slice::from_raw_parts(first, count)
            })
            .collect()
    }
}

/// Returns a requirements list of one alternative, in its bytes.
pub(crate) fn requirements(
    interface_type: i32,
    bus_number: u32,
    descriptors: &[IoResourceDescriptor],
) -> (IoResourceRequirementsList, IoResourceList) {
    let size =
        size_of::<IoResourceRequirementsList>() + size_of::<IoResourceList>() + size_of_val(descriptors);
    let header = IoResourceRequirementsList {
        list_size: size as u32,
        interface_type,
        bus_number,
        slot_number: 0,
        reserved: [0; 3],
        alternative_lists: 1,
    };
    (header, IoResourceList { version: 1, revision: 1, count: descriptors.len() as u32 })
}
