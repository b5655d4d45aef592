//! Pages of the frontend's own: data that must not, or cannot, be reached where it lies is copied through
//! them.

use alloc::vec::Vec;

use super::Error;
use crate::{Access, DomainId, GrantRef, Hal, SharedMemory, SharedPage, grant};

/// The reference of a page without a grant: Xen's tools have that one for themselves.
const NONE: GrantRef = GrantRef(0);

/// The pages. Those not in use are zero or hold what the backend has seen.
#[derive(Debug)]
pub(super) struct Pool {
    /// The pages; `None` once the backend would not let go of one: such a page is never used again.
    pages: Vec<Option<SharedPage>>,
    /// The grant of each page, or [`NONE`]: for good with persistent grants, otherwise for the request that uses
    /// the page.
    granted: Vec<GrantRef>,
    free: Vec<u32>,
    persistent: bool,
    /// Number of the first pages that have a grant for good, whatever the others have.
    reserved: u16,
}

/// Pages of a pool that stay granted: as many as the smallest request that a backend serves may have.
const RESERVED: u16 = crate::wire::blkif::MAX_SEGMENTS as u16;

impl Pool {
    /// Allocates `count` pages; with `persistent` each is granted to `domain` for good. *Passive*.
    pub(super) fn new(
        hal: &impl Hal,
        grants: &mut grant::Cache,
        domain: DomainId,
        count: u16,
        persistent: bool,
    ) -> Result<Self, Error> {
        let (pages, granted, free) = (Vec::new(), Vec::new(), Vec::new());
        let mut pool = Self { pages, granted, free, persistent, reserved: count.min(RESERVED) };
        let reserved = pool.pages.try_reserve_exact(count.into()).is_ok()
            && pool.granted.try_reserve_exact(count.into()).is_ok()
            && pool.free.try_reserve_exact(count.into()).is_ok();
        if !reserved {
            return Err(Error::NoMemory);
        }
        for index in 0..count {
            let Some(page) = hal.alloc_shared_page() else {
                pool.end(hal, Some(grants));
                return Err(Error::NoMemory);
            };
            page.memory().zero();
            // A grant for good serves reads and writes; blkback maps a persistent one for both.
            let lasts = persistent || index < pool.reserved;
            let grant = lasts.then(|| grants.grant(hal, domain, page.frame(), Access::ReadWrite));
            let (grant, error) = match grant.transpose() {
                Ok(grant) => (grant.unwrap_or(NONE), None),
                Err(error) => (NONE, Some(error)),
            };
            pool.pages.push(Some(page));
            pool.granted.push(grant);
            pool.free.push(index.into());
            if let Some(error) = error {
                pool.end(hal, Some(grants));
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
    #[inline]
    pub(super) fn available(&self) -> usize {
        self.free.len()
    }

    /// Returns the number of pages that stay granted.
    #[inline]
    pub(super) fn reserve(&self) -> usize {
        usize::from(self.reserved)
    }

    /// Takes as many pages as there are places in `pages`. *Dispatch*.
    ///
    /// # Errors
    /// [`Error::Full`]: so many are not free.
    #[inline]
    pub(super) fn take_all(&mut self, pages: &mut [u32]) -> Result<(), Error> {
        let left = self.free.len().checked_sub(pages.len()).ok_or(Error::Full)?;
        pages.copy_from_slice(&self.free[left..]);
        self.free.truncate(left);
        Ok(())
    }

    /// Gives pages back that were taken and have not been granted since.
    #[cold]
    pub(super) fn untake(&mut self, pages: &[u32]) {
        // Never more than there are pages: no allocation.
        self.free.extend_from_slice(pages);
    }

    /// Returns the grant of a page that was taken, if it has one.
    #[inline]
    pub(super) fn granted(&self, page: u32) -> Option<GrantRef> {
        self.granted.get(page as usize).copied().filter(|reference| *reference != NONE)
    }

    /// Makes the grant of a page that was taken and has none. If there is none to be had, the page is replaced by one
    /// that stays granted. *Dispatch*.
    ///
    /// # Errors
    /// Why there is none, where no page is free that stays granted.
    #[inline(never)]
    pub(super) fn grant(
        &mut self,
        hal: &impl Hal,
        grants: &mut grant::Cache,
        (domain, access): (DomainId, Access),
        page: &mut u32,
    ) -> Result<GrantRef, grant::Error> {
        let index = *page as usize;
        let (Some(Some(own)), Some(granted)) = (self.pages.get(index), self.granted.get_mut(index)) else {
            return Err(grant::Error::Exhausted);
        };
        match grants.grant(hal, domain, own.frame(), access) {
            Ok(reference) => {
                *granted = reference;
                Ok(reference)
            }
            Err(error) => self.replace(page).ok_or(error),
        }
    }

    /// Replaces a page by one that stays granted, if one is free; that one's grant.
    fn replace(&mut self, page: &mut u32) -> Option<GrantRef> {
        let place = self.free.iter().position(|page| self.is_reserved(*page))?;
        core::mem::swap(&mut self.free[place], page);
        Some(self.granted[*page as usize])
    }

    fn is_reserved(&self, page: u32) -> bool {
        page < u32::from(self.reserved)
    }

    /// Returns a page's memory.
    #[inline]
    pub(super) fn memory(&self, page: u32) -> Option<&SharedMemory> {
        self.pages.get(page as usize)?.as_ref().map(SharedPage::memory)
    }

    /// Returns true if the backend has one of these pages mapped, as it has those that stay granted.
    pub(super) fn any_used(&self, grants: &grant::Cache, pages: &[u32]) -> bool {
        let granted = pages.iter().filter_map(|page| self.granted.get(*page as usize));
        granted.filter(|reference| **reference != NONE).any(|reference| grants.is_used(*reference))
    }

    /// Gives pages back whose request has ended; a grant that could not be ended, after which its page is kept away
    /// for good. `forget`: grants are gone, there is nothing to end. *Dispatch*.
    #[inline]
    pub(super) fn give_all(
        &mut self,
        hal: &impl Hal,
        grants: &mut grant::Cache,
        pages: &[u32],
        forget: bool,
    ) -> Option<GrantRef> {
        if !self.persistent {
            return self.end_all(hal, grants, pages, forget);
        }
        // Never more than there are pages: no allocation.
        self.free.extend_from_slice(pages);
        None
    }

    /// Gives pages back as [`Pool::give_all`], with the end of each one's grant that is not for good.
    #[inline(never)]
    fn end_all(
        &mut self,
        hal: &impl Hal,
        grants: &mut grant::Cache,
        pages: &[u32],
        forget: bool,
    ) -> Option<GrantRef> {
        let mut held = None;
        for page in pages {
            let own = *page as usize;
            let reference =
                if self.is_reserved(*page) { NONE } else { core::mem::take(&mut self.granted[own]) };
            if reference != NONE && !forget && grants.end(hal, reference).is_err() {
                self.pages[own] = None;
                held = Some(reference);
            } else {
                // Never more than there are pages: no allocation.
                self.free.push(*page);
            }
        }
        held
    }

    /// Ends what is granted for good, unless it has gone with a former life of the guest, and frees the pages; how
    /// many had to be kept. *Passive*.
    #[expect(unsafe_code, reason = "calls a Hal method with a safety contract")]
    pub(super) fn end(&mut self, hal: &impl Hal, mut grants: Option<&mut grant::Cache>) -> usize {
        let mut kept = 0;
        for (page, reference) in self.pages.drain(..).zip(self.granted.drain(..)) {
            let ended = match &mut grants {
                Some(grants) if reference != NONE => grants.end(hal, reference).is_ok(),
                _ => true,
            };
            match page {
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
