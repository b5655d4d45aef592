//! Resource requirements: what IRP_MN_FILTER_RESOURCE_REQUIREMENTS lets a function driver ask for beyond its
//! bus driver.
//!
//! An `IO_RESOURCE_REQUIREMENTS_LIST` is a header of 32 bytes and then alternative `IO_RESOURCE_LIST`s, the
//! preferred one first; each is a header of 8 bytes and then descriptors of 32 bytes (wdm.h).
#![expect(unsafe_code, reason = "copies variable-length lists whose sizes they state themselves")]

use core::alloc::Layout;
use core::ptr;

use wdk_sys::{IO_RESOURCE_DESCRIPTOR, IO_RESOURCE_LIST, IO_RESOURCE_REQUIREMENTS_LIST};

use crate::{Irp, NtStatus, Result, pool};

/// An interrupt as a requirement. The bindings' structure ends before the policies, which came with NT 6.0.
#[repr(C)]
struct MessageInterrupt {
    option: u8,
    kind: u8,
    share: u8,
    spare1: u8,
    flags: u16,
    spare2: u16,
    minimum_vector: u32,
    maximum_vector: u32,
    affinity_policy: u16,
    group: u16,
    priority_policy: u32,
    targeted_processors: u64,
}

const _: () = assert!(size_of::<MessageInterrupt>() == size_of::<IO_RESOURCE_DESCRIPTOR>());

impl MessageInterrupt {
    /// Returns a message that interrupts one processor, of group 0.
    const fn to(processor: usize) -> Self {
        /// CmResourceTypeInterrupt.
        const INTERRUPT: u8 = 2;
        /// CmResourceShareDeviceExclusive.
        const EXCLUSIVE: u8 = 1;
        /// CM_RESOURCE_INTERRUPT_LATCHED, _MESSAGE, _POLICY_INCLUDED.
        const FLAGS: u16 = 1 | 2 | 4;
        /// CM_RESOURCE_INTERRUPT_MESSAGE_TOKEN.
        const TOKEN: u32 = u32::MAX - 1;
        /// IrqPolicySpecifiedProcessors.
        const SPECIFIED_PROCESSORS: u16 = 4;
        Self {
            option: 0,
            kind: INTERRUPT,
            share: EXCLUSIVE,
            spare1: 0,
            flags: FLAGS,
            spare2: 0,
            minimum_vector: TOKEN,
            maximum_vector: TOKEN,
            affinity_policy: SPECIFIED_PROCESSORS,
            group: 0,
            priority_policy: 0,
            targeted_processors: 1 << processor,
        }
    }
}

/// Bytes before the first alternative, and before an alternative's first descriptor.
const HEADER: usize = core::mem::offset_of!(IO_RESOURCE_REQUIREMENTS_LIST, List);
const LIST_HEADER: usize = core::mem::offset_of!(IO_RESOURCE_LIST, Descriptors);
const DESCRIPTOR: usize = size_of::<IO_RESOURCE_DESCRIPTOR>();

/// Asks for one interrupt message for each of the first `processors` processors besides what the device
/// needs, and for what it needs alone where those cannot be had: each alternative comes first with the
/// messages, then as it was. Called on an IRP_MN_FILTER_RESOURCE_REQUIREMENTS that the lower drivers have
/// completed and that this driver owns again ([`Irp::forward_and_wait`]); not before NT 6.0, which knows no
/// messages. PASSIVE_LEVEL.
///
/// # Errors
/// `INSUFFICIENT_RESOURCES`, or `INVALID_PARAMETER` for a list whose parts do not fit its size; the IRP is
/// then unchanged.
pub fn prefer_messages(irp: &mut Irp, processors: usize) -> Result {
    // Somebody below has a list of its own, which is then the IRP's; or there is the PnP manager's, which
    // stays its.
    let answered = irp.information();
    let given = irp.location().requirements();
    let old = if answered == 0 { given } else { answered as *const IO_RESOURCE_REQUIREMENTS_LIST };
    // SAFETY: a requirements list, null or valid while the IRP is handled.
    let Some(header) = (unsafe { old.as_ref() }) else { return Ok(()) };
    let (size, alternatives) = (header.ListSize as usize, header.AlternativeLists as usize);
    // SAFETY: a list is as long as its header says.
    let bytes = unsafe { core::slice::from_raw_parts(old.cast::<u8>(), size.max(HEADER)) };
    let lists = &bytes[HEADER..];
    let messages = alternatives * processors * DESCRIPTOR;
    let new_size = HEADER + 2 * lists.len() + messages;
    let layout = Layout::from_size_align(new_size, 8).map_err(|_| NtStatus::INSUFFICIENT_RESOURCES)?;
    let new = pool::allocate(layout);
    if new.is_null() {
        return Err(NtStatus::INSUFFICIENT_RESOURCES);
    }
    // SAFETY: a fresh block of this size, zeroed before it is looked at.
    let out = unsafe {
        new.write_bytes(0, new_size);
        core::slice::from_raw_parts_mut(new, new_size)
    };
    out[..HEADER].copy_from_slice(&bytes[..HEADER]);
    let Some(end) = with_messages(lists, alternatives, processors, &mut out[HEADER..]) else {
        // SAFETY: the block from above, which nobody else knows.
        unsafe { pool::free(new) };
        return Err(NtStatus::INVALID_PARAMETER);
    };
    out[HEADER + end..HEADER + end + lists.len()].copy_from_slice(lists);
    let header = new.cast::<IO_RESOURCE_REQUIREMENTS_LIST>();
    // SAFETY: the block begins with the header that was copied; the list that it replaces was a block of
    // pool, and the IRP's.
    unsafe {
        (*header).ListSize = new_size as u32;
        (*header).AlternativeLists = 2 * alternatives as u32;
        if answered != 0 {
            pool::free(answered as *mut u8);
        }
    }
    irp.set_information(new.addr());
    irp.set_status(NtStatus::SUCCESS);
    Ok(())
}

/// Copies `alternatives` lists, each with the messages behind its descriptors; how many bytes that made.
/// `None` where the lists do not fit what holds them.
fn with_messages(lists: &[u8], alternatives: usize, processors: usize, out: &mut [u8]) -> Option<usize> {
    const COUNT: core::ops::Range<usize> = 4..8;
    let (mut from, mut to) = (0, 0);
    for _ in 0..alternatives {
        let head = lists.get(from..from + LIST_HEADER)?;
        let count = u32::from_le_bytes(head[COUNT].try_into().ok()?);
        let length = LIST_HEADER + count as usize * DESCRIPTOR;
        out.get_mut(to..to + length)?.copy_from_slice(lists.get(from..from + length)?);
        let more = count.checked_add(processors as u32)?;
        out[to..][COUNT].copy_from_slice(&more.to_le_bytes());
        from += length;
        to += length;
        for processor in 0..processors {
            let message = MessageInterrupt::to(processor);
            let place = out.get_mut(to..to + DESCRIPTOR)?;
            // SAFETY: a structure without padding of the place's length, and two places that do not overlap.
            unsafe {
                ptr::copy_nonoverlapping((&raw const message).cast(), place.as_mut_ptr(), DESCRIPTOR);
            }
            to += DESCRIPTOR;
        }
    }
    Some(to)
}
