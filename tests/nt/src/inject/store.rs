//! Failing xenstore requests.
//!
//! A request lies in the ring, which is shared memory, until the guest notifies xenstored. In between, its
//! type is overwritten with one that nobody knows, and xenstored answers it with an error of its own.

use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use super::{Kind, fails};
use crate::mm::iospace;
use crate::xen::{STORE_PFN, STORE_PORT, parameter};

/// `struct xenstore_domain_interface` (Xen: io/xs_wire.h).
const RING: u32 = 1024;
const REQUEST_PRODUCER: usize = 2052;
/// Bytes of a message's header: type, request, transaction, length.
const HEADER: u32 = 16;
/// A type that no xenstored has.
const UNKNOWN: u8 = 0x7F;

/// Address of the mapped ring.
static RING_PAGE: AtomicUsize = AtomicUsize::new(0);
/// Its event channel.
static PORT: AtomicU32 = AtomicU32::new(u32::MAX);
/// Index of the next request's header.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// Finds the ring, before a driver makes a hypercall.
///
/// # Safety
/// Runs on Xen.
pub(super) unsafe fn find() {
    if RING_PAGE.load(Ordering::Relaxed) != 0 {
        return;
    }
    let (Some(frame), Some(port)) = (parameter(STORE_PFN), parameter(STORE_PORT)) else { return };
    // MmCached.
    // SAFETY: by this function's contract, runs on Xen.
    unsafe {
        let ring = iospace::MmMapIoSpace((frame << 12) as _, 4096, 1) as usize;
        NEXT.store(((ring + REQUEST_PRODUCER) as *const u32).read_volatile(), Ordering::Relaxed);
        PORT.store(port as u32, Ordering::Relaxed);
        RING_PAGE.store(ring, Ordering::Relaxed);
    }
}

/// Looks at a port that the guest notifies: if it is xenstored's, the new requests are counted, and the one
/// that is to fail spoiled.
///
/// # Safety
/// Called before the notification is made.
pub(super) unsafe fn sending(port: u32) {
    let ring = RING_PAGE.load(Ordering::Relaxed);
    if ring == 0 || port != PORT.load(Ordering::Relaxed) {
        return;
    }
    // SAFETY: by this function's contract, it is called before the notification is made.
    unsafe {
        let produced = ((ring + REQUEST_PRODUCER) as *const u32).read_volatile();
        let byte = |index: u32| (ring + (index % RING) as usize) as *mut u8;
        let word = |index: u32| {
            u32::from_le_bytes([0, 1, 2, 3].map(|n| byte(index.wrapping_add(n)).read_volatile()))
        };
        let mut next = NEXT.load(Ordering::Relaxed);
        // A notification without a whole header behind the last request says that something was read.
        while produced.wrapping_sub(next).cast_signed() >= HEADER as i32 {
            if fails(Kind::Store, format_args!("type={}", word(next))) {
                byte(next).write_volatile(UNKNOWN);
            }
            next = next.wrapping_add(HEADER).wrapping_add(word(next.wrapping_add(12)));
        }
        NEXT.store(next, Ordering::Relaxed);
    }
}
