//! The grant table, shared by every client.

use alloc::vec::Vec;

use wdm::spin_lock::SpinLock;
use wdm::{debug_print, pool};
use xen::grant::{ENTRIES_PER_FRAME, Table};
use xen::{GrantRef, SharedMemory};

use crate::DRIVER;

/// The table behind its lock; none until Xen's frames are mapped. Clients take references in batches, and make and
/// end grants in the mapped entries without the lock.
pub(crate) struct Grants {
    table: SpinLock<Option<Table<Vec<u32>>>>,
}

impl Grants {
    /// Makes a grant table that has no memory yet.
    pub(crate) const fn new() -> Self {
        Self { table: SpinLock::new(None) }
    }

    /// Starts over with `frames` frames of table mapped at `entries`: at START, where firmware may have left grants in
    /// it, and after each resume. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// `INSUFFICIENT_RESOURCES`, also for a table without a usable entry.
    pub(crate) fn rebuild(&self, entries: SharedMemory, frames: u32) -> wdm::Result {
        let list = pool::try_vec(frames as usize * ENTRIES_PER_FRAME)?;
        let table = Table::new(entries, list).map_err(|_| wdm::NtStatus::INSUFFICIENT_RESOURCES)?;
        let previous = self.table.lock().replace(table);
        drop(previous);
        Ok(())
    }

    /// Returns where the entries are mapped, and their bytes. ≤ DISPATCH_LEVEL.
    pub(crate) fn entries(&self) -> Option<(*mut u8, usize)> {
        let table = self.table.lock();
        table.as_ref().map(|table| (table.memory().base().as_ptr(), table.memory().len()))
    }

    /// Hands out references, as [`Table::take`]. ≤ DISPATCH_LEVEL.
    pub(crate) fn take(&self, into: &mut [GrantRef]) -> usize {
        self.table.lock().as_mut().map_or(0, |table| table.take(into))
    }

    /// Takes references back, as [`Table::give`]; some that nobody has are said. ≤ DISPATCH_LEVEL.
    pub(crate) fn give(&self, references: &[GrantRef]) {
        let strange = self.table.lock().as_mut().map_or(0, |table| table.give(references));
        if strange > 0 {
            debug_print!(DRIVER, "{strange} grant references are given back that nobody has");
        }
    }

    /// References left to hand out. ≤ DISPATCH_LEVEL.
    pub(crate) fn available(&self) -> u32 {
        self.table.lock().as_ref().map_or(0, Table::available)
    }
}
