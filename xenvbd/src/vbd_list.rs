//! Vbds that come and go while the system runs.
//!
//! One thread does it all: at the start it connects what is there, then it watches `device/vbd` and each
//! backend's folder and follows what changes. A vbd that appears is connected, its disk's identity is held
//! against every disk of the system, it is put on the own list, and only then shown: Storport is told that
//! the bus has changed.
//!
//! # Detaching
//! A backend that is told to close (`xl block-detach`) goes on serving until this end closes. So PnP is asked for the
//! disk first: file systems flush and dismount, and whoever uses the disk may object. When the system has no disk at the
//! target id any more, the vbd is closed. Where somebody objects, or PnP has not been done within [`PATIENCE`], the
//! toolstack finds that in the node for errors, and the disk goes on.
//!
//! A backend that has closed, or is gone (`xl block-detach --force`), takes its disk with it: no new request
//! finds the target, those on their way end, Storport is told, the device is closed. A backend that is gone has some
//! seconds for the requests that it has begun: the buffer of one whose pages it has mapped at the end is lost for good,
//! and so is the request. What NT makes of a disk that its bus does not have any more is a surprise removal.

use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;
use wdm::Shared;

use guard::Reason;
use guard::census::{Own, Pair, compare, is_told_by_content};
use vbd::target_id;
use wdm::event::Event;
use wdm::time::{self, Deadline};
use wdm::{debug_print, pool};
use xen::blkif::{self, Kind, VirtualDevice, XenbusDevice};
use xen::store::Store;
use xen::store::path::PathBuf;
use xen::xenbus::State;
use xenpci_interface::suspend::{Call, Phase};

use crate::DRIVER;
use crate::adapter::Adapter;
use crate::cdrom;
use crate::hal::{Error, Platform, Uuid, VBDS, Watch};
use crate::options::Options;
use crate::slots::MAX_TARGETS;
use crate::target::{Lost, Target};

/// Time between two questions to the census whether a disk that has been taken out is gone, while there is
/// one.
const LOOK_FOR_REMOVAL: Duration = Duration::from_secs(2);

/// Time that backends may take for the requests that they have, before a suspend. Less than xenpci waits for an answer.
const DRAIN: Duration = Duration::from_secs(30);
/// Time of it after which reads and flushes are not waited for.
const DRAIN_READS: Duration = Duration::from_secs(5);
/// Time after which no further disk's signature is read before a suspend.
const READ_SIGNATURES: Duration = Duration::from_secs(5);
const DRAIN_STEP: Duration = Duration::from_millis(10);

/// Time that PnP may take to remove a disk before the toolstack is told that it stays: libxl waits for 10 seconds.
const PATIENCE: Duration = Duration::from_secs(8);
/// Time between two looks whether it has.
const LOOK_FOR_DEPARTURE: Duration = Duration::from_secs(1);

/// A detach that the toolstack has asked for.
#[derive(Clone, Copy)]
struct Leaving {
    /// The end of the time that PnP may take.
    until: Deadline,
    /// The toolstack has been told that the disk stays.
    told: bool,
}

/// A vbd that has been looked at.
struct Known {
    device: VirtualDevice,
    /// Target id, where it is connected.
    target: Option<usize>,
    /// On its backend's folder, where it is connected.
    watch: Option<Watch>,
    leaving: Option<Leaving>,
}

/// The vbds, as the thread knows them.
pub(crate) struct VbdList {
    platform: Platform,
    machine: Option<Uuid>,
    options: Options,
    known: Vec<Known>,
    /// A change could not be looked at: xenstore failed. It is looked at again before long.
    unseen: bool,
    /// Set whenever something may have changed, and when the thread is to end.
    event: Shared<Event>,
}

/// A backend could not be looked at.
#[derive(Clone, Copy)]
struct Unseen;

impl VbdList {
    /// Makes a list without vbds. PASSIVE_LEVEL.
    pub(crate) fn new(platform: Platform, event: Shared<Event>) -> Self {
        Self {
            platform,
            machine: platform.machine_uuid(),
            options: Options::read(0),
            known: Vec::new(),
            unseen: false,
            event,
        }
    }

    /// Connects every vbd of type disk that is there, and CD-ROM drives that are shown. PASSIVE_LEVEL; waits
    /// for the disks' backends.
    ///
    /// # Errors
    /// Xenstore cannot be read.
    pub(crate) fn start(&mut self, adapter: &Adapter) -> Result<(), Error> {
        let mut vbds = self.platform.vbds()?;
        // The boot disk before any other that may be refused for its sake.
        vbds.sort_unstable_by_key(|vbd| (vbd.place().is_none(), vbd.place(), *vbd));
        self.options = Options::read(vbds.len());
        for device in vbds {
            self.connect(adapter, device, |_| true);
        }
        Ok(())
    }

    /// Follows what changes until the adapter is left. PASSIVE_LEVEL.
    pub(crate) fn follow(mut self, adapter: &Adapter) {
        let list = Watch::new(self.platform, VBDS, &self.event);
        if let Err(error) = &list {
            debug_print!(DRIVER, "disks that are attached or detached from now on are not noticed: {error}");
        }
        for known in &mut self.known {
            known.watch = known.target.and_then(|id| watch_backend(self.platform, adapter, id, &self.event));
            known.target.map(|id| adapter.slots().with(id, |target| target.publish_target_id(id)));
        }
        while !adapter.is_left() {
            let waiting = adapter.census().awaits_removal();
            let leaving = self.known.iter().any(|known| known.leaving.is_some_and(|leaving| !leaving.told));
            match (leaving, waiting || core::mem::take(&mut self.unseen)) {
                (true, _) => _ = self.event.wait_timeout(LOOK_FOR_DEPARTURE),
                (false, true) => _ = self.event.wait_timeout(LOOK_FOR_REMOVAL),
                (false, false) => self.event.wait(),
            }
            if adapter.is_left() {
                return;
            }
            match adapter.suspend_gate().take() {
                Some(call) if call.phase == Phase::Suspending => {
                    self.suspend(adapter, call);
                    // What has changed meanwhile is looked at.
                    self.event.set();
                    continue;
                }
                // It came too late to be held, and was not suspended.
                Some(call) => adapter.suspend_gate().answer(call),
                None => {}
            }
            if let Ok(list) = &list
                && list.raised()
                && !self.look_at_list(adapter)
            {
                list.raise_again();
                self.unseen = true;
            }
            if self.look_at_backends(adapter)
                && let Ok(list) = &list
            {
                list.raise_again();
                self.unseen = true;
            }
            if waiting {
                adapter.retake_census();
            }
        }
    }

    /// Handles a suspend: holds every queue until it goes on, then connects every target to its new backend. What was asked
    /// to hold is always told when it goes on.
    fn suspend(&mut self, adapter: &Adapter, call: Call) {
        let deadline = Deadline::after(READ_SIGNATURES);
        adapter.slots().each(|id, target| {
            if !deadline.has_passed() {
                read_signature_again(adapter, id, target);
            }
        });
        adapter.slots().each(|_, target| target.hold());
        if !self.drain(adapter) {
            adapter.slots().each(|_, target| target.release());
            adapter.suspend_gate().refuse(call);
            return;
        }
        adapter.slots().each(|_, target| target.freeze());
        adapter.suspend_gate().answer(call);
        let goes_on = loop {
            match adapter.suspend_gate().take() {
                // The call to go on was given up before it was taken up.
                Some(again) if again.phase == Phase::Suspending => adapter.suspend_gate().answer(again),
                Some(goes_on) => break goes_on,
                None => self.event.wait(),
            }
        };
        let revived = goes_on.phase == Phase::Revived;
        if goes_on.epoch == call.epoch && !revived {
            let mut released = 0;
            adapter.slots().each(|_, target| {
                target.release();
                released += 1;
            });
            adapter.suspend_gate().answer(goes_on);
            debug_print!(DRIVER, "{released} disks go on after a suspend that was cancelled");
            return;
        }
        let lost = if revived { Lost::Closing } else { Lost::Resumed };
        // Every one may be another now, and is compared with those that are connected again before it. And before the first
        // grant is made in a new table, nobody has references of the old one.
        adapter.slots().each(|_, target| {
            if revived {
                target.forget_backing()
            } else {
                target.forget()
            }
            adapter.census().renew(target.number(), None);
        });
        let mut at = 0;
        while let Some(known) = self.known.get_mut(at) {
            let Some(id) = known.target else {
                at += 1;
                continue;
            };
            // Its path names the domain that there was.
            known.watch = None;
            known.leaving = None;
            match adapter.slots().with(id, |target| reconnect(adapter, target, lost)) {
                Some(Ok(())) => {
                    known.watch = watch_backend(self.platform, adapter, id, &self.event);
                    adapter.slots().with(id, |target| target.publish_target_id(id));
                    at += 1;
                }
                Some(Err(error)) => {
                    let known = self.known.swap_remove(at);
                    debug_print!(
                        DRIVER,
                        "disk {}: not connected again after a suspend: {error}",
                        known.device.0
                    );
                    refused(self.platform, adapter, known.device, &error);
                    disconnect(adapter, known, "it did not come back after a suspend", Target::abandon);
                }
                None => drop(self.known.swap_remove(at)),
            }
        }
        adapter.suspend_gate().answer(goes_on);
        // The machine may have its emulated disks again.
        adapter.retake_census();
        let connected = self.known.iter().filter(|known| known.target.is_some()).count();
        debug_print!(DRIVER, "{connected} disks connected again after a suspend, census taken");
    }

    /// Waits until the backends have answered what they were told, for at most [`DRAIN`]. Every queue is held. Returns false
    /// if a write or a discard is left: it would be sent again by the guest that goes on, perhaps on another host, and
    /// carried out by the backend of before after a newer one to the same place.
    fn drain(&self, adapter: &Adapter) -> bool {
        let sum = |of: fn(&Target) -> usize| {
            let mut sum = 0;
            adapter.slots().each(|_, target| sum += of(target));
            sum
        };
        let mut waited = Duration::ZERO;
        loop {
            let requests = sum(Target::in_flight);
            if requests == 0 {
                return true;
            }
            let changes = sum(Target::changes_in_flight);
            if waited >= DRAIN || (waited >= DRAIN_READS && changes == 0) {
                debug_print!(
                    DRIVER,
                    "{requests} requests are not answered before a suspend, {changes} of them writes"
                );
                return changes == 0;
            }
            waited += time::pause(DRAIN_STEP);
        }
    }

    /// Looks at the folder of the vbds, which has changed. Returns false if xenstore failed.
    fn look_at_list(&mut self, adapter: &Adapter) -> bool {
        let vbds = match self.platform.vbds() {
            Ok(vbds) => vbds,
            Err(error) => {
                debug_print!(DRIVER, "the disks cannot be listed in xenstore: {error}");
                return !error.is_passing();
            }
        };
        // A vbd that has gone without its backend having closed: nothing will be answered any more.
        while let Some(at) = self.known.iter().position(|known| !vbds.contains(&known.device)) {
            let known = self.known.swap_remove(at);
            forget_error(self.platform, known.device);
            disconnect(adapter, known, "it was detached without its backend closing", Target::give_up);
        }
        self.look_for_replaced(adapter);
        for device in vbds {
            if !self.known.iter().any(|known| known.device == device) && self.is_ready(device) {
                let shown = self.connect(adapter, device, |target| adapter.census().admits(target));
                if let Some(id) =
                    self.known.iter().find(|known| known.device == device).and_then(|known| known.target)
                    && shown
                {
                    adapter.slots().with(id, |target| target.publish_target_id(id));
                    adapter.bus_changed();
                }
            }
        }
        true
    }

    /// Looks for a vbd that was removed and made anew at its own path, before anybody looked: the disk is
    /// connected to the backend that there is now, where it stands for the same storage, and what was not
    /// answered is sent again. Otherwise the disk goes, and the vbd is a new one.
    fn look_for_replaced(&mut self, adapter: &Adapter) {
        let mut at = 0;
        while let Some(known) = self.known.get(at) {
            let with = |work: &dyn Fn(&Target) -> bool| {
                known.target.and_then(|id| adapter.slots().with(id, work)) == Some(true)
            };
            if !with(&|target| target.is_replaced()) {
                at += 1;
                continue;
            }
            debug_print!(DRIVER, "disk {}: its xenstore nodes were made anew", known.device.0);
            let mut known = self.known.swap_remove(at);
            // On a folder that may be there no more. Its end waits for its callback, which needs nothing of ours.
            known.watch = None;
            let Some(id) = known.target else { continue };
            let again = adapter.slots().with(id, |target| {
                !target.is_other_storage()
                    && reconnect(adapter, target, Lost::Replaced)
                        .inspect_err(|error| debug_print!(DRIVER, "disk {}: {error}", target.number()))
                        .is_ok()
            });
            if again == Some(true) {
                known.watch = watch_backend(self.platform, adapter, id, &self.event);
                adapter.slots().with(id, |target| target.publish_target_id(id));
                // At the end, where it is looked at once more, and is found connected.
                self.known.push(known);
            } else {
                disconnect(
                    adapter,
                    known,
                    "its xenstore nodes were made anew, for another storage",
                    Target::give_up,
                );
            }
        }
    }

    /// Returns true if a vbd that has appeared can be connected now: its nodes are complete, and its backend
    /// is not the end of an earlier one.
    fn is_ready(&self, device: VirtualDevice) -> bool {
        use xen::xenbus::State::{Closed, Closing, Unknown};
        let mut store = self.platform;
        XenbusDevice::open(&mut store, Platform::folder(device).as_str())
            .and_then(|xenbus| xenbus.backend_state(&mut store))
            .is_ok_and(|state| !matches!(state, Closing | Closed | Unknown))
    }

    /// Returns true if a drive's backend is there.
    fn is_served(&self, xenbus: &XenbusDevice) -> bool {
        use xen::xenbus::State::{Connected, InitWait, Initialised};
        let state = xenbus.backend_state(&mut { self.platform });
        state.is_ok_and(|state| matches!(state, InitWait | Initialised | Connected))
    }

    /// Looks at the backends whose folders have changed. Returns true if a disk has gone whose vbd was made anew, which is
    /// a new one then.
    fn look_at_backends(&mut self, adapter: &Adapter) -> bool {
        let (mut at, mut made_anew) = (0, false);
        while let Some(known) = self.known.get_mut(at) {
            if let Some(id) = known.target {
                adapter.slots().with(id, Target::tell);
            }
            let seen = look(self.platform, adapter, &self.event, known);
            self.unseen |= seen.is_err();
            match seen {
                Ok(None) | Err(Unseen) => at += 1,
                Ok(Some(why)) => {
                    let known = self.known.swap_remove(at);
                    let replaced = known.target.and_then(|id| adapter.slots().with(id, Target::is_replaced));
                    made_anew |= replaced == Some(true);
                    disconnect(adapter, known, why, Target::run_dry);
                }
            }
        }
        made_anew
    }

    /// Connects a vbd, and lists it; whether it is a disk that is shown from now on, as `admitted` says.
    fn connect(
        &mut self,
        adapter: &Adapter,
        device: VirtualDevice,
        admitted: impl FnOnce(&Target) -> bool,
    ) -> bool {
        if self.known.try_reserve(1).is_err() {
            // It is looked at again when a vbd comes or goes; until then its disk is not there.
            debug_print!(DRIVER, "disk {}: {}", device.0, Error::NO_MEMORY);
            return false;
        }
        let mut known = Known { device, target: None, watch: None, leaving: None };
        let mut listed = true;
        let connected = match XenbusDevice::open(&mut { self.platform }, Platform::folder(device).as_str()) {
            Ok(xenbus) if xenbus.vbd().kind == Kind::Disk => {
                Target::connect(self.platform, xenbus, self.machine.as_deref(), self.options)
            }
            Ok(xenbus) if xenbus.vbd().kind == Kind::Cdrom && cdrom::are_shown() => {
                // qemu serves no drive that is empty when the guest starts: looked at again when that
                // changes.
                if !self.is_served(&xenbus) {
                    return false;
                }
                listed = false;
                Target::connect(self.platform, xenbus, self.machine.as_deref(), self.options)
            }
            Ok(_) => {
                self.known.push(known);
                return false;
            }
            // Nobody's folder, or one that is being written: looked at again when that changes.
            Err(error) if error.is_no_device() => return false,
            // It may be a disk. Listed, so that its absence is noticed.
            Err(error) => Err(Error::Blkif(error)),
        };
        match connected.and_then(|target| admit(adapter, target, admitted)) {
            Ok(id) => {
                known.target = Some(id);
                known.watch = watch_backend(self.platform, adapter, id, &self.event);
            }
            Err(error) => {
                debug_print!(DRIVER, "disk {}: {error}", device.0);
                let refused = refused(self.platform, adapter, device, &error);
                if listed && !refused && adapter.census().list(device.0, None, None).is_err() {
                    debug_print!(DRIVER, "disk {}: no memory to count it by", device.0);
                }
            }
        }
        let shown = known.target.is_some();
        self.known.push(known);
        shown
    }
}

/// Lists a connected disk and puts it at a target id.
fn admit(adapter: &Adapter, target: Target, admitted: impl FnOnce(&Target) -> bool) -> Result<usize, Error> {
    let target = pool::try_box(target)?;
    let own = target.backing().map(|backing| Own { identity: target.identity(), backing });
    let number = target.number();
    let shared = |own: Own| {
        if target.is_unread() {
            untold(adapter, number, &own)
        } else {
            sharing(adapter, number, &own, Contents::Now)
        }
    };
    if let Some(other) = own.and_then(shared) {
        target.disconnect();
        return Err(Error::Shared(other));
    }
    let refused = if admitted(&target) {
        let free = |id: usize| adapter.slots().is_vacant(id) && !adapter.census().lists(id as u8);
        match target_id::choose(VirtualDevice(target.number()), MAX_TARGETS, free) {
            Some(id) => {
                // A CD-ROM drive is no disk, and the census counts disks.
                let listed = target.is_cdrom()
                    || adapter.census().list(number, Some((id as u8, &target)), own).is_ok();
                let inserted = if listed {
                    if target.is_unread() {
                        target.note_shown_unread();
                    }
                    adapter.slots().insert(id, target).map_err(|target| (target, "its target id is taken"))
                } else {
                    Err((target, "there is no memory to count it by"))
                };
                match inserted {
                    Ok(()) => return Ok(id),
                    Err(refused) => {
                        adapter.census().depart(number);
                        refused
                    }
                }
            }
            None => {
                debug_print!(DRIVER, "at most {MAX_TARGETS} disks are served");
                (target, "there is no target id left")
            }
        }
    } else {
        (target, "the system has another path to its content")
    };
    let (target, why) = refused;
    target.disconnect();
    Err(Error::Unsuitable(why))
}

/// Takes a disk out. `end` ends the requests that are on their way.
fn disconnect(adapter: &Adapter, known: Known, why: &str, end: impl FnOnce(&Target)) {
    // The watch's end waits for its callback, which needs nothing of ours.
    drop(known.watch);
    adapter.census().depart(known.device.0);
    let Some(target) = known.target.and_then(|id| adapter.take_out(id, end)) else { return };
    // What its backend has done since the last look, and what was found of it just now, is said before nobody looks any
    // more.
    adapter.look_after(&target);
    debug_print!(DRIVER, "disk {}: {why}, the disk is gone", known.device.0);
    adapter.bus_changed();
    target.disconnect();
}

/// The contents of the other disks that one is compared with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Contents {
    /// Present ones.
    Now,
    /// Last ones that were read: the system may not have begun to work again, and then reads from them wait.
    ReadLast,
}

/// Returns the connected vbd that stands for the same storage as vbd `number`, whose backing and identity are
/// `own`. Where the backends' nodes do not tell, the contents do; another disk that cannot be read is taken for the same.
/// A clone is told of. PASSIVE_LEVEL.
fn sharing(adapter: &Adapter, number: u32, own: &Own, contents: Contents) -> Option<u32> {
    let mut found = None;
    adapter.slots().each(|id, other| {
        let Some(backing) = other.backing().filter(|_| other.number() != number) else { return };
        let identity = if contents == Contents::Now && is_told_by_content(&backing, &own.backing) {
            adapter.census().read_again(id as u8)
        } else {
            Ok(adapter.census().identity(id as u8))
        };
        let pair = identity.map(|identity| compare(&Own { identity, backing }, own));
        match pair {
            Ok(Pair::Shared) => found = found.or(Some(other.number())),
            Ok(Pair::Clones) => adapter.census().report_pair(Reason::CloneSeen, number, other.number()),
            Ok(Pair::Apart) => {}
            Err(status) => {
                debug_print!(DRIVER, "disk {}: what is on it cannot be read: {status}", other.number());
                found = found.or(Some(other.number()));
            }
        }
    });
    found
}

/// Returns the connected vbd that may stand for the same storage as vbd `number`, of which nobody knows what is on it: the
/// backends' nodes do not tell them apart. PASSIVE_LEVEL.
fn untold(adapter: &Adapter, number: u32, own: &Own) -> Option<u32> {
    let mut found = None;
    adapter.slots().each(|_, other| {
        let Some(backing) = other.backing().filter(|_| other.number() != number) else { return };
        let is_same = compare(&Own { identity: None, backing }, own) == Pair::Shared;
        // A drive's medium is told by its backend's nodes alone.
        if is_same || !other.is_cdrom() && is_told_by_content(&backing, &own.backing) {
            found = found.or(Some(other.number()));
        }
    });
    found
}

/// Connects a target to the backend that has taken the place of its own; see [`Target::reconnect`].
fn reconnect(adapter: &Adapter, target: &Target, lost: Lost) -> Result<(), Error> {
    let number = target.number();
    adapter.census().renew(number, None);
    let identity = adapter.census().identity_of(number);
    target.reconnect(lost, identity, |own| sharing(adapter, number, own, Contents::ReadLast))?;
    adapter.census().renew(number, target.backing());
    if identity.is_none() {
        target.note_shown_unread();
    }
    adapter.census().resize(number, target.lun().sectors);
    Ok(())
}

/// Reads a disk's signature again if the system may have written it, so that another backend's can be compared with it. A disk
/// that does not answer in time is compared by its backends' nodes alone. PASSIVE_LEVEL; its queues are not held.
fn read_signature_again(adapter: &Adapter, id: usize, target: &Target) {
    if !target.is_cdrom() && target.take_resigned() && adapter.census().read_again(id as u8).is_err() {
        target.note_resigned();
    }
}

/// Looks what has become of a vbd's backend, and of a removal that was asked for. Returns why its disk has to go, if it
/// has to. PASSIVE_LEVEL.
///
/// # Errors
/// The backend's nodes cannot be read: the change is there to be looked at again.
fn look(
    platform: Platform,
    adapter: &Adapter,
    event: &Shared<Event>,
    known: &mut Known,
) -> Result<Option<&'static str>, Unseen> {
    const CLOSED: &str = "its backend has closed";
    let Some(id) = known.target else { return Ok(None) };
    let raised = known.watch.as_ref().filter(|watch| watch.raised());
    let end = match raised {
        Some(watch) => {
            let end = adapter.slots().with(id, |target| look_for_end(adapter, target));
            end.transpose().inspect_err(|Unseen| watch.raise_again())?.flatten()
        }
        None => None,
    };
    let Some(end) = end else { return Ok(follow(platform, adapter, known, id)) };
    // A backend that is still online closes because its domain, or its server, is restarted.
    let restarted =
        adapter.slots().with(id, |target| reconnect_restarted(platform, adapter, id, target, end)).flatten();
    Ok(match (restarted, end) {
        (Some(true), _) => {
            // The backend may have another folder, and the vbd other nodes.
            known.watch = watch_backend(platform, adapter, id, event);
            adapter.slots().with(id, |target| target.publish_target_id(id));
            None
        }
        (None, End::Closing) if ask(platform, adapter, known, id) => None,
        _ => Some(CLOSED),
    })
}

/// Asks PnP for the disk of a vbd that the toolstack wants back. Returns false if the system has none. PASSIVE_LEVEL.
fn ask(platform: Platform, adapter: &Adapter, known: &mut Known, id: usize) -> bool {
    match known.leaving {
        Some(leaving) if !leaving.told => return true,
        Some(_) => forget_error(platform, known.device),
        None => {}
    }
    adapter.slots().with(id, Target::take_veto);
    match adapter.eject(id) {
        Ok(true) => debug_print!(DRIVER, "disk {}: PnP is asked to remove it", known.device.0),
        Ok(false) => return false,
        Err(error) => {
            debug_print!(DRIVER, "disk {}: PnP cannot be asked to remove it: {error}", known.device.0);
        }
    }
    known.leaving = Some(Leaving { until: Deadline::after(PATIENCE), told: false });
    true
}

/// Follows a removal that PnP was asked for. Returns why the vbd is to be closed, if it is. PASSIVE_LEVEL.
fn follow(platform: Platform, adapter: &Adapter, known: &mut Known, id: usize) -> Option<&'static str> {
    let leaving = known.leaving.as_mut()?;
    if matches!(adapter.census().device_of(id as u8), Ok(None)) {
        if leaving.told {
            forget_error(platform, known.device);
        }
        return Some("PnP has removed it");
    }
    let vetoed = adapter.slots().with(id, Target::take_veto) == Some(true);
    if !leaving.told && (vetoed || leaving.until.has_passed()) {
        leaving.told = true;
        debug_print!(DRIVER, "disk {}: it is in use, and stays", known.device.0);
        write_error(platform, known.device, format_args!("it is in use"));
    }
    None
}

/// Says, in the event log and where frontends leave their errors in xenstore, that a vbd was refused because of
/// its backing; whether that is the error. PASSIVE_LEVEL.
fn refused(platform: Platform, adapter: &Adapter, device: VirtualDevice, error: &Error) -> bool {
    let Error::Shared(other) = *error else { return false };
    adapter.census().report_pair(Reason::BackingRefused, device.0, other);
    write_error(platform, device, format_args!("{error}"));
    true
}

/// Writes what is wrong with a vbd where toolstacks look for it (XAPI ends a detach by it). PASSIVE_LEVEL.
fn write_error(platform: Platform, device: VirtualDevice, what: fmt::Arguments<'_>) {
    let mut text = wdm::debug::Line::new();
    // Writing to a Line does not fail. 16 is EBUSY, as xenbus clients write it.
    let _ = fmt::Write::write_fmt(&mut text, format_args!("16 {what}"));
    let mut store = platform;
    let node = error_node(device).and_then(|node| store.write(&node, text.as_str().as_bytes()));
    if let Err(error) = node {
        debug_print!(DRIVER, "disk {}: the refusal cannot be written to xenstore: {error}", device.0);
    }
}

/// Removes what [`write_error`] wrote, if it did. PASSIVE_LEVEL.
fn forget_error(platform: Platform, device: VirtualDevice) {
    if let Ok(node) = error_node(device) {
        let mut store = platform;
        // Most have none.
        let _ = store.remove(&node);
    }
}

/// Returns the node in which a frontend says what is wrong with it (`error/<its own folder>/error`).
fn error_node(device: VirtualDevice) -> Result<PathBuf, xen::store::Error> {
    PathBuf::new("error")?.join(Platform::folder(device).as_str())?.join("error")
}

/// Watches a target's backend.
fn watch_backend(platform: Platform, adapter: &Adapter, id: usize, event: &Shared<Event>) -> Option<Watch> {
    let backend = adapter.slots().with(id, Target::backend)?;
    match Watch::new(platform, &backend, event) {
        Ok(watch) => Some(watch),
        Err(error) => {
            debug_print!(DRIVER, "target {id}: changes of its backend are not noticed: {error}");
            None
        }
    }
}

/// Connects a target whose backend closes, and stays online, to the one that follows. Returns whether that succeeded, or
/// `None` for a backend that does not stay online.
fn reconnect_restarted(
    platform: Platform,
    adapter: &Adapter,
    id: usize,
    target: &Target,
    end: End,
) -> Option<bool> {
    if !target.is_online() {
        return None;
    }
    debug_print!(DRIVER, "disk {}: its backend is restarted", target.number());
    // It may have been removed and made anew since it was told to close.
    let lost = if target.is_replaced() { Lost::Replaced } else { Lost::Closing };
    if (lost, end) == (Lost::Closing, End::Closing) {
        read_signature_again(adapter, id, target);
    }
    match reconnect(adapter, target, lost) {
        Ok(()) => Some(true),
        Err(error) => {
            refused(platform, adapter, VirtualDevice(target.number()), &error);
            debug_print!(DRIVER, "disk {}: its backend has not come back: {error}", target.number());
            Some(false)
        }
    }
}

/// The end of a backend's.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// It was told to close, and serves until this end closes.
    Closing,
    /// It has closed.
    Closed,
}

/// Advances the handshake with the backend of a target, and returns its end if it has come to that. Nodes that make no
/// sense are no change.
///
/// # Errors
/// Xenstore failed, which says nothing of the backend.
fn look_for_end(adapter: &Adapter, target: &Target) -> Result<Option<End>, Unseen> {
    let event = target.look();
    adapter.census().resize(target.number(), target.lun().sectors);
    let end = event.and_then(|event| match event {
        blkif::Event::Stop => Ok(match target.backend_state()? {
            State::Closing => Some(End::Closing),
            // It was told to close, and told otherwise.
            State::Connected => None,
            _ => Some(End::Closed),
        }),
        blkif::Event::Closed => Ok(Some(End::Closed)),
        blkif::Event::Waiting
        | blkif::Event::Wanted(_)
        | blkif::Event::Connected(_)
        | blkif::Event::Unchanged(_) => Ok(None),
    });
    end.or_else(|error| {
        debug_print!(DRIVER, "disk {}: {error}", target.number());
        if error.is_passing() { Err(Unseen) } else { Ok(None) }
    })
}
