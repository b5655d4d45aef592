//! The domain's PV disks, read from xenstore before interrupts work: a hypercall page, the HVM parameters,
//! the store's ring, and polling. Nothing is written, no watch is set, and the ring is left without an open
//! request for xenpci.
#![allow(unsafe_code, reason = "maps the store's page and hands it to the ring")]

use core::ptr::NonNull;
use core::time::Duration;

use guard::decision::PvDisks;
use guard::host;
use wdm::mapping::{Caching, Mapping};
use wdm::{pool, time, utf16};
use xen::blkif::{EMULATED_BLOCK, Kind, Link};
use xen::cpuid::Xen;
use xen::store::{self, Client, PAYLOAD_BUFFER, Polling, Ring, Store, path::PathBuf};
use xen::xenbus::State;
use xen::{PAGE_SIZE, SharedMemory, hvm};

use crate::{decision, hypercall_page};

/// How long xenstored may take for all answers together. It answers a request in microseconds; only a machine
/// that is being started by hundreds comes near this, and then the boot is emulated.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long backends may take to become ready, in seconds, unless `Parameters\BackendWait` says otherwise,
/// and the most that it may say. The toolstack starts a domain with its backends ready; a busy dom0 or a
/// driver domain may lag.
const BACKEND_WAIT: u32 = 10;
const LONGEST_BACKEND_WAIT: u32 = 120;
/// How often a backend that is not ready is looked at.
const BACKEND_INTERVAL: Duration = Duration::from_millis(100);

/// Why the disks could not be read, or not be used.
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
    /// A disk's backend was not ready in time.
    Backend {
        /// Number of the virtual device.
        device: u32,
        /// Its backend's state, as io/xenbus.h numbers them.
        state: u32,
    },
    /// A disk's blocks are not those of the emulated disk that stands for it.
    Blocks {
        /// Number of the virtual device.
        device: u32,
        /// Bytes of its blocks.
        bytes: u64,
    },
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
            Self::Blocks { device, bytes } => {
                write!(
                    f,
                    "vbd {device} has blocks of {bytes} bytes, and its emulated disk of {EMULATED_BLOCK}"
                )
            }
            Self::Backend { device, state } => write!(f, "the backend of vbd {device} is in state {state}"),
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
        Ok(false) => survey_until_ready(&mut client, patience),
        Err(error) => Err(error),
    };
    // Also after an error: a request that is still open must not be left to xenpci.
    client.release()?;
    disks
}

/// Whether the host asks for an emulated boot.
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

/// How long backends may take: `Parameters\BackendWait`.
fn backend_patience() -> Duration {
    let seconds =
        decision::parameters().and_then(|key| key.dword(utf16!("BackendWait"))).unwrap_or(BACKEND_WAIT);
    Duration::from_secs(seconds.min(LONGEST_BACKEND_WAIT).into())
}

/// Looks again and again while a backend is not ready, for as long as `patience` lasts.
fn survey_until_ready(store: &mut impl Store, patience: Duration) -> Result<PvDisks, Failure> {
    let mut waited = Duration::ZERO;
    loop {
        match survey(store) {
            Err(Failure::Backend { .. }) if waited < patience => {
                time::sleep(BACKEND_INTERVAL);
                waited += BACKEND_INTERVAL;
            }
            outcome => return outcome,
        }
    }
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
    let mut lagging = None;
    for name in names {
        let link = Link::open(store, &root.join(name)?).map_err(Failure::Vbd)?;
        if link.vbd().kind != Kind::Disk {
            continue;
        }
        disks += 1;
        // The first disk, whole: hda, sda or xvda.
        boot_disk |= link.vbd().device.place() == Some((0, 0));
        let state = link.backend_state(store).map_err(Failure::Vbd)?;
        // A backend that says so only when it is connected is asked again by xenvbd, before a disk is shown.
        let blocks = store::read_optional(store, &link.backend_path().join("sector-size")?);
        if let Ok(Some(bytes)) = blocks
            && bytes != u64::from(EMULATED_BLOCK)
            && link.vbd().device.is_emulated()
        {
            return Err(Failure::Blocks { device: link.vbd().device.0, bytes });
        }
        if !matches!(state, State::InitWait | State::Initialised | State::Connected) {
            lagging = Some(Failure::Backend { device: link.vbd().device.0, state: state as u32 });
        }
    }
    match (disks, boot_disk, lagging) {
        (0, ..) => Ok(PvDisks::None),
        (_, false, _) => Ok(PvDisks::BootDiskMissing),
        (_, true, Some(lagging)) => Err(lagging),
        (disks, true, None) => Ok(PvDisks::Ready(disks)),
    }
}
