//! The one adapter: its disks, and the guard's leave to show them.
//!
//! [`Adapter::find`] connects every vbd of type disk and reads its identity, before anything is shown.
//! [`Adapter::expose`] asks the guard for leave on the ground of the first census, and has a census taken at every
//! disk that arrives from then on. Target ids run from 0 in the order of the vbds' numbers. Without leave the disks
//! are disconnected again, and every address answers "no device".

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use guard::Reason;
use scsi::{Action, Lun, Outcome};
use wdm::event::{Event, Kind as EventKind};
use wdm::notification::{Change, Registration};
use wdm::thread::Thread;
use wdm::{DriverObject, SpinLock, debug_print, interface, pool};
use xen::blkif::{Kind, Link};

use crate::DRIVER;
use crate::census::{Census, Own};
use crate::hal::{Error, Platform};
use crate::queue::{MAXIMUM_TRANSFER, Request};
use crate::storport::{self, Answer, Configuration, Function, Port, Srb};
use crate::target::Target;

/// Most disks of the adapter. Storport asks every target id, so that this bounds the time of a bus scan, too.
const MAX_TARGETS: usize = 64;

/// The system has settled when no disk arrived for this long, after its drivers have been started.
const QUIET: Duration = Duration::from_secs(2);

/// The adapter. It lives from the first `HwFindAdapter` until the driver is unloaded, across stops and restarts.
pub struct Adapter {
    targets: Vec<Target>,
    census: Census,
    /// The guard gave leave to show the disks.
    exposed: AtomicBool,
    /// Storport has stopped the adapter.
    stopped: AtomicBool,
    /// The guard has ordered to withhold the disks.
    withheld: SpinLock<Option<Reason>>,
    driver: DriverObject,
    watch: SpinLock<Option<Registration<Watch>>>,
    settling: SpinLock<Option<Thread>>,
    /// Set for every disk that arrives, and to end the settling thread.
    arrival: Event,
    leaving: AtomicBool,
}

/// What is called for every disk that comes or goes.
type Watch = fn(Change<'_>);

impl Adapter {
    /// Connects the disks. PASSIVE_LEVEL; waits for their backends.
    ///
    /// # Errors
    /// xenpci gives no interface, or xenstore cannot be read.
    pub fn find(driver: DriverObject) -> Result<Box<Self>, Error> {
        let platform = Platform::get()?;
        let mut vbds = platform.vbds()?;
        vbds.sort_unstable();
        let machine = platform.machine_uuid();
        let mut own = Own { listed: 0, identities: Vec::new() };
        let mut targets = Vec::new();
        for vbd in vbds {
            let link = match Link::open(&mut { platform }, Platform::folder(vbd).as_str()) {
                Ok(link) if link.vbd().kind == Kind::Disk => link,
                Ok(_) => continue,
                Err(error) => {
                    // It may be a disk. Counted, so that its absence is noticed.
                    own.listed += 1;
                    debug_print!(DRIVER, "vbd {}: {error}", vbd.0);
                    continue;
                }
            };
            own.listed += 1;
            if targets.len() == MAX_TARGETS {
                debug_print!(DRIVER, "vbd {}: at most {MAX_TARGETS} disks are served", vbd.0);
                continue;
            }
            match Target::connect(platform, link, machine.as_deref()) {
                Ok(target) => {
                    own.identities.extend(target.identity());
                    targets.push(target);
                }
                Err(error) => debug_print!(DRIVER, "vbd {}: {error}", vbd.0),
            }
        }
        Ok(pool::try_box(Self {
            targets,
            census: Census::new(own, driver),
            exposed: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            withheld: SpinLock::new(None),
            driver,
            watch: SpinLock::new(None),
            settling: SpinLock::new(None),
            arrival: Event::new(EventKind::Synchronization)?,
            leaving: AtomicBool::new(false),
        })?)
    }

    /// Watches for disks, takes the first census, and asks the guard for leave to show the disks. PASSIVE_LEVEL.
    ///
    /// The watch comes first: a disk that arrives while the census is taken is seen by the one or the other.
    ///
    /// # Errors
    /// Why no disk may be shown; the caller disconnects them.
    pub fn expose(&'static self) -> Result<(), Withheld> {
        if self.targets.is_empty() {
            return Err(Withheld::NoDisk);
        }
        let watch = Registration::new(self.driver, &interface::DISK, true, changed as Watch)
            .map_err(Withheld::NoWatch)?;
        *self.watch.lock() = Some(watch);
        self.count(false)?;
        let settling = Thread::spawn(move || self.settle()).map_err(Withheld::NoWatch)?;
        *self.settling.lock() = Some(settling);
        self.census.exposed().map_err(Withheld::Guard)?;
        self.exposed.store(true, Ordering::Release);
        Ok(())
    }

    /// Waits until the system has settled, and takes the census that expects every own disk to be there.
    fn settle(&self) {
        loop {
            let quiet = !self.arrival.wait_timeout(QUIET);
            if self.leaving.load(Ordering::Acquire) {
                return;
            }
            if quiet && storport::system_started() {
                break;
            }
        }
        if let Err(withheld) = self.count(true) {
            debug_print!(DRIVER, "no PV disk is shown any more: {withheld}");
        }
    }

    /// Takes a census. An order to withhold, whoever's census brought it, holds from then on: the guard gives it
    /// once. PASSIVE_LEVEL.
    fn count(&self, settled: bool) -> Result<(), Withheld> {
        let ordered = self.census.take(settled).err();
        let mut withheld = self.withheld.lock();
        *withheld = withheld.or(ordered);
        match *withheld {
            None => Ok(()),
            Some(reason) => {
                self.exposed.store(false, Ordering::Release);
                Err(Withheld::Guard(reason))
            }
        }
    }

    /// A disk has arrived. PASSIVE_LEVEL, before anything that waits for the disk hears of it.
    fn arrived(&self) {
        // Before the disks are exposed `expose` hears of an order to withhold from its own count. Afterwards the
        // guard orders a stop; anything else means that it does not understand, and then no disk stays in reach.
        let shown = self.exposed.load(Ordering::Acquire);
        if let (Err(withheld), true) = (self.count(false), shown) {
            debug_print!(DRIVER, "no PV disk is shown any more: {withheld}");
        }
        self.arrival.set();
    }

    /// What Storport is to know of the adapter.
    pub fn configuration(&self) -> Configuration {
        Configuration { targets: self.targets.len() as u8, maximum_transfer: MAXIMUM_TRANSFER }
    }

    fn target(&self, srb: &Srb) -> Option<&Target> {
        let reachable = self.exposed.load(Ordering::Acquire) && !self.stopped.load(Ordering::Acquire);
        self.targets.get(srb.target()?).filter(|_| reachable)
    }

    /// Answers an SRB at once, or puts a request into its extension: whether it goes on to [`Adapter::start`].
    /// ≤ DISPATCH_LEVEL, no lock.
    pub fn build(&self, port: Port, mut srb: Srb) -> bool {
        // Its address means nothing where it concerns the adapter.
        if srb.function() == Function::Power {
            srb.complete(port, Answer::Done { transferred: 0 });
            return false;
        }
        let Some(target) = self.target(&srb) else {
            srb.complete(port, Answer::NoDevice);
            return false;
        };
        let outcome = match srb.function() {
            Function::ExecuteScsi if srb.lun() == 0 => target.lun().execute(srb.cdb()),
            Function::ExecuteScsi => Lun::execute_elsewhere(srb.cdb()),
            Function::Flush if srb.lun() == 0 => target.lun().flush(),
            Function::Reset => {
                target.reset();
                srb.complete(port, Answer::Done { transferred: 0 });
                return false;
            }
            Function::Flush | Function::Power | Function::Other => {
                srb.complete(port, Answer::InvalidRequest);
                return false;
            }
        };
        match outcome {
            Outcome::Good(reply) => {
                let transferred = srb.reply(reply.as_bytes());
                srb.complete(port, Answer::Done { transferred });
                false
            }
            Outcome::Refused(sense) => {
                srb.complete(port, Answer::Sense(sense));
                false
            }
            Outcome::Act(action) => prepare(target, port, srb, action),
        }
    }

    /// Starts a request that [`Adapter::build`] has prepared. DISPATCH_LEVEL, Storport's StartIo lock.
    pub fn start(&self, target: usize, request: NonNull<Request>) {
        match self.targets.get(target) {
            Some(target) => target.submit(request),
            None => crate::queue::Ended::unserved(request).complete(),
        }
    }

    /// Gives up what no backend has been told of. DISPATCH_LEVEL, Storport's StartIo lock.
    pub fn reset(&self) {
        self.targets.iter().for_each(Target::reset);
    }

    /// Storport stops the adapter; no request is pending. Up to DIRQL. The disks stay connected: this is a change of
    /// power state, or a removal that ends in [`Adapter::disconnect`].
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// Storport starts the adapter again. Up to DIRQL.
    pub fn restart(&self) {
        self.stopped.store(false, Ordering::Release);
    }

    /// Ends everything that calls into the adapter on its own. PASSIVE_LEVEL; waits for what is running.
    pub fn leave(&self) {
        self.exposed.store(false, Ordering::Release);
        self.leaving.store(true, Ordering::Release);
        let watch = self.watch.lock().take();
        // Outside the lock: this waits for a callback that is running.
        drop(watch);
        self.arrival.set();
        let settling = self.settling.lock().take();
        if let Some(settling) = settling {
            settling.join();
        }
    }

    /// Disconnects the disks, after [`Adapter::leave`]. PASSIVE_LEVEL; no request is pending and none will come.
    pub fn disconnect(self) {
        self.targets.into_iter().for_each(Target::disconnect);
    }
}

/// Why no disk is shown.
#[derive(Clone, Copy, Debug)]
pub enum Withheld {
    /// There is none.
    NoDisk,
    /// Arrivals cannot be watched.
    NoWatch(wdm::NtStatus),
    /// The guard forbids it.
    Guard(Reason),
}

impl core::fmt::Display for Withheld {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoDisk => write!(f, "there is no PV disk to show"),
            Self::NoWatch(status) => write!(f, "the arrival of disks cannot be watched: {status}"),
            Self::Guard(reason) => write!(f, "reason={:#x} {}", reason.code(), reason.text()),
        }
    }
}

fn changed(change: Change<'_>) {
    if change.arrived
        && let Some(adapter) = storport::adapter()
    {
        adapter.arrived();
    }
}

/// Checks the SRB's buffer and puts its request into its extension.
fn prepare(target: &Target, port: Port, srb: Srb, action: Action) -> bool {
    match Request::new(srb, port, action, target.bounces_all()) {
        Ok(request) => request.settle().is_some(),
        Err((srb, answer)) => {
            srb.complete(port, answer);
            false
        }
    }
}
