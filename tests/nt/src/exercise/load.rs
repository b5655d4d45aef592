//! Readers of a disk: threads that each have one request on its way, until one fails or they are told to end.

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use alloc::format;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use volume::BlockDevice;

use crate::fs::Device;
use crate::ke::{self, thread};
use crate::nt::*;

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

struct Reader {
    disk: u32,
    number: u64,
    counts: Arc<Counts>,
}

/// Readers that run.
pub(super) struct Load {
    counts: Arc<Counts>,
    threads: Vec<*mut thread::Thread>,
}

impl Load {
    /// Starts `readers` threads on a disk. PASSIVE_LEVEL.
    pub(super) fn start(disk: u32, readers: usize) -> Self {
        let counts = Arc::<Counts>::default();
        let threads = (0..readers as u64)
            .map(|number| {
                let reader = alloc::boxed::Box::new(Reader { disk, number, counts: Arc::clone(&counts) });
                let context = alloc::boxed::Box::into_raw(reader).cast();
                // SAFETY: the thread takes the box over.
                unsafe { thread::create(read, context, thread::NORMAL_PRIORITY, 0) }.expect("a reader")
            })
            .collect();
        Self { counts, threads }
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
        for reader in self.threads {
            // SAFETY: each is a thread that was made here, and its last use.
            unsafe { thread::join(reader) };
        }
        self.counts
    }
}

unsafe extern "win64" fn read(context: Pvoid) {
    // SAFETY: the caller keeps `context` valid for this call.
    unsafe {
        let reader = alloc::boxed::Box::from_raw(context.cast::<Reader>());
        let Reader { disk, number, counts } = *reader;
        let name: Vec<u16> = format!("\\Device\\Harddisk{disk}\\DR{disk}").encode_utf16().collect();
        let length = (name.len() * 2) as u16;
        let mut name = UnicodeString { length, maximum_length: length, buffer: name.as_ptr().cast_mut() };
        let Ok(device) = Device::open(&raw mut name) else { return };
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
}
