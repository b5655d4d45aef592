//! Memory from which nothing can be executed, where NT has it: pool and contiguous memory from 6.2 on, mappings of
//! physical memory from 10.0 on. A machine whose kernel code is protected by the hypervisor (HVCI) wants no other,
//! and Driver Verifier stops a driver that asks for other pool there (0xC4, 0x2000). What NT 5.2 does not export is
//! looked up by name.
#![expect(unsafe_code, reason = "calls routines by the addresses that NT gave for their names")]

use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use wdk_sys::{_POOL_TYPE, PHYSICAL_ADDRESS, POOL_TYPE, PVOID, SIZE_T, ULONG};

use crate::version::{self, Version};
use crate::{caching::Caching, routine, utf16};

/// NonPagedPoolNx.
const NON_PAGED_NX: POOL_TYPE = 512;
/// PAGE_READWRITE.
const READ_WRITE: ULONG = 0x04;
/// PAGE_NOCACHE.
const NO_CACHE: ULONG = 0x200;
/// MM_ANY_NODE_OK.
const ANY_NODE: ULONG = 0x8000_0000;

/// MmMapIoSpaceEx: physical address, bytes, protection.
type Map = unsafe extern "system" fn(PHYSICAL_ADDRESS, SIZE_T, ULONG) -> PVOID;
/// MmAllocateContiguousNodeMemory: bytes, lowest and highest address, boundary, protection, node.
type Allocate = unsafe extern "system" fn(
    SIZE_T,
    PHYSICAL_ADDRESS,
    PHYSICAL_ADDRESS,
    PHYSICAL_ADDRESS,
    ULONG,
    ULONG,
) -> PVOID;

static POOL: AtomicU32 = AtomicU32::new(_POOL_TYPE::NonPagedPool);
static MAP: AtomicPtr<core::ffi::c_void> = AtomicPtr::new(null_mut());
static ALLOCATE: AtomicPtr<core::ffi::c_void> = AtomicPtr::new(null_mut());

/// Looks up what this NT has; DriverEntry calls it before anything is allocated. Without it memory is as on NT 5.2.
/// PASSIVE_LEVEL.
pub fn look_up() {
    if version::running() >= Version::NT_6_2 {
        POOL.store(NON_PAGED_NX, Ordering::Relaxed);
    }
    let find = |name| routine::find(name).map_or(null_mut(), core::ptr::NonNull::as_ptr);
    MAP.store(find(utf16!("MmMapIoSpaceEx")), Ordering::Relaxed);
    ALLOCATE.store(find(utf16!("MmAllocateContiguousNodeMemory")), Ordering::Relaxed);
}

/// Returns the type of non-paged pool to allocate from. Any IRQL.
pub(crate) fn pool_type() -> POOL_TYPE {
    POOL.load(Ordering::Relaxed)
}

/// Maps physical memory; `None` where this NT has no such routine. IRQL ≤ DISPATCH_LEVEL.
///
/// # Safety
/// As for `MmMapIoSpace`: the range is the caller's to map with this caching.
pub(crate) unsafe fn map(physical: PHYSICAL_ADDRESS, length: SIZE_T, caching: Caching) -> Option<PVOID> {
    let address = MAP.load(Ordering::Relaxed);
    if address.is_null() {
        return None;
    }
    let protection = match caching {
        Caching::Cached => READ_WRITE,
        Caching::Uncached => READ_WRITE | NO_CACHE,
    };
    // SAFETY: the address is that of the routine with this name, whose documented type this is; the range by
    // contract.
    Some(unsafe { core::mem::transmute::<PVOID, Map>(address)(physical, length, protection) })
}

/// Allocates cached contiguous memory at addresses up to `highest`; `None` where this NT has no such routine.
/// PASSIVE_LEVEL.
pub(crate) fn allocate_contiguous(length: SIZE_T, highest: u64) -> Option<PVOID> {
    let address = ALLOCATE.load(Ordering::Relaxed);
    if address.is_null() {
        return None;
    }
    let at = |address: u64| PHYSICAL_ADDRESS { QuadPart: address as i64 };
    // SAFETY: the address is that of the routine with this name, whose documented type this is; plain numbers.
    Some(unsafe {
        let allocate = core::mem::transmute::<PVOID, Allocate>(address);
        allocate(length, at(0), at(highest), at(0), READ_WRITE, ANY_NODE)
    })
}
