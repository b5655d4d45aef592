//! Pages of the frontend's own: data that must not, or cannot, be reached where it lies is copied through
//! them.

use alloc::vec::Vec;

use super::Error;
use crate::{Access, DomainId, GrantRef, Hal, SharedMemory, SharedPage, grant};

#[derive(Debug)]
struct Slot {
    /// `None` once the backend would not let go of it: such a page is never used again.
    page: Option<SharedPage>,
    /// For good with persistent grants, otherwise for the request that uses the page.
    grant: Option<GrantRef>,
}

/// The pages. Those not in use are zero or hold what the backend has seen.
#[derive(Debug)]
pub(super) struct Pool {
    slots: Vec<Slot>,
    free: Vec<u16>,
    persistent: bool,
    /// Number of the first pages that have a grant for good, whatever the others have.
    reserved: u16,
}

/// Pages of a pool that stay granted: as many as the smallest request that a backend serves may have.
const RESERVED: u16 = crate::wire::blkif::MAX_SEGMENTS as u16;

impl Pool {
    /// Allocates `count` pages; with `persistent` each is granted to `domain` for good. *Passive*.
    pub(super) fn new(hal: &impl Hal, domain: DomainId, count: u16, persistent: bool) -> Result<Self, Error> {
        let mut pool =
            Self { slots: Vec::new(), free: Vec::new(), persistent, reserved: count.min(RESERVED) };
        let reserved = pool.slots.try_reserve_exact(count.into()).is_ok()
            && pool.free.try_reserve_exact(count.into()).is_ok();
        if !reserved {
            return Err(Error::NoMemory);
        }
        for index in 0..count {
            let Some(page) = hal.alloc_shared_page() else {
                pool.end(hal, true);
                return Err(Error::NoMemory);
            };
            page.memory().zero();
            // A grant for good serves reads and writes; blkback maps a persistent one for both.
            let lasts = persistent || index < pool.reserved;
            let grant = lasts.then(|| hal.grant_access(domain, page.frame(), Access::ReadWrite));
            let (grant, error) = match grant.transpose() {
                Ok(grant) => (grant, None),
                Err(error) => (None, Some(error)),
            };
            pool.slots.push(Slot { page: Some(page), grant });
            pool.free.push(index);
            if let Some(error) = error {
                pool.end(hal, true);
                return Err(Error::Grant(error));
            }
        }
        // The last pages are used first: the reserved ones when no other is free, or no grant.
        Ok(pool)
    }

    /// Grants are for one request from now on, but for those of reserved pages; those there are end with the next
    /// request that uses the page. Any level.
    pub(super) fn for_requests(&mut self) {
        self.persistent = false;
    }

    /// Returns the number of pages that are free.
    pub(super) fn available(&self) -> usize {
        self.free.len()
    }

    /// Returns the number of pages that stay granted.
    pub(super) fn reserve(&self) -> usize {
        usize::from(self.reserved)
    }

    /// Takes a page that stays granted, if one is free. *Dispatch*.
    pub(super) fn take_reserved(&mut self) -> Option<u16> {
        let place = self.free.iter().position(|page| *page < self.reserved)?;
        Some(self.free.swap_remove(place))
    }

    /// Takes a page. *Dispatch*.
    pub(super) fn take(&mut self) -> Option<u16> {
        self.free.pop()
    }

    /// Returns a page's memory.
    pub(super) fn memory(&self, index: u16) -> Option<&SharedMemory> {
        self.slots.get(usize::from(index))?.page.as_ref().map(SharedPage::memory)
    }

    /// Returns the page's grant, made now unless it has one for good. *Dispatch*.
    pub(super) fn grant(
        &mut self,
        hal: &impl Hal,
        domain: DomainId,
        index: u16,
        access: Access,
    ) -> Result<GrantRef, grant::Error> {
        let Some(Slot { page: Some(page), grant }) = self.slots.get_mut(usize::from(index)) else {
            return Err(grant::Error::Exhausted);
        };
        if let Some(reference) = *grant {
            return Ok(reference);
        }
        let reference = hal.grant_access(domain, page.frame(), access)?;
        *grant = Some(reference);
        Ok(reference)
    }

    /// Gives a page back whose request has ended; the grant that could not be ended, after which the page is
    /// kept away for good. `forget`: grants are gone, there is nothing to end. *Dispatch*.
    pub(super) fn give(&mut self, hal: &impl Hal, index: u16, forget: bool) -> Option<GrantRef> {
        let slot = self.slots.get_mut(usize::from(index))?;
        if !self.persistent
            && index >= self.reserved
            && let Some(reference) = slot.grant.take()
            && !forget
            && hal.end_access(reference).is_err()
        {
            slot.page = None;
            return Some(reference);
        }
        // Never more than there are pages: no allocation.
        self.free.push(index);
        None
    }

    /// Ends what is granted for good and frees the pages; how many had to be kept. *Passive*.
    #[expect(unsafe_code, reason = "calls a Hal method with a safety contract")]
    pub(super) fn end(&mut self, hal: &impl Hal, end_grants: bool) -> usize {
        let mut kept = 0;
        for slot in self.slots.drain(..) {
            let ended = match slot.grant {
                Some(reference) if end_grants => hal.end_access(reference).is_ok(),
                _ => true,
            };
            match slot.page {
                // SAFETY: the page came from this hal in `new`; its grant has ended or went with a former
                // life of the guest.
                Some(page) if ended => unsafe { hal.free_shared_page(page) },
                _ => kept += 1,
            }
        }
        self.free.clear();
        kept
    }
}
