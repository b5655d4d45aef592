// SPDX-License-Identifier: GPL-3.0-only
//! A disk's ring from the backend's end (Xen, io/ring.h and io/blkif.h), and the ways to spoil it.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use crate::grants::{Grants, Mapping};

/// Offset of `req_prod`.
const REQUESTS: usize = 0;
/// Offset of `req_event`.
const REQUEST_EVENT: usize = 4;
/// Offset of `rsp_prod`.
const RESPONSES: usize = 8;
/// Offset of the first slot.
const SLOTS: usize = 64;
/// Bytes of a slot: those of a request on x86-64.
const SLOT: usize = 112;
/// More answers than a ring has requests.
const TOO_MANY: u32 = u32::MAX / 2;

/// Writes too many answers into the ring that a domain has granted, and leaves them there for this time.
///
/// # Errors
/// The page cannot be mapped.
pub(crate) fn spoil(domain: u32, reference: u32, time: Duration) -> io::Result<()> {
    let grants = Grants::open()?;
    let page = grants.map(domain, &[reference])?;
    page.word(RESPONSES).store(TOO_MANY, Ordering::Release);
    thread::sleep(time);
    Ok(())
}

/// A segment of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    /// Grant reference of its page.
    pub reference: u32,
    /// First and last sector of the page.
    pub sectors: (u8, u8),
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// `BLKIF_OP_*`.
    pub operation: u8,
    /// The frontend's name for it.
    pub id: u64,
    /// First sector of the disk.
    pub sector: u64,
    /// Its pages.
    pub segments: Vec<Segment>,
}

/// `BLKIF_OP_READ`.
pub(crate) const READ: u8 = 0;
/// `BLKIF_OP_WRITE`.
pub(crate) const WRITE: u8 = 1;
/// `BLKIF_OP_FLUSH_DISKCACHE`.
pub(crate) const FLUSH: u8 = 3;
/// `BLKIF_RSP_OKAY`.
pub(crate) const OKAY: i16 = 0;
/// `BLKIF_RSP_ERROR`.
pub(crate) const ERROR: i16 = -1;
/// `BLKIF_RSP_EOPNOTSUPP`.
pub(crate) const NOT_SUPPORTED: i16 = -2;

/// A ring.
pub(crate) struct Ring {
    memory: Mapping,
    slots: u32,
    taken: u32,
    answered: u32,
}

impl Ring {
    /// Makes a ring of its pages, which the frontend has set up.
    pub(crate) fn new(memory: Mapping) -> Self {
        let slots = ((memory.len() - SLOTS) / SLOT) as u32;
        Self { memory, slots: 1 << slots.ilog2(), taken: 0, answered: 0 }
    }

    /// Returns the index that answers end at, which the frontend reads.
    pub(crate) fn responses(&self) -> &AtomicU32 {
        self.memory.word(RESPONSES)
    }

    /// Returns the number of requests that were answered.
    pub(crate) fn answered(&self) -> u32 {
        self.answered
    }

    /// Takes the next request, and asks to be told of the one after where there is none.
    pub(crate) fn take(&mut self) -> Option<Request> {
        if self.memory.word(REQUESTS).load(Ordering::Acquire) == self.taken {
            self.memory.word(REQUEST_EVENT).store(self.taken + 1, Ordering::SeqCst);
            if self.memory.word(REQUESTS).load(Ordering::SeqCst) == self.taken {
                return None;
            }
        }
        let mut slot = [0; SLOT];
        self.memory.read(self.slot(self.taken), &mut slot);
        self.taken += 1;
        let number = |at: usize| u64::from_le_bytes(slot[at..at + 8].try_into().unwrap_or_default());
        let segments = slot[24..].chunks_exact(8).take(slot[1].into()).map(|segment| Segment {
            reference: u32::from_le_bytes([segment[0], segment[1], segment[2], segment[3]]),
            sectors: (segment[4], segment[5]),
        });
        Some(Request { operation: slot[0], id: number(8), sector: number(16), segments: segments.collect() })
    }

    /// Answers a request, or says so.
    pub(crate) fn answer(&mut self, id: u64, operation: u8, status: i16) {
        let mut response = [0; 16];
        response[..8].copy_from_slice(&id.to_le_bytes());
        response[8] = operation;
        response[10..12].copy_from_slice(&status.to_le_bytes());
        self.memory.write(self.slot(self.answered), &response);
        self.answered += 1;
        self.responses().store(self.answered, Ordering::Release);
    }

    /// Asks to be told only of a request that will not come for long.
    pub(crate) fn be_deaf(&self) {
        self.memory.word(REQUEST_EVENT).store(self.taken + 1_000_000, Ordering::SeqCst);
    }

    /// Writes over the requests that were taken and not answered.
    pub(crate) fn overwrite_requests(&self) {
        for at in self.answered..self.taken {
            self.memory.write(self.slot(at), &[0xEE; SLOT]);
        }
    }

    /// Writes a byte over the whole ring, its indices included.
    pub(crate) fn fill(&self, byte: u8) {
        self.memory.write(0, &vec![byte; self.memory.len()]);
    }

    /// Writes a word anywhere.
    pub(crate) fn scribble(&self, at: usize, word: u32) {
        let words = self.memory.len() / 4;
        self.memory.word(at % words * 4).store(word, Ordering::Relaxed);
    }

    fn slot(&self, at: u32) -> usize {
        SLOTS + (at & (self.slots - 1)) as usize * SLOT
    }
}
