//! The domain's PV disks, read from xenstore before interrupts work: hypercalls, the HVM parameters,
//! the store's ring, and polling. What is written to try the domain's quota is taken away again, no watch is set, and the
//! ring is left without an open request for xenpci.
#![expect(unsafe_code, reason = "maps the store's page and hands it to the ring")]

use core::ptr::NonNull;
use core::time::Duration;

use guard::decision::PvDisks;
use guard::host;
use wdm::mapping::{Caching, Mapping};
use wdm::time::{self, Patience};
use wdm::{pool, utf16};
use xen::cpuid::{Native, Xen};
use xen::hypercall::VmCall;
use xen::store::{self, Client, PAYLOAD_BUFFER, Polling, Ring, Store};
use xen::{PAGE_SIZE, SharedMemory, hvm};

use crate::{firmware, parameters};

/// Time that xenstored may take for all answers together. It answers a request in microseconds. Only a
/// machine that is being started by hundreds comes near this, and then the boot is emulated.
const PATIENCE: Duration = Duration::from_secs(20);

/// Time that backends may take to become ready, in seconds, unless `Parameters\BackendWait` says otherwise.
/// The toolstack starts a domain with its backends ready; a busy dom0 or a driver domain may lag.
const BACKEND_WAIT: u32 = 10;
/// Longest time that `Parameters\BackendWait` may give, in seconds.
const LONGEST_BACKEND_WAIT: u32 = 120;
/// Time between two looks at a backend that is not ready.
const BACKEND_INTERVAL: Duration = Duration::from_millis(100);

/// The reason why the disks could not be read, or not be used.
pub(crate) enum Failure {
    /// Xen refused.
    Xen(xen::hypercall::Error),
    /// There is none.
    NoStore,
    /// No memory for the conversation.
    NoMemory(wdm::NtStatus),
    /// The conversation failed.
    Store(store::Error),
    /// The disks' nodes cannot be read, or not be used.
    Survey(survey::Failure),
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

impl core::fmt::Display for Failure {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Xen(error) => error.fmt(f),
            Self::NoStore => f.write_str("the domain has no xenstore"),
            Self::NoMemory(status) => write!(f, "out of memory: {status}"),
            Self::Store(error) => error.fmt(f),
            Self::Survey(failure) => failure.fmt(f),
        }
    }
}

/// Returns the state of the domain's PV disks in xenstore. PASSIVE_LEVEL.
///
/// # Errors
/// See [`Failure`].
pub(crate) fn read(xen: &Xen) -> Result<PvDisks, Failure> {
    // SAFETY: the driver never unloads.
    let hypercall = unsafe { VmCall::new(xen, &Native) };
    // Xenstored's answers are events, which xenpci finds in the page. An emulated boot needs no callback.
    hvm::lay_out(&hypercall).map_err(Failure::Xen)?;
    let location = hvm::store(&hypercall).map_err(Failure::Xen)?.ok_or(Failure::NoStore)?;
    let physical = location.frame.0 * PAGE_SIZE as u64;
    // SAFETY: Xen names this frame as the page it shares with the domain for xenstore; it is memory, so
    // cached.
    let page = unsafe { Mapping::new(physical, PAGE_SIZE, Caching::Cached) }.map_err(Failure::NoMemory)?;
    let base = NonNull::new(page.as_ptr()).ok_or(Failure::NoStore)?;
    // SAFETY: one mapped page, resident and aligned, that outlives the ring; no reference into it is made.
    let ring = Ring::new(unsafe { SharedMemory::new(base, PAGE_SIZE) });
    let buffer = pool::try_vec::<u8>(PAYLOAD_BUFFER).map_err(Failure::NoMemory)?;

    let patience = backend_patience();
    let (now, frequency) = time::performance_counter();
    let deadline = now + frequency * (PATIENCE + patience).as_secs();
    let polling = Polling::new(hypercall, location.port, || time::performance_counter().0 < deadline);
    let mut client = Client::new(ring, polling, buffer)?;
    let disks = match host_vetoes(&mut client) {
        Ok(true) => Ok(PvDisks::Vetoed),
        Ok(false) => survey_until_ready(&mut client, patience).and_then(|disks| {
            if let PvDisks::Ready(_) = disks {
                survey::has_room(&mut client).map_err(Failure::Survey)?;
            }
            Ok(disks)
        }),
        Err(error) => Err(error),
    };
    // Also after an error: a request that is still open must not be left to xenpci.
    client.release()?;
    disks
}

/// Returns true if the host asks for an emulated boot.
fn host_vetoes(store: &mut impl Store) -> Result<bool, Failure> {
    let mut value = [0; 64];
    match store.read(host::BOOT, &mut value) {
        Ok(value) => Ok(host::vetoes(value)),
        Err(error) if error.is_missing() => Ok(false),
        // No value that means anything is as long.
        Err(store::Error::NoSpace { .. }) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Returns the time that backends may take: `Parameters\BackendWait`.
fn backend_patience() -> Duration {
    let seconds = parameters::open().and_then(|key| key.dword(utf16!("BackendWait"))).unwrap_or(BACKEND_WAIT);
    Duration::from_secs(seconds.min(LONGEST_BACKEND_WAIT).into())
}

/// Looks again and again while a backend is not ready, for as long as `patience` lasts.
fn survey_until_ready(store: &mut impl Store, patience: Duration) -> Result<PvDisks, Failure> {
    let mut patience = Patience::new(patience);
    loop {
        match survey::survey(store, firmware::hard_disks) {
            Err(survey::Failure::Backend { .. }) if patience.pause(BACKEND_INTERVAL) => {}
            outcome => return outcome.map_err(Failure::Survey),
        }
    }
}
