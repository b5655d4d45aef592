//! The loop that keeps a queue full.

use core::ops::Add;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::block;
use crate::workload::{MAX_DEPTH, Workload};

/// A contender's way to a disk, with buffers for [`MAX_DEPTH`] requests.
pub trait Engine {
    /// Nanoseconds since some time.
    fn now(&mut self) -> u64;

    /// Returns the buffer of a slot whose request is not in flight: so many bytes as [`buffer_bytes`] says.
    ///
    /// [`buffer_bytes`]: crate::workload::buffer_bytes
    fn buffer(&mut self, slot: usize) -> &mut [u8];

    /// Puts the slot's request into the queue; it need not be on its way before [`Self::wait`].
    fn submit(&mut self, slot: usize, write: bool, offset: u64, bytes: u32);

    /// Sends what was submitted, waits until at least one request is done, and tells `done` the slots of all
    /// that are, and whether each succeeded.
    fn wait(&mut self, done: &mut dyn FnMut(usize, bool));
}

/// A run of a workload. Queues that work on it at once take their requests from one sequence, so that together they make
/// the first ones of it, whoever makes which.
#[derive(Debug)]
pub struct Task {
    workload: &'static Workload,
    disk: u64,
    stamp: u64,
    nanoseconds: u64,
    /// Index of the next request.
    next: AtomicU64,
}

impl Task {
    /// Returns a run on a disk of `disk` bytes for `nanoseconds`, or one request of each queue if that takes longer. Writes
    /// carry `stamp`.
    pub const fn new(workload: &'static Workload, disk: u64, stamp: u64, nanoseconds: u64) -> Self {
        Self { workload, disk, stamp, nanoseconds, next: AtomicU64::new(0) }
    }
}

/// Result of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// Requests that ended.
    pub requests: u64,
    /// Number of requests that failed or brought the wrong data.
    pub errors: u64,
}

impl Add for Run {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { requests: self.requests + other.requests, errors: self.errors + other.errors }
    }
}

/// Keeps a queue at the workload's depth until the time of a run is over. Returns its own part of the run.
///
/// # Panics
/// If the workload's queue is deeper than [`MAX_DEPTH`].
pub fn drive(engine: &mut dyn Engine, task: &Task) -> Run {
    let Task { workload, disk, stamp, nanoseconds, ref next } = *task;
    let Workload { write, bytes, depth, .. } = *workload;
    assert!((1..=MAX_DEPTH).contains(&depth), "depth {depth}");
    let mut free: [usize; MAX_DEPTH] = core::array::from_fn(|slot| slot);
    let mut idle = depth;
    let mut offsets = [0; MAX_DEPTH];
    let mut run = Run::default();
    let mut over = false;
    let begin = engine.now();
    loop {
        while !over && idle > 0 {
            idle -= 1;
            let (slot, offset) = (free[idle], workload.offset(next.fetch_add(1, Ordering::Relaxed), disk));
            if write {
                block::fill(&mut engine.buffer(slot)[..bytes as usize], offset, stamp);
            }
            engine.submit(slot, write, offset, bytes);
            offsets[slot] = offset;
        }
        if idle == depth {
            return run;
        }
        let (mut done, mut ended) = ([(0, false); MAX_DEPTH], 0);
        engine.wait(&mut |slot, good| {
            done[ended] = (slot, good);
            ended += 1;
        });
        for &(slot, good) in &done[..ended] {
            let right =
                good && (write || block::is_right(&engine.buffer(slot)[..bytes as usize], offsets[slot]));
            run.requests += 1;
            run.errors += u64::from(!right);
            free[idle] = slot;
            idle += 1;
        }
        over = engine.now() - begin >= nanoseconds;
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::{collections::BTreeSet, thread, vec, vec::Vec};

    use super::*;
    use crate::block::{BLOCK, UNTOUCHED};
    use crate::workload::{ALL, MAX_BYTES};

    const DISK: u64 = 4 << 20;

    /// A disk in memory that does half of what waits at each wait, the latest first.
    struct Memory {
        disk: Vec<u8>,
        buffers: Vec<Vec<u8>>,
        queue: Vec<(usize, bool, u64, u32)>,
        deepest: usize,
        time: u64,
        misplace: bool,
        /// Offsets of all requests.
        seen: Vec<u64>,
    }

    impl Memory {
        fn new() -> Self {
            let mut disk = vec![0; DISK as usize];
            block::fill(&mut disk, 0, UNTOUCHED);
            let buffers = vec![vec![0; MAX_BYTES as usize]; MAX_DEPTH];
            let (queue, seen) = (Vec::new(), Vec::new());
            Self { disk, buffers, queue, deepest: 0, time: 0, misplace: false, seen }
        }
    }

    impl Engine for Memory {
        fn now(&mut self) -> u64 {
            self.time
        }
        fn buffer(&mut self, slot: usize) -> &mut [u8] {
            &mut self.buffers[slot]
        }
        fn submit(&mut self, slot: usize, write: bool, offset: u64, bytes: u32) {
            self.queue.push((slot, write, offset, bytes));
            self.deepest = self.deepest.max(self.queue.len());
            self.seen.push(offset);
        }
        fn wait(&mut self, done: &mut dyn FnMut(usize, bool)) {
            self.time += 100;
            let keep = self.queue.len() / 2;
            for (slot, write, offset, bytes) in self.queue.split_off(keep).into_iter().rev() {
                let at = offset as usize - if self.misplace { BLOCK } else { 0 };
                let range = at..at + bytes as usize;
                let buffer = &mut self.buffers[slot][..bytes as usize];
                match write {
                    true => self.disk[range].copy_from_slice(buffer),
                    false => buffer.copy_from_slice(&self.disk[range]),
                }
                done(slot, true);
            }
        }
    }

    #[test]
    fn the_queue_is_kept_at_its_depth_and_emptied_in_the_end() {
        for workload in &ALL {
            let mut memory = Memory::new();
            let run = drive(&mut memory, &Task::new(workload, DISK, 9, 1000));
            assert_eq!(memory.deepest, workload.depth, "{}", workload.name);
            assert!(memory.queue.is_empty());
            assert!(run.requests >= 10 && run.errors == 0, "{run:?}");
            let stamped = memory.disk.chunks(BLOCK).filter(|data| block::head(data).1 == 9).count() as u64;
            let expected = run.requests.min(workload.period(DISK)) * workload.blocks();
            assert_eq!(stamped, if workload.write { expected } else { 0 });
        }
    }

    #[test]
    fn data_of_another_block_is_an_error() {
        let mut memory = Memory::new();
        memory.misplace = true;
        let run = drive(&mut memory, &Task::new(&ALL[0], DISK, 9, 0));
        assert_eq!(run, Run { requests: 1, errors: 1 });
    }

    #[test]
    fn two_queues_make_the_first_requests_of_one_sequence() {
        let workload = Workload::named("rand-4k-d4-read").expect("it is there");
        let task = Task::new(workload, DISK, 9, 5000);
        let mut memories = [Memory::new(), Memory::new()];
        let run = thread::scope(|scope| {
            let threads: Vec<_> =
                memories.iter_mut().map(|memory| scope.spawn(|| drive(memory, &task))).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("no panic"))
                .fold(Run::default(), |sum, run| sum + run)
        });
        let seen: Vec<u64> = memories.iter().flat_map(|memory| memory.seen.iter().copied()).collect();
        assert_eq!((run.requests, run.errors), (seen.len() as u64, 0));
        assert!(seen.len() as u64 <= workload.period(DISK), "each offset comes once");
        let expected: BTreeSet<u64> = (0..run.requests).map(|index| workload.offset(index, DISK)).collect();
        assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), expected);
        assert!(memories.iter().all(|memory| memory.deepest == workload.depth && !memory.seen.is_empty()));
    }
}
