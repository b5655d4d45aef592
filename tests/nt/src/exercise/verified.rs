//! A verified load of a disk: threads that write sectors, read and compare them, and one that writes files to its volume.
//!
//! Each sector is full of one number, made of the stamp of its write and of its own place: one that is old, torn or another's
//! shows. What was written stays known while the disk is away, and is compared first when it is back.

use core::cell::Cell;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use protocol::Checksum;
use protocol::hours::EXTENT;
use volume::{BlockDevice, SECTOR};

use super::load::{self, Threads};
use super::random::Random;
use crate::fs::Device;
use crate::ke::{self, Lock};
use crate::{mountmgr, report};

/// Threads that write sectors, each in a part of its own.
const PARTS: u64 = 4;
/// Most sectors of a request: more than one request of the ring has without indirect segments.
const MOST: u64 = 1 << MOST_ORDER;
const MOST_ORDER: u64 = 8;
/// Requests of a thread of which one is followed by a rest, and its milliseconds.
const RESTS: u64 = 16;
const REST: u64 = 50;
/// Files that are written, with a flush behind each, before the thread that writes them rests.
const TURN: u32 = 4;
/// Bits of a sector's number that tell its place.
const PLACE_BITS: u32 = 16;

/// A sector as it must be found.
#[derive(Clone, Copy, Default)]
struct Sector {
    /// The number that was written last.
    written: u64,
    /// The number of a write after it that has failed: it may be there or not.
    failed: Option<u64>,
}

/// Sectors that one thread writes.
struct Part {
    first: u64,
    sectors: Vec<Sector>,
    /// Stamp of the last write.
    stamp: u64,
    random: Random,
}

/// Sectors of a disk as they must be found.
pub(super) struct Content(Vec<Part>);

impl Content {
    /// Returns that of a disk on which nothing was written.
    pub(super) fn new(random: &mut Random) -> Self {
        let sectors = (EXTENT.end - EXTENT.start) / PARTS;
        let part = |number| Part {
            first: EXTENT.start + number * sectors,
            sectors: vec![Sector::default(); sectors as usize],
            stamp: 0,
            random: random.split(),
        };
        Self((0..PARTS).map(part).collect())
    }

    /// Returns the checksum of what was written, where no write has failed since it was compared.
    fn checksum(&self) -> u64 {
        let sectors = self.0.iter().flat_map(|part| &part.sectors);
        let whole = |sector: &Sector| sector.written.to_le_bytes().repeat(SECTOR / 8);
        sectors.fold(Checksum::new(), |sum, sector| sum.and(&whole(sector))).value()
    }
}

/// A load that runs.
pub(super) struct Verified {
    disk: u32,
    work: Arc<Work>,
    threads: Threads,
}

impl Verified {
    /// Starts the threads on a disk that must have this content. PASSIVE_LEVEL.
    pub(super) fn start(disk: u32, Content(parts): Content) -> Self {
        let work = Arc::new(Work::new(parts.len()));
        let mut threads = Threads::default();
        for part in parts {
            let work = Arc::clone(&work);
            threads.start(move || work.use_part(disk, part));
        }
        let files = Arc::clone(&work);
        threads.start(move || files.write_files(disk));
        Self { disk, work, threads }
    }

    /// Returns true if every thread has ended: by itself only where a request has failed, or data was wrong.
    pub(super) fn has_ended(&self) -> bool {
        self.work.running.load(Ordering::Acquire) == 0
    }

    /// Returns true if no request has failed, and no data was wrong.
    pub(super) fn is_whole(&self) -> bool {
        let none = |counter: &AtomicU32| counter.load(Ordering::Relaxed) == 0;
        none(&self.work.failed) && none(&self.work.differing)
    }

    /// Ends the load and reports its counts. Returns what the disk must have now. PASSIVE_LEVEL.
    pub(super) fn end(self, signature: u32, taken: bool) -> Content {
        self.work.ending.store(true, Ordering::Relaxed);
        self.threads.join();
        let mut content = Content(core::mem::take(&mut *self.work.parts.lock()));
        content.0.sort_unstable_by_key(|part| part.first);
        report!(
            "used disk={} signature={signature:#x} taken={} {} hash={:#x}",
            self.disk,
            u8::from(taken),
            self.work,
            content.checksum()
        );
        content
    }
}

/// Work of a load's threads.
struct Work {
    reads: AtomicU32,
    writes: AtomicU32,
    flushes: AtomicU32,
    files: AtomicU32,
    failed: AtomicU32,
    differing: AtomicU32,
    /// Threads that have not ended.
    running: AtomicU32,
    ending: AtomicBool,
    /// Parts whose threads have ended.
    parts: Lock<Vec<Part>>,
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |counter: &AtomicU32| counter.load(Ordering::Relaxed);
        write!(
            f,
            "reads={} writes={} flushes={} files={} failed={} differing={}",
            count(&self.reads),
            count(&self.writes),
            count(&self.flushes),
            count(&self.files),
            count(&self.failed),
            count(&self.differing)
        )
    }
}

impl Work {
    fn new(parts: usize) -> Self {
        Self {
            reads: AtomicU32::new(0),
            writes: AtomicU32::new(0),
            flushes: AtomicU32::new(0),
            files: AtomicU32::new(0),
            failed: AtomicU32::new(0),
            differing: AtomicU32::new(0),
            running: AtomicU32::new(parts as u32 + 1),
            ending: AtomicBool::new(false),
            // Nothing is allocated under the lock.
            parts: Lock::new(Vec::with_capacity(parts)),
        }
    }

    fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// Counts a request by how it ended. Returns true if that was well.
    fn count<E>(&self, counter: &AtomicU32, result: Result<(), E>) -> bool {
        let counter = if result.is_ok() { counter } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
        result.is_ok()
    }

    /// Compares a part, and uses it until a request fails, data is wrong or the load ends.
    fn use_part(&self, disk: u32, mut part: Part) {
        match load::open(disk) {
            Some(mut device) => {
                let mut goes_on = part.compare(&device, self);
                while goes_on && !self.is_ending() {
                    goes_on = part.step(&mut device, self);
                    if part.random.once_in(RESTS) {
                        ke::delay(REST);
                    }
                }
            }
            None => _ = self.failed.fetch_add(1, Ordering::Relaxed),
        }
        self.parts.lock().push(part);
        self.running.fetch_sub(1, Ordering::Release);
    }

    /// Writes files to a disk's volume until that fails or the load ends.
    fn write_files(&self, disk: u32) {
        while !self.is_ending() {
            let begun = Cell::new(0);
            let written = mountmgr::write_while(disk, || {
                let goes_on = begun.get() < TURN && !self.is_ending();
                begun.set(begun.get() + u32::from(goes_on));
                goes_on
            });
            self.files.fetch_add(written, Ordering::Relaxed);
            // Of a volume that is gone none is begun.
            if written < begun.get() || (begun.get() == 0 && !self.is_ending()) {
                self.failed.fetch_add(1, Ordering::Relaxed);
                break;
            }
            ke::delay(REST);
        }
        self.running.fetch_sub(1, Ordering::Release);
    }
}

impl Part {
    /// Compares all of it. Returns false if a read has failed or a sector is wrong.
    fn compare(&mut self, device: &Device, work: &Work) -> bool {
        let sectors = self.sectors.len();
        (0..sectors)
            .step_by(MOST as usize)
            .all(|at| self.read(device, at, (sectors - at).min(MOST as usize), work))
    }

    /// Reads, writes or flushes once. Returns false if that has failed or a sector is wrong.
    fn step(&mut self, device: &mut Device, work: &Work) -> bool {
        // Small requests are as frequent as large ones.
        let order = self.random.below(MOST_ORDER + 1);
        let length = 1 + self.random.below(1 << order) as usize;
        let at = self.random.below((self.sectors.len() - length + 1) as u64) as usize;
        match self.random.below(8) {
            0 => work.count(&work.flushes, device.flush()),
            1..=4 => self.write(device, at, length, work),
            _ => self.read(device, at, length, work),
        }
    }

    fn write(&mut self, device: &mut Device, at: usize, length: usize, work: &Work) -> bool {
        self.stamp += 1;
        let (first, stamp) = (self.first + at as u64, self.stamp);
        let numbers = (first..).map(|place| stamp << PLACE_BITS | place);
        let mut data = vec![0; length * SECTOR];
        for (sector, number) in data.chunks_exact_mut(SECTOR).zip(numbers.clone()) {
            sector.chunks_exact_mut(8).for_each(|word| word.copy_from_slice(&number.to_le_bytes()));
        }
        let done = work.count(&work.writes, device.write(first, &data));
        for (sector, number) in self.sectors[at..at + length].iter_mut().zip(numbers) {
            match done {
                true => *sector = Sector { written: number, failed: None },
                false => sector.failed = Some(number),
            }
        }
        done
    }

    /// Reads sectors, and holds them against what was written. A number of a failed write that is found there counts as
    /// written, and one that is not found as never written.
    fn read(&mut self, device: &Device, at: usize, length: usize, work: &Work) -> bool {
        let first = self.first + at as u64;
        let mut data = vec![0xEE; length * SECTOR];
        if !work.count(&work.reads, device.read(first, &mut data)) {
            return false;
        }
        for (n, (sector, found)) in
            self.sectors[at..at + length].iter_mut().zip(data.chunks_exact(SECTOR)).enumerate()
        {
            let number = found.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
            let whole = found.chunks_exact(8).all(|word| word == number.to_le_bytes());
            if !whole || (number != sector.written && Some(number) != sector.failed) {
                work.differing.fetch_add(1, Ordering::Relaxed);
                report!(
                    "differs sector={} found={number:#x} whole={} written={:#x} failed={:#x}",
                    first + n as u64,
                    u8::from(whole),
                    sector.written,
                    sector.failed.unwrap_or(0)
                );
                return false;
            }
            *sector = Sector { written: number, failed: None };
        }
        true
    }
}
