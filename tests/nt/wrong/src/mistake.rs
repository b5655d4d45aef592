//! The mistakes that need no more than a moment at PASSIVE_LEVEL.

use core::hint::black_box;
use core::ptr::{NonNull, null_mut};

use wdk_sys::ntddk::{
    ExFreePoolWithTag, IoGetAttachedDeviceReference, KeAcquireSpinLockRaiseToDpc, KeInitializeEvent,
    KeInitializeTimerEx, KeReleaseSpinLock, KeSetTimer, KeWaitForSingleObject, ZwClose,
};
use wdk_sys::{
    _EVENT_TYPE, _KWAIT_REASON, _POOL_TYPE, _TIMER_TYPE, KEVENT, KIRQL, KSPIN_LOCK, KTIMER, LARGE_INTEGER,
    PDEVICE_OBJECT, POOL_TYPE, PVOID, SIZE_T, ULONG,
};

use crate::TAG;
use crate::case::Case;

// What the bindings leave out: the pool call as deprecated, though it is the only one that every NT from 5.2
// on has, and the IRQL routines as inline ones, which they are not in the kernel's exports.
unsafe extern "C" {
    fn KeRaiseIrqlToDpcLevel() -> KIRQL;
    fn KeLowerIrql(irql: KIRQL);
    fn ExAllocatePoolWithTag(pool: POOL_TYPE, bytes: SIZE_T, tag: ULONG) -> PVOID;
}

/// Bytes of the blocks that are allocated here; not a multiple of the pool's granularity.
const BLOCK: usize = 40;
/// Ten seconds from now, in 100 ns.
const LATER: LARGE_INTEGER = LARGE_INTEGER { QuadPart: -100_000_000 };

/// Makes the mistake of a case, if it is one of those. PASSIVE_LEVEL, in the dispatch routine of a START.
pub(crate) fn make(case: Case, device: PDEVICE_OBJECT) {
    // SAFETY: none of this is sound; each is exactly the case it is named after, and the executive stops the
    // system before it does harm.
    unsafe {
        match case {
            Case::WrongIrql => at_dispatch(|| {
                let _ = ZwClose(null_mut());
            }),
            Case::IrqlNotRestored => {
                KeRaiseIrqlToDpcLevel();
            }
            Case::PoolLeaked => {
                black_box(allocate());
            }
            Case::PoolOverrun => {
                let block = allocate();
                block.add(BLOCK).write_volatile(0xEE);
                free(block, TAG);
            }
            Case::PoolDoubleFree => {
                let block = allocate();
                free(block, TAG);
                free(block, TAG);
            }
            Case::PoolBadTag => free(allocate(), TAG + 1),
            Case::PoolUsedAfterFree => {
                let block = allocate();
                free(block, TAG);
                block.write_volatile(0xEE);
            }
            Case::ReferenceLeaked => {
                black_box(IoGetAttachedDeviceReference(device));
            }
            Case::WaitAtDispatch => wait_at_dispatch(),
            Case::PagedCodeAtRaisedIrql => at_dispatch(|| {
                black_box(black_box(paged as Code)(1));
            }),
            Case::InitCodeAfterInit => {
                black_box(black_box(discarded as Code)(1));
            }
            Case::SpinLockRecursive => {
                let mut lock: KSPIN_LOCK = 0;
                let old = KeAcquireSpinLockRaiseToDpc(&raw mut lock);
                KeAcquireSpinLockRaiseToDpc(&raw mut lock);
                KeReleaseSpinLock(&raw mut lock, old);
            }
            Case::SpinLockReleasedWrongly => at_dispatch(|| {
                let mut lock: KSPIN_LOCK = 0;
                KeReleaseSpinLock(&raw mut lock, 0);
            }),
            Case::SpinLockLeaked => {
                // In pool, so that the lock outlives the routine.
                let lock = allocate().cast::<KSPIN_LOCK>();
                lock.write(0);
                let old = KeAcquireSpinLockRaiseToDpc(lock);
                KeLowerIrql(old);
            }
            Case::QueuedObjectFreed => {
                let timer =
                    ExAllocatePoolWithTag(_POOL_TYPE::NonPagedPool, size_of::<KTIMER>() as SIZE_T, TAG);
                KeInitializeTimerEx(timer.cast(), _TIMER_TYPE::NotificationTimer);
                KeSetTimer(timer.cast(), LATER, null_mut());
                ExFreePoolWithTag(timer, TAG);
            }
            Case::DriverFault => {
                black_box(black_box(NonNull::<u32>::dangling().as_ptr().wrapping_sub(1)).read_volatile());
            }
            _ => {}
        }
    }
}

/// Runs `routine` at DISPATCH_LEVEL.
unsafe fn at_dispatch(routine: impl FnOnce()) {
    // SAFETY: IRQL is PASSIVE_LEVEL before and after.
    unsafe {
        let old = KeRaiseIrqlToDpcLevel();
        routine();
        KeLowerIrql(old);
    }
}

/// Waits for an event that nobody sets, for ten seconds, at DISPATCH_LEVEL.
unsafe fn wait_at_dispatch() {
    let mut event = KEVENT::default();
    let mut later = LATER;
    // SAFETY: the event lives as long as the wait.
    unsafe {
        KeInitializeEvent(&raw mut event, _EVENT_TYPE::NotificationEvent, 0);
        at_dispatch(|| {
            let reason = _KWAIT_REASON::Executive;
            let _ = KeWaitForSingleObject((&raw mut event).cast(), reason, 0, 0, &raw mut later);
        });
    }
}

unsafe fn allocate() -> *mut u8 {
    // SAFETY: IRQL is PASSIVE_LEVEL.
    unsafe { ExAllocatePoolWithTag(_POOL_TYPE::NonPagedPool, BLOCK as SIZE_T, TAG).cast() }
}

unsafe fn free(block: *mut u8, tag: ULONG) {
    // SAFETY: whether it is right to free the block is the case's business.
    unsafe { ExFreePoolWithTag(block.cast(), tag) }
}

/// Called through a pointer that the compiler does not see through, so that it is called at all.
type Code = extern "C" fn(u32) -> u32;

/// Runs in pageable code.
#[unsafe(link_section = "PAGE")]
#[inline(never)]
extern "C" fn paged(n: u32) -> u32 {
    n.wrapping_mul(3)
}

/// Runs in code that is discarded after DriverEntry.
#[unsafe(link_section = "INIT")]
#[inline(never)]
extern "C" fn discarded(n: u32) -> u32 {
    n.wrapping_mul(5)
}
