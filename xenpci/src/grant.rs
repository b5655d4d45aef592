//! The grant table, shared by every client.

use alloc::vec::Vec;

use wdm::pool;
use wdm::spin_lock::SpinLock;
use xen::grant::{ENTRIES_PER_FRAME, Error, Table};
use xen::{Access, DomainId, Frame, GrantRef, SharedMemory};

/// A grant that cannot be made or ended.
#[derive(Clone, Copy)]
pub(crate) enum GrantError {
    /// The table is not mapped yet.
    NotReady,
    /// The table's own answer.
    Table(Error),
}

/// The table behind its lock; none until Xen's frames are mapped.
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

    /// Lets `domain` reach a frame. ≤ DISPATCH_LEVEL.
    ///
    /// # Errors
    /// See [`GrantError`].
    pub(crate) fn access(
        &self,
        domain: DomainId,
        frame: Frame,
        access: Access,
    ) -> Result<GrantRef, GrantError> {
        let mut table = self.table.lock();
        let table = table.as_mut().ok_or(GrantError::NotReady)?;
        table.grant_access(domain, frame, access).map_err(GrantError::Table)
    }

    /// Ends a grant. ≤ DISPATCH_LEVEL.
    ///
    /// # Errors
    /// [`Error::InUse`]: the reference is leaked, and so must be the frame.
    pub(crate) fn end(&self, reference: GrantRef) -> Result<(), GrantError> {
        let mut table = self.table.lock();
        table.as_mut().ok_or(GrantError::NotReady)?.end_access(reference).map_err(GrantError::Table)
    }

    /// References left to give out. ≤ DISPATCH_LEVEL.
    pub(crate) fn available(&self) -> u32 {
        self.table.lock().as_ref().map_or(0, Table::available)
    }
}
