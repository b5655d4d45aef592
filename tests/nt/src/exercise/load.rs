//! Readers of a disk: threads that each have one request on its way, until one fails or they are told to end.

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use volume::BlockDevice;

use crate::fs::Device;
use crate::ke::{self, thread};
use crate::nt::*;

/// Sectors between the partition table and the first partition, which nobody else uses: the first, and how many.
const UNUSED: (u64, usize) = (8, 8);
/// Sectors of an even and of an odd reader's read: of several pages, and of more than one request without indirect
/// segments has.
const SECTORS: [u64; 2] = [40, 160];

/// Counts of the work that the readers of a disk have done.
#[derive(Default)]
pub(super) struct Counts {
    started: AtomicU32,
    ok: AtomicU32,
    failed: AtomicU32,
    /// Affinity of the processors that have read.
    processors: AtomicU32,
    ending: AtomicBool,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |counter: &AtomicU32| counter.load(Ordering::Relaxed);
        let (started, ok, failed) = (count(&self.started), count(&self.ok), count(&self.failed));
        write!(f, "started={started} ok={ok} failed={failed} processors={:#x}", count(&self.processors))
    }
}

/// Readers that run.
pub(super) struct Load {
    counts: Arc<Counts>,
    threads: Threads,
}

impl Load {
    /// Starts `readers` threads on a disk. PASSIVE_LEVEL.
    pub(super) fn start(disk: u32, readers: usize) -> Self {
        let counts = Arc::<Counts>::default();
        let mut threads = Threads::default();
        for number in 0..readers as u64 {
            let counts = Arc::clone(&counts);
            threads.start(move || read(disk, number, &counts));
        }
        Self { counts, threads }
    }

    /// Starts one thread that writes to the disk: what its unused sectors hold, over and over and without a flush, so that
    /// one write is on its way at nearly every moment. PASSIVE_LEVEL.
    pub(super) fn write(&mut self, disk: u32) {
        let counts = Arc::clone(&self.counts);
        self.threads.start(move || write(disk, &counts));
    }

    /// Reads that have succeeded so far.
    pub(super) fn done(&self) -> u32 {
        self.counts.ok.load(Ordering::Relaxed)
    }

    /// Has the readers end after the request that is on its way.
    pub(super) fn end(&self) {
        self.counts.ending.store(true, Ordering::Relaxed);
    }

    /// Waits until every reader has ended. PASSIVE_LEVEL.
    pub(super) fn join(self) -> Arc<Counts> {
        self.threads.join();
        self.counts
    }
}

/// Threads of an exercise.
#[derive(Default)]
pub(super) struct Threads(Vec<*mut thread::Thread>);

impl Threads {
    /// Starts one more. PASSIVE_LEVEL.
    pub(super) fn start(&mut self, work: impl FnOnce() + Send + 'static) {
        let work: Work = Box::new(work);
        let context = Box::into_raw(Box::new(work)).cast();
        // SAFETY: the thread takes the box over.
        let thread = unsafe { thread::create(run, context, thread::NORMAL_PRIORITY, 0) };
        self.0.push(thread.expect("a thread of an exercise"));
    }

    /// Waits until all have ended. PASSIVE_LEVEL.
    pub(super) fn join(self) {
        for thread in self.0 {
            // SAFETY: each is a thread that was made here, and its last use.
            unsafe { thread::join(thread) };
        }
    }
}

/// A thread's work.
type Work = Box<dyn FnOnce() + Send>;

unsafe extern "win64" fn run(context: Pvoid) {
    // SAFETY: the context is the box of work that the thread was started with.
    let work = unsafe { Box::from_raw(context.cast::<Work>()) };
    work();
}

/// Opens a disk; `None` where it is not there. PASSIVE_LEVEL.
pub(super) fn open(disk: u32) -> Option<Device> {
    let name: Vec<u16> = format!("\\Device\\Harddisk{disk}\\DR{disk}").encode_utf16().collect();
    let length = (name.len() * 2) as u16;
    let mut name = UnicodeString { length, maximum_length: length, buffer: name.as_ptr().cast_mut() };
    // SAFETY: a valid string.
    unsafe { Device::open(&raw mut name) }.ok()
}

/// Reads from a disk until a read fails or the readers are to end.
fn read(disk: u32, number: u64, counts: &Counts) {
    let Some(device) = open(disk) else { return };
    let sectors = SECTORS[number as usize % SECTORS.len()];
    let mut buffer = vec![0; sectors as usize * volume::SECTOR];
    let last = device.sectors() - sectors;
    let mut at = number * 997;
    while !counts.ending.load(Ordering::Relaxed) {
        counts.started.fetch_add(1, Ordering::Relaxed);
        if device.read(at % last, &mut buffer).is_err() {
            counts.failed.fetch_add(1, Ordering::Relaxed);
            break;
        }
        counts.processors.fetch_or(1 << ke::processor::number(), Ordering::Relaxed);
        counts.ok.fetch_add(1, Ordering::Relaxed);
        at = at.wrapping_mul(5).wrapping_add(4099);
    }
}

/// Writes to a disk's unused sectors what they hold, until a write fails or the threads are to end.
fn write(disk: u32, counts: &Counts) {
    let Some(mut device) = open(disk) else { return };
    let (first, sectors) = UNUSED;
    let mut content = vec![0; sectors * volume::SECTOR];
    let mut done = device.read(first, &mut content);
    while done.is_ok() && !counts.ending.load(Ordering::Relaxed) {
        done = device.write(first, &content);
    }
    // As of a read that has failed.
    if done.is_err() {
        counts.started.fetch_add(1, Ordering::Relaxed);
        counts.failed.fetch_add(1, Ordering::Relaxed);
    }
}
