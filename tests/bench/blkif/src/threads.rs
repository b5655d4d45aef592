//! Two queues on two threads, beside one alone: what they share, shows in the time.
//!
//! Each thread has a frontend of its own and answers its ring itself. All frontends have one grant table, behind one
//! lock, as xenpci's clients have.
#![expect(unsafe_code, reason = "implements the unsafe Hal trait over leaked pages")]

use std::alloc::{Layout, alloc_zeroed};
use std::fmt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

use xen::blkif::{
    Config, Disk, Element, FlushMethod, Frontend, Kind, Memory, Operation, Transfer, Vbd, VirtualDevice,
};
use xen::grant::{ENTRIES_PER_FRAME, Entries, Table};
use xen::{DomainId, Frame, GrantRef, PAGE_SIZE, Port, SharedMemory, SharedPage};

/// Requests that are published together.
const DEPTH: usize = 8;
/// Frames of the grant table.
const FRAMES: usize = 4;
/// Words of a slot of the ring, and of what stands before the first.
const SLOT: usize = 14;
const HEADER: usize = 8;

/// The guest that both frontends run in.
struct Guest {
    table: Mutex<Table<Vec<u32>>>,
    entries: NonNull<u8>,
    frames: AtomicU64,
}

// SAFETY: the entries are memory for good, reached by atomics and volatile copies only.
unsafe impl Send for Guest {}
// SAFETY: as above.
unsafe impl Sync for Guest {}

/// A frontend's services. It notes the frontend's pages, of which the first is the ring.
#[derive(Clone)]
struct Hal {
    guest: Arc<Guest>,
    ring: Arc<Mutex<Option<NonNull<u8>>>>,
}

/// Returns so many pages, cleared, for good.
fn pages(count: usize) -> NonNull<u8> {
    let layout = Layout::from_size_align(count * PAGE_SIZE, PAGE_SIZE).expect("some pages");
    // SAFETY: a layout with a size.
    NonNull::new(unsafe { alloc_zeroed(layout) }).expect("memory")
}

impl Guest {
    fn new() -> Arc<Self> {
        let entries = pages(FRAMES);
        // SAFETY: pages for good, aligned, to which no reference is left.
        let memory = unsafe { SharedMemory::new(entries, FRAMES * PAGE_SIZE) };
        let table = Table::new(memory, vec![0; FRAMES * ENTRIES_PER_FRAME]).expect("enough entries");
        Arc::new(Self { table: Mutex::new(table), entries, frames: AtomicU64::new(0x1000) })
    }
}

// SAFETY: references come from a real table behind a lock; pages are for good and given out once.
unsafe impl xen::Hal for Hal {
    fn grant_entries(&self) -> Option<Entries> {
        // SAFETY: pages for good, reached by atomics and volatile copies only.
        Some(Entries::new(unsafe { SharedMemory::new(self.guest.entries, FRAMES * PAGE_SIZE) }, 0))
    }

    fn take_references(&self, into: &mut [GrantRef]) -> usize {
        self.guest.table.lock().expect("no panic").take(into)
    }

    fn give_references(&self, references: &[GrantRef]) {
        let strange = self.guest.table.lock().expect("no panic").give(references);
        assert_eq!(strange, 0, "references are given back that nobody has");
    }

    fn notify(&self, _: Port) {}

    fn alloc_shared_page(&self) -> Option<SharedPage> {
        let page = pages(1);
        self.ring.lock().expect("no panic").get_or_insert(page);
        let frame = Frame(self.guest.frames.fetch_add(1, Ordering::Relaxed));
        // SAFETY: a page for good, given out once.
        Some(unsafe { SharedPage::new(page, frame) })
    }

    unsafe fn free_shared_page(&self, _: SharedPage) {}

    fn log(&self, message: fmt::Arguments<'_>) {
        eprintln!("{message}");
    }
}

/// One queue with its backend.
struct Queue {
    frontend: Frontend<Hal>,
    ring: SharedMemory,
    answered: u32,
    pages: Vec<Element>,
}

impl Queue {
    fn new(guest: &Arc<Guest>) -> Self {
        let hal = Hal { guest: guest.clone(), ring: Arc::default() };
        let vbd =
            Vbd { backend_domain: DomainId(0), device: VirtualDevice(768), kind: Kind::Disk, trusted: true };
        let mut frontend = Frontend::new(hal.clone(), vbd, Config::SMALL).expect("memory and grants");
        let disk = Disk {
            sectors: 1 << 20,
            sector_size: 512,
            physical_sector_size: 512,
            cdrom: false,
            removable: false,
            read_only: false,
            persistent: false,
            flush: FlushMethod::None,
            discard: None,
        };
        frontend.connect(Port(7), disk);
        let ring = hal.ring.lock().expect("no panic").expect("a ring");
        let frame = || guest.frames.fetch_add(1, Ordering::Relaxed);
        let page = || Element { address: frame() * PAGE_SIZE as u64, length: PAGE_SIZE as u32 };
        let pages = (0..DEPTH).map(|_| page()).collect();
        // SAFETY: the ring's page, which stays.
        Self { frontend, ring: unsafe { SharedMemory::new(ring, PAGE_SIZE) }, answered: 0, pages }
    }

    /// Answers every request that is published.
    fn answer(&mut self) {
        let words = self.ring.words();
        let published = self.ring.atomic_u32(0).load(Ordering::Acquire);
        while self.answered != published {
            let slot = HEADER + (self.answered % 32) as usize * SLOT;
            let [request, id] = words.read(slot);
            words.write(slot, &[id, request & 0xFF]);
            self.answered = self.answered.wrapping_add(1);
        }
        self.ring.atomic_u32(8).store(published, Ordering::Release);
    }

    /// Runs so many rounds of [`DEPTH`] reads.
    fn run(&mut self, rounds: usize) {
        for _ in 0..rounds {
            let mut transfers: [Transfer; DEPTH] = std::array::from_fn(|tag| {
                let list = &self.pages[tag..=tag];
                Transfer::new(tag, Operation::Read, 0, PAGE_SIZE as u64, 512, list).expect("a whole page")
            });
            for (tag, transfer) in transfers.iter_mut().enumerate() {
                let memory = Memory::Pages(&self.pages[tag..=tag]);
                transfer.submit(&mut self.frontend, memory).expect("a sound request");
            }
            self.frontend.push();
            self.answer();
            let mut ended = 0;
            while let Some(completion) = self.frontend.take(&mut |_| ()) {
                let outcome = transfers[completion.tag].complete(&completion).expect("one part");
                assert!(outcome.result.is_ok(), "{outcome:?}");
                ended += 1;
            }
            assert_eq!(ended, DEPTH, "every request of a round comes back");
            let _ = self.frontend.rearm();
        }
    }
}

/// Returns the time of `rounds` rounds of each of `threads` queues, all at the same time.
fn time(threads: usize, rounds: usize) -> Duration {
    let guest = Guest::new();
    let start = Barrier::new(threads);
    let times = std::thread::scope(|scope| {
        let work = || {
            let mut queue = Queue::new(&guest);
            // Its references, and whatever else is first.
            queue.run(rounds / 10 + 1);
            start.wait();
            let begun = Instant::now();
            queue.run(rounds);
            begun.elapsed()
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
    });
    times.into_iter().max().unwrap_or_default()
}

/// Returns how many times the requests of one queue two queues have in the same time: the median of `turns` turns of
/// one queue alone and of two.
pub(crate) fn gain(rounds: usize, turns: usize) -> f64 {
    let mut gains: Vec<f64> =
        (0..turns).map(|_| 2.0 * time(1, rounds).as_secs_f64() / time(2, rounds).as_secs_f64()).collect();
    gains.sort_by(f64::total_cmp);
    gains[turns / 2]
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_request_of_both_queues_ends() {
        assert!(super::gain(50, 1) > 0.0);
    }
}
