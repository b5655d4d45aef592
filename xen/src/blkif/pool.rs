//! Pages of the frontend's own: data that must not, or cannot, be reached where it lies is copied through
//! them.

use alloc::vec::Vec;

use super::Error;
use crate::{Access, DomainId, GrantRef, Hal, SharedMemory, SharedPage, grant};

/// The reference of a page without a grant: Xen's tools have that one for themselves.
const NONE: GrantRef = GrantRef(0);

/// A page of a pool.
#[derive(Debug)]
pub(super) struct Page {
    own: SharedPage,
    /// Its grant, or [`NONE`]: for good if it lasts, otherwise for the request that uses the page.
    granted: GrantRef,
    /// The next free page, of one that is free; of a request's, the request's next.
    next: u16,
    /// The grant outlasts the request that uses the page.
    lasts: bool,
    /// The backend would not let go of it: such a page is never used again.
    lost: bool,
}

impl Page {
    /// Returns the page's memory.
    #[inline]
    pub(super) const fn memory(&self) -> &SharedMemory {
        self.own.memory()
    }
}

/// The pages of a request, each of which has the number of the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub first: u16,
    pub last: u16,
}

impl Run {
    /// No pages.
    pub(super) const EMPTY: Self = Self { first: END, last: END };
}

/// The pages. Those not in use are zero or hold what the backend has seen.
#[derive(Debug)]
pub(super) struct Pool {
    pages: Vec<Page>,
    /// The first free page; [`END`] where none is free.
    free: u16,
    /// Number of free pages.
    available: usize,
    /// Every grant lasts.
    persistent: bool,
    /// Number of the first pages, whose grants last whatever those of others do.
    reserved: u16,
}

/// The number of no page.
const END: u16 = u16::MAX;

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
        let reserved = count.min(RESERVED);
        let mut pool = Self { pages: Vec::new(), free: END, available: 0, persistent, reserved };
        pool.pages.try_reserve_exact(count.into()).map_err(|_| Error::NoMemory)?;
        for index in 0..count {
            let Some(own) = hal.alloc_shared_page() else {
                pool.end(hal, Some(grants));
                return Err(Error::NoMemory);
            };
            own.memory().zero();
            // A grant for good serves reads and writes; blkback maps a persistent one for both.
            let lasts = persistent || index < reserved;
            let grant = lasts.then(|| grants.grant(hal, domain, own.frame(), Access::ReadWrite));
            let (granted, error) = match grant.transpose() {
                Ok(grant) => (grant.unwrap_or(NONE), None),
                Err(error) => (NONE, Some(error)),
            };
            pool.pages.push(Page { own, granted, next: END, lasts, lost: false });
            // The last pages are used first: the reserved ones when no other is free, or no grant.
            pool.add(index);
            if let Some(error) = error {
                pool.end(hal, Some(grants));
                return Err(Error::Grant(error));
            }
        }
        Ok(pool)
    }

    /// Grants are for one request from now on, but for those of reserved pages; those there are end with the next
    /// request that uses the page. Any level.
    pub(super) fn for_requests(&mut self) {
        self.persistent = false;
        for page in self.pages.iter_mut().skip(self.reserved.into()) {
            page.lasts = false;
        }
    }

    /// Returns the number of pages that are free.
    #[inline]
    pub(super) fn available(&self) -> usize {
        self.available
    }

    /// Returns the number of pages that stay granted.
    #[inline]
    pub(super) fn reserve(&self) -> usize {
        usize::from(self.reserved)
    }

    /// Returns the pages of the next request, of which none is taken yet.
    #[inline]
    pub(super) fn next_run(&self) -> Run {
        Run { first: self.free, ..Run::EMPTY }
    }

    /// Takes a page for each of `places`, and puts its grant there by `put`. Returns the pages, which follow those that
    /// were taken last. *Dispatch*.
    ///
    /// # Errors
    /// [`Error::Full`]: so many are not free. [`Error::Grant`]: a page has no grant, and no page is free that stays
    /// granted. Beside the error stands how many were taken all the same.
    // The call would cost as much as two pages.
    #[inline(always)]
    pub(super) fn take<P>(
        &mut self,
        hal: &impl Hal,
        grants: &mut grant::Cache,
        to: (DomainId, Access),
        places: &[P],
        put: impl Fn(&P, GrantRef),
    ) -> Result<Run, (usize, Error)> {
        if places.len() > self.available {
            return Err((0, Error::Full));
        }
        if !self.persistent {
            self.grant_next(hal, grants, to, places.len())?;
        }
        let first = self.free;
        let mut walk = self.walk(first);
        for (place, page) in places.iter().zip(&mut walk) {
            put(place, page.granted);
        }
        let Walk { last, next, .. } = walk;
        self.free = next;
        self.available -= places.len();
        Ok(Run { first, last })
    }

    /// Makes the grants of the next `count` pages that have none. If none is to be had, another page that stays granted
    /// is put in a page's place.
    ///
    /// # Errors
    /// Errors of [`Pool::take`].
    #[inline(never)]
    fn grant_next(
        &mut self,
        hal: &impl Hal,
        grants: &mut grant::Cache,
        (domain, access): (DomainId, Access),
        count: usize,
    ) -> Result<(), (usize, Error)> {
        let mut number = self.free;
        for made in 0..count {
            let page = &mut self.pages[usize::from(number)];
            let next = page.next;
            if page.granted == NONE {
                match grants.grant(hal, domain, page.own.frame(), access) {
                    Ok(reference) => page.granted = reference,
                    Err(_) if self.replace(number) => {}
                    Err(error) => {
                        self.free = number;
                        self.available -= made;
                        return Err((made, Error::Grant(error)));
                    }
                }
            }
            number = next;
        }
        Ok(())
    }

    /// Changes a free page for one behind it that stays granted, if there is one.
    fn replace(&mut self, number: u16) -> bool {
        let mut walk = self.walk(number);
        while let Some(page) = walk.next() {
            if page.lasts {
                let last = walk.last;
                let pair = self.pages.get_disjoint_mut([number, last].map(usize::from));
                let Ok([page, other]) = pair else { break };
                core::mem::swap(page, other);
                // The chain is as it was.
                core::mem::swap(&mut page.next, &mut other.next);
                return true;
            }
        }
        false
    }

    /// Returns the pages from one on.
    #[inline]
    pub(super) fn walk(&self, first: u16) -> Walk<'_> {
        Walk { pages: &self.pages, last: END, next: first }
    }

    /// Returns the grant of a page that was taken.
    pub(super) fn granted(&self, page: u16) -> GrantRef {
        self.pages[usize::from(page)].granted
    }

    /// Returns true if the backend has one of so many pages mapped, as it has those that stay granted.
    pub(super) fn any_used(&self, grants: &grant::Cache, pages: Run, count: usize) -> bool {
        let granted = self.walk(pages.first).take(count).map(|page| page.granted);
        granted.filter(|reference| *reference != NONE).any(|reference| grants.is_used(reference))
    }

    /// Gives back so many pages whose request has ended; a grant that could not be ended, after which its page is kept
    /// away for good. `forget`: grants are gone, there is nothing to end. *Dispatch*.
    #[inline]
    pub(super) fn give(
        &mut self,
        hal: &impl Hal,
        grants: &mut grant::Cache,
        pages: Run,
        count: usize,
        forget: bool,
    ) -> Option<GrantRef> {
        if !self.persistent {
            return self.end_all(hal, grants, pages.first, count, forget);
        }
        // There is none where none was taken.
        if let Some(last) = self.pages.get_mut(usize::from(pages.last)) {
            last.next = core::mem::replace(&mut self.free, pages.first);
            self.available += count;
        }
        None
    }

    /// Gives pages back as [`Pool::give`], with the end of each one's grant that is not for good.
    #[inline(never)]
    fn end_all(
        &mut self,
        hal: &impl Hal,
        grants: &mut grant::Cache,
        first: u16,
        count: usize,
        forget: bool,
    ) -> Option<GrantRef> {
        let (mut held, mut next) = (None, first);
        for _ in 0..count {
            let number = next;
            let page = &mut self.pages[usize::from(number)];
            next = page.next;
            let reference = if page.lasts { NONE } else { core::mem::take(&mut page.granted) };
            if reference != NONE && !forget && grants.end(hal, reference).is_err() {
                page.lost = true;
                held = Some(reference);
            } else {
                self.add(number);
            }
        }
        held
    }

    /// Puts a page before the free ones.
    fn add(&mut self, number: u16) {
        self.pages[usize::from(number)].next = core::mem::replace(&mut self.free, number);
        self.available += 1;
    }

    /// Ends what is granted for good, unless it has gone with a former life of the guest, and frees the pages; how
    /// many had to be kept. *Passive*.
    #[expect(unsafe_code, reason = "calls a Hal method with a safety contract")]
    pub(super) fn end(&mut self, hal: &impl Hal, mut grants: Option<&mut grant::Cache>) -> usize {
        let mut kept = 0;
        for Page { own, granted, lost, .. } in self.pages.drain(..) {
            let ended = match &mut grants {
                Some(grants) if granted != NONE => grants.end(hal, granted).is_ok(),
                _ => true,
            };
            if ended && !lost {
                // SAFETY: the page came from this hal in `new`; its grant has ended or went with a former
                // life of the guest.
                unsafe { hal.free_shared_page(own) };
            } else {
                kept += 1;
            }
        }
        (self.free, self.available) = (END, 0);
        kept
    }
}

/// A walk from page to page.
pub(super) struct Walk<'a> {
    pages: &'a [Page],
    /// The page at hand.
    last: u16,
    next: u16,
}

impl<'a> Iterator for Walk<'a> {
    type Item = &'a Page;

    #[inline]
    fn next(&mut self) -> Option<&'a Page> {
        let page = self.pages.get(usize::from(self.next))?;
        (self.last, self.next) = (self.next, page.next);
        Some(page)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeSet;
    use std::vec;
    use std::vec::Vec;

    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;
    use crate::fake::{Hal, World};

    const REMOTE: DomainId = DomainId(3);
    const PAGES: u16 = 20;
    /// References beyond those of the reserved pages.
    const SPARE: usize = 4;

    struct Setup {
        world: World,
        hal: Hal,
        grants: grant::Cache,
        pool: Pool,
    }

    impl Setup {
        fn new(references: usize, persistent: bool) -> Self {
            let world = World::with_grants(8 + references);
            let hal = world.hal();
            let mut grants = grant::Cache::new(&hal).unwrap();
            let pool = Pool::new(&hal, &mut grants, REMOTE, PAGES, persistent).unwrap();
            Self { world, hal, grants, pool }
        }

        /// Takes so many pages. Returns the pages and their grants, or how many were taken all the same.
        fn take(&mut self, count: usize) -> Result<(Run, Vec<GrantRef>), (Run, usize, Error)> {
            let Self { hal, grants, pool, .. } = self;
            let places = vec![Cell::new(NONE); count];
            let run = pool.next_run();
            match pool.take(hal, grants, (REMOTE, Access::ReadWrite), &places, Cell::set) {
                Ok(Run { first, last }) => {
                    assert_eq!(first, run.first);
                    Ok((Run { first, last }, places.into_iter().map(Cell::into_inner).collect()))
                }
                Err((made, error)) => Err((run, made, error)),
            }
        }

        fn give(&mut self, run: Run, count: usize) -> Option<GrantRef> {
            self.pool.give(&self.hal, &mut self.grants, run, count, false)
        }

        /// Returns the numbers of so many pages from one on.
        fn numbers(&self, first: u16, count: usize) -> Vec<u16> {
            let mut walk = self.pool.walk(first);
            (0..count).map_while(|_| walk.next().is_some().then_some(walk.last)).collect()
        }
    }

    proptest! {
        /// Whatever is taken and given back: each page has one user at most, each page in use a grant of its own, and
        /// no other page but the reserved ones has any.
        #[test]
        fn every_page_has_one_user(
            persistent: bool,
            steps in prop::collection::vec((1usize..14, any::<Index>(), any::<bool>()), 1..60),
        ) {
            let references = if persistent { PAGES.into() } else { usize::from(RESERVED) + SPARE };
            let mut setup = Setup::new(references, persistent);
            let mut runs: Vec<(Run, Vec<GrantRef>)> = vec![];
            for (count, index, back) in steps {
                if back && !runs.is_empty() {
                    let (run, grants) = runs.swap_remove(index.index(runs.len()));
                    prop_assert_eq!(setup.give(run, grants.len()), None);
                } else {
                    let free = setup.pool.available();
                    match setup.take(count) {
                        Ok(taken) => runs.push(taken),
                        Err((run, made, error)) => {
                            // Neither a reference is left nor a page that has one.
                            let lasting = setup.pool.walk(setup.pool.free).any(|page| page.lasts);
                            match error {
                                Error::Full => prop_assert!(made == 0 && free < count),
                                _ => prop_assert!(!persistent && free >= count && !lasting),
                            }
                            prop_assert_eq!(setup.give(run, made), None);
                            prop_assert_eq!(setup.pool.available(), free);
                        }
                    }
                }
                let free = setup.numbers(setup.pool.free, usize::MAX);
                prop_assert_eq!(free.len(), setup.pool.available());
                let mut seen: BTreeSet<u16> = free.into_iter().collect();
                prop_assert_eq!(seen.len(), setup.pool.available());
                let mut granted: BTreeSet<GrantRef> = BTreeSet::new();
                for (run, grants) in &runs {
                    let numbers = setup.numbers(run.first, grants.len());
                    prop_assert_eq!(numbers.last(), Some(&run.last));
                    for (number, reference) in numbers.into_iter().zip(grants) {
                        prop_assert!(seen.insert(number) && granted.insert(*reference));
                        let page = &setup.pool.pages[usize::from(number)];
                        prop_assert!(page.granted == *reference && setup.world.is_granted(page.own.frame()));
                    }
                }
                prop_assert_eq!(seen.len(), usize::from(PAGES));
                let pages = setup.pool.pages.iter();
                granted.extend(pages.filter(|page| page.lasts).map(|page| page.granted));
                prop_assert_eq!(granted.len(), setup.world.granted() as usize);
            }
            for (run, grants) in runs {
                setup.give(run, grants.len());
            }
            let lasting = if persistent { PAGES } else { RESERVED };
            prop_assert_eq!(setup.world.granted(), u32::from(lasting));
            prop_assert_eq!(setup.pool.end(&setup.hal, Some(&mut setup.grants)), 0);
            prop_assert_eq!((setup.world.granted(), setup.world.pages()), (0, 0));
        }
    }

    #[test]
    fn pages_that_were_given_back_are_taken_next() {
        let mut setup = Setup::new(PAGES.into(), true);
        let (run, grants) = setup.take(5).unwrap();
        let (_, others) = setup.take(3).unwrap();
        setup.give(run, 5);
        assert_eq!(setup.take(5).unwrap().1, grants);
        assert!(others.iter().all(|reference| !grants.contains(reference)));
    }

    #[test]
    fn a_page_that_the_backend_keeps_is_never_used_again() {
        let mut setup = Setup::new(PAGES.into(), false);
        let (run, grants) = setup.take(3).unwrap();
        let lost = setup.numbers(run.first, 3)[1];
        setup.world.map(REMOTE, grants[1], true).unwrap();
        assert_eq!(setup.give(run, 3), Some(grants[1]));
        assert_eq!(setup.pool.available(), usize::from(PAGES) - 1);
        assert!(!setup.numbers(setup.pool.free, usize::MAX).contains(&lost));
        assert_eq!(setup.pool.end(&setup.hal, Some(&mut setup.grants)), 1);
        assert_eq!(setup.world.pages(), 1);
    }

    #[test]
    fn grants_of_pages_that_are_not_reserved_end_once_they_are_not_persistent() {
        let mut setup = Setup::new(PAGES.into(), true);
        setup.pool.for_requests();
        assert_eq!(setup.world.granted(), u32::from(PAGES));
        let (run, _) = setup.take(PAGES.into()).unwrap();
        setup.give(run, PAGES.into());
        assert_eq!(setup.world.granted(), u32::from(RESERVED));
    }
}
