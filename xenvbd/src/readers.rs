//! Identities of disks, read by threads of their own through the disks' stacks.
//!
//! A census is taken while the system waits: in the notification of an arrival, on the system's one thread for such
//! events. A disk that never answers a read must delay nobody there. So a disk that has to be read is read by a thread,
//! and a census takes what is known. A disk on a controller that nobody knows may be an alias: every census waits for
//! it, until [`PATIENCE`] has passed since the reading was asked for. A volume on a disk that does not answer in that time
//! cannot be mounted either before the disk has answered this read, which came first; then a census is taken at once.
//! The first census that finds it read compares it with what is on this driver's own disks by then.
//!
//! At most [`MOST_READERS`] threads read, but for one more for each of this driver's own disks, which are read first. Where
//! there are more disks, each thread goes on with the next one, and with those that are no aliases last. A disk whose
//! read nobody has sent in that time cannot be told from an alias, and neither can one for whose read there was no memory.
//!
//! A disk is known by the link of its interface, and another disk may come with the same link. So a disk is forgotten when
//! it has gone ([`Readers::forget_gone`]).

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use core::time::Duration;

use guard::census::{Identity, Signature};
use wdm::mutex::Mutex;
use wdm::thread::Thread;
use wdm::time::{self, Deadline};
use wdm::{NtStatus, Result, Shared, SpinLock, debug_print, interface, pool, unicode};

use crate::identity::Unreadable;
use crate::{DRIVER, identity};

/// Time that disks have together which a census waits for.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time after which a read that failed is tried again.
const AGAIN: Duration = Duration::from_millis(250);
/// Time between two looks for an answer.
const INTERVAL: Duration = Duration::from_millis(5);
/// Most threads that read disks of others at the same time, and most of them for disks that are no aliases, whatever is on
/// them.
const MOST_READERS: usize = 32;
const MOST_FOR_OTHERS: usize = 16;

/// Knowledge of a disk's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// Its identity, `None` where it has none.
    Read(Option<Identity>),
    /// It cannot be read, or there is no medium in it.
    Unreadable,
    /// It is being read.
    Reading,
    /// There was no memory to read it, or no thread in time.
    Failed,
    /// It was read, and what is on it may have been written since.
    Stale,
}

/// The comparison of a disk that may be an alias with what is on this driver's own disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Due,
    UnderWay,
    Done,
}

/// One disk.
struct Entry {
    /// The symbolic link of its interface.
    link: Shared<Vec<u16>>,
    /// Its target id, where it is one of this driver's.
    own: Option<u8>,
    known: Known,
    /// The reading that is under way is this one; an older one's answer is not taken.
    reading: u32,
    /// A thread has taken it up.
    begun: bool,
    /// A census waits for it until then.
    until: Deadline,
    /// Nobody knows its controller.
    may_be_alias: bool,
    comparison: Comparison,
    /// The signature by which it was compared last, when all of this driver's disks had answered, and was none of theirs.
    compared: Option<Signature>,
    /// Its interface was enabled at the last census.
    present: bool,
}

/// The disks, and the number of threads that go on with the next one; of those, the ones that have yet to take up their
/// first.
struct Entries {
    list: Vec<Entry>,
    readers: usize,
    starting: usize,
    /// None is begun any more.
    left: bool,
}

struct State {
    /// Called at PASSIVE_LEVEL when disks have been read.
    identified: fn(),
    entries: SpinLock<Entries>,
    /// Readings begun so far.
    readings: AtomicU32,
    /// Somebody has been told of a disk since the last census began, which takes whatever is known by then.
    told: AtomicBool,
    /// The threads, also those that have ended since they were last looked at.
    threads: Mutex<Vec<Thread>>,
}

/// The disks that are read, and their readers.
pub(crate) struct Readers(Shared<State>);

impl Readers {
    /// Makes a set without readers, which call `identified` at PASSIVE_LEVEL when they have read disks. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// `INSUFFICIENT_RESOURCES`.
    pub(crate) fn new(identified: fn()) -> Result<Self> {
        let entries = SpinLock::new(Entries { list: Vec::new(), readers: 0, starting: 0, left: false });
        let threads = Mutex::new(Vec::new())?;
        let (readings, told) = (AtomicU32::new(0), AtomicBool::new(false));
        Shared::new(State { identified, entries, readings, told, threads }).map(Self)
    }

    /// Notes that a census begins: it takes whatever is known. Any IRQL.
    pub(crate) fn census_begins(&self) {
        self.0.told.store(false, Ordering::SeqCst);
    }

    /// Returns what was read of the disk with this link, and has it read where it was not; `None` where it has not answered
    /// yet. `may_be_alias`: a census waits for it ([`Readers::wait`]). The second value is the signature by which it was compared
    /// last and was foreign. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// It cannot be read: no memory, no thread, or no thread that came to it in time.
    pub(crate) fn of(
        &self,
        link: &[u16],
        may_be_alias: bool,
    ) -> Result<(Option<Option<Identity>>, Option<Signature>)> {
        let entry = self.with(link, |entry| {
            entry.present = true;
            (entry.known, entry.compared)
        });
        let (known, compared) = entry.unzip();
        let compared = compared.flatten();
        match known {
            Some(Known::Read(identity)) => Ok((Some(identity), compared)),
            Some(Known::Unreadable) => Ok((Some(None), compared)),
            Some(Known::Reading) => Ok((None, compared)),
            Some(Known::Failed) => Err(NtStatus::INSUFFICIENT_RESOURCES),
            Some(Known::Stale) | None => {
                self.forget(|entry| entry.link.as_slice() == link);
                self.begin(link, None, may_be_alias, compared).map(|()| (None, compared))
            }
        }
    }

    /// Returns what was read of one of this driver's disks; `None` where it was not read, or has not answered yet. Any
    /// IRQL.
    pub(crate) fn of_own(&self, target: u8) -> Option<Option<Identity>> {
        let entries = self.0.entries.lock();
        let known = entries.list.iter().find(|entry| entry.own == Some(target)).map(|entry| entry.known);
        match known {
            Some(Known::Read(identity)) => Some(identity),
            Some(Known::Unreadable | Known::Reading | Known::Failed | Known::Stale) | None => None,
        }
    }

    /// Has one of this driver's disks read anew, unless an earlier reading does not end: so a disk that does not answer keeps
    /// one thread, and nobody waits for it twice. PASSIVE_LEVEL; one caller at a time.
    ///
    /// # Errors
    /// No memory, no thread.
    pub(crate) fn begin_own(&self, link: &[u16], target: u8) -> Result {
        match self.with(link, |entry| entry.until) {
            Some(until) if !self.await_answer(link, until) => Ok(()),
            _ => {
                self.forget_own(target);
                self.begin(link, Some(target), false, None)
            }
        }
    }

    /// Returns what was read of one of this driver's disks since [`Readers::begin_own`], for which it waits; `None` where it
    /// cannot be read, or has not answered in time. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// There was no memory to read it.
    pub(crate) fn await_own(&self, link: &[u16]) -> Result<Option<Option<Identity>>> {
        let Some(until) = self.with(link, |entry| entry.until) else { return Ok(None) };
        self.await_answer(link, until);
        match self.with(link, |entry| entry.known) {
            Some(Known::Read(identity)) => Ok(Some(identity)),
            Some(Known::Failed) => Err(NtStatus::INSUFFICIENT_RESOURCES),
            Some(Known::Unreadable | Known::Reading | Known::Stale) | None => Ok(None),
        }
    }

    fn with<T>(&self, link: &[u16], of: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        self.0.entries.lock().list.iter_mut().find(|entry| entry.link.as_slice() == link).map(of)
    }

    /// Has a disk read by a thread.
    fn begin(
        &self,
        link: &[u16],
        own: Option<u8>,
        may_be_alias: bool,
        compared: Option<Signature>,
    ) -> Result {
        let mut copy = pool::try_vec::<u16>(link.len())?;
        copy.copy_from_slice(link);
        let mut threads = self.0.threads.lock();
        threads.retain(|thread| !thread.wait_timeout(Duration::ZERO));
        threads.try_reserve(1).map_err(|_| NtStatus::INSUFFICIENT_RESOURCES)?;
        let reading = self.0.readings.fetch_add(1, Ordering::Relaxed);
        let entry = Entry {
            link: Shared::new(copy)?,
            own,
            known: Known::Reading,
            reading,
            begun: false,
            until: Deadline::after(PATIENCE),
            may_be_alias,
            comparison: if may_be_alias { Comparison::Due } else { Comparison::Done },
            compared,
            present: true,
        };
        if !self.0.enter(entry)? {
            return Ok(());
        }
        let state = Shared::clone(&self.0);
        match Thread::spawn(move || read_all(&state)) {
            Ok(thread) => {
                threads.push(thread);
                Ok(())
            }
            Err(status) => {
                let others = self.0.has_other_readers();
                if others && own.is_none() {
                    // Another thread comes to it.
                    return Ok(());
                }
                self.forget(|entry| entry.reading == reading);
                Err(status)
            }
        }
    }

    /// Waits for a disk that may be an alias and is being read, until the deadline of its reading. Returns true if another
    /// census is to compare it, or to fail since no thread has come to it. PASSIVE_LEVEL.
    pub(crate) fn wait(&self, link: &[u16]) -> bool {
        let until = self.with(link, |entry| (entry.comparison != Comparison::Done).then_some(entry.until));
        let Some(until) = until.flatten() else { return false };
        let answered = self.await_answer(link, until);
        let is_due = self.with(link, |entry| {
            let in_vain = !answered && entry.known == Known::Reading && entry.until.has_passed();
            if in_vain && !entry.begun {
                entry.known = Known::Failed;
            }
            entry.is_to_be_compared()
        });
        is_due == Some(true)
    }

    /// Notes that what has been read of disks that may be aliases is about to be compared. Returns false if there is none
    /// that was not compared yet. One caller at a time.
    pub(crate) fn begin_comparison(&self) -> bool {
        let mut entries = self.0.entries.lock();
        let due = entries.list.iter_mut().filter(|entry| entry.is_to_be_compared());
        due.map(|entry| entry.comparison = Comparison::UnderWay).count() > 0
    }

    /// Notes that it has been compared. `with_all`: all of this driver's disks had just been read.
    pub(crate) fn end_comparison(&self, with_all: bool) {
        let mut entries = self.0.entries.lock();
        for entry in entries.list.iter_mut().filter(|entry| entry.comparison == Comparison::UnderWay) {
            entry.comparison = Comparison::Done;
            if let (Known::Read(identity), true) = (entry.known, with_all) {
                entry.compared = identity.map(|identity| identity.signature);
            }
        }
    }

    /// Returns true if there is a disk that may be an alias. Any IRQL.
    pub(crate) fn have_unknown(&self) -> bool {
        self.0.entries.lock().list.iter().any(|entry| entry.may_be_alias)
    }

    fn await_answer(&self, link: &[u16], deadline: Deadline) -> bool {
        let (mut patience, mut waited) = (deadline.patience(), false);
        while self.with(link, |entry| entry.known) == Some(Known::Reading) {
            if !patience.pause(INTERVAL) {
                if waited {
                    debug_print!(DRIVER, "a disk that has to be read does not answer");
                }
                return false;
            }
            waited = true;
        }
        true
    }

    /// Forgets disks that a census which is over did not ask for: they are gone. PASSIVE_LEVEL.
    pub(crate) fn forget_absent(&self) {
        self.forget(|entry| entry.own.is_none() && !entry.present);
        self.0.entries.lock().list.iter_mut().for_each(|entry| entry.present = false);
    }

    /// Has disks read again that had no identity, at the next census: a medium may have come. Any IRQL.
    pub(crate) fn forget_unidentified(&self) {
        self.read_again(|entry| matches!(entry.known, Known::Read(None) | Known::Unreadable | Known::Failed));
    }

    /// Has all disks of others read again at the next census: what is on them may have been written. Any IRQL.
    pub(crate) fn forget_read(&self) {
        self.read_again(|_| true);
    }

    /// Has disks of others read again at the next census. One that is being read has yet to answer, and one that is yet to be
    /// compared has just done so.
    fn read_again(&self, which: impl Fn(&Entry) -> bool) {
        let mut entries = self.0.entries.lock();
        let read =
            entries.list.iter_mut().filter(|entry| entry.is_compared() && entry.known != Known::Reading);
        read.filter(|entry| which(entry)).for_each(|entry| entry.known = Known::Stale);
    }

    /// Forgets the disk with this link, which has gone, even if it is being read: another may have come with it. PASSIVE_LEVEL.
    pub(crate) fn forget_gone(&self, link: &[u16]) {
        self.forget(|entry| entry.own.is_none() && unicode::eq_ignore_case(&entry.link, link));
    }

    /// Forgets what was read of one of this driver's disks. PASSIVE_LEVEL.
    pub(crate) fn forget_own(&self, target: u8) {
        self.forget(|entry| entry.own == Some(target));
    }

    fn forget(&self, which: impl Fn(&Entry) -> bool) {
        loop {
            // One at a time, so that none is freed under the lock.
            let gone = {
                let mut entries = self.0.entries.lock();
                let at = entries.list.iter().position(&which);
                at.map(|at| entries.list.swap_remove(at))
            };
            if gone.is_none() {
                return;
            }
        }
    }

    /// Waits until no thread is left. PASSIVE_LEVEL; a disk that never answers keeps it waiting.
    pub(crate) fn leave(&self) {
        self.0.entries.lock().left = true;
        loop {
            // Out of the lock: a thread may be about to take a census.
            let thread = self.0.threads.lock().pop();
            let Some(thread) = thread else { return };
            thread.join();
        }
    }
}

impl Entry {
    /// Returns true if it is a disk of others that no census has to compare any more.
    fn is_compared(&self) -> bool {
        self.own.is_none() && self.comparison == Comparison::Done
    }

    /// Returns true if its reading has ended and it has not been compared with what is on this driver's own disks since.
    fn is_to_be_compared(&self) -> bool {
        self.known != Known::Reading && self.comparison != Comparison::Done
    }
}

impl State {
    /// Keeps a disk that is to be read. Returns true if a thread has to be made for it.
    fn enter(&self, entry: Entry) -> Result<bool> {
        let mut entries = self.entries.lock();
        entries.list.try_reserve(1).map_err(|_| NtStatus::INSUFFICIENT_RESOURCES)?;
        let own = entry.own.is_some();
        let reads_own = |entry: &&Entry| entry.own.is_some() && entry.known == Known::Reading;
        let for_own = entries.list.iter().filter(reads_own).count();
        entries.list.push(entry);
        // A disk of this driver's own has a thread, however many of others do not answer; and the other way round.
        let more = own || entries.readers.saturating_sub(for_own) < MOST_READERS;
        entries.readers += usize::from(more);
        entries.starting += usize::from(more);
        Ok(more)
    }

    /// Notes that a thread could not be made. Returns true if there are others.
    fn has_other_readers(&self) -> bool {
        let mut entries = self.entries.lock();
        entries.readers -= 1;
        entries.starting -= 1;
        entries.readers > 0
    }

    /// Takes up the next disk: its link, and the number of the reading. `None` where the thread is to end.
    fn next(&self) -> Option<(Shared<Vec<u16>>, u32)> {
        let mut entries = self.entries.lock();
        let left = entries.left;
        let under_way = |entry: &&Entry| entry.begun && entry.known == Known::Reading && entry.is_compared();
        let spare = entries.list.iter().filter(under_way).count() < MOST_FOR_OTHERS;
        let waiting = entries.list.iter_mut().filter(|entry| !entry.begun && !left);
        let next = waiting
            .filter(|entry| spare || !entry.is_compared())
            .min_by_key(|entry| (entry.own.is_none(), entry.is_compared()));
        let next = next.map(|entry| {
            entry.begun = true;
            (Shared::clone(&entry.link), entry.reading)
        });
        if next.is_none() {
            entries.readers -= 1;
        }
        next
    }

    /// Returns true if a census waits for a reading, of a disk that may be an alias, and no disk waits for a thread.
    fn is_awaited(&self, reading: u32) -> bool {
        let entries = self.entries.lock();
        let entry = entries.list.iter().find(|entry| entry.reading == reading);
        let waiting = entries.list.iter().filter(|entry| !entry.begun).count();
        // Where others wait for a thread this one has had its turn.
        !entries.left
            && waiting <= entries.starting
            && entry.is_some_and(|entry| entry.comparison != Comparison::Done && !entry.until.has_passed())
    }

    /// Keeps what a reading has found. Of one of this driver's own disks that cannot be read, what was known before stays.
    /// Returns false if nobody wants to know it any more.
    fn keep(&self, reading: u32, found: core::result::Result<Option<Identity>, Unreadable>) -> bool {
        let mut entries = self.entries.lock();
        let Some(at) = entries.list.iter().position(|entry| entry.reading == reading) else { return false };
        let gone = match found {
            Err(Unreadable::Disk | Unreadable::Empty) if entries.list[at].own.is_some() => {
                Some(entries.list.swap_remove(at))
            }
            found => {
                entries.list[at].known = match found {
                    Ok(identity) => Known::Read(identity),
                    Err(Unreadable::Disk | Unreadable::Empty) => Known::Unreadable,
                    Err(Unreadable::Memory) => Known::Failed,
                };
                None
            }
        };
        // Out of the lock, in which nothing is freed.
        drop(entries);
        drop(gone);
        true
    }
}

/// Reads disks until there is none to be read, and tells that they have been read. PASSIVE_LEVEL, in a thread of its own.
fn read_all(state: &State) {
    state.entries.lock().starting -= 1;
    while let Some((link, reading)) = state.next() {
        let found = loop {
            let open = interface::Open::new(&link).map_err(Unreadable::from);
            let found = open.and_then(|open| identity::of_device(open.device()));
            // One that fails once may be an alias all the same, and be used afterwards.
            if found != Err(Unreadable::Disk) || !state.is_awaited(reading) {
                break found;
            }
            time::sleep(AGAIN);
        };
        if state.keep(reading, found) && !state.told.swap(true, Ordering::SeqCst) {
            (state.identified)();
        }
    }
}
