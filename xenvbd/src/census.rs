//! The census: every disk of the system against this driver's own list.
//!
//! It is taken before the first disk is exposed, at each disk that arrives, and once more when the system has
//! settled. The guard in idefilter judges the counts; its orders are carried out here, a stop at once.
//!
//! Where a disk comes from is told by the bottom of its device stack: by the driver that made that device
//! object for this driver's own disks, by its identifications for qemu's, and by the controllers above it
//! ([`crate::parents`]). Only a disk that is none of ours and not known to be qemu's is read.
//!
//! A disk of this driver's stays one as long as its interface is enabled, so that the census at an arrival
//! opens only what is new: with n disks that arrive, n are opened and not n². Every other census opens all of
//! them.

#![expect(unsafe_code, reason = "reads the record without its lock at a bugcheck")]

use alloc::vec::Vec;
use core::fmt::Write;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use core::time::Duration;

use guard::backing::Backing;
use guard::census::{self, Class, Counts, Disk, Identity, Listed, Origin, Own, Signature, Signing};
use guard::census_record::{CensusRecord, RecordedDisk};
use guard::machine::BUGCHECK_CODE;
use guard::provenance::Provenance;
use guard::storage_id;
use guard::{Action, BugCheck, Event, Reason, message};
use wdm::mutex::Mutex;
use wdm::registry::{self, Key};
use wdm::{
    DeviceObject, DeviceReference, DriverObject, NtStatus, Shared, SpinLock, bugcheck, debug, debug_print,
    event_log, interface, property, time, unicode, utf16,
};
use zerocopy::IntoBytes;

use crate::DRIVER;
use crate::readers::Readers;
use crate::target::{Recent, Target};
use crate::{identity, parents};

/// One of this driver's disks.
struct OwnDisk {
    /// Number of the vbd.
    vbd: u32,
    /// Its size in units of 512 bytes, where it is connected.
    sectors: u64,
    /// The signature of its partition table, as it was read last, where it is connected and has one.
    signature: Option<Signature>,
    /// The disk could not be read yet, and may have one.
    unread: bool,
    /// The signature by which it was compared with all others.
    compared: Option<Signature>,
    /// The storage behind it, where it is connected.
    backing: Option<Backing>,
    /// The way in which it has come by its signature, and the reading in which that was seen ([`Listed`]).
    signing: Signing,
    since: u32,
    /// The system's writes to where that stands, where the disk is connected or was.
    written: Option<Shared<Recent>>,
    /// Its target id, where it is connected or was.
    target: Option<u8>,
    /// When it was disconnected, as [`time::interrupt_time`] counts. It stays listed as long as the system
    /// has its disk.
    departed: Option<u64>,
}

impl OwnDisk {
    /// Keeps what was read of it, in the reading of this number or the one before.
    fn keep(&mut self, found: Option<Identity>, reading: u32) {
        let signature = found.map(|identity| identity.signature);
        if self.unread || signature != self.signature {
            let is_written = !self.unread && self.written.as_ref().is_some_and(|written| written.explains());
            self.signing = if is_written { Signing::Written } else { Signing::Appeared };
            self.since = reading;
        }
        self.signature = signature;
        self.unread = false;
    }

    /// Returns true if it is connected, so that the system may read it.
    fn is_connected(&self) -> bool {
        self.backing.is_some() && self.departed.is_none()
    }

    /// Returns its identity, where it has one.
    fn identity(&self) -> Option<Identity> {
        self.signature.map(|signature| Identity { sectors: self.sectors, signature })
    }
}

/// A disk that was enumerated.
struct Found {
    /// The disk as the guard sees it.
    disk: Disk,
    /// Its target id, where it is ours and tells it.
    target: Option<u8>,
    /// The provenance of the controllers above it, where they were asked for.
    controllers: Option<Provenance>,
    /// It has to be read, and was not yet.
    unread: bool,
    /// The signature by which it was compared last and was foreign.
    compared: Option<Signature>,
}

impl Found {
    /// Returns the disk as it is judged beside the disks of the list. One that nobody knows and whose signature the system has
    /// written to one of those, which had another, is the original of a copy.
    fn judged(&self, own: &[OwnDisk]) -> Disk {
        let signature = self.disk.identity.map(|identity| identity.signature);
        let is_alike = |disk: &&OwnDisk| disk.signature.is_some() && disk.signature == signature;
        let mut alike = own.iter().filter(is_alike).peekable();
        let is_original = self.disk.origin == Origin::Unknown
            && self.compared == signature
            && alike.peek().is_some()
            && alike.all(|disk| disk.signing == Signing::Written);
        Disk { origin: if is_original { Origin::OtherBus } else { self.disk.origin }, ..self.disk }
    }
}

/// Shortest time that a disk that has been disconnected stays listed: its arrival may be under
/// way.
const FAREWELL: Duration = Duration::from_secs(5);

/// Statuses that say that a disk has gone since it was listed.
const GONE: [NtStatus; 5] = [
    NtStatus::NO_SUCH_DEVICE,
    NtStatus::OBJECT_NAME_NOT_FOUND,
    NtStatus::DELETE_PENDING,
    NtStatus::DEVICE_REMOVED,
    // STATUS_DEVICE_DOES_NOT_EXIST.
    NtStatus(0xC000_00C0_u32.cast_signed()),
];

/// The link of one of this driver's disks, as an earlier census found it.
struct KnownLink {
    link: Vec<u16>,
    target: u8,
}

impl KnownLink {
    /// Makes one.
    ///
    /// # Errors
    /// `INSUFFICIENT_RESOURCES`.
    fn new(link: &[u16], target: u8) -> Result<Self, NtStatus> {
        let mut copy = Vec::new();
        copy.try_reserve_exact(link.len()).map_err(|_| NtStatus::INSUFFICIENT_RESOURCES)?;
        copy.extend_from_slice(link);
        Ok(Self { link: copy, target })
    }
}

/// The occasion of a census.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// A disk has arrived, or may have.
    Change,
    /// A disk has been read, by the thread that takes the census. Other disks may wait for that thread.
    Identified,
    /// One of this driver's disks may have another signature.
    Signed,
    /// Every disk that will come has come.
    Settled,
}

/// Takes censuses. One instance, in the adapter.
///
/// Its one lock is held while a census is taken, so that the own list stands still: a disk is listed before
/// it is shown, and forgotten after a census that did not find it.
pub(crate) struct Census {
    own: Mutex<Vec<OwnDisk>>,
    /// Links that need not be opened at an arrival, sorted. Its lock is taken behind `own`'s.
    known: Mutex<Vec<KnownLink>>,
    /// The next census opens them all.
    open_all: AtomicBool,
    driver: DriverObject,
    /// `Parameters\Strict`.
    strict: bool,
    readers: Readers,
    /// Held while this driver's own disks are read. `own`'s lock is taken behind it.
    reading: Mutex<()>,
    /// Number of the last reading.
    readings: AtomicU32,
    record: SpinLock<CensusRecord>,
    /// The counts that the debug output showed last.
    said: SpinLock<Option<Counts>>,
}

impl Census {
    /// Makes a census without disks. Reads `Services\idefilter\Parameters\Strict`, which counts as 0 where it
    /// is missing. `identified` is called at PASSIVE_LEVEL for each disk of others that has been read.
    /// PASSIVE_LEVEL.
    ///
    /// # Errors
    /// `INSUFFICIENT_RESOURCES`.
    pub(crate) fn new(driver: DriverObject, identified: fn()) -> Result<Self, NtStatus> {
        let parameters = Key::open(registry::SERVICES)
            .and_then(|services| services.open_below(utf16!("idefilter\\Parameters")));
        let strict = parameters.and_then(|key| key.dword(utf16!("Strict"))).is_ok_and(|strict| strict != 0);
        Ok(Self {
            own: Mutex::new(Vec::new())?,
            known: Mutex::new(Vec::new())?,
            open_all: AtomicBool::new(false),
            driver,
            strict,
            readers: Readers::new(identified)?,
            reading: Mutex::new(())?,
            readings: AtomicU32::new(0),
            record: SpinLock::new(CensusRecord::new()),
            said: SpinLock::new(None),
        })
    }

    /// Lists a vbd of type disk: one that is connected, before it is shown, with its target id, its identity
    /// and its backing; one that cannot be connected without, so that its absence is noticed. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// `INSUFFICIENT_RESOURCES`: the disk must not be shown.
    pub(crate) fn list(&self, vbd: u32, at: Option<(u8, &Target)>, own: Option<Own>) -> Result<(), NtStatus> {
        let signature = own.and_then(|own| own.identity).map(|identity| identity.signature);
        let target = at.map(|(target, _)| target);
        // The last reading may be of another disk that had this target id.
        target.into_iter().for_each(|target| self.readers.forget_own(target));
        let mut list = self.own.lock();
        list.try_reserve(1).map_err(|_| NtStatus::INSUFFICIENT_RESOURCES)?;
        list.push(OwnDisk {
            vbd,
            sectors: at.map_or(0, |(_, target)| target.lun().sectors),
            signature,
            unread: at.is_none_or(|(_, target)| target.is_unread()),
            compared: signature,
            backing: own.map(|own| own.backing),
            signing: Signing::Found,
            since: 0,
            written: at.map(|(_, target)| Shared::clone(target.written())),
            target,
            departed: None,
        });
        Ok(())
    }

    /// Gives a listed disk this size, in units of 512 bytes, from now on. PASSIVE_LEVEL.
    pub(crate) fn resize(&self, vbd: u32, sectors: u64) {
        let mut own = self.own.lock();
        own.iter_mut().filter(|disk| disk.vbd == vbd).for_each(|disk| disk.sectors = sectors);
    }

    /// Returns the identity of the connected disk with a target id, as it was read last. PASSIVE_LEVEL.
    pub(crate) fn identity(&self, target: u8) -> Option<Identity> {
        self.own
            .lock()
            .iter()
            .find(|disk| disk.target == Some(target) && disk.departed.is_none())
            .and_then(OwnDisk::identity)
    }

    /// Returns the identity of the connected disk of a vbd, as it was read last. PASSIVE_LEVEL.
    pub(crate) fn identity_of(&self, vbd: u32) -> Option<Identity> {
        let own = self.own.lock();
        own.iter().find(|disk| disk.vbd == vbd && disk.departed.is_none()).and_then(OwnDisk::identity)
    }

    /// Returns the identity of the connected disk with a target id, as it is now: read through the disk's stack, where the
    /// system has one, since whoever writes a partition table does so through that. PASSIVE_LEVEL; waits for the disk,
    /// within limits.
    ///
    /// # Errors
    /// It does not answer, or the system's disks cannot be looked at.
    pub(crate) fn read_again(&self, target: u8) -> Result<Option<Identity>, NtStatus> {
        let _reading = self.reading.lock();
        let Some(known) = self.find(target, |link, _| KnownLink::new(link, target))? else {
            let is_unread = self.own.lock().iter().any(|disk| disk.target == Some(target) && disk.unread);
            return if is_unread { Err(NtStatus::DEVICE_NOT_READY) } else { Ok(self.identity(target)) };
        };
        let known = known?;
        self.readings.fetch_add(1, Ordering::Relaxed);
        self.readers.begin_own(&known.link, target)?;
        if self.await_link(&known)? { Ok(self.identity(target)) } else { Err(NtStatus::DEVICE_NOT_READY) }
    }

    /// Waits for one of this driver's disks that is read through a link, and keeps what is found. Returns false where it has
    /// no answer.
    ///
    /// # Errors
    /// There was no memory to read it.
    fn await_link(&self, known: &KnownLink) -> Result<bool, NtStatus> {
        let Some(found) = self.readers.await_own(&known.link)? else { return Ok(false) };
        let reading = self.readings.load(Ordering::Relaxed);
        keep_signature(&mut self.own.lock(), known.target, found, reading);
        Ok(true)
    }

    /// Reads all of this driver's disks again that the system has, at the same time. Returns the target ids of those that have
    /// answered; one that answers later brings another census. PASSIVE_LEVEL; waits for them, within limits.
    ///
    /// # Errors
    /// No memory, no thread.
    fn read_all_again(&self) -> Result<Vec<u8>, NtStatus> {
        self.read_again_where(|_| true)
    }

    /// Reads those of them whose target ids are wanted.
    fn read_again_where(&self, is_wanted: impl Fn(u8) -> bool) -> Result<Vec<u8>, NtStatus> {
        let (mut links, mut answered) = (Vec::new(), Vec::new());
        for known in self.known.lock().iter() {
            links.try_reserve(1).map_err(|_| NtStatus::INSUFFICIENT_RESOURCES)?;
            links.push(KnownLink::new(&known.link, known.target)?);
        }
        // Not under the lock of `known`, which is taken behind `own`'s.
        links.retain(|known| is_wanted(known.target));
        answered.try_reserve_exact(links.len()).map_err(|_| NtStatus::INSUFFICIENT_RESOURCES)?;
        self.readings.fetch_add(1, Ordering::Relaxed);
        links.iter().try_for_each(|known| self.readers.begin_own(&known.link, known.target))?;
        for known in &links {
            if self.await_link(known)? {
                answered.push(known.target);
            }
        }
        Ok(answered)
    }

    /// Reads this driver's disks again, of which one has been written where its signature is. Returns true if one has another
    /// than when this was asked last. PASSIVE_LEVEL; waits for them, within limits.
    ///
    /// # Errors
    /// No memory, no thread.
    pub(crate) fn is_signed_anew(&self) -> Result<bool, NtStatus> {
        let _reading = self.reading.lock();
        self.read_all_again()?;
        let mut own = self.own.lock();
        let mut is_anew = false;
        for disk in own.iter_mut() {
            is_anew |= disk.compared != disk.signature;
            disk.compared = disk.signature;
        }
        Ok(is_anew)
    }

    /// Gives a listed disk this backing from now on; `None` while it has no backend. What is there is not known of one that had
    /// no signature to be compared with. PASSIVE_LEVEL.
    pub(crate) fn renew(&self, vbd: u32, backing: Option<Backing>) {
        for disk in self.own.lock().iter_mut().filter(|disk| disk.vbd == vbd) {
            disk.backing = backing;
            disk.unread |= disk.signature.is_none();
        }
    }

    /// Notes that a vbd is not there any more. Its disk stays listed until the system has none of it.
    /// PASSIVE_LEVEL.
    pub(crate) fn depart(&self, vbd: u32) {
        let mut own = self.own.lock();
        own.retain(|disk| disk.vbd != vbd || disk.target.is_some());
        for disk in own.iter_mut().filter(|disk| disk.vbd == vbd) {
            disk.departed = disk.departed.or(Some(time::interrupt_time()));
            disk.target.into_iter().for_each(|target| self.readers.forget_own(target));
        }
    }

    /// Returns true if a disk of this target id is listed. PASSIVE_LEVEL.
    pub(crate) fn lists(&self, target: u8) -> bool {
        self.own.lock().iter().any(|disk| disk.target == Some(target))
    }

    /// Returns true if a disk that has been disconnected is still listed. PASSIVE_LEVEL.
    pub(crate) fn awaits_removal(&self) -> bool {
        self.own.lock().iter().any(|disk| disk.departed.is_some())
    }

    /// Returns true if a disk may be shown that is connected and not listed yet: no other path to it is enumerated. One that
    /// could not be read may have any other path. PASSIVE_LEVEL.
    pub(crate) fn admits(&self, target: &Target) -> bool {
        // What is on a disk may have been written since it was read.
        self.readers.forget_read();
        if self.disks().and_then(|_| self.wait_for_unknown()).is_err() {
            return false;
        }
        let _own = self.own.lock();
        let identity = target.identity();
        let own = identity.as_slice();
        let may_be = |found: &Found| {
            let is_untold = found.unread || target.is_unread();
            census::classify(&found.disk, own) == Class::Alias
                || (is_untold && found.disk.origin == Origin::Unknown)
        };
        self.disks().is_ok_and(|disks| !disks.iter().any(may_be))
    }

    /// Takes a census, has the guard judge it, and carries out a stop. What a disk's path tells is judged at once.
    /// A disk on a controller that nobody knows is read, by a thread of its own, and waited for within limits
    /// ([`crate::readers`]); then another census is taken. Other disks that have to be read are waited for by
    /// nobody. PASSIVE_LEVEL.
    ///
    /// `Err` is the guard's order to withhold.
    ///
    /// # Errors
    /// The reason why no disk may be exposed.
    pub(crate) fn take(&self, occasion: Occasion) -> Result<(), Reason> {
        let settled = occasion == Occasion::Settled;
        if occasion == Occasion::Signed {
            // A disk that had no signature either may be the same, or had another.
            self.readers.forget_read();
        }
        self.take_now(settled)?;
        if occasion == Occasion::Change {
            self.read_unread()?;
        }
        let is_due = match occasion {
            Occasion::Identified => Ok(true),
            Occasion::Change | Occasion::Signed | Occasion::Settled => self.wait_for_unknown(),
        };
        match is_due {
            Ok(true) => self.compare_unknown(settled),
            Ok(false) => Ok(()),
            Err(status) => self.fail(status),
        }
    }

    /// Reads those of this driver's disks that could not be read yet, beside a disk that nobody knows, and takes a census if one
    /// was read: it may have just arrived, and nobody has compared it.
    fn read_unread(&self) -> Result<(), Reason> {
        let is_unread = |disk: &OwnDisk| disk.unread && disk.is_connected();
        if !self.readers.have_unknown() || !self.own.lock().iter().any(is_unread) {
            return Ok(());
        }
        let _reading = self.reading.lock();
        let is_wanted = |target| {
            let own = self.own.lock();
            own.iter().any(|disk| is_unread(disk) && disk.target == Some(target))
        };
        match self.read_again_where(is_wanted) {
            Ok(answered) if answered.is_empty() => Ok(()),
            Ok(_) => self.take_now(false),
            Err(status) => self.fail(status),
        }
    }

    /// Waits for disks that may be aliases and are being read. Returns true if one is to be compared.
    ///
    /// # Errors
    /// The disks cannot be listed.
    fn wait_for_unknown(&self) -> Result<bool, NtStatus> {
        let links = interface::list(&interface::DISK)?;
        let mut due = false;
        for link in unicode::strings(&links) {
            due |= self.readers.wait(link);
        }
        Ok(due)
    }

    /// Takes a census in which disks that may be aliases are compared with what is on this driver's own disks now; none, where
    /// no such disk is left. Whoever comes while another takes it goes on when they have been compared.
    fn compare_unknown(&self, settled: bool) -> Result<(), Reason> {
        let _reading = self.reading.lock();
        if !self.readers.begin_comparison() {
            return Ok(());
        }
        let answered = match self.read_all_again() {
            Ok(answered) => answered,
            Err(status) => {
                self.fail(status)?;
                Vec::new()
            }
        };
        self.take_now(settled)?;
        let with_all = have_answered(&self.own.lock(), &answered);
        self.readers.end_comparison(with_all);
        Ok(())
    }

    /// Takes a census of what is known now.
    fn take_now(&self, settled: bool) -> Result<(), Reason> {
        let mut own = self.own.lock();
        self.readers.census_begins();
        for disk in own.iter_mut().filter(|disk| disk.departed.is_none()) {
            if let Some(found) = disk.target.and_then(|target| self.readers.of_own(target)) {
                disk.keep(found, self.readings.load(Ordering::Relaxed));
            }
        }
        let mut identities: Vec<Identity> = Vec::new();
        let mut connected: Vec<Listed> = Vec::new();
        let room = identities.try_reserve_exact(own.len()).and(connected.try_reserve_exact(own.len()));
        let found = match room {
            Ok(()) => self.disks(),
            Err(_) => Err(NtStatus::INSUFFICIENT_RESOURCES),
        };
        let found = match found {
            Ok(disks) => disks,
            Err(status) => return self.fail(status),
        };
        forget_departed(&mut own, &found);
        identities.extend(own.iter().filter_map(OwnDisk::identity));
        let there = own.iter().filter(|disk| disk.departed.is_none());
        connected.extend(there.filter_map(|disk| {
            let own = Own { identity: disk.identity(), backing: disk.backing? };
            Some(Listed { own, signing: disk.signing, since: disk.since })
        }));
        let counts = census::take(
            expected(&own, &found),
            &identities,
            census::shared(&connected),
            found.iter().map(|found| found.judged(&own)),
        );
        let recorded = found.iter().map(|found| {
            let class = census::classify(&found.judged(&own), &identities);
            RecordedDisk::new(&found.disk, class, found.controllers)
        });
        self.record.lock().keep(&counts, settled, recorded);
        let action = guard_client::event(Event::Census { counts, settled, strict: self.strict });
        let Counts { own_list, ours, alias, foreign, shared, .. } = counts;
        let said = self.said.lock().replace(counts);
        // A look that finds what the last one found is not worth a line.
        if said != Some(counts) || action != Action::Nothing || settled {
            debug_print!(
                DRIVER,
                "census own={own_list} ours={ours} alias={alias} foreign={foreign} shared={shared} verdict={}",
                verdict(action)
            );
        }
        self.obey(action)
    }

    /// Tells the guard that a census could not be taken.
    fn fail(&self, status: NtStatus) -> Result<(), Reason> {
        let action = guard_client::event(Event::CensusFailed);
        debug_print!(DRIVER, "census failed status={status} verdict={}", verdict(action));
        self.obey(action)
    }

    /// Tells the guard that the first unit is about to be reported.
    ///
    /// # Errors
    /// The reason why it must not be.
    pub(crate) fn exposed(&self) -> Result<(), Reason> {
        self.obey(guard_client::event(Event::Exposed))
    }

    fn obey(&self, action: Action) -> Result<(), Reason> {
        match action {
            Action::Stop(bugcheck) => self.stop(bugcheck),
            Action::Withhold(reason) => {
                self.note(reason);
                Err(reason)
            }
            Action::Note(reason) => {
                self.note(reason);
                Ok(())
            }
            // The guard never answers a census or an exposure with these.
            Action::Deny(_) | Action::AskAgain | Action::CensusNow => Ok(()),
            Action::Nothing | Action::Expose | Action::Unplug => Ok(()),
        }
    }

    /// Writes an entry to the event log about one vbd and a time. ≤ DISPATCH_LEVEL.
    pub(crate) fn report(&self, reason: Reason, vbd: u32, seconds: u32) {
        self.report_with(reason, [vbd, seconds], format_args!("vbd {vbd}, {seconds} s."));
    }

    /// Writes an entry to the event log about two vbds. ≤ DISPATCH_LEVEL.
    pub(crate) fn report_pair(&self, reason: Reason, vbd: u32, other: u32) {
        self.report_with(reason, [vbd, other], format_args!("vbd {vbd}, and vbd {other}."));
    }

    fn report_with(&self, reason: Reason, data: [u32; 2], text: core::fmt::Arguments<'_>) {
        let mut detail = debug::Line::new();
        // Writing to a Line does not fail.
        let _ = detail.write_fmt(text);
        debug_print!(DRIVER, "reason={:#x} {}: {}", reason.code(), reason.text(), detail.as_str());
        let source = event_log::Source::Driver(self.driver);
        // A congested log loses the entry by NT's design; the debug output has it anyway.
        let _ = event_log::write(source, message::code(reason), NtStatus::SUCCESS, &data, detail.as_str());
    }

    /// Writes an entry to the event log.
    fn note(&self, reason: Reason) {
        let record = *self.record.lock();
        let counts @ [own, ours, alias, foreign] =
            [record.own_list, record.ours, record.alias, record.foreign];
        let mut detail = debug::Line::new();
        // Writing to a Line does not fail.
        let _ =
            write!(detail, "Own list: {own}; enumerated: {ours} ours, {alias} emulated, {foreign} foreign.");
        let source = event_log::Source::Driver(self.driver);
        // A congested log loses the entry by NT's design; the debug output has the census anyway.
        let _ = event_log::write(source, message::code(reason), NtStatus::SUCCESS, &counts, detail.as_str());
    }

    /// Stops the system. The guard has written its line to qemu's log when it ordered the stop.
    fn stop(&self, bugcheck: BugCheck) -> ! {
        bugcheck::stop(BUGCHECK_CODE, bugcheck.parameters(self.record.as_ptr().expose_provenance()))
    }

    /// Returns every disk with an enabled interface, ours with their target id where they tell it.
    ///
    /// # Errors
    /// They cannot be listed, or where one comes from cannot be told.
    fn disks(&self) -> Result<Vec<Found>, NtStatus> {
        let links = interface::list(&interface::DISK)?;
        let mut known = self.known.lock();
        let open_all = self.open_all.swap(false, Ordering::SeqCst);
        let found = self.look_at(&links, if open_all { &[] } else { &known });
        match found {
            Ok((found, links)) => {
                *known = links;
                self.readers.forget_absent();
                Ok(found)
            }
            Err(status) => {
                // Those that there were are still read again.
                self.open_all.fetch_or(open_all, Ordering::SeqCst);
                Err(status)
            }
        }
    }

    /// Returns the disks behind links, and of those the sorted links of this driver's disks that tell their target ids; those
    /// that were `known` before are not opened.
    ///
    /// # Errors
    /// Errors of [`Census::disks`].
    fn look_at(&self, links: &[u16], before: &[KnownLink]) -> Result<(Vec<Found>, Vec<KnownLink>), NtStatus> {
        let (mut found, mut known) = (Vec::new(), Vec::new());
        for link in unicode::strings(links) {
            let one = match before.binary_search_by(|other| other.link.as_slice().cmp(link)) {
                Ok(at) => {
                    let disk = Disk { origin: Origin::Ours, identity: None };
                    let target = Some(before[at].target);
                    Found { disk, target, controllers: None, unread: false, compared: None }
                }
                Err(_) => match self.disk(link)? {
                    Some(one) => one,
                    None => continue,
                },
            };
            if let Some(target) = one.target {
                known.try_reserve(1).map_err(|_| NtStatus::INSUFFICIENT_RESOURCES)?;
                known.push(KnownLink::new(link, target)?);
            }
            found.try_reserve(1).map_err(|_| NtStatus::INSUFFICIENT_RESOURCES)?;
            found.push(one);
        }
        known.sort_unstable_by(|a, b| a.link.cmp(&b.link));
        Ok((found, known))
    }

    /// Returns the PDO of the disk that the system has at a target id; `None` if it has none. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// The disks cannot be listed, or one of them is ours and does not tell its target id.
    pub(crate) fn device_of(&self, target: u8) -> Result<Option<DeviceReference>, NtStatus> {
        self.find(target, |_, device| device)
    }

    /// Calls `with` for the disk that the system has at a target id, with its link and its PDO. Returns `None` if it has
    /// none.
    ///
    /// # Errors
    /// Errors of [`Census::device_of`].
    fn find<T>(
        &self,
        target: u8,
        with: impl FnOnce(&[u16], DeviceReference) -> T,
    ) -> Result<Option<T>, NtStatus> {
        let links = interface::list(&interface::DISK)?;
        for link in unicode::strings(&links) {
            let open = match interface::Open::new(link) {
                Ok(open) => open,
                Err(status) if GONE.contains(&status) => continue,
                Err(status) => return Err(status),
            };
            let bottom = open.device().base();
            if bottom.driver() != self.driver {
                continue;
            }
            match identity::target_id(open.device()) {
                Some(id) if id == target => return Ok(Some(with(link, bottom))),
                Some(_) => {}
                None => return Err(NtStatus::DEVICE_NOT_READY),
            }
        }
        Ok(None)
    }

    /// Notes that the disk with a link has gone: another may come with it. PASSIVE_LEVEL.
    pub(crate) fn note_departure(&self, link: &[u16]) {
        self.readers.forget_gone(link);
    }

    /// Has the next census open every disk. PASSIVE_LEVEL.
    pub(crate) fn forget_known(&self) {
        self.open_all.store(true, Ordering::SeqCst);
        self.readers.forget_unidentified();
    }

    /// Ends the threads that read disks. PASSIVE_LEVEL; waits for those disks.
    pub(crate) fn leave(&self) {
        self.readers.leave();
    }

    /// Returns the disk behind a symbolic link; `None` if it is gone already.
    ///
    /// # Errors
    /// Where it comes from cannot be told.
    fn disk(&self, link: &[u16]) -> Result<Option<Found>, NtStatus> {
        let open = match interface::Open::new(link) {
            Ok(open) => open,
            Err(status) if GONE.contains(&status) => return Ok(None),
            Err(status) => return Err(status),
        };
        let bottom = open.device().base();
        let (origin, controllers) = match self.origin(*bottom) {
            Ok(found) => found,
            Err(status) if GONE.contains(&status) => return Ok(None),
            Err(status) => return Err(status),
        };
        // Only where the path does not decide does the content.
        let decided = matches!(origin, Origin::Ours | Origin::EmulatedController);
        let read = match decided {
            true => Ok((Some(None), None)),
            false => self.readers.of(link, origin == Origin::Unknown),
        };
        let (identity, unread, compared) = match read {
            Ok((read, compared)) => (read.flatten(), read.is_none(), compared),
            // A disk that nobody can tell from an alias.
            Err(status) if origin == Origin::Unknown => return Err(status),
            Err(_) => (None, true, None),
        };
        let target = if origin == Origin::Ours { identity::target_id(open.device()) } else { None };
        Ok(Some(Found { disk: Disk { origin, identity }, target, controllers, unread, compared }))
    }

    /// Returns the origin of the disk with this physical device object, and the provenance of the controllers
    /// above it.
    fn origin(&self, pdo: DeviceObject) -> Result<(Origin, Option<Provenance>), NtStatus> {
        if pdo.driver() == self.driver {
            return Ok((Origin::Ours, None));
        }
        let enumerator = property::enumerator(pdo)?;
        let is = |name: &[u16]| unicode::eq_ignore_case(&enumerator, name);
        let ids = match property::hardware_ids(pdo) {
            // A device may have none.
            Err(NtStatus::OBJECT_NAME_NOT_FOUND) => Vec::new(),
            ids => ids?,
        };
        if is(utf16!("USBSTOR")) || is(utf16!("SBP2")) || is(utf16!("SD")) {
            // One that qemu emulates may be over any file of the host's.
            let of_qemu = unicode::strings(&ids).any(storage_id::names_qemu);
            return Ok((if of_qemu { Origin::Unknown } else { Origin::OtherBus }, None));
        }
        let emulated = (is(utf16!("IDE")) || is(utf16!("SCSI")))
            && unicode::strings(&ids).any(storage_id::is_emulated_disk);
        let controllers = parents::provenance(pdo);
        let origin = match controllers {
            _ if emulated => Origin::EmulatedController,
            Provenance::Emulated => Origin::EmulatedController,
            Provenance::PassedThrough => Origin::PassedThrough,
            Provenance::Unknown => Origin::Unknown,
        };
        Ok((origin, Some(controllers)))
    }

    /// Returns the record's bytes without the lock: for the crash dump, at HIGH_LEVEL on the one processor
    /// that still runs.
    pub(crate) fn record_at_stop(&self) -> &[u8] {
        // SAFETY: every other processor is halted, and this one is in the bugcheck, so nobody writes the record
        // any more.
        unsafe { (*self.record.as_ptr()).as_bytes() }
    }
}

/// Returns true if the system has a disk of the list. As long as one of ours does not tell its target id,
/// every one may be it.
fn is_there(disk: &OwnDisk, found: &[Found]) -> bool {
    let mut ours = found.iter().filter(|found| found.disk.origin == Origin::Ours).map(|found| found.target);
    ours.any(|target| target.is_none() || target == disk.target)
}

/// Returns true if all disks of the list that were ever connected are, and are among the target ids of those that have answered.
fn have_answered(own: &[OwnDisk], answered: &[u8]) -> bool {
    let mut there = own.iter().filter(|disk| disk.departed.is_none());
    there.all(|disk| disk.target.is_none_or(|target| disk.is_connected() && answered.contains(&target)))
}

/// Takes disks off the list that have been disconnected and that the system does not have any more.
fn forget_departed(own: &mut Vec<OwnDisk>, found: &[Found]) {
    own.retain(|disk| {
        let lately = |departed| time::since(departed) < FAREWELL;
        disk.departed.is_none_or(|departed| is_there(disk, found) || lately(departed))
    });
}

/// Keeps what was read of the connected disk with a target id.
fn keep_signature(own: &mut [OwnDisk], target: u8, found: Option<Identity>, reading: u32) {
    let there = own.iter_mut().filter(|disk| disk.target == Some(target) && disk.departed.is_none());
    there.for_each(|disk| disk.keep(found, reading));
}

/// Returns the number of disks of the list that the system should have. A disk that has been disconnected is
/// not missing.
fn expected(own: &[OwnDisk], found: &[Found]) -> u32 {
    own.iter().filter(|disk| disk.departed.is_none() || is_there(disk, found)).count() as u32
}

/// Returns the guard's answer, in a word of the debug output.
fn verdict(action: Action) -> &'static str {
    match action {
        Action::Stop(_) => "stop",
        Action::Withhold(_) => "withhold",
        Action::Note(_) => "note",
        Action::Nothing
        | Action::Expose
        | Action::Unplug
        | Action::Deny(_)
        | Action::CensusNow
        | Action::AskAgain => "nothing",
    }
}
