//! Faults injected into what drivers ask for: the n-th request of a kind fails, once.
//!
//! `inject=<kind>:<n>` on the command line, n from 1; `inject=count` fails nothing and only counts. Kinds:
//!
//! | kind | what fails | how |
//! |---|---|---|
//! | `pool` | a routine that allocates for a driver | null or `STATUS_INSUFFICIENT_RESOURCES`, at the gate ([`crate::ldr::gate`]) |
//! | `registry` | a read of the registry or of a device's properties | `STATUS_INSUFFICIENT_RESOURCES`, at the gate |
//! | `hypercall` | a hypercall | −ENOMEM, in the hypercall page ([`hypercall`]) |
//! | `store` | a request to xenstore | xenstored's own error, as it finds a request of an unknown type ([`store`]) |
//!
//! The drivers are the files that ship: nothing in them knows of this.

mod hypercall;
mod store;

use core::sync::atomic::{AtomicU32, Ordering};

pub use hypercall::{entered, watch};
pub use protocol::FaultKind as Kind;
use protocol::Plan;

use crate::nt::status;
use crate::{boot, report};

const NULL: u64 = 0;
const NO_RESOURCES: u64 = status::INSUFFICIENT_RESOURCES as u32 as u64;

/// Routines that fail for want of memory or because the registry cannot be read, and their answer then.
const ROUTINES: &[(&str, Kind, u64)] = &[
    ("ExAllocatePool", Kind::Pool, NULL),
    ("ExAllocatePoolWithTag", Kind::Pool, NULL),
    ("IoAllocateDriverObjectExtension", Kind::Pool, NO_RESOURCES),
    ("IoAllocateErrorLogEntry", Kind::Pool, NULL),
    ("IoAllocateIrp", Kind::Pool, NULL),
    ("IoAllocateMdl", Kind::Pool, NULL),
    ("IoAllocateWorkItem", Kind::Pool, NULL),
    ("IoBuildAsynchronousFsdRequest", Kind::Pool, NULL),
    ("IoBuildDeviceIoControlRequest", Kind::Pool, NULL),
    ("IoBuildSynchronousFsdRequest", Kind::Pool, NULL),
    ("IoConnectInterrupt", Kind::Pool, NO_RESOURCES),
    ("IoCreateDevice", Kind::Pool, NO_RESOURCES),
    ("IoGetDeviceInterfaces", Kind::Pool, NO_RESOURCES),
    ("IoRegisterPlugPlayNotification", Kind::Pool, NO_RESOURCES),
    ("IoRegisterShutdownNotification", Kind::Pool, NO_RESOURCES),
    ("MmAllocateContiguousMemory", Kind::Pool, NULL),
    ("MmAllocateMappingAddress", Kind::Pool, NULL),
    ("MmAllocateContiguousMemorySpecifyCache", Kind::Pool, NULL),
    ("MmMapIoSpace", Kind::Pool, NULL),
    ("MmMapLockedPagesSpecifyCache", Kind::Pool, NULL),
    ("ObOpenObjectByPointer", Kind::Pool, NO_RESOURCES),
    ("PsCreateSystemThread", Kind::Pool, NO_RESOURCES),
    ("PsSetLoadImageNotifyRoutine", Kind::Pool, NO_RESOURCES),
    ("StorPortGetUncachedExtension", Kind::Pool, NULL),
    ("ZwSetSecurityObject", Kind::Pool, NO_RESOURCES),
    ("IoGetDeviceProperty", Kind::Registry, NO_RESOURCES),
    ("IoOpenDeviceRegistryKey", Kind::Registry, NO_RESOURCES),
    ("ZwEnumerateKey", Kind::Registry, NO_RESOURCES),
    ("ZwOpenKey", Kind::Registry, NO_RESOURCES),
    ("ZwQueryValueKey", Kind::Registry, NO_RESOURCES),
];

/// How a routine fails, if it is one of those and faults are asked for.
pub fn routine(name: &str) -> Option<(Kind, u64)> {
    boot::options().inject?;
    ROUTINES.iter().find(|(known, ..)| *known == name).map(|&(_, kind, answer)| (kind, answer))
}

static COUNTS: [AtomicU32; 4] = [const { AtomicU32::new(0) }; 4];

/// Counts a request; whether it is the one that fails, which is reported. Any IRQL.
pub fn fails(kind: Kind, what: core::fmt::Arguments) -> bool {
    let Some(plan) = boot::options().inject else { return false };
    let number = COUNTS[kind as usize].fetch_add(1, Ordering::Relaxed) + 1;
    let fails = plan == Plan::Fail(kind, number);
    if fails {
        report!("injected kind={} n={number} {what}", kind);
    }
    fails
}

/// How many requests of a kind there have been.
pub fn count(kind: Kind) -> u32 {
    COUNTS[kind as usize].load(Ordering::Relaxed)
}

/// Reports how many requests of each kind there were.
pub fn report_counts() {
    if boot::options().inject.is_some() {
        let [pool, registry, hypercall, store] =
            [0, 1, 2, 3].map(|kind: usize| COUNTS[kind].load(Ordering::Relaxed));
        report!("requests pool={pool} registry={registry} hypercall={hypercall} store={store}");
    }
}
