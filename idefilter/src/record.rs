//! What happened to the guard, in order, in resident memory: for a debugger and a crash dump.

use guard::{Action, Event};
use wdm::time;

/// Events kept; older ones are overwritten.
const CAPACITY: usize = 64;

/// One event and its answer.
#[derive(Clone, Copy)]
#[expect(dead_code, reason = "read from a crash dump, not by the driver")]
struct Entry {
    /// Time since the system started, in 100 ns units.
    time: u64,
    event: Event,
    action: Action,
}

/// The last events.
pub struct Record {
    /// `XGREC001` in ASCII, to find the record in a dump.
    #[expect(dead_code, reason = "read from a crash dump, not by the driver")]
    signature: [u8; 8],
    /// How many events there were in all; the next one goes to this number modulo the capacity.
    count: usize,
    entries: [Option<Entry>; CAPACITY],
}

impl Record {
    /// An empty record.
    pub const fn new() -> Self {
        Self { signature: *b"XGREC001", count: 0, entries: [None; CAPACITY] }
    }

    /// Adds an event. Any IRQL.
    pub fn add(&mut self, event: Event, action: Action) {
        self.entries[self.count % CAPACITY] = Some(Entry { time: time::interrupt_time(), event, action });
        self.count = self.count.wrapping_add(1);
    }
}
