//! The one adapter: its disks, and the guard's leave to show them.
//!
//! [`Adapter::find`] connects every vbd of type disk and reads its identity, before anything is shown; and
//! CD-ROM drives, where their emulated twins are hidden. It needs xenpci's services, which are given out in a
//! PV boot whose proof is whole: before, and in an emulated boot, there is no [`Adapter`], and every address
//! answers "no device".
//! [`Adapter::expose`] asks the guard for leave on the ground of the first census, and has a census taken at
//! every disk that arrives from then on. Target ids run from 0 in the order of the vbds' numbers. Without
//! leave the disks are disconnected again, and every address answers "no device".

use alloc::boxed::Box;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, Ordering};
use core::time::Duration;
use wdm::Shared;

use guard::{Reason, record};
use scsi::{Action, Lun, Outcome, unmap};
use vbd::{Answer, MAXIMUM_TRANSFER, Srb as _};
use wdm::bugcheck::DumpData;
use wdm::event::{Event, Kind as EventKind};
use wdm::notification::{Change, Registration};
use wdm::thread::Thread;
use wdm::{DriverObject, NtStatus, SpinLock, debug_print, eject, interface, pool};

use crate::DRIVER;
use crate::census::{Census, Occasion};
use crate::hal::{Error, OnSuspend, Platform};
use crate::slots::{MAX_TARGETS, Slots};
use crate::srb::{Function, Port, Request, Srb};
use crate::suspend::SuspendGate;
use crate::target::Target;
use crate::tripwire::{CensusEvent, Tripwire};
use crate::vbd_list::VbdList;

/// The system has settled when no disk arrived for this long, after its drivers have been started.
const QUIET: Duration = Duration::from_secs(2);

/// Number of censuses that follow a signal of the tripwire.
const CENSUSES: u32 = 10;
/// Time between two of these censuses.
const CENSUS_INTERVAL: Duration = Duration::from_millis(300);

/// The adapter. It lives from the first `HwFindAdapter` until the driver is unloaded, across stops and
/// restarts.
pub(crate) struct Adapter {
    slots: Slots,
    /// Disks that were taken out of their slots and whose requests have not all ended, some of which never do.
    leaving: AtomicU32,
    census: Census,
    life: Life,
    storport: Storport,
    /// The guard has ordered to withhold the disks.
    withheld: SpinLock<Option<Reason>>,
    driver: DriverObject,
    arrivals: SpinLock<Option<Registration<ArrivalCallback>>>,
    threads: SpinLock<Threads>,
    /// The list of vbds: until [`Adapter::expose`] as it was started, from then on a thread.
    vbds: SpinLock<Option<VbdList>>,
    /// The place where xenpci's suspend thread finds the one of the vbds.
    suspend_gate: Shared<SuspendGate>,
    /// From before the first disk is connected until the last is disconnected: without an answer by the thread of the vbds
    /// the guest is not suspended.
    on_suspend: SpinLock<Option<OnSuspend>>,
    /// Set when a vbd may have come or gone, and to end the thread of the vbds.
    vbd_event: Shared<Event>,
    /// Woken for every disk that arrives, when the guard wants a census, when a disk may have another signature, and to end the
    /// settle thread.
    census_event: CensusEvent,
    /// A disk may have another signature.
    signed: AtomicBool,
    tripwire: SpinLock<Option<Tripwire>>,
}

/// A stage of the adapter's life, in the order in which they are passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Stage {
    /// Its disks are connected, and none is shown.
    Connected,
    /// The guard gave leave, and disks are shown.
    Shown,
    /// The guard has ordered to withhold the disks, and none is shown any more.
    Withheld,
    /// It is being left: nothing calls into it on its own any more.
    Left,
}

/// The life of the adapter. It goes on and never back: disks that were withheld stay so.
struct Life(AtomicU8);

impl Life {
    /// Begins a life, with the disks connected.
    const fn new() -> Self {
        Self(AtomicU8::new(Stage::Connected as u8))
    }

    /// Goes on to a stage, unless a later one has been reached. Any IRQL.
    fn advance(&self, stage: Stage) {
        self.0.fetch_max(stage as u8, Ordering::AcqRel);
    }

    /// Returns true if the adapter is at a stage. Any IRQL.
    fn is(&self, stage: Stage) -> bool {
        self.0.load(Ordering::Acquire) == stage as u8
    }
}

/// The adapter's threads, each from the time when it has something to do.
#[derive(Default)]
struct Threads {
    /// Takes the settled census, and those after a signal of the tripwire.
    settle: Option<Thread>,
    /// Follows the vbds.
    vbds: Option<Thread>,
}

/// Storport's side of the adapter.
#[derive(Default)]
struct Storport {
    /// Its handle. Held while Storport is told something.
    port: SpinLock<Option<Port>>,
    /// It has begun to look for disks.
    scanned: AtomicBool,
    /// It has stopped the adapter.
    stopped: AtomicBool,
    /// The bus has changed while it had.
    missed: AtomicBool,
}

impl Storport {
    /// Notes that an SRB came: Storport looks for disks. Any IRQL.
    fn note_scan(&self) {
        // Read first: the line stays shared by the processors that bring SRBs.
        if !self.scanned.load(Ordering::Relaxed) {
            self.scanned.store(true, Ordering::SeqCst);
        }
    }

    /// Returns true while Storport has stopped the adapter. Any IRQL.
    fn has_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Has Storport look which disks there are, if it has looked before: at once, or when it goes on. ≤ DISPATCH_LEVEL.
    fn bus_changed(&self) {
        let port = self.port.lock();
        let (Some(port), true) = (*port, self.scanned.load(Ordering::SeqCst)) else { return };
        if self.has_stopped() {
            self.missed.store(true, Ordering::Release);
        } else {
            port.bus_changed();
        }
    }

    /// Makes up for a change of the bus while it had stopped the adapter. ≤ DISPATCH_LEVEL.
    fn catch_up(&self) {
        if !self.has_stopped() && self.missed.swap(false, Ordering::AcqRel) {
            self.bus_changed();
        }
    }
}

/// The adapter of the running system: a miniport has no routine for the removal of its adapter, and the
/// callbacks for disks have no context.
static CURRENT: AtomicPtr<Adapter> = AtomicPtr::new(null_mut());

/// The system's drivers have been started.
static SYSTEM_STARTED: AtomicBool = AtomicBool::new(false);

/// Returns the adapter, from [`make_current`] to [`take_current`]. Any IRQL.
#[expect(unsafe_code, reason = "looks at a leaked box")]
pub(crate) fn current() -> Option<&'static Adapter> {
    // SAFETY: a leaked box, which `take_current` takes back only after everything that calls this has ended.
    unsafe { CURRENT.load(Ordering::Acquire).as_ref() }
}

/// Makes `adapter` the one that [`current`] answers. There is none yet. Any IRQL.
#[expect(unsafe_code, reason = "looks at a leaked box")]
pub(crate) fn make_current(adapter: Box<Adapter>) -> &'static Adapter {
    let adapter = Box::into_raw(adapter);
    CURRENT.store(adapter, Ordering::Release);
    // SAFETY: just leaked; as in `current`.
    unsafe { &*adapter }
}

/// Takes the adapter back. Any IRQL.
///
/// # Safety
/// Nobody uses what [`current`] or [`make_current`] has answered, and [`Adapter::leave`] has returned.
#[expect(unsafe_code, reason = "takes a leaked box back")]
pub(crate) unsafe fn take_current() -> Option<Box<Adapter>> {
    let adapter = CURRENT.swap(null_mut(), Ordering::AcqRel);
    // SAFETY: leaked by `make_current` and taken back once, by the swap; unused by the caller's promise.
    (!adapter.is_null()).then(|| unsafe { Box::from_raw(adapter) })
}

/// Notes that the system's drivers have been started: [`Adapter::expose`]'s thread may take the settled
/// census. Any IRQL.
pub(crate) fn set_system_started() {
    SYSTEM_STARTED.store(true, Ordering::Release);
}

fn system_started() -> bool {
    SYSTEM_STARTED.load(Ordering::Acquire)
}

/// Storport's configuration that the adapter decides.
pub(crate) struct Configuration {
    /// Number of targets on the one bus; ids run from 0.
    pub targets: u8,
    /// Most bytes of one SRB.
    pub maximum_transfer: u32,
}

/// The census record in a crash dump, beside idefilter's record of events.
static RECORD: DumpData = DumpData::new(c"xenvbd", record::CENSUS_DUMP, || {
    current().map_or(&[], |adapter| adapter.census.record_at_stop())
});

/// The routine that is called for every disk that comes or goes.
type ArrivalCallback = fn(Change<'_>);

impl Adapter {
    /// Connects the disks. PASSIVE_LEVEL; waits for their backends.
    ///
    /// # Errors
    /// xenpci gives no interface, or xenstore cannot be read.
    pub(crate) fn find(driver: DriverObject) -> Result<Box<Self>, Error> {
        let platform = Platform::get()?;
        let vbd_event = Shared::new(Event::new(EventKind::Synchronization)?)?;
        let adapter = pool::try_box(Self {
            slots: Slots::new()?,
            leaving: AtomicU32::new(0),
            census: Census::new(driver, || arrived(Occasion::Identified))?,
            life: Life::new(),
            storport: Storport::default(),
            withheld: SpinLock::new(None),
            driver,
            arrivals: SpinLock::new(None),
            threads: SpinLock::default(),
            vbds: SpinLock::new(None),
            suspend_gate: Shared::new(SuspendGate::new(Shared::clone(&vbd_event))?)?,
            on_suspend: SpinLock::new(None),
            vbd_event: Shared::clone(&vbd_event),
            census_event: CensusEvent::new()?,
            signed: AtomicBool::new(false),
            tripwire: SpinLock::new(None),
        })?;
        let on_suspend = platform.on_suspend(&adapter.suspend_gate)?;
        *adapter.on_suspend.lock() = Some(on_suspend);
        let mut vbds = VbdList::new(platform, vbd_event);
        vbds.start(&adapter)?;
        *adapter.vbds.lock() = Some(vbds);
        Ok(adapter)
    }

    /// Registers for the arrival of disks, takes the first census, and asks the guard for leave to show the disks.
    /// PASSIVE_LEVEL.
    ///
    /// The registration comes first: a disk that arrives while the census is taken is seen by the one or the other.
    ///
    /// # Errors
    /// The reason why no disk may be shown; the caller disconnects them.
    pub(crate) fn expose(&'static self) -> Result<(), Withheld> {
        let mut disks = 0;
        self.slots.each(|_, target| disks += u32::from(!target.is_cdrom()));
        if disks == 0 {
            return Err(Withheld::NoDisk);
        }
        let arrivals = Registration::new(self.driver, &interface::DISK, true, changed as ArrivalCallback)
            .map_err(Withheld::NotNotified)?;
        *self.arrivals.lock() = Some(arrivals);
        self.take_census(Occasion::Change)?;
        let settle = Thread::spawn(move || self.settle()).map_err(Withheld::NotNotified)?;
        self.threads.lock().settle = Some(settle);
        if !RECORD.register() {
            debug_print!(DRIVER, "the census will not be in a crash dump");
        }
        let tripwire = Tripwire::new(&self.census_event);
        if tripwire.is_none() {
            debug_print!(DRIVER, "the guard has no room for another watcher");
        }
        *self.tripwire.lock() = tripwire;
        self.census.exposed().map_err(Withheld::Guard)?;
        self.life.advance(Stage::Shown);
        let vbds = self.vbds.lock().take();
        if let Some(vbds) = vbds {
            let thread = Thread::spawn(move || vbds.follow(self)).map_err(Withheld::NotNotified)?;
            self.threads.lock().vbds = Some(thread);
        }
        Ok(())
    }

    /// Returns the disks by target id.
    pub(crate) const fn slots(&self) -> &Slots {
        &self.slots
    }

    /// Returns the census and its own list.
    pub(crate) const fn census(&self) -> &Census {
        &self.census
    }

    /// Returns the requests to the thread of the vbds around a suspend.
    pub(crate) fn suspend_gate(&self) -> &SuspendGate {
        &self.suspend_gate
    }

    /// Returns true if the adapter is being left.
    pub(crate) fn is_left(&self) -> bool {
        self.life.is(Stage::Left)
    }

    /// Has Storport look which disks there are. ≤ DISPATCH_LEVEL. Without effect before it has begun to look by itself.
    /// While it has stopped the adapter that waits: whether it looks by itself when it starts it again is not documented.
    pub(crate) fn bus_changed(&self) {
        self.storport.bus_changed();
    }

    /// Asks PnP to remove a disk in order. Returns false if the system has none at the target id. A veto is told to
    /// the target, where NT tells it. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// The disk cannot be found, or not be asked for.
    pub(crate) fn eject(&self, id: usize) -> Result<bool, NtStatus> {
        let Some(pdo) = self.census.device_of(id as u8)? else { return Ok(false) };
        eject::request::<Self>(*pdo, self.driver, id)?;
        Ok(true)
    }

    /// Takes a census because a disk may have gone. PASSIVE_LEVEL.
    pub(crate) fn retake_census(&self) {
        self.census.forget_known();
        if let Err(withheld) = self.take_census(Occasion::Change) {
            debug_print!(DRIVER, "no PV disk is shown any more: {withheld}");
        }
    }

    /// Waits until the system has settled, and takes the census that expects every own disk to be there. At
    /// a signal of the tripwire, then or later, takes one at once, and some more, since what raised the signal has yet to
    /// bring its disks.
    fn settle(&self) {
        let (mut settled, mut left) = (false, 0);
        loop {
            let patience = match (left, settled) {
                (0, true) => None,
                (0, false) => Some(QUIET),
                _ => Some(CENSUS_INTERVAL),
            };
            let woken = match patience {
                None => {
                    self.census_event.event().wait();
                    true
                }
                Some(time) => self.census_event.event().wait_timeout(time),
            };
            if self.is_left() {
                return;
            }
            let raised = self.census_event.take();
            if raised {
                left = CENSUSES;
            }
            // Otherwise a disk arrived, which has had its census, or one was signed.
            if raised || !woken {
                let due = !settled && left == 0 && system_started();
                if left > 0 || due {
                    left = left.saturating_sub(1);
                    settled |= due;
                    let occasion = if due { Occasion::Settled } else { Occasion::Change };
                    if let Err(withheld) = self.take_census(occasion) {
                        debug_print!(DRIVER, "no PV disk is shown any more: {withheld}");
                    }
                }
            }
            if self.signed.swap(false, Ordering::AcqRel) {
                self.compare_signed();
            }
        }
    }

    /// Takes a census if a disk has another signature: one that was compared when it had none may be a second path, or have
    /// one. PASSIVE_LEVEL.
    fn compare_signed(&self) {
        match self.census.is_signed_anew() {
            Ok(false) => {}
            Ok(true) => {
                if let Err(withheld) = self.take_census(Occasion::Signed) {
                    debug_print!(DRIVER, "no PV disk is shown any more: {withheld}");
                }
            }
            // The tick asks again.
            Err(_) => self.signed.store(true, Ordering::Release),
        }
    }

    /// Takes a census. An order to withhold, whoever's census brought it, holds from then on: the guard gives
    /// it once. PASSIVE_LEVEL.
    fn take_census(&self, occasion: Occasion) -> Result<(), Withheld> {
        if occasion == Occasion::Settled {
            self.census.forget_known();
        }
        let ordered = self.census.take(occasion).err();
        let mut withheld = self.withheld.lock();
        *withheld = withheld.or(ordered);
        match *withheld {
            None => Ok(()),
            Some(reason) => {
                self.life.advance(Stage::Withheld);
                Err(Withheld::Guard(reason))
            }
        }
    }

    /// Handles the arrival of a disk, or of its identity. PASSIVE_LEVEL, before anything that waits for the disk hears of it.
    fn arrived(&self, occasion: Occasion) {
        // Before the disks are exposed `expose` hears of an order to withhold from its own count. Afterwards
        // the guard orders a stop; anything else means that it does not understand, and then no disk
        // stays in reach.
        let shown = self.life.is(Stage::Shown);
        if let (Err(withheld), true) = (self.take_census(occasion), shown) {
            debug_print!(DRIVER, "no PV disk is shown any more: {withheld}");
        }
        self.census_event.event().set();
    }

    /// Returns what Storport is to know of the adapter. Every target id may come to have a disk.
    pub(crate) const fn configuration() -> Configuration {
        Configuration { targets: MAX_TARGETS as u8, maximum_transfer: MAXIMUM_TRANSFER }
    }

    /// Returns true if disks may be reached now.
    fn is_open(&self) -> bool {
        self.life.is(Stage::Shown) && !self.storport.has_stopped()
    }

    /// Answers an SRB at once, or makes a request of it and starts that. ≤ DISPATCH_LEVEL, no lock.
    pub(crate) fn handle(&self, mut srb: Srb) {
        // A power SRB for the adapter has no valid address.
        if srb.function() == Function::Power {
            srb.complete(Answer::Done { transferred: 0 });
            return;
        }
        if let Function::Pnp { address } = srb.function() {
            let disk = address.and_then(|id| self.slots.with(id, |target| !target.is_cdrom()));
            if disk == Some(true) {
                srb.tell_removable();
            }
            srb.complete(Answer::Done { transferred: 0 });
            return;
        }
        if srb.function() == Function::Reset && srb.resets_all() {
            let done = self.reset();
            srb.complete(reset_answer(done));
            return;
        }
        // Before the answer, so that whoever shows a disk later finds it noted.
        self.storport.note_scan();
        let id = srb.target().filter(|_| self.is_open());
        let mut srb = Some(srb);
        if let Some(id) = id {
            self.slots.with(id, |target| {
                if let Some(srb) = srb.take() {
                    handle(target, srb);
                }
                if target.has_news() {
                    self.vbd_event.set();
                }
            });
        }
        if let Some(srb) = srb {
            srb.complete(Answer::NoDevice);
        }
    }

    /// Gives up what no backend has been told of. Returns true if no request is left. ≤ DISPATCH_LEVEL.
    pub(crate) fn reset(&self) -> bool {
        let mut done = true;
        self.slots.each(|_, target| done &= target.reset());
        // Afterwards: a disk that was in no slot any more has been counted before it was taken out.
        done && self.leaving.load(Ordering::SeqCst) == 0
    }

    /// Takes a disk out of its slot, and gives it back when `end` has ended its requests. A reset is not done meanwhile.
    /// PASSIVE_LEVEL.
    pub(crate) fn take_out(&self, id: usize, end: impl FnOnce(&Target)) -> Option<Box<Target>> {
        self.leaving.fetch_add(1, Ordering::SeqCst);
        let target = self.slots.take(id).inspect(|target| end(target));
        // One that keeps a request stays counted: the request never ends.
        if !target.as_ref().is_some_and(|target| target.keeps_any()) {
            self.leaving.fetch_sub(1, Ordering::SeqCst);
        }
        target
    }

    /// Looks after the backends, once a second. DISPATCH_LEVEL.
    pub(crate) fn tick(&self) {
        self.storport.catch_up();
        self.slots.each(|_, target| {
            self.look_after(target);
            self.signed.fetch_or(target.is_to_be_compared(), Ordering::AcqRel);
        });
        if self.signed.load(Ordering::Acquire) {
            self.census_event.event().set();
        }
    }

    /// Reports a target's backend that owes an answer, or that has broken the protocol. ≤ DISPATCH_LEVEL.
    pub(crate) fn look_after(&self, target: &Target) {
        if let Some((reason, seconds)) = target.check_progress() {
            self.census.report(reason, target.number(), seconds);
        }
    }

    /// Keeps `port`, by which Storport knows the adapter from now on. ≤ DISPATCH_LEVEL.
    pub(crate) fn attach(&self, port: Option<Port>) {
        *self.storport.port.lock() = port;
    }

    /// Notes that Storport stops the adapter; no request is pending. Up to DIRQL. The disks stay connected:
    /// this is a change of power state, or a removal that ends in [`Adapter::disconnect`].
    pub(crate) fn stop(&self) {
        self.storport.stopped.store(true, Ordering::Release);
    }

    /// Notes that Storport starts the adapter again. Up to DIRQL.
    pub(crate) fn unstop(&self) {
        self.storport.stopped.store(false, Ordering::Release);
    }

    /// Ends everything that calls into the adapter on its own. PASSIVE_LEVEL; waits for what is running.
    pub(crate) fn leave(&self) {
        self.life.advance(Stage::Left);
        let arrivals = self.arrivals.lock().take();
        // Outside the lock: this waits for a callback that is running.
        drop(arrivals);
        RECORD.deregister();
        let tripwire = self.tripwire.lock().take();
        drop(tripwire);
        self.census_event.event().set();
        self.vbd_event.set();
        // Outside the lock: a thread that ends takes a census first.
        let threads = core::mem::take(&mut *self.threads.lock());
        [threads.settle, threads.vbds].into_iter().flatten().for_each(Thread::join);
        self.census.leave();
    }

    /// Disconnects the disks, after [`Adapter::leave`]. PASSIVE_LEVEL; no request is pending and none will
    /// come.
    pub(crate) fn disconnect(self) {
        for id in 0..MAX_TARGETS {
            if let Some(target) = self.slots.take(id) {
                target.disconnect();
            }
        }
        let on_suspend = self.on_suspend.lock().take();
        // Outside the lock: this waits for a suspend that is under way.
        drop(on_suspend);
    }
}

/// The reason why no disk is shown.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Withheld {
    /// There is none.
    NoDisk,
    /// The arrival of disks cannot be noticed.
    NotNotified(wdm::NtStatus),
    /// The guard forbids it.
    Guard(Reason),
}

impl core::fmt::Display for Withheld {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoDisk => write!(f, "there is no PV disk to show"),
            Self::NotNotified(status) => write!(f, "the arrival of disks cannot be noticed: {status}"),
            Self::Guard(reason) => write!(f, "reason={:#x} {}", reason.code(), reason.text()),
        }
    }
}

impl eject::Outcome for Adapter {
    /// Takes the answer of PnP about the disk at a target id.
    fn hear(id: usize, outcome: NtStatus) {
        if let (Some(adapter), false) = (current(), outcome.is_success()) {
            debug_print!(DRIVER, "target {id}: its removal was vetoed: {outcome}");
            adapter.slots.with(id, Target::note_veto);
            adapter.vbd_event.set();
        }
    }
}

/// Handles the arrival or the departure of a disk. PASSIVE_LEVEL.
fn changed(change: Change<'_>) {
    if change.arrived {
        arrived(Occasion::Change);
    } else if let Some(adapter) = current() {
        adapter.census.note_departure(change.link);
        // It may be one that PnP was asked to remove.
        adapter.vbd_event.set();
    }
}

/// Handles the arrival of a disk, or of its identity, if there is an adapter. PASSIVE_LEVEL.
fn arrived(occasion: Occasion) {
    if let Some(adapter) = current() {
        adapter.arrived(occasion);
    }
}

/// Returns the answer to an SRB that resets something: done only if no request is left, or Storport would take those
/// that are left for ended.
const fn reset_answer(done: bool) -> Answer {
    if done { Answer::Done { transferred: 0 } } else { Answer::Failed }
}

/// Does the work of [`Adapter::handle`] for a target that is there.
fn handle(target: &Target, mut srb: Srb) {
    let outcome = match srb.function() {
        Function::ExecuteScsi if srb.lun() == 0 => {
            if scsi::is_inquiry(srb.cdb()) {
                srb.deepen_queue();
            }
            target.execute(srb.cdb())
        }
        Function::ExecuteScsi => Lun::execute_elsewhere(srb.cdb()),
        Function::Flush if srb.lun() == 0 => target.lun().flush(),
        Function::Reset => {
            let done = target.reset();
            srb.complete(reset_answer(done));
            return;
        }
        Function::Flush | Function::Power | Function::Pnp { .. } | Function::Other => {
            srb.complete(Answer::InvalidRequest);
            return;
        }
    };
    match outcome {
        Outcome::Good(reply) => {
            let transferred = srb.reply(reply.as_bytes());
            srb.complete(Answer::Done { transferred });
        }
        Outcome::Refused(sense) => srb.complete(Answer::Sense(sense)),
        Outcome::Act(action) => start(target, srb, action),
    }
}

/// Checks the SRB's buffer, puts its request into its extension, and starts it.
fn start(target: &Target, srb: Srb, action: Action) {
    match action {
        Action::Unmap { bytes, block_size } => {
            // A buffer that is too short is refused below.
            let list = srb.bytes(bytes.into()).unwrap_or_default();
            if let Err(sense) = target.lun().check_unmap(list) {
                srb.complete(Answer::Sense(sense));
                return;
            }
            if let Some(first) = unmap::first_sector(list, block_size) {
                target.note_change(first);
            }
        }
        Action::Write { extent, .. } => target.note_change(extent.sector),
        Action::Read { .. } | Action::Verify { .. } | Action::Flush => {}
    }
    match Request::new(srb, action, target.terms()) {
        Ok(request) => {
            // `new` has refused an SRB without an extension.
            if let Some(request) = request.settle() {
                target.submit(request);
            }
        }
        Err((srb, answer)) => srb.complete(answer),
    }
}
