//! Kernel handles and the `Ob` routines.

use alloc::vec::Vec;
use core::ptr::null_mut;

use super::object::{self, Kind};
use crate::ke::Lock;
use crate::nt::*;

struct Slot {
    body: usize,
}

static TABLE: Lock<Vec<Option<Slot>>> = Lock::new(Vec::new());

/// Kernel handles have the sign bit set on NT; handle values are multiples of 4.
const KERNEL: usize = 0xFFFF_FFFF_8000_0000;

fn handle(index: usize) -> Handle {
    (KERNEL + (index + 1) * 4) as Handle
}

fn index(handle: Handle) -> Option<usize> {
    let offset = (handle as usize).checked_sub(KERNEL)?;
    (offset % 4 == 0).then(|| (offset / 4).checked_sub(1)).flatten()
}

/// Opens a handle to an object; the handle holds a reference of its own.
///
/// # Safety
/// `body` is an object.
pub(crate) unsafe fn open(body: Pvoid) -> Handle {
    // SAFETY: by this function's contract, `body` is an object.
    unsafe {
        object::reference(body);
        object::count_handle(body, 1);
    }
    let mut table = TABLE.lock();
    let slot = Some(Slot { body: body as usize });
    let at = match table.iter().position(Option::is_none) {
        Some(at) => at,
        None => {
            table.push(None);
            table.len() - 1
        }
    };
    table[at] = slot;
    handle(at)
}

/// Returns the object behind a handle.
pub(crate) fn body(handle: Handle) -> Option<Pvoid> {
    let at = index(handle)?;
    TABLE.lock().get(at)?.as_ref().map(|slot| slot.body as Pvoid)
}

/// `ZwClose`. IRQL `PASSIVE_LEVEL`.
///
/// # Safety
/// The handle is not used any more.
pub(crate) unsafe extern "win64" fn ZwClose(handle: Handle) -> NtStatus {
    let Some(body) = body(handle) else { return status::INVALID_HANDLE };
    let at = index(handle).expect("the handle was found");
    TABLE.lock()[at] = None;
    // SAFETY: by this function's contract, the handle is not used any more.
    unsafe {
        let left = object::count_handle(body, -1);
        if left == 0 && object::kind(body) == Kind::File {
            crate::io::file::cleanup(body.cast());
        }
        object::dereference(body);
        status::SUCCESS
    }
}

/// `ObReferenceObjectByHandle`. IRQL `PASSIVE_LEVEL`.
///
/// # Safety
/// `object` is writable.
pub(crate) unsafe extern "win64" fn ObReferenceObjectByHandle(
    handle: Handle,
    _access: u32,
    _object_type: Pvoid,
    _mode: i8,
    object: *mut Pvoid,
    _information: Pvoid,
) -> NtStatus {
    // SAFETY: by this function's contract, `object` is writable.
    unsafe {
        *object = null_mut();
        let Some(body) = body(handle) else { return status::INVALID_HANDLE };
        object::reference(body);
        *object = body;
        status::SUCCESS
    }
}

/// `ObOpenObjectByPointer`. IRQL `PASSIVE_LEVEL`.
///
/// # Safety
/// `object` is an object, `handle` writable.
pub(crate) unsafe extern "win64" fn ObOpenObjectByPointer(
    object: Pvoid,
    _attributes: u32,
    _access_state: Pvoid,
    _access: u32,
    _object_type: Pvoid,
    _mode: i8,
    handle: *mut Handle,
) -> NtStatus {
    // SAFETY: by this function's contract, `object` is an object, `handle` writable.
    unsafe {
        *handle = open(object);
    }
    status::SUCCESS
}

/// `ObfReferenceObject`: the count now. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `object` is an object.
pub(crate) unsafe extern "win64" fn ObfReferenceObject(object: Pvoid) -> isize {
    // SAFETY: by this function's contract, `object` is an object.
    unsafe {
        object::reference(object);
        object::pointer_count(object) as isize
    }
}

/// `ObfDereferenceObject`: the count now. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `object` is an object of which the caller holds a reference.
pub(crate) unsafe extern "win64" fn ObfDereferenceObject(object: Pvoid) -> isize {
    // SAFETY: by this function's contract, `object` is an object of which the caller holds a reference.
    unsafe {
        let left = object::pointer_count(object) - 1;
        object::dereference(object);
        left as isize
    }
}
