//! The domain's PV disks, read from xenstore before interrupts work: a hypercall page, the HVM parameters, the
//! store's ring, and polling. Nothing is written, no watch is set, and the ring is left without an open
//! request for xenpci.
#![allow(unsafe_code, reason = "maps the store's page and hands it to the ring")]

use core::ptr::NonNull;
use core::time::Duration;

use guard::decision::PvDisks;
use wdm::mapping::{Caching, Mapping};
use wdm::{pool, time};
use xen::blkif::{Kind, Link};
use xen::cpuid::Xen;
use xen::hypercall::HypercallPage;
use xen::store::{self, Client, PAYLOAD_BUFFER, Ring, Store, Transport, path::PathBuf};
use xen::xenbus::State;
use xen::{PAGE_SIZE, Port, SharedMemory, event_channel, hvm, sched};

use crate::hypercall_page;

/// How long xenstored may take for all answers together. It answers a request in microseconds; only a machine
/// that is being started by hundreds comes near this, and then the boot is emulated.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why the disks could not be read.
pub enum Failure {
    /// No hypercalls.
    NoPage(xen::hypercall::InstallError),
    /// Xen does not say where xenstore is.
    NoLocation(xen::hypercall::Error),
    /// There is none.
    NoStore,
    /// No memory for the conversation.
    NoMemory(wdm::NtStatus),
    /// The conversation failed.
    Store(store::Error),
    /// A vbd's nodes are not as they must be.
    Vbd(xen::blkif::Error),
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

impl core::fmt::Display for Failure {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoPage(error) => error.fmt(f),
            Self::NoLocation(error) => error.fmt(f),
            Self::NoStore => f.write_str("the domain has no xenstore"),
            Self::NoMemory(status) => write!(f, "out of memory: {status}"),
            Self::Store(error) => error.fmt(f),
            Self::Vbd(error) => error.fmt(f),
        }
    }
}

/// What xenstore says of the domain's PV disks. PASSIVE_LEVEL.
///
/// # Errors
/// See [`Failure`].
pub fn pv_disks(xen: &Xen) -> Result<PvDisks, Failure> {
    let hypercall = hypercall_page::install(xen).map_err(Failure::NoPage)?;
    let location = hvm::store(&hypercall).map_err(Failure::NoLocation)?.ok_or(Failure::NoStore)?;
    let physical = location.frame.0 * PAGE_SIZE as u64;
    // SAFETY: Xen names this frame as the page it shares with the domain for xenstore; it is memory, so cached.
    let page = unsafe { Mapping::new(physical, PAGE_SIZE, Caching::Cached) }.map_err(Failure::NoMemory)?;
    let base = NonNull::new(page.as_ptr()).ok_or(Failure::NoStore)?;
    // SAFETY: one mapped page, resident and aligned, that outlives the ring; no reference into it is made.
    let ring = Ring::new(unsafe { SharedMemory::new(base, PAGE_SIZE) });
    let buffer = pool::try_vec::<u8>(PAYLOAD_BUFFER).map_err(Failure::NoMemory)?;

    let mut client = Client::new(ring, Polling::new(hypercall, location.port), buffer)?;
    let disks = survey(&mut client);
    // Also after an error: a request that is still open must not be left to xenpci.
    client.release()?;
    disks
}

/// Looks at every vbd of type disk.
fn survey(store: &mut impl Store) -> Result<PvDisks, Failure> {
    let root = PathBuf::new("device/vbd")?;
    let mut names = pool::try_vec::<u8>(PAYLOAD_BUFFER).map_err(Failure::NoMemory)?;
    let names = match store.directory(&root, &mut names) {
        Ok(names) => names,
        Err(error) if error.is_missing() => return Ok(PvDisks::None),
        Err(error) => return Err(error.into()),
    };

    let mut disks = 0;
    let mut boot_disk = false;
    let mut all_ready = true;
    for name in names {
        let link = Link::open(store, &root.join(name)?).map_err(Failure::Vbd)?;
        if link.vbd().kind != Kind::Disk {
            continue;
        }
        disks += 1;
        // The first disk, whole: hda, sda or xvda.
        boot_disk |= link.vbd().device.place() == Some((0, 0));
        let state = link.backend_state(store).map_err(Failure::Vbd)?;
        all_ready &= matches!(state, State::InitWait | State::Initialised | State::Connected);
    }
    Ok(match (disks, boot_disk, all_ready) {
        (0, ..) => PvDisks::None,
        (_, false, _) => PvDisks::BootDiskMissing,
        (_, true, false) => PvDisks::BackendMissing,
        (disks, true, true) => PvDisks::Ready(disks),
    })
}

/// Reaches xenstored by hypercall, and waits by yielding the processor to dom0.
struct Polling {
    hypercall: HypercallPage,
    port: Port,
    /// Count of the performance counter at which patience ends.
    deadline: u64,
}

impl Polling {
    fn new(hypercall: HypercallPage, port: Port) -> Self {
        let (now, frequency) = time::performance_counter();
        Self { hypercall, port, deadline: now + frequency * PATIENCE.as_secs() }
    }
}

impl Transport for Polling {
    fn notify(&mut self) {
        // Where the notification fails no answer comes, and the wait says so.
        let _ = event_channel::send(&self.hypercall, self.port);
    }

    fn wait(&mut self, _idle: u32) -> bool {
        sched::yield_now(&self.hypercall);
        time::performance_counter().0 < self.deadline
    }
}
