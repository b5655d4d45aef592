//! Identities of disks that are none of this driver's, read by threads of their own.
//!
//! A census is taken while the system waits: in the notification of an arrival, on the system's one thread for such
//! events. A disk that never answers a read must delay nobody there. So each disk that has to be read gets a thread,
//! and a census takes what is known. A disk on a controller that nobody knows may be an alias: the census waits for
//! it, for [`PATIENCE`] at most and once. A volume on a disk that does not answer in that time cannot be mounted
//! either before the disk has answered this read, which came first; then a census is taken at once.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;

use guard::census::Identity;
use wdm::mutex::Mutex;
use wdm::thread::Thread;
use wdm::{NtStatus, Result, Shared, SpinLock, debug_print, interface, pool, time};

use crate::{DRIVER, identity};

/// Time that a disk has which may be an alias.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time between two looks of the census for its answer.
const INTERVAL: Duration = Duration::from_millis(5);
/// Most disks that are read at the same time. Each has a thread.
const MOST_READERS: usize = 32;

/// Knowledge of a disk's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Its identity, `None` where it has none.
    Read(Option<Identity>),
    /// It is being read.
    Reading,
}

/// One disk.
struct Entry {
    /// The symbolic link of its interface.
    link: Vec<u16>,
    known: Known,
    /// The reading that is under way is this one; an older one's answer is not taken.
    reading: u32,
    /// A census has waited for it in vain.
    waited: bool,
    /// Its interface was enabled at the last census.
    present: bool,
}

struct State {
    /// Called at PASSIVE_LEVEL for each disk that has been read.
    identified: fn(),
    entries: SpinLock<Vec<Entry>>,
    /// Readings begun so far.
    readings: AtomicU32,
    /// The threads, also those that have ended since they were last looked at.
    threads: Mutex<Vec<Thread>>,
}

/// The disks that are read, and their readers.
pub(crate) struct Readers(Shared<State>);

impl Readers {
    /// Makes a set without readers, which call `identified` at PASSIVE_LEVEL for each disk that they have read.
    /// PASSIVE_LEVEL.
    ///
    /// # Errors
    /// `INSUFFICIENT_RESOURCES`.
    pub(crate) fn new(identified: fn()) -> Result<Self> {
        let (entries, threads) = (SpinLock::new(Vec::new()), Mutex::new(Vec::new())?);
        Shared::new(State { identified, entries, readings: AtomicU32::new(0), threads }).map(Self)
    }

    /// Returns what is known of the disk with this link, and has it read where nothing is. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// It cannot be read: no memory, no thread.
    pub(crate) fn of(&self, link: &[u16]) -> Result<Known> {
        let known = self.with(link, |entry| {
            entry.present = true;
            entry.known
        });
        match known {
            Some(known) => Ok(known),
            None => self.begin(link).map(|()| Known::Reading),
        }
    }

    fn with<T>(&self, link: &[u16], of: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        self.0.entries.lock().iter_mut().find(|entry| entry.link == link).map(of)
    }

    /// Starts a thread that reads a disk.
    fn begin(&self, link: &[u16]) -> Result {
        let reading = self.0.readings.fetch_add(1, Ordering::Relaxed);
        let copy = || {
            let mut copy = pool::try_vec::<u16>(link.len())?;
            copy.copy_from_slice(link);
            Ok::<_, NtStatus>(copy)
        };
        let (kept, own) = (copy()?, copy()?);
        let mut threads = self.0.threads.lock();
        threads.retain(|thread| !thread.wait_timeout(Duration::ZERO));
        if threads.len() >= MOST_READERS || threads.try_reserve(1).is_err() {
            return Err(NtStatus::INSUFFICIENT_RESOURCES);
        }
        self.enter(kept, reading)?;
        let state = Shared::clone(&self.0);
        match Thread::spawn(move || read(&state, &own, reading)) {
            Ok(thread) => {
                threads.push(thread);
                Ok(())
            }
            Err(status) => {
                self.0.entries.lock().retain(|entry| entry.reading != reading);
                Err(status)
            }
        }
    }

    /// Keeps a disk that is about to be read.
    fn enter(&self, link: Vec<u16>, reading: u32) -> Result {
        let mut entries = self.0.entries.lock();
        entries.try_reserve(1).map_err(|_| NtStatus::INSUFFICIENT_RESOURCES)?;
        entries.push(Entry { link, known: Known::Reading, reading, waited: false, present: true });
        Ok(())
    }

    /// Waits for a disk that is being read, unless a census has waited for it before. Returns true if it has been
    /// read meanwhile. PASSIVE_LEVEL.
    pub(crate) fn wait(&self, link: &[u16]) -> bool {
        let first = self.with(link, |entry| !core::mem::replace(&mut entry.waited, true));
        if first != Some(true) {
            return false;
        }
        let mut waited = Duration::ZERO;
        while self.with(link, |entry| entry.known) == Some(Known::Reading) {
            if waited >= PATIENCE {
                debug_print!(DRIVER, "a disk that may be an alias does not answer");
                return false;
            }
            time::sleep(INTERVAL);
            waited += INTERVAL;
        }
        true
    }

    /// Notes that no census waits for this disk: it is no alias, whatever is on it. PASSIVE_LEVEL.
    pub(crate) fn expect_nothing(&self, link: &[u16]) {
        self.with(link, |entry| entry.waited = true);
    }

    /// Forgets disks that a census which is over did not ask for: they are gone. PASSIVE_LEVEL.
    pub(crate) fn forget_absent(&self) {
        loop {
            // One at a time, so that none is freed under the lock.
            let gone = {
                let mut entries = self.0.entries.lock();
                let at = entries.iter().position(|entry| !entry.present);
                at.map(|at| entries.swap_remove(at))
            };
            if gone.is_none() {
                break;
            }
        }
        self.0.entries.lock().iter_mut().for_each(|entry| entry.present = false);
    }

    /// Has disks read again that had no identity, at the next census: a medium may have come. PASSIVE_LEVEL.
    pub(crate) fn forget_unidentified(&self) {
        self.0.entries.lock().retain(|entry| entry.known != Known::Read(None));
    }

    /// Waits until no thread is left. PASSIVE_LEVEL; a disk that never answers keeps it waiting.
    pub(crate) fn leave(&self) {
        loop {
            // Out of the lock: a thread may be about to take a census.
            let thread = self.0.threads.lock().pop();
            let Some(thread) = thread else { return };
            thread.join();
        }
    }
}

/// Reads a disk, and tells that it has been read. PASSIVE_LEVEL, in a thread of its own.
fn read(state: &State, link: &[u16], reading: u32) {
    let identity = interface::Open::new(link).ok().and_then(|open| identity::of_device(open.device()));
    let kept = {
        let mut entries = state.entries.lock();
        entries
            .iter_mut()
            .find(|entry| entry.reading == reading)
            .map(|entry| entry.known = Known::Read(identity))
    };
    if kept.is_some() {
        (state.identified)();
    }
}
