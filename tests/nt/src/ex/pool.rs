//! The pool routines that drivers call.

use crate::ke::irql;
use crate::ldr::gate;
use crate::mm::pool::{self, Type};
use crate::nt::{APC_LEVEL, Pvoid};
use crate::verifier::{Violation, violation};

/// `NonPagedPool`.
pub(crate) const NON_PAGED_POOL: u32 = 0;

/// Tag of allocations made without one.
const NO_TAG: u32 = u32::from_le_bytes(*b"None");

/// `ExAllocatePoolWithTag`. IRQL ≤ `DISPATCH_LEVEL`, paged pool ≤ `APC_LEVEL`.
pub(crate) extern "win64" fn ExAllocatePoolWithTag(pool_type: u32, bytes: usize, tag: u32) -> Pvoid {
    let driver = gate::caller();
    // Bits above the base type ask for cache alignment and quotas; bit 9 is NonPagedPoolNx.
    let kind = match pool_type & 1 {
        0 if pool_type & 0x200 != 0 => Type::NonPagedNx,
        0 => Type::NonPaged,
        _ => Type::Paged,
    };
    let level = irql::current();
    if kind == Type::Paged && level > APC_LEVEL {
        violation(
            Violation::WrongIrql,
            format_args!("routine=ExAllocatePoolWithTag pool=paged irql={level}"),
        );
    }
    if tag == 0 || bytes == 0 {
        let driver = crate::ldr::driver_name(driver);
        violation(Violation::PoolBadTag, format_args!("driver={driver} tag={tag:#x} bytes={bytes}"));
    }
    pool::allocate(kind, bytes, tag, driver)
}

/// `ExAllocatePool`. As [`ExAllocatePoolWithTag`].
pub(crate) extern "win64" fn ExAllocatePool(pool_type: u32, bytes: usize) -> Pvoid {
    ExAllocatePoolWithTag(pool_type, bytes, NO_TAG)
}

/// `ExFreePoolWithTag`. IRQL ≤ `DISPATCH_LEVEL`, paged pool ≤ `APC_LEVEL`.
///
/// # Safety
/// `block` came from the pool and is not used any more.
pub(crate) unsafe extern "win64" fn ExFreePoolWithTag(block: Pvoid, tag: u32) {
    // SAFETY: by this function's contract, `block` came from the pool and is not used any more.
    unsafe {
        pool::free(block, (tag != 0).then_some(tag));
    }
}

/// `ExFreePool`. As [`ExFreePoolWithTag`].
///
/// # Safety
/// As [`ExFreePoolWithTag`].
pub(crate) unsafe extern "win64" fn ExFreePool(block: Pvoid) {
    // SAFETY: the caller keeps the contract of [`ExFreePoolWithTag`].
    unsafe {
        pool::free(block, None);
    }
}
