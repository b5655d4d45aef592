//! References of one user's own.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::{Access, Editor, Entries, Error, GrantRef, Terms};
use crate::{DomainId, Frame, Hal};

/// Number of references that go between a cache and the table at once.
pub const BATCH: usize = 64;
/// Most free references that a cache keeps: for a page of segments.
pub const MOST: usize = 8 * BATCH;
/// Most free references that a cache keeps from one second to the next, and that of an idle user.
const MOST_SPARE: usize = 2 * BATCH;
const MOST_IDLE: usize = BATCH / 2;

/// Free references of one user's own. It makes and ends grants in the shared entries without a lock, and shares
/// nothing with other users but, once in [`BATCH`] grants at most, the table's list.
///
/// Whoever drops it gives its references back before ([`Cache::give_all`]).
#[derive(Debug)]
pub struct Cache {
    entries: Entries,
    /// The free references, the next ones last, and behind them places for more.
    places: Box<[GrantRef; MOST]>,
    free: usize,
}

impl Cache {
    /// Makes a cache without references. *Passive*.
    ///
    /// # Errors
    /// `None`: no memory, or no table.
    pub fn new(hal: &impl Hal) -> Option<Self> {
        let mut places = Vec::new();
        places.try_reserve_exact(MOST).ok()?;
        places.resize(MOST, GrantRef(0));
        // With room for no more: nothing is allocated.
        let places = places.into_boxed_slice().try_into().ok()?;
        Some(Self { entries: hal.grant_entries()?, places, free: 0 })
    }

    /// Grants `frame` to `domain`. *Dispatch*.
    ///
    /// # Errors
    /// [`Error::Exhausted`], [`Error::FrameTooLarge`].
    #[inline]
    pub fn grant(
        &mut self,
        hal: &impl Hal,
        domain: DomainId,
        frame: Frame,
        access: Access,
    ) -> Result<GrantRef, Error> {
        let number = u32::try_from(frame.0).map_err(|_| Error::FrameTooLarge { frame })?;
        let (entries, references) = self.reserve(hal, 1)?;
        let reference = *references.first().ok_or(Error::Exhausted)?;
        entries.grant(reference, Terms::new(domain, access), number);
        self.used(1);
        Ok(reference)
    }

    /// Returns so many references to grant by, in the entries beside them; at most [`MOST`]. [`Cache::used`] follows.
    /// *Dispatch*.
    ///
    /// # Errors
    /// [`Error::Exhausted`].
    #[inline]
    pub fn reserve(&mut self, hal: &impl Hal, count: usize) -> Result<(Editor<'_>, &[GrantRef]), Error> {
        if self.free < count {
            self.refill(hal, count)?;
        }
        Ok((self.entries.edit(), &self.places[self.free - count..self.free]))
    }

    /// Notes that something is granted by each of the `count` references that [`Cache::reserve`] has answered.
    #[inline]
    pub fn used(&mut self, count: usize) {
        self.free -= count;
    }

    /// Notes that of `count` references which [`Cache::reserve`] has answered something is granted by the first `made`.
    #[cold]
    pub fn used_in_part(&mut self, count: usize, made: usize) {
        // The others go on being free.
        self.places[self.free - count..self.free].rotate_left(made);
        self.free -= made;
    }

    /// Ends a grant that [`Cache::grant`] has made. *Dispatch*.
    ///
    /// # Errors
    /// [`Error::InUse`]: the other domain has the page mapped. The reference is the table's again, which keeps it for as long
    /// as that is so, and the page must be kept for good.
    #[inline(never)]
    pub fn end(&mut self, hal: &impl Hal, reference: GrantRef) -> Result<(), Error> {
        match self.end_all(hal, &[reference.0]) {
            Some(reference) => Err(Error::InUse { reference }),
            None => Ok(()),
        }
    }

    /// Returns true if the other domain has the page of a grant mapped. *Dispatch*.
    pub fn is_used(&self, reference: GrantRef) -> bool {
        self.entries.edit().is_used(reference)
    }

    /// Ends grants that this cache has made, as many as a page has segments at most. Answers one of those that the
    /// other domain has mapped, if there is one: what [`Cache::end`] says of it holds for each. *Dispatch*.
    // The call would cost as much as a reference.
    #[inline(always)]
    pub fn end_all(&mut self, hal: &impl Hal, references: &[u32]) -> Option<GrantRef> {
        if self.free + references.len() > MOST {
            self.shrink(hal, MOST.saturating_sub(references.len().max(BATCH)));
        }
        let entries = self.entries.edit();
        let places = &mut self.places[self.free..self.free + references.len()];
        for (ended, (reference, place)) in references.iter().zip(places).enumerate() {
            *place = GrantRef(*reference);
            if !entries.end(*place) {
                self.free += ended;
                return Some(self.leak(hal, GrantRef(*reference), &references[ended + 1..]));
            }
        }
        self.free += references.len();
        None
    }

    /// Leaves a reference to the table, which counts it as leaked, and ends the rest. Answers one that is held.
    #[cold]
    #[inline(never)]
    fn leak(&mut self, hal: &impl Hal, held: GrantRef, rest: &[u32]) -> GrantRef {
        hal.give_references(&[held]);
        // One by one: a list of held ones takes no more stack than one of them.
        for reference in rest {
            let reference = GrantRef(*reference);
            if self.entries.edit().end(reference) {
                self.places[self.free] = reference;
                self.free += 1;
            } else {
                hal.give_references(&[reference]);
            }
        }
        held
    }

    /// Gives back what its user, who may be idle, does not need for the next second. *Dispatch*.
    pub fn trim(&mut self, hal: &impl Hal, idle: bool) {
        let most = if idle { MOST_IDLE } else { MOST_SPARE };
        if self.free > most {
            self.shrink(hal, most);
        }
    }

    /// Gives all free references back. *Dispatch*.
    pub fn give_all(&mut self, hal: &impl Hal) {
        self.shrink(hal, 0);
    }

    /// Forgets its references: the guest has been resumed, and the table is a new one. *Dispatch*.
    pub fn forget(&mut self) {
        self.free = 0;
    }

    /// Takes references from the table, until it has `count`; if they are not to be had, it leaves others what it
    /// has.
    #[cold]
    fn refill(&mut self, hal: &impl Hal, count: usize) -> Result<(), Error> {
        while self.free < count {
            let end = (self.free + BATCH).min(MOST);
            let wanted = &mut self.places[self.free..end];
            let taken = hal.take_references(wanted);
            if taken == 0 {
                self.trim(hal, true);
                return Err(Error::Exhausted);
            }
            // Below those that there were.
            self.free += taken;
            self.places[..self.free].rotate_right(taken);
        }
        Ok(())
    }

    /// Gives back the references that were free for longest, down to so many.
    #[cold]
    fn shrink(&mut self, hal: &impl Hal, to: usize) {
        let excess = self.free.saturating_sub(to);
        hal.give_references(&self.places[..excess]);
        self.places.copy_within(excess..self.free, 0);
        self.free -= excess;
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::fake::World;

    const REMOTE: DomainId = DomainId(3);

    #[test]
    fn references_come_and_go_in_batches() {
        let world = World::with_grants(8 + 4 * MOST);
        let hal = world.hal();
        let mut cache = Cache::new(&hal).unwrap();
        let calls = || world.take_reference_calls();
        let mut granted = Vec::new();
        for frame in 0..2 * MOST as u64 {
            granted.push(cache.grant(&hal, REMOTE, Frame(frame), Access::ReadOnly).unwrap());
        }
        assert_eq!(calls(), 2 * MOST / BATCH);
        for reference in granted.drain(..) {
            cache.end(&hal, reference).unwrap();
        }
        assert_eq!(calls(), MOST / BATCH);
        assert_eq!(world.free_grants() as usize, 3 * MOST);
        // What goes on within the bound touches nothing that is shared.
        for frame in 0..1000 {
            let reference = cache.grant(&hal, REMOTE, Frame(frame), Access::ReadWrite).unwrap();
            cache.end(&hal, reference).unwrap();
        }
        assert_eq!(calls(), 0);
        cache.trim(&hal, false);
        assert_eq!(world.free_grants() as usize, 4 * MOST - MOST_SPARE);
        cache.trim(&hal, true);
        assert_eq!(world.free_grants() as usize, 4 * MOST - MOST_IDLE);
        cache.give_all(&hal);
        assert_eq!(world.free_grants() as usize, 4 * MOST);
    }

    #[test]
    fn the_last_references_can_be_had_and_no_more() {
        let world = World::with_grants(8 + 3);
        let hal = world.hal();
        let mut cache = Cache::new(&hal).unwrap();
        let frame = Frame(1 << 32);
        let mut grant = |frame| cache.grant(&hal, REMOTE, frame, Access::ReadWrite);
        assert_eq!(grant(frame), Err(Error::FrameTooLarge { frame }));
        let granted: Vec<_> = (0..3).map(|frame| grant(Frame(frame)).unwrap().0).collect();
        assert_eq!(granted, [10, 9, 8]);
        assert_eq!(grant(Frame(4)), Err(Error::Exhausted));
        cache.end(&hal, GrantRef(9)).unwrap();
        assert_eq!(cache.grant(&hal, REMOTE, Frame(5), Access::ReadWrite), Ok(GrantRef(9)));
    }

    #[test]
    fn a_mapped_page_keeps_its_reference() {
        let world = World::with_grants(8 + 2);
        let hal = world.hal();
        let mut cache = Cache::new(&hal).unwrap();
        let frame = world.page_of(&[]);
        let reference = cache.grant(&hal, REMOTE, frame, Access::ReadWrite).unwrap();
        world.map(REMOTE, reference, true).unwrap();
        assert_eq!(cache.end(&hal, reference), Err(Error::InUse { reference }));
        assert_eq!((world.leaked_grants(), world.is_granted(frame)), (1, true));
        world.unmap(reference, true);
        cache.give_all(&hal);
        assert_eq!((world.leaked_grants(), world.free_grants()), (1, 1));
    }

    #[test]
    fn what_a_resumed_guest_forgets_is_not_given_back() {
        let world = World::with_grants(8 + 2);
        let hal = world.hal();
        let mut cache = Cache::new(&hal).unwrap();
        cache.grant(&hal, REMOTE, Frame(1), Access::ReadWrite).unwrap();
        world.forget_grants();
        let mut other = Cache::new(&hal).unwrap();
        other.grant(&hal, REMOTE, Frame(2), Access::ReadWrite).unwrap();
        cache.forget();
        cache.give_all(&hal);
        assert!(world.is_granted(Frame(2)));
        assert_eq!(world.free_grants(), 0);
    }
}
