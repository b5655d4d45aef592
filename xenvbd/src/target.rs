//! One vbd as a target: connected to its backend, with its properties as a logical unit and its queue.
#![allow(unsafe_code, reason = "lends the queue to an event channel's callback")]

use alloc::boxed::Box;
use core::ffi::c_void;
use core::ptr::{self, NonNull};
use core::time::Duration;

use guard::census::Identity;
use scsi::{BlockSize, Cache, Lun};
use wdm::mutex::Mutex;
use wdm::{SpinLock, debug_print, pool};
use xen::blkif::{Disk, Event, FlushMethod, Frontend, Link, Offer};
use xen::store::path::PathBuf;

use crate::DRIVER;
use crate::hal::{Error, Platform};
use crate::identity;
use crate::queue::{Ended, Queue, Request};

/// How long a backend may take for the handshake, in seconds.
const HANDSHAKE_SECONDS: u32 = 30;
/// How long a backend may take to close, in seconds. After that the ring's page is left to it.
const CLOSE_SECONDS: u32 = 5;
/// How long a backend that closes may take for the requests it has, in seconds.
const DRAIN_SECONDS: u32 = 5;
const POLL: Duration = Duration::from_millis(10);
const POLLS_PER_SECOND: u32 = 100;

/// A queue behind its lock; `None` before the disk is connected and after it was disconnected.
type Shared = SpinLock<Option<Queue>>;

/// A connected vbd.
///
/// Its one lock, the queue's, is taken from `HwStartIo` (with Storport's StartIo lock held), from `HwResetBus`, and
/// from xenpci's DPC. Under it only xenpci's table is called. SRBs are completed after it is released.
pub struct Target {
    platform: Platform,
    number: u32,
    /// For the one thread that talks with the backend.
    link: Mutex<Link>,
    offer: Offer,
    lun: Lun,
    identity: Option<Identity>,
    /// None of the system's pages may be granted to this backend.
    bounce_all: bool,
    /// At an address of its own, which the event channel's callback has.
    queue: Box<Shared>,
}

impl Target {
    /// Connects a vbd and reads its disk's identity. PASSIVE_LEVEL; waits for the backend. `machine` is the guest's
    /// UUID, if it is known.
    ///
    /// # Errors
    /// The backend does not answer, or offers what this driver cannot serve.
    pub fn connect(platform: Platform, link: Link, machine: Option<&str>) -> Result<Self, Error> {
        let vbd = link.vbd();
        let link = Mutex::new(link)?;
        let frontend = Frontend::new(platform, vbd)?;
        let queue: Box<Shared> = pool::try_box(SpinLock::new(None))?;
        // SAFETY: the box outlives the port, which `close` below and `disconnect` close first.
        let port = unsafe {
            platform.allocate_port(vbd.backend_domain, on_event, ptr::from_ref(&*queue).cast_mut().cast())
        }?;
        let offer = Offer { ring: frontend.ring(), port };
        let connected = handshake(platform, &mut link.lock(), &offer).and_then(|disk| {
            let serial = match machine {
                Some(uuid) => scsi::Identity::of_machine(uuid, vbd.device.0),
                None => scsi::Identity::local(vbd.device.0),
            };
            Ok((unit(&disk, serial)?, disk))
        });
        let (lun, disk) = match connected {
            Ok(connected) => connected,
            Err(error) => {
                close(platform, &mut link.lock(), &offer);
                drop(frontend);
                platform.close(port);
                return Err(error);
            }
        };
        let number = vbd.device.0;
        let mut target =
            Self { platform, number, link, offer, lun, identity: None, bounce_all: !vbd.trusted, queue };
        match target.start(frontend, disk) {
            Ok(()) => Ok(target),
            Err(error) => {
                target.disconnect();
                Err(error)
            }
        }
    }

    /// Makes the queue, reads the identity, and lets events through.
    fn start(&mut self, frontend: Frontend<Platform>, disk: Disk) -> Result<(), Error> {
        let mut queue = Queue::new(frontend, self.platform, self.offer.port, disk)?;
        let sectors_per_block = u64::from(self.lun.block_size.sectors());
        let mut failed = None;
        self.identity = identity::identify(self.lun.sectors, self.lun.block_size.bytes(), |block, into| {
            queue.read_now(block * sectors_per_block, into).map_err(|error| failed = Some(error)).is_ok()
        });
        if let Some(error) = failed {
            debug_print!(DRIVER, "vbd {}: its partition table cannot be read: {error}", self.number());
        }
        let connected = queue.is_connected();
        *self.queue.lock() = Some(queue);
        if !connected {
            return Err(Error::Unsuitable("the backend failed the first read"));
        }
        self.platform.unmask(self.offer.port)
    }

    /// Number of the vbd.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Path of the backend's folder. PASSIVE_LEVEL.
    pub fn backend(&self) -> PathBuf {
        self.link.lock().backend_path()
    }

    /// Looks what has become of the backend. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// What xenstore answers, or that the backend's nodes make no sense.
    pub fn look(&self) -> Result<Event, Error> {
        let mut store = self.platform;
        Ok(self.link.lock().advance(&mut store, &self.offer)?)
    }

    /// Waits until no request is on its way, for at most [`DRAIN_SECONDS`], then gives up those that are left: the
    /// backend has had its time. Nobody may bring new ones. PASSIVE_LEVEL.
    pub fn run_dry(&self) {
        let idle = || self.queue.lock().as_ref().is_none_or(Queue::is_idle);
        for _ in 0..DRAIN_SECONDS * POLLS_PER_SECOND {
            if idle() {
                return;
            }
            self.platform.pause(POLL);
        }
        debug_print!(DRIVER, "vbd {}: requests are given up after {DRAIN_SECONDS} s", self.number);
        self.abandon();
    }

    /// Ends every request without the backend, which is gone. ≤ DISPATCH_LEVEL.
    pub fn abandon(&self) {
        let ended = self.queue.lock().as_mut().map(Queue::abandon);
        ended.unwrap_or_default().complete();
    }

    /// The disk as a logical unit.
    pub fn lun(&self) -> &Lun {
        &self.lun
    }

    /// The disk's identity, if it has a partition table with a signature.
    pub fn identity(&self) -> Option<Identity> {
        self.identity
    }

    /// Whether data must go through the driver's own pages.
    pub fn bounces_all(&self) -> bool {
        self.bounce_all
    }

    /// Starts a request. ≤ DISPATCH_LEVEL.
    pub fn submit(&self, request: NonNull<Request>) {
        let ended = self.queue.lock().as_mut().map(|queue| queue.start(request));
        ended.unwrap_or_else(|| Ended::unserved(request)).complete();
    }

    /// Gives up what has not been begun; see [`Queue::reset`]. ≤ DISPATCH_LEVEL.
    pub fn reset(&self) {
        let ended = self.queue.lock().as_mut().map(Queue::reset);
        ended.unwrap_or_default().complete();
    }

    /// Ends the connection; no request is pending. PASSIVE_LEVEL; waits for the backend.
    pub fn disconnect(self) {
        close(self.platform, &mut self.link.lock(), &self.offer);
        let queue = self.queue.lock().take();
        // Outside the lock: pages are freed at PASSIVE_LEVEL.
        drop(queue);
        self.platform.close(self.offer.port);
    }
}

/// The event channel's callback. DISPATCH_LEVEL, one call at a time.
unsafe extern "system" fn on_event(context: *mut c_void) {
    // SAFETY: the context is a target's queue, which outlives its port.
    let queue = unsafe { &*context.cast::<Shared>() };
    let ended = queue.lock().as_mut().map(Queue::drain);
    ended.unwrap_or_default().complete();
}

/// Takes the link to the connected state.
fn handshake(platform: Platform, link: &mut Link, offer: &Offer) -> Result<Disk, Error> {
    let mut store = platform;
    for _ in 0..HANDSHAKE_SECONDS * POLLS_PER_SECOND {
        match link.advance(&mut store, offer)? {
            Event::Connected(disk) => return Ok(disk),
            Event::Stop | Event::Closed => return Err(Error::Unsuitable("the backend closes")),
            Event::Waiting | Event::Unchanged(_) => platform.pause(POLL),
        }
    }
    Err(Error::Backend(HANDSHAKE_SECONDS))
}

/// Takes the link to the closed state, as far as the backend goes along.
fn close(platform: Platform, link: &mut Link, offer: &Offer) {
    let mut store = platform;
    let device = link.vbd().device.0;
    if let Err(error) = link.close(&mut store) {
        debug_print!(DRIVER, "vbd {device} cannot be closed: {error}");
        return;
    }
    for _ in 0..CLOSE_SECONDS * POLLS_PER_SECOND {
        match link.advance(&mut store, offer) {
            Ok(Event::Closed) => return,
            Ok(_) => platform.pause(POLL),
            Err(error) => {
                debug_print!(DRIVER, "vbd {device} cannot be closed: {error}");
                return;
            }
        }
    }
    debug_print!(DRIVER, "vbd {device}: the backend is not closed after {CLOSE_SECONDS} s");
}

/// What the backend's disk is as a logical unit.
fn unit(disk: &Disk, identity: scsi::Identity) -> Result<Lun, Error> {
    let block_size =
        BlockSize::new(disk.sector_size).ok_or(Error::Unsuitable("its block size is not served"))?;
    if disk.cdrom {
        return Err(Error::Unsuitable("the backend says it is a CD-ROM"));
    }
    let lun = Lun {
        sectors: disk.sectors,
        block_size,
        physical_block_size: disk.physical_sector_size,
        read_only: disk.read_only,
        cache: match disk.flush {
            FlushMethod::Flush | FlushMethod::Barrier => Cache::Volatile,
            FlushMethod::None => Cache::NoFlush,
        },
        identity,
    };
    if lun.blocks() == 0 {
        return Err(Error::Unsuitable("it has no sectors"));
    }
    Ok(lun)
}
