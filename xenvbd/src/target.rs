//! One vbd as a target: connected to its backend, with its properties as a logical unit and its queues.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use core::time::Duration;

use guard::Reason;
use guard::backing::{Backing, Relation};
use guard::census::{Content, Identity, Own, Signature, is_continued};
use scsi::{BlockSize, Lun, Outcome};
use vbd::{ReadError, Terms, Unit};
use wdm::mutex::Mutex;
use wdm::time::{self, Patience};
use wdm::{Shared, SpinLock, debug_print, pool, processor};
use xen::blkif::{
    Connected, Disk, EMULATED_BLOCK, Event, Failure, Features, Frontend, Kind, QueueOffer, VirtualDevice,
    XenbusDevice, polled,
};
use xen::store::{PAYLOAD_BUFFER, path::PathBuf};
use xen::xenbus::State;

use crate::DRIVER;
use crate::cdrom::Drive;
use crate::channel::{Channel, Queue};
use crate::hal::{Error, Platform, Window};
use crate::identity::{self, Unreadable};
use crate::options::Options;
use crate::srb::Request;

/// Time that a backend may take for the handshake.
const HANDSHAKE: Duration = Duration::from_secs(30);
/// Time for which a read that another backend fails is tried again, and the time between two.
const READ_PATIENCE: Duration = Duration::from_secs(10);
const READ_AGAIN: Duration = Duration::from_millis(500);
/// Time that a backend may take to close. After that the ring's page is left to it.
const CLOSE: Duration = Duration::from_secs(5);
/// Time that a backend that closes may take for the requests it has.
const DRAIN: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);

/// After how many seconds without an answer a backend is notified once more: a notification may have been
/// lost.
const NUDGE_SECONDS: u32 = 10;
/// After how many it is reported.
const REPORT_SECONDS: u32 = 30;

/// A connected vbd.
pub(crate) struct Target {
    platform: Platform,
    number: u32,
    /// For the one thread that talks with the backend.
    xenbus: Mutex<XenbusDevice>,
    /// The disk as a logical unit.
    unit: Unit,
    /// The signature that its partition table had when it was connected.
    signature: Option<Signature>,
    /// The signature could not be read, and the disk may have one.
    is_unread: bool,
    /// Unknown while it is not connected to a backend, which after a resume may have another.
    backing: SpinLock<Option<Backing>>,
    /// The storage behind the backend that it was connected to last.
    last_backing: SpinLock<Backing>,
    /// The system may have written where the signature stands since that was read.
    resigned: AtomicBool,
    /// The system has written where the signature stands. The census looks at it, too.
    written: Shared<Recent>,
    /// It was shown and could not be read.
    shown_unread: Recent,
    /// It is a CD-ROM drive, and this is its state.
    drive: Option<Drive>,
    /// None of the system's pages may be granted to this backend.
    distrusted: bool,
    /// Data has to be copied for another reason.
    copies_all: AtomicBool,
    /// PnP was asked to remove it, and somebody objected.
    vetoed: AtomicBool,
    options: Options,
    /// One for each processor, as far as the backend serves so many. Always at least one.
    #[expect(clippy::vec_box, reason = "the port's handler and the timer hold its address")]
    channels: Vec<Box<Channel>>,
    /// Number of channels that the backend serves, 1 at least.
    active: AtomicUsize,
}

/// Something that happens now and then, and is looked at when it is one second old, three, seven, fifteen and so on to about
/// a minute: a write that was begun has arrived by then, and a disk that did not answer may.
///
/// The value is the number of seconds and one, 0 where nothing has happened, and [`Recent::FRESH`].
pub(crate) struct Recent(AtomicU8);

impl Recent {
    /// It has just happened.
    const NEW: u8 = 1;
    /// It is a second old.
    const FIRST: u8 = 2;
    /// The last look is over.
    const END: u8 = 65;
    /// It has explained nothing yet ([`Recent::explains`]).
    const FRESH: u8 = 0x80;

    const fn new() -> Self {
        Self(AtomicU8::new(0))
    }

    /// Notes that it happens. What happens each second puts no look off. Any IRQL.
    fn note(&self) {
        let age = |seen: u8| if seen & !Self::FRESH < Self::FIRST { Self::NEW } else { Self::FIRST };
        // It never fails, as the closure never answers `None`.
        let _ =
            self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |seen| Some(age(seen) | Self::FRESH));
    }

    /// Returns true if it happened within the last minute, the last look included, and has not explained anything since. Any
    /// IRQL.
    pub(crate) fn explains(&self) -> bool {
        self.0.fetch_and(!Self::FRESH, Ordering::AcqRel) & Self::FRESH != 0
    }

    /// Grows a second older. Returns true if it is time for a look. Any IRQL.
    fn age(&self) -> bool {
        let older = |seen: u8| match seen & !Self::FRESH {
            0 => None,
            Self::END.. => Some(0),
            _ => Some(seen + 1),
        };
        let seen = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, older);
        seen.is_ok_and(|seen| {
            let age = seen & !Self::FRESH;
            age >= Self::FIRST && age.is_power_of_two()
        })
    }
}

/// A backend that is lost, and what is left of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// It closes, and goes through the states that end the session.
    Closing,
    /// The guest has been resumed, and [`Target::forget`] has been called.
    Resumed,
    /// The toolstack has made the vbd's nodes anew: there is nobody who would close.
    Replaced,
}

/// The rings of a vbd. Where it cannot be connected they are dropped when it has been closed: a page that the backend still
/// has mapped would be kept for good.
type Rings = Vec<Frontend<Platform>>;

impl Target {
    /// Connects a vbd and reads its disk's identity. PASSIVE_LEVEL; waits for the backend. `machine` is the
    /// guest's UUID, if it is known.
    ///
    /// # Errors
    /// The backend does not answer, or offers what this driver cannot serve.
    pub(crate) fn connect(
        platform: Platform,
        xenbus: XenbusDevice,
        machine: Option<&str>,
        options: Options,
    ) -> Result<Self, Error> {
        let vbd = xenbus.vbd();
        let xenbus = Mutex::new(xenbus)?;
        let written = Shared::new(Recent::new())?;
        let (mut channels, mut rings) = (Vec::new(), Rings::new());
        let connected = handshake(platform, &mut xenbus.lock(), options, &mut channels, &mut rings);
        let serial = match machine {
            Some(uuid) => scsi::SerialNumber::of_machine(uuid, vbd.device.0),
            None => scsi::SerialNumber::local(vbd.device.0),
        };
        let unit = connected.and_then(|disk| {
            let cdrom = vbd.kind == Kind::Cdrom;
            let lun = vbd::unit::unit(&disk, cdrom, serial).map_err(Error::Unsuitable)?;
            // The emulated disk is read in blocks of 512 bytes, partition table and all; this one would be read in
            // others.
            if !cdrom && disk.sector_size != EMULATED_BLOCK && vbd.device.is_emulated() {
                return Err(Error::Unsuitable("its blocks are not those of its emulated disk"));
            }
            let drive = cdrom
                .then(|| Drive::new(platform, &xenbus.lock().backend_path(), &disk, serial))
                .transpose()?;
            let backing = read_backing(platform, &xenbus.lock())?;
            Ok((disk, lun, drive, backing))
        });
        let (disk, lun, drive, backing) = match unit {
            Ok(unit) => unit,
            Err(error) => {
                close(platform, &mut xenbus.lock());
                channels.iter().for_each(|channel| channel.close(false));
                return Err(error);
            }
        };
        let mut target = Self {
            platform,
            number: vbd.device.0,
            xenbus,
            unit: Unit::new(lun, drive.is_none()),
            signature: None,
            is_unread: false,
            backing: SpinLock::new(Some(backing)),
            last_backing: SpinLock::new(backing),
            resigned: AtomicBool::new(false),
            written,
            shown_unread: Recent::new(),
            drive,
            distrusted: !vbd.trusted,
            copies_all: AtomicBool::new(false),
            vetoed: AtomicBool::new(false),
            options,
            active: AtomicUsize::new(channels.len()),
            channels,
        };
        match target.start(disk, &mut rings) {
            Ok(()) => Ok(target),
            Err(error) => {
                target.disconnect();
                Err(error)
            }
        }
    }

    /// Makes the queues, reads the identity, and lets events through.
    fn start(&mut self, disk: Disk, rings: &mut Rings) -> Result<(), Error> {
        let (pages, segments) =
            rings.first().map_or((0, 0), |frontend| (frontend.ring().len(), frontend.segments()));
        // Whatever can fail comes before the first ring is taken.
        let (mut queues, mut ends) = (Vec::new(), Vec::new());
        queues.try_reserve_exact(rings.len()).map_err(|_| Error::NO_MEMORY)?;
        ends.try_reserve_exact(rings.len()).map_err(|_| Error::NO_MEMORY)?;
        for channel in &self.channels {
            let port = channel.port().ok_or(Error::Unsuitable("a queue has no port"))?;
            ends.push((port, Window::new()?));
        }
        for (frontend, (port, window)) in rings.drain(..).zip(ends) {
            queues.push(Queue::new(frontend, self.platform, window, port, disk));
        }
        let first = queues.first_mut().ok_or(Error::Unsuitable("it has no queue"))?;
        if self.drive.is_none() {
            let Lun { sectors, block_size, .. } = self.unit.lun();
            let read = |sector, into: &mut [u8], pause: Pause<'_>| first.read_now(sector, into, pause);
            let identity = identify(self.number, sectors, block_size, read);
            self.is_unread = identity.is_err();
            self.signature = identity.ok().flatten().map(|identity| identity.signature);
        }
        let connected = first.is_connected();
        let persistent = first.copies_all();
        self.copies_all.store(self.distrusted || persistent, Ordering::Release);
        debug_print!(
            DRIVER,
            "disk {}: {} queues of {pages} pages, {segments} segments, {} grants",
            self.number(),
            queues.len(),
            if persistent { "persistent" } else { "single" }
        );
        self.channels.iter().zip(queues).for_each(|(channel, queue)| channel.fill(queue));
        if !connected {
            return Err(Error::Unsuitable("the backend failed the first read"));
        }
        self.channels
            .iter()
            .filter(|channel| channel.port().is_some())
            .try_for_each(|channel| channel.listen())
    }

    /// Returns the number of the vbd.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Returns true if it is a CD-ROM drive, which is no disk. Any IRQL.
    pub(crate) fn is_cdrom(&self) -> bool {
        self.drive.is_some()
    }

    /// Returns the outcome of a command. ≤ DISPATCH_LEVEL.
    pub(crate) fn execute(&self, cdb: &[u8]) -> Outcome {
        match &self.drive {
            Some(drive) => drive.execute(cdb),
            None => match self.unit.take_attention_for(cdb) {
                Some(attention) => Outcome::Refused(attention),
                None => self.unit.lun().execute(cdb),
            },
        }
    }

    /// Returns true if the thread that talks with the backend has something to write for dom0. Any IRQL.
    pub(crate) fn has_news(&self) -> bool {
        self.drive.as_ref().is_some_and(Drive::has_news)
    }

    /// Writes it. PASSIVE_LEVEL.
    pub(crate) fn tell(&self) {
        if let Some(drive) = &self.drive {
            drive.tell(self.platform, VirtualDevice(self.number));
        }
    }

    /// Notes that PnP's question whether the disk may be removed was answered with no. Any IRQL.
    pub(crate) fn note_veto(&self) {
        self.vetoed.store(true, Ordering::Release);
    }

    /// Returns true once for each [`Target::note_veto`]. Any IRQL.
    pub(crate) fn take_veto(&self) -> bool {
        self.vetoed.swap(false, Ordering::AcqRel)
    }

    /// Returns the backend's state now. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// What xenstore answers.
    pub(crate) fn backend_state(&self) -> Result<State, Error> {
        Ok(self.xenbus.lock().backend_state(&mut { self.platform })?)
    }

    /// Returns the path of the backend's folder. PASSIVE_LEVEL.
    pub(crate) fn backend(&self) -> PathBuf {
        self.xenbus.lock().backend_path()
    }

    /// Looks what has become of the backend, and takes over a new size. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// What xenstore answers, or that the backend's nodes make no sense.
    pub(crate) fn look(&self) -> Result<Event, Error> {
        let mut store = self.platform;
        let (event, kind) = {
            let mut xenbus = self.xenbus.lock();
            (xenbus.advance(&mut store)?, xenbus.vbd().kind)
        };
        if let Event::Unchanged(disk) = event {
            let disk = with_blocks(disk, kind);
            self.resize(&disk)?;
            if let Some(drive) = &self.drive {
                drive.look(self.platform, &self.backend(), &disk)?;
            }
        }
        Ok(event)
    }

    /// Takes over a disk whose size may have changed: the initiator is told by a unit attention. PASSIVE_LEVEL,
    /// by the one thread that talks with the backend.
    fn resize(&self, disk: &Disk) -> Result<(), Error> {
        self.check_blocks(disk)?;
        let before = self.unit.lun().sectors;
        if disk.sectors == before {
            return Ok(());
        }
        debug_print!(
            DRIVER,
            "disk {}: its size is {} sectors now, {before} before",
            self.number,
            disk.sectors
        );
        // Requests first: none is let through that the ring would refuse.
        for channel in &self.channels {
            channel.with(|queue| {
                queue.resize(disk.sectors);
                Default::default()
            });
        }
        self.unit.resize(disk.sectors);
        Ok(())
    }

    /// Returns the disk of another backend as a logical unit.
    ///
    /// # Errors
    /// It is none, or has other blocks.
    fn unit_of(&self, disk: &Disk) -> Result<Lun, Error> {
        self.check_blocks(disk)?;
        vbd::unit::unit(disk, self.is_cdrom(), self.unit.lun().serial).map_err(Error::Unsuitable)
    }

    /// Checks that the blocks are those that the disk had. A block size that changes under a mounted volume
    /// is nothing that can be served; nor is a disk without blocks.
    fn check_blocks(&self, disk: &Disk) -> Result<(), Error> {
        let block_size = self.unit.lun().block_size;
        let sound = disk.sector_size == block_size.bytes() && disk.sectors >= u64::from(block_size.sectors());
        if self.drive.is_none() && !sound {
            return Err(Error::Unsuitable("its blocks have changed"));
        }
        Ok(())
    }

    /// Waits until no request is on its way, for at most [`DRAIN`], then gives up those that are
    /// left: the backend has had its time. Nobody may bring new ones. PASSIVE_LEVEL.
    pub(crate) fn run_dry(&self) {
        let mut patience = Patience::new(DRAIN);
        loop {
            // The backend may have gone behind its last answers, which it then announces to nobody.
            self.channels.iter().for_each(|channel| channel.service());
            if self.channels.iter().all(|channel| channel.is_idle()) {
                return;
            }
            if !patience.pause(POLL) {
                break;
            }
        }
        debug_print!(
            DRIVER,
            "disk {}: its backend has not answered for {DRAIN:?}, the requests are given up",
            self.number
        );
        self.abandon();
    }

    /// Ends every request of a backend that is gone. PASSIVE_LEVEL; waits for those that it has begun, at most
    /// [`DRAIN`].
    pub(crate) fn give_up(&self) {
        self.hold();
        self.let_finish();
        self.abandon();
    }

    /// Lets a backend that is gone, or closes, finish what it has begun, for at most [`DRAIN`]: it may still be at
    /// work on the pages of a request, which is kept for good if it has to be ended meanwhile. It tells nobody of an answer
    /// any more. Every queue is held. PASSIVE_LEVEL.
    fn let_finish(&self) {
        let mut patience = Patience::new(DRAIN);
        loop {
            self.channels.iter().for_each(|channel| channel.service());
            if self.in_flight() == 0 || !patience.pause(POLL) {
                return;
            }
        }
    }

    /// Has a backend that closes finish what it has begun, and lets it close. PASSIVE_LEVEL.
    fn end_session(&self, xenbus: &mut XenbusDevice) {
        for channel in &self.channels {
            channel.with(|queue| {
                queue.thaw();
                Default::default()
            });
        }
        // One that was told to close serves until this end closes.
        if matches!(xenbus.backend_state(&mut { self.platform }), Ok(State::Connected | State::Closing)) {
            self.let_finish();
        }
        // Nodes that were made anew are another session's.
        if xenbus.is_replaced(&mut { self.platform }) != Ok(true) {
            close(self.platform, xenbus);
        }
        // blkback says that it has closed while requests are under way.
        self.let_finish();
    }

    /// Ends every request without the backend, which is gone. ≤ DISPATCH_LEVEL.
    pub(crate) fn abandon(&self) {
        self.channels.iter().for_each(|channel| channel.with(Queue::abandon));
    }

    /// Returns the disk as a logical unit now. Any IRQL.
    pub(crate) fn lun(&self) -> Lun {
        self.unit.lun()
    }

    /// Returns the disk's identity when it was connected, with the size that it has now, if it had a partition table with a
    /// signature. Any IRQL.
    pub(crate) fn identity(&self) -> Option<Identity> {
        self.signature.map(|signature| Identity { sectors: self.lun().sectors, signature })
    }

    /// Returns true if nobody knows its identity, since it could not be read when the disk was connected. Any IRQL.
    pub(crate) fn is_unread(&self) -> bool {
        self.is_unread
    }

    /// Returns the storage behind it; `None` while that is not known. ≤ DISPATCH_LEVEL.
    pub(crate) fn backing(&self) -> Option<Backing> {
        *self.backing.lock()
    }

    /// Forgets what is known of the backing: the backend is about to be another. ≤ DISPATCH_LEVEL.
    pub(crate) fn forget_backing(&self) {
        *self.backing.lock() = None;
    }

    /// Returns the conditions for its requests. Any IRQL.
    pub(crate) fn terms(&self) -> Terms {
        let block_size = self.unit.lun().block_size.bytes();
        Terms { copy_all: self.copies_all.load(Ordering::Relaxed), block_size }
    }

    /// Starts a request, on the queue of this processor. ≤ DISPATCH_LEVEL.
    pub(crate) fn submit(&self, request: NonNull<Request>) {
        let active = self.active.load(Ordering::Relaxed);
        self.channels[processor::current() % active].start(request);
    }

    /// Gives up what has not been begun; see [`Queue::reset`]. Returns true if no request is left. One that the
    /// backend has been told stays: nobody can take it back, and until the backend has answered, or has
    /// closed, it may write to the request's buffer, or carry out a write over a newer one. ≤ DISPATCH_LEVEL.
    pub(crate) fn reset(&self) -> bool {
        for channel in &self.channels {
            channel.with(Queue::reset);
            channel.service();
        }
        self.channels.iter().all(|channel| channel.is_idle()) && !self.keeps_any()
    }

    /// Returns true if a request never ends, since its backend holds pages of its buffer. ≤ DISPATCH_LEVEL.
    pub(crate) fn keeps_any(&self) -> bool {
        self.channels.iter().any(|channel| channel.keeps_any())
    }

    /// Returns the problem to report if the backend is late with answers, or broke the protocol. To be called
    /// once a second. Nothing is reset: what the backend has been told cannot be taken back from it.
    /// DISPATCH_LEVEL.
    pub(crate) fn check_progress(&self) -> Option<(Reason, u32)> {
        let mut report = None;
        for channel in &self.channels {
            let owed = channel.tick();
            if owed > 0 && owed.is_multiple_of(NUDGE_SECONDS) {
                channel.service();
                channel.with(|queue| {
                    queue.nudge();
                    Default::default()
                });
            }
            if owed == REPORT_SECONDS {
                report = Some((Reason::BackendStuck, owed));
            }
            if channel.is_newly_broken() {
                report = Some((Reason::BackendBroken, 0));
            }
            if let Some(disk) = channel.disk().filter(|_| self.drive.is_none())
                && self.unit.unlearn(&disk)
            {
                debug_print!(
                    DRIVER,
                    "disk {}: its backend refuses an operation that it offered, which is not asked for again",
                    self.number
                );
            }
        }
        report
    }

    /// Returns true if the toolstack wants the backend to be there (its node `online`). PASSIVE_LEVEL.
    pub(crate) fn is_online(&self) -> bool {
        self.xenbus.lock().is_online(&mut { self.platform }) == Ok(true)
    }

    /// Returns true if the toolstack has made the vbd's nodes anew, so that its backend is gone.
    /// PASSIVE_LEVEL.
    pub(crate) fn is_replaced(&self) -> bool {
        self.xenbus.lock().is_replaced(&mut { self.platform }) == Ok(true)
    }

    /// Returns true if the vbd, as its nodes are now, does not stand for the storage that the disk had.
    /// PASSIVE_LEVEL.
    pub(crate) fn is_other_storage(&self) -> bool {
        let folder = Platform::folder(VirtualDevice(self.number));
        let xenbus = XenbusDevice::open(&mut { self.platform }, folder.as_str()).map_err(Error::Blkif);
        let now = xenbus.and_then(|xenbus| read_backing(self.platform, &xenbus));
        now.is_ok_and(|now| now.relation(&self.last_backing.lock()) == Relation::Distinct)
    }

    /// Notes that sectors from this one on are about to be written, or unmapped: the signature may be there. Any IRQL.
    pub(crate) fn note_change(&self, sector: u64) {
        // The first block, and the one with the GPT's header.
        if sector < 2 * u64::from(self.unit.lun().block_size.sectors()) {
            self.note_resigned();
            self.written.note();
        }
    }

    /// Notes that the disk is shown, or has another backend, and nobody knows what is on it: it is compared with all others when
    /// it can be read. Any IRQL.
    pub(crate) fn note_shown_unread(&self) {
        self.shown_unread.note();
    }

    /// Returns the system's writes to where the signature stands.
    pub(crate) fn written(&self) -> &Shared<Recent> {
        &self.written
    }

    /// Returns true if the disk is to be compared with all others again, some seconds behind a write that may have changed its
    /// signature, or after it was shown and could not be read. To be called once a second. Any IRQL.
    pub(crate) fn is_to_be_compared(&self) -> bool {
        self.drive.is_none() && (self.written.age() | self.shown_unread.age())
    }

    /// Notes that the signature may be another than the one that was read last. Any IRQL.
    pub(crate) fn note_resigned(&self) {
        self.resigned.store(true, Ordering::Release);
    }

    /// Returns true once if the signature may be another than the one that was read last. Whoever asks reads it anew. Any
    /// IRQL.
    pub(crate) fn take_resigned(&self) -> bool {
        self.resigned.swap(false, Ordering::AcqRel)
    }

    /// Holds the queue before a suspend: nothing is given to the backend any more, and requests wait, until
    /// [`Target::reconnect`]. ≤ DISPATCH_LEVEL.
    pub(crate) fn hold(&self) {
        for channel in &self.channels {
            channel.with(|queue| {
                queue.hold();
                Default::default()
            });
        }
    }

    /// Leaves rings and grants alone, all queues being held, until [`Target::release`] or [`Target::forget`].
    /// ≤ DISPATCH_LEVEL.
    pub(crate) fn freeze(&self) {
        for channel in &self.channels {
            channel.with(|queue| {
                queue.freeze();
                Default::default()
            });
        }
    }

    /// Forgets the backend after the guest has been resumed: every grant and port is gone, and is none of this disk's in
    /// the new tables. Requests wait until [`Target::reconnect`]. PASSIVE_LEVEL.
    pub(crate) fn forget(&self) {
        self.forget_backing();
        for channel in &self.channels {
            channel.close(true);
            channel.detach(true);
        }
    }

    /// Returns the number of ring requests that the backend has not answered. ≤ DISPATCH_LEVEL.
    pub(crate) fn in_flight(&self) -> usize {
        self.channels.iter().map(|channel| channel.in_flight()).sum()
    }

    /// Returns the number of writes and discards that the backend has not answered. ≤ DISPATCH_LEVEL.
    pub(crate) fn changes_in_flight(&self) -> usize {
        self.channels.iter().map(|channel| channel.changes_in_flight()).sum()
    }

    /// Releases the queue if the guest was not suspended after [`Target::hold`]: the backend is as it was,
    /// and gets what waits. ≤ DISPATCH_LEVEL.
    pub(crate) fn release(&self) {
        for channel in &self.channels {
            channel.with(Queue::release);
            channel.end_quiet();
            // What was answered meanwhile may not have been announced.
            channel.service();
        }
    }

    /// Reconnects after the backend is gone and another takes, or has taken, its place: connects to it, and
    /// sends again what had not been answered. Requests that come meanwhile wait. `identity` is the disk's as it was read
    /// last. `sharing` answers which other vbd has the backing that the disk has now. PASSIVE_LEVEL, by the one thread that
    /// talks with the backend.
    ///
    /// # Errors
    /// No backend comes up, or one with another storage, or [`Error::Shared`]; every request has been ended then.
    pub(crate) fn reconnect(
        &self,
        lost: Lost,
        identity: Option<Identity>,
        sharing: impl FnOnce(&Own) -> Option<u32>,
    ) -> Result<(), Error> {
        let result = self.connect_again(lost, identity, sharing);
        if result.is_err() {
            self.abandon();
        }
        result
    }

    fn connect_again(
        &self,
        lost: Lost,
        identity: Option<Identity>,
        sharing: impl FnOnce(&Own) -> Option<u32>,
    ) -> Result<(), Error> {
        let mut store = self.platform;
        self.forget_backing();
        let mut xenbus = self.xenbus.lock();
        if lost != Lost::Resumed {
            self.hold();
        }
        match lost {
            // The backend lets go of the rings before they are taken from it.
            Lost::Closing => self.end_session(&mut xenbus),
            Lost::Replaced => self.let_finish(),
            Lost::Resumed => {}
        }
        // It may have been made anew while its session was ended. Whoever refuses it here has not touched the new nodes.
        let made_anew =
            lost == Lost::Replaced || (lost == Lost::Closing && xenbus.is_replaced(&mut store) == Ok(true));
        if made_anew {
            // Sent again, it may be followed by a newer one to the same place, and then carried out by the old backend.
            if self.channels.iter().any(|channel| channel.may_change_later()) {
                return Err(Error::Unsuitable("its old backend still has requests"));
            }
            if self.is_other_storage() {
                return Err(Error::Unsuitable("its nodes were made anew, for another storage"));
            }
        }
        // Of a resumed guest there is neither a port nor a ring.
        for channel in &self.channels {
            channel.close(false);
            channel.detach(false);
        }
        *xenbus = XenbusDevice::open(&mut store, Platform::folder(xenbus.vbd().device).as_str())?;
        let distrusted = self.distrusted || !xenbus.vbd().trusted;
        let mut rings = Rings::new();
        let offered = offer_to(self.platform, &mut xenbus, self.options, &self.channels, &mut rings, true);
        // Before the first request goes out to it.
        let connected = offered.and_then(|disk| {
            let lun = self.unit_of(&disk)?;
            let backing = read_backing(self.platform, &xenbus)?;
            if let Some(other) = sharing(&Own { identity, backing }) {
                return Err(Error::Shared(other));
            }
            let before = (lost != Lost::Resumed).then(|| *self.last_backing.lock());
            if !self.continues(before.as_ref(), made_anew, identity, &backing, &disk, &mut rings) {
                return Err(Error::Unsuitable("another storage is behind it"));
            }
            Ok((disk, lun, backing))
        });
        let taken_over = connected.and_then(|(disk, lun, backing)| {
            *self.backing.lock() = Some(backing);
            *self.last_backing.lock() = backing;
            self.take_over(&xenbus.backend_path(), distrusted, &disk, &lun, &mut rings)
        });
        if taken_over.is_err() {
            // Before a ring is dropped, or a request ended.
            close(self.platform, &mut xenbus);
        }
        taken_over
    }

    /// Returns true if a backend that is connected has the storage that the disk had, as far as its nodes and, by the first
    /// of its rings, its content tell. `before` is the backing of before, and `identity` the disk's as it was read last. A
    /// drive may have another medium.
    fn continues(
        &self,
        before: Option<&Backing>,
        made_anew: bool,
        identity: Option<Identity>,
        backing: &Backing,
        disk: &Disk,
        rings: &mut Rings,
    ) -> bool {
        if self.drive.is_some() {
            return true;
        }
        let known = identity.filter(|_| !self.resigned.load(Ordering::Acquire));
        let content =
            Content::compare(known.map(|known| known.signature), || self.read_signature(disk, rings));
        is_continued(before, backing, content, made_anew)
    }

    /// Reads the signature of the disk behind the first ring, whose queue has not got it yet. PASSIVE_LEVEL.
    fn read_signature(&self, disk: &Disk, rings: &mut Rings) -> Result<Option<Signature>, Unreadable> {
        let port = self.channels.first().and_then(|channel| channel.port());
        let (Some(frontend), Some(port)) = (rings.first_mut(), port) else { return Err(Unreadable::Disk) };
        frontend.connect(port, *disk);
        let read =
            |sector, into: &mut [u8], mut pause: Pause<'_>| vbd::read_now(frontend, sector, into, &mut pause);
        let identity = identify(self.number, disk.sectors, self.unit.lun().block_size, read)?;
        Ok(identity.map(|identity| identity.signature))
    }

    /// Gives another backend, which is connected, what waits.
    fn take_over(
        &self,
        backend: &PathBuf,
        distrusted: bool,
        disk: &Disk,
        lun: &Lun,
        rings: &mut Rings,
    ) -> Result<(), Error> {
        let persistent =
            disk.persistent && rings.first().is_some_and(|frontend| frontend.config().persistent);
        self.copies_all.store(distrusted || persistent, Ordering::Release);
        let terms = self.terms();
        let count = rings.len();
        for (channel, frontend) in self.channels.iter().zip(rings.drain(..)) {
            let port = channel.port().ok_or(Error::Unsuitable("a queue has no port"))?;
            channel.attach(frontend, port, *disk, terms);
        }
        self.channels[..count].iter().try_for_each(|channel| channel.listen())?;
        self.active.store(count, Ordering::Release);
        for channel in self.channels.iter().skip(count) {
            channel.with(Queue::retire);
        }
        if self.unit.replace(lun) {
            debug_print!(DRIVER, "disk {}: its new backend offers other properties: {disk:?}", self.number);
        }
        match &self.drive {
            Some(drive) => drive.reconnected(self.platform, backend, disk),
            None => Ok(()),
        }
    }

    /// Says in xenstore that the disk is shown at a target id: a crash dump may be written to it.
    /// PASSIVE_LEVEL.
    pub(crate) fn publish_target_id(&self, id: usize) {
        let folder = Platform::folder(self.xenbus.lock().vbd().device);
        let shown = u8::try_from(id).map(|id| polled::publish(&mut { self.platform }, folder.as_str(), id));
        if let Ok(Err(error)) = shown {
            debug_print!(DRIVER, "disk {}: no crash dump can be written to it: {error}", self.number);
        }
    }

    /// Ends the connection; no request is pending. Nodes that were made anew are left alone: they are a new disk's.
    /// PASSIVE_LEVEL; waits for the backend.
    pub(crate) fn disconnect(self) {
        if !self.is_replaced() {
            let folder = Platform::folder(self.xenbus.lock().vbd().device);
            if let Err(error) = polled::withdraw(&mut { self.platform }, folder.as_str()) {
                debug_print!(DRIVER, "disk {}: xenstore still has its target id: {error}", self.number);
            }
            close(self.platform, &mut self.xenbus.lock());
        }
        for channel in &self.channels {
            let counters = channel.counters();
            if counters.started > 0 {
                debug_print!(DRIVER, "disk {}: {counters:?}", self.number);
            }
            // Outside the lock: pages are freed at PASSIVE_LEVEL.
            drop(channel.empty());
            channel.close(false);
        }
    }
}

/// Returns the storage behind a connected vbd. PASSIVE_LEVEL.
fn read_backing(platform: Platform, xenbus: &XenbusDevice) -> Result<Backing, Error> {
    let mut value = pool::try_vec::<u8>(PAYLOAD_BUFFER)?;
    Ok(survey::read_backing(&mut { platform }, xenbus, &mut value)?)
}

/// Takes the device to the connected state, with a channel for each processor as far as the backend serves
/// them.
#[expect(clippy::vec_box, reason = "the field's type")]
fn handshake(
    platform: Platform,
    xenbus: &mut XenbusDevice,
    options: Options,
    channels: &mut Vec<Box<Channel>>,
    rings: &mut Rings,
) -> Result<Disk, Error> {
    let wanted = processor::count().min(options.queues).max(1);
    channels.try_reserve_exact(wanted).map_err(|_| Error::NO_MEMORY)?;
    for processor in 0..wanted {
        channels.push(Channel::new(platform, processor)?);
    }
    let disk = offer_to(platform, xenbus, options, channels, rings, false)?;
    channels.truncate(rings.len());
    Ok(disk)
}

/// A routine that lets so much time pass, and returns the time that it took.
type Pause<'a> = &'a mut dyn FnMut(Duration) -> Duration;

/// Reads the identity of disk `number` by `read`, which reads from a sector on while nobody else uses its ring. A read that the
/// backend fails is tried again for some seconds. PASSIVE_LEVEL.
///
/// # Errors
/// The last failure.
fn identify(
    number: u32,
    sectors: u64,
    block_size: BlockSize,
    mut read: impl FnMut(u64, &mut [u8], Pause<'_>) -> Result<(), ReadError>,
) -> Result<Option<Identity>, Unreadable> {
    let mut patience = Patience::new(READ_PATIENCE);
    loop {
        let mut failed = None;
        let identity = identity::identify(sectors, block_size.bytes(), |block, into| {
            let sector = block * u64::from(block_size.sectors());
            read(sector, into, &mut |time| patience.spend(time::pause(time))).map_err(|error| {
                failed = Some(error);
                Unreadable::Disk
            })
        });
        let Some(error) = failed else { return identity };
        // One that was not answered in time has ended the connection.
        if error != ReadError::Failed(Failure::Backend) || !patience.pause(READ_AGAIN) {
            debug_print!(DRIVER, "disk {number}: its partition table cannot be read: {error}");
            return identity;
        }
    }
}

/// Takes the device to the connected state, with rings for as many of the channels as the backend serves. A backend that
/// closes is asked `again` where it takes the place of another.
fn offer_to(
    platform: Platform,
    xenbus: &mut XenbusDevice,
    options: Options,
    channels: &[Box<Channel>],
    rings: &mut Rings,
    again: bool,
) -> Result<Disk, Error> {
    let offer = |xenbus: &mut XenbusDevice, features: &Features| {
        // Asked a second time where the backend began anew: what it was offered, it has forgotten.
        channels.iter().for_each(|channel| channel.close(false));
        *rings = offer(platform, xenbus, options, features, channels)?;
        Ok::<(), Error>(())
    };
    let mut patience = Patience::new(HANDSHAKE);
    match xenbus.connect(&mut { platform }, again, offer, || patience.pause(POLL))? {
        Connected::To(disk) => Ok(with_blocks(disk, xenbus.vbd().kind)),
        Connected::Refused => Err(Error::Unsuitable("the backend closes")),
        Connected::TimedOut => Err(Error::Backend(HANDSHAKE)),
    }
}

/// Makes rings within a backend's features, and publishes them.
fn offer(
    platform: Platform,
    xenbus: &mut XenbusDevice,
    options: Options,
    features: &Features,
    channels: &[Box<Channel>],
) -> Result<Rings, Error> {
    let vbd = xenbus.vbd();
    let count = channels.len().min(features.queues.into()).max(1);
    let config = options.config(count).within(features);
    let mut frontends = Vec::new();
    frontends.try_reserve_exact(count).map_err(|_| Error::NO_MEMORY)?;
    for channel in &channels[..count] {
        frontends.push(Frontend::new(platform, vbd, config)?);
        channel.open(vbd.backend_domain)?;
    }
    let mut queues = Vec::new();
    queues.try_reserve_exact(count).map_err(|_| Error::NO_MEMORY)?;
    for (channel, frontend) in channels.iter().zip(&frontends) {
        let port = channel.port().ok_or(Error::Unsuitable("a queue has no port"))?;
        queues.push(QueueOffer { ring: frontend.ring(), port });
    }
    let mut store = platform;
    xenbus.publish(&mut store, config.persistent, &queues)?;
    Ok(frontends)
}

/// Takes the device to the closed state, as far as the backend goes along.
fn close(platform: Platform, xenbus: &mut XenbusDevice) {
    let mut store = platform;
    let device = xenbus.vbd().device.0;
    if let Err(error) = xenbus.close(&mut store) {
        debug_print!(DRIVER, "disk {device}: it cannot be closed: {error}");
        return;
    }
    let mut patience = Patience::new(CLOSE);
    loop {
        match xenbus.advance(&mut store) {
            Ok(Event::Closed) => return,
            Ok(_) if patience.pause(POLL) => {}
            Ok(_) => break,
            Err(error) => {
                debug_print!(DRIVER, "disk {device}: it cannot be closed: {error}");
                return;
            }
        }
    }
    debug_print!(DRIVER, "disk {device}: its backend has not closed after {CLOSE:?}");
}

/// Returns the disk with the blocks that its initiator knows: those of a CD-ROM, whatever the backend's are.
fn with_blocks(disk: Disk, kind: Kind) -> Disk {
    let least = if kind == Kind::Cdrom { scsi::cdrom::BLOCK.bytes() } else { 0 };
    Disk { sector_size: disk.sector_size.max(least), ..disk }
}
