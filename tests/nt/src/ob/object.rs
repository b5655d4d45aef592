//! Objects: a header with counts, then the body drivers see.

use alloc::alloc::{Layout, alloc_zeroed, dealloc};
use alloc::string::String;
use alloc::vec::Vec;
use core::mem::size_of;
use core::sync::atomic::{AtomicI64, Ordering};

use crate::ke::Lock;
use crate::nt::{DeviceObject, FileObject, Pvoid};
use crate::verifier::{Violation, violation};

/// Kind of an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// `DEVICE_OBJECT`.
    Device,
    /// `DRIVER_OBJECT`.
    Driver,
    /// `FILE_OBJECT`.
    File,
    /// A thread.
    Thread,
    /// A registry key.
    Key,
}

/// Header before an object's body.
#[repr(C, align(16))]
struct Header {
    magic: u32,
    kind: Kind,
    pointers: i64,
    handles: i64,
    size: usize,
    name: Option<String>,
    security: Option<Vec<u8>>,
}

const ALIVE: u32 = 0x4A42_4F4E;
const FREED: u32 = 0x6465_6572;

/// Objects that exist, for the checks at the end of a run.
static ALL: Lock<Vec<usize>> = Lock::new(Vec::new());

unsafe fn header<'a>(body: Pvoid) -> &'a mut Header {
    // SAFETY: the caller keeps `body` valid for this call.
    let header = unsafe { &mut *body.cast::<Header>().sub(1) };
    if header.magic != ALIVE {
        let state = if header.magic == FREED { "deleted" } else { "none" };
        violation(
            Violation::ReferenceLeaked,
            format_args!("object={body:p} state={state} cause=used-after-delete"),
        );
    }
    header
}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(size_of::<Header>() + bytes, 16).expect("object size")
}

/// Makes an object of `bytes` zeroed bytes with one reference.
pub(crate) fn create_sized(kind: Kind, bytes: usize) -> Pvoid {
    let layout = layout(bytes);
    // SAFETY: the layout is not empty; the header is written before anyone sees the object.
    unsafe {
        let memory = alloc_zeroed(layout);
        assert!(!memory.is_null(), "out of memory for an object");
        memory.cast::<Header>().write(Header {
            magic: ALIVE,
            kind,
            pointers: 1,
            handles: 0,
            size: bytes,
            name: None,
            security: None,
        });
        let body = memory.add(size_of::<Header>());
        ALL.lock().push(body as usize);
        body.cast()
    }
}

/// Makes an object with a zeroed body of type `T` and one reference.
pub(crate) fn create<T>(kind: Kind) -> *mut T {
    create_sized(kind, size_of::<T>()).cast()
}

/// Returns the number of references, as every processor sees it.
unsafe fn pointers<'a>(body: Pvoid) -> &'a AtomicI64 {
    // SAFETY: the caller keeps `body` valid for this call.
    unsafe { AtomicI64::from_ptr(&raw mut header(body).pointers) }
}

/// Adds a reference.
///
/// # Safety
/// `body` is an object.
pub(crate) unsafe fn reference(body: Pvoid) {
    // SAFETY: by this function's contract, `body` is an object.
    unsafe {
        pointers(body).fetch_add(1, Ordering::AcqRel);
    }
}

/// Takes a reference away and deletes the object with the last one.
///
/// # Safety
/// `body` is an object of which the caller holds a reference.
pub(crate) unsafe fn dereference(body: Pvoid) {
    // SAFETY: by this function's contract, `body` is an object of which the caller holds a reference.
    unsafe {
        let left = pointers(body).fetch_sub(1, Ordering::AcqRel) - 1;
        let header = header(body);
        if left < 0 {
            violation(
                Violation::ReferenceLeaked,
                format_args!(
                    "object={body:p} kind={:?} count={} cause=dereferenced-too-often",
                    header.kind, left
                ),
            );
        }
        if left == 0 {
            delete(body);
        }
    }
}

unsafe fn delete(body: Pvoid) {
    // SAFETY: the caller keeps `body` valid for this call.
    unsafe {
        let kind = header(body).kind;
        match kind {
            Kind::File => crate::io::file::close(body.cast::<FileObject>()),
            Kind::Key => crate::cm::close_key(body),
            Kind::Device => crate::io::device::deleted(body.cast::<DeviceObject>()),
            Kind::Driver | Kind::Thread => {}
        }
        ALL.lock().retain(|&other| other != body as usize);
        let header = header(body);
        header.magic = FREED;
        if let Some(name) = header.name.take() {
            super::namespace::remove(&name);
        }
        header.security = None;
        let size = header.size;
        // Fill, so that a stale pointer reads nonsense; the header's magic stays until the memory is reused.
        core::ptr::write_bytes(body.cast::<u8>(), 0xDD, size);
        dealloc(body.cast::<u8>().sub(size_of::<Header>()), layout(size));
    }
}

/// Returns the number of references.
///
/// # Safety
/// `body` is an object.
pub(crate) unsafe fn pointer_count(body: Pvoid) -> i64 {
    // SAFETY: by this function's contract, `body` is an object.
    unsafe { header(body).pointers }
}

/// Returns the object's kind.
///
/// # Safety
/// `body` is an object.
pub(crate) unsafe fn kind(body: Pvoid) -> Kind {
    // SAFETY: by this function's contract, `body` is an object.
    unsafe { header(body).kind }
}

/// Returns the object's name in the namespace.
///
/// # Safety
/// `body` is an object.
pub(crate) unsafe fn name(body: Pvoid) -> Option<String> {
    // SAFETY: by this function's contract, `body` is an object.
    unsafe { header(body).name.clone() }
}

/// Gives the object a name.
///
/// # Safety
/// `body` is an object.
pub(crate) unsafe fn set_name(body: Pvoid, name: String) {
    // SAFETY: by this function's contract, `body` is an object.
    unsafe {
        header(body).name = Some(name);
    }
}

/// Returns the object's self-relative security descriptor.
///
/// # Safety
/// `body` is an object.
pub(crate) unsafe fn security(body: Pvoid) -> Option<Vec<u8>> {
    // SAFETY: by this function's contract, `body` is an object.
    unsafe { header(body).security.clone() }
}

/// Gives the object a security descriptor.
///
/// # Safety
/// `body` is an object.
pub(crate) unsafe fn set_security(body: Pvoid, descriptor: Vec<u8>) {
    // SAFETY: by this function's contract, `body` is an object.
    unsafe {
        header(body).security = Some(descriptor);
    }
}

/// Counts a handle opened (`1`) or closed (`-1`); the number now open.
///
/// # Safety
/// `body` is an object.
pub(super) unsafe fn count_handle(body: Pvoid, change: i64) -> i64 {
    // SAFETY: by this function's contract, `body` is an object.
    let header = unsafe { header(body) };
    header.handles += change;
    header.handles
}
