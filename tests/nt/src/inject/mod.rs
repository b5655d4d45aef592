//! Faults injected into what drivers ask for: the n-th request of a kind fails, once.
//!
//! `inject=<kind>:<n>` on the command line, n from 1; `inject=count` fails nothing and only counts;
//! `inject=random:<seed>` fails one allocation of [`ONE_IN`] as Driver Verifier's simulation of low resources does,
//! which ones the seed tells. Kinds:
//!
//! | kind | what fails | how |
//! |---|---|---|
//! | `pool` | a routine that allocates for a driver | null or `STATUS_INSUFFICIENT_RESOURCES`, at the gate ([`crate::ldr::gate`]) |
//! | `registry` | a read of the registry or of a device's properties | `STATUS_INSUFFICIENT_RESOURCES`, at the gate |
//! | `hypercall` | a hypercall | −ENOMEM, at the driver's instruction ([`hypercall`]) |
//! | `store` | a request to xenstore | xenstored's own error, as it finds a request of an unknown type ([`store`]) |
//!
//! The drivers are the files that ship: nothing in them knows of this.

mod hypercall;
mod store;

use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

pub(crate) use hypercall::watch;
pub(crate) use protocol::FaultKind as Kind;
use protocol::{Fault, Plan};

use crate::nt::{GUID_DEVINTERFACE_DISK, status};
use crate::{boot, ke, pnp, report};

/// Of so many allocations one fails with `random`.
const ONE_IN: u32 = 64;

/// Returns true if the allocation of this number is one of those (Knuth's multiplicative hashing).
const fn is_drawn(seed: u32, number: u32) -> bool {
    (number ^ seed.wrapping_mul(0x85EB_CA6B)).wrapping_mul(0x9E37_79B1) >> 16 & (ONE_IN - 1) == 0
}

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
    ("IoRegisterLastChanceShutdownNotification", Kind::Pool, NO_RESOURCES),
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

/// Returns the way in which a routine fails, if it is one of those and faults are asked for.
pub(crate) fn routine(name: &str) -> Option<(Kind, u64)> {
    let mut faults = boot::options().faults.iter();
    let denies = boot::options().starved_root
        || faults.any(|fault| matches!(fault, Fault::StarveIdefilter | Fault::NoSecondThread));
    if boot::options().inject.is_none() && !denies {
        return None;
    }
    ROUTINES.iter().find(|(known, ..)| *known == name).map(|&(_, kind, answer)| (kind, answer))
}

static COUNTS: [AtomicU32; 4] = [const { AtomicU32::new(0) }; 4];

/// Counts a request; whether it is the one that fails, which is reported. Any IRQL.
pub(crate) fn fails(kind: Kind, what: core::fmt::Arguments) -> bool {
    let Some(plan) = boot::options().inject else { return false };
    let number = COUNTS[kind as usize].fetch_add(1, Ordering::Relaxed) + 1;
    let fails = match plan {
        Plan::Count => false,
        Plan::Fail(failing, nth) => (failing, nth) == (kind, number),
        Plan::Random(seed) => kind == Kind::Pool && is_drawn(seed, number),
    };
    if fails {
        report!("injected kind={} n={number} {what}", kind);
    }
    fails
}

/// The driver for which memory has run out, by its id; 0 for none.
static STARVED: AtomicUsize = AtomicUsize::new(0);

/// Has every allocation of the driver with this file name fail from now on.
pub(crate) fn starve(name: &str) {
    STARVED.store(crate::ldr::driver_id(name), Ordering::Relaxed);
}

/// Lets every driver have memory again.
pub(crate) fn feed() {
    STARVED.store(0, Ordering::Relaxed);
}

/// Returns true if a request of this kind fails because memory has run out for the driver. Any IRQL.
pub(crate) fn starves(kind: Kind, driver: usize) -> bool {
    kind == Kind::Pool && driver == STARVED.load(Ordering::Relaxed)
}

/// Milliseconds for which a thread is held up: more than xenvbd needs to count its disks.
const HELD_UP: u64 = 4000;

/// The driver that is held up, by its id, and the thread; 0 for none.
static SLOW: (AtomicUsize, AtomicUsize) = (AtomicUsize::new(0), AtomicUsize::new(0));

/// Has the calling thread lose the processor from now on whenever the driver with this file name releases a spin lock
/// on it.
pub(crate) fn hold_up(name: &str) {
    SLOW.1.store(ke::thread::current().addr(), Ordering::Relaxed);
    SLOW.0.store(crate::ldr::driver_id(name), Ordering::Relaxed);
}

/// Waits if the driver is held up on this thread, while others hear of the disks again. IRQL `PASSIVE_LEVEL`.
pub(crate) fn wait_if_held_up(driver: usize) {
    let held_up = [&SLOW.0, &SLOW.1].map(|slow| slow.load(Ordering::Relaxed));
    if driver != 0 && held_up == [driver, ke::thread::current().addr()] {
        pnp::announce_again(&GUID_DEVINTERFACE_DISK);
        ke::delay(HELD_UP);
    }
}

/// Returns true if a driver's request for a thread is the one that [`Fault::NoSecondThread`] means. Any IRQL.
pub(crate) fn denies_thread(routine: &str, driver: usize) -> bool {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    boot::options().faults.contains(&Fault::NoSecondThread)
        && routine == "PsCreateSystemThread"
        && driver == crate::ldr::driver_id("xenpci")
        && ASKED.fetch_add(1, Ordering::Relaxed) == 1
}

/// Returns the number of requests of a kind so far.
pub(crate) fn count(kind: Kind) -> u32 {
    COUNTS[kind as usize].load(Ordering::Relaxed)
}

/// Reports how many requests of each kind there were.
pub(crate) fn report_counts() {
    if boot::options().inject.is_some() {
        let [pool, registry, hypercall, store] =
            [0, 1, 2, 3].map(|kind: usize| COUNTS[kind].load(Ordering::Relaxed));
        report!("requests pool={pool} registry={registry} hypercall={hypercall} store={store}");
    }
}
