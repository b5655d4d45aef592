//! The frontend's half of a shared ring, `io/ring.h`.
//!
//! Requests and responses share the slots: a slot holds a request until its response (or another's) is
//! written over it. Both ends keep private copies of the indices they write; what the other end writes is
//! checked.
//!
//! Notifications are suppressed by `req_event` and `rsp_event`: an end writes there at which index it wants
//! to be woken, then looks once more, since the other end may have passed it meanwhile.

use core::marker::PhantomData;
use core::mem::{offset_of, size_of};
use core::sync::atomic::{Ordering, fence};

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::wire::ring::Header;
use crate::{PAGE_SIZE, SharedPage};

/// Requests `Q` out, responses `R` back, over one page.
#[derive(Debug)]
pub struct Front<Q, R> {
    page: SharedPage,
    /// Requests written, not all of them published.
    produced: u32,
    /// Requests published.
    pushed: u32,
    /// Responses taken.
    consumed: u32,
    layout: PhantomData<fn(Q) -> R>,
}

/// More responses than there are requests without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overrun {
    /// Responses that the other end claims to have written.
    pub responses: u32,
    /// Requests that have none yet.
    pub outstanding: u32,
}

impl<Q, R> Front<Q, R>
where
    Q: IntoBytes + Immutable,
    R: FromBytes + IntoBytes,
{
    const SLOT: usize = if size_of::<Q>() > size_of::<R>() { size_of::<Q>() } else { size_of::<R>() };

    /// Slots of the ring: the largest power of two that fits the page.
    pub const SLOTS: u32 = {
        let fit = (PAGE_SIZE - size_of::<Header>()) / Self::SLOT;
        1 << fit.ilog2()
    };

    /// An empty ring in `page`, all of which is cleared: nothing of the guest's is left in it.
    pub fn new(page: SharedPage) -> Self {
        page.memory().zero();
        page.memory().write(0, &Header { req_event: 1, rsp_event: 1, ..Header::default() });
        Self { page, produced: 0, pushed: 0, consumed: 0, layout: PhantomData }
    }

    /// Requests that can be written now.
    pub fn free(&self) -> u32 {
        Self::SLOTS - self.produced.wrapping_sub(self.consumed)
    }

    /// Writes a request, which the other end does not see before [`Front::push`]. Answers the request's
    /// index, or `None` where the ring is full.
    pub fn put(&mut self, request: &Q) -> Option<u32> {
        if self.free() == 0 {
            return None;
        }
        let index = self.produced;
        self.page.memory().write(Self::slot(index), request);
        self.produced = index.wrapping_add(1);
        Some(index)
    }

    /// Publishes what was written; whether the other end has to be notified.
    #[must_use]
    pub fn push(&mut self) -> bool {
        let from = self.pushed;
        self.pushed = self.produced;
        self.atomic(offset_of!(Header, req_prod)).store(self.pushed, Ordering::Release);
        // Published before `req_event` is read: the other end writes that, then reads `req_prod`.
        fence(Ordering::SeqCst);
        let wanted = self.atomic(offset_of!(Header, req_event)).load(Ordering::Relaxed);
        self.pushed.wrapping_sub(wanted) < self.pushed.wrapping_sub(from)
    }

    /// Takes the next response, copied out of the page.
    ///
    /// # Errors
    /// [`Overrun`]; nothing is taken.
    pub fn take(&mut self) -> Result<Option<R>, Overrun> {
        let claimed = self.atomic(offset_of!(Header, rsp_prod)).load(Ordering::Acquire);
        let responses = claimed.wrapping_sub(self.consumed);
        let outstanding = self.pushed.wrapping_sub(self.consumed);
        if responses > outstanding {
            return Err(Overrun { responses, outstanding });
        }
        if responses == 0 {
            return Ok(None);
        }
        let response = self.page.memory().read(Self::slot(self.consumed));
        self.consumed = self.consumed.wrapping_add(1);
        Ok(Some(response))
    }

    /// Asks to be notified of the next response; whether one came meanwhile, for which no notification may
    /// come.
    #[must_use]
    pub fn rearm(&mut self) -> bool {
        self.atomic(offset_of!(Header, rsp_event)).store(self.consumed.wrapping_add(1), Ordering::Relaxed);
        // Published before `rsp_prod` is read again: the other end writes that, then reads `rsp_event`.
        fence(Ordering::SeqCst);
        self.atomic(offset_of!(Header, rsp_prod)).load(Ordering::Relaxed) != self.consumed
    }

    /// Whether the request at `index` has been published.
    pub fn is_pushed(&self, index: u32) -> bool {
        // Unpublished requests are those from `pushed` up to `produced`.
        index.wrapping_sub(self.pushed) >= self.produced.wrapping_sub(self.pushed)
    }

    /// The page with the ring.
    pub fn page(&self) -> &SharedPage {
        &self.page
    }

    /// Gives the page back.
    pub fn into_page(self) -> SharedPage {
        self.page
    }

    fn slot(index: u32) -> usize {
        size_of::<Header>() + (index & (Self::SLOTS - 1)) as usize * Self::SLOT
    }

    fn atomic(&self, offset: usize) -> &core::sync::atomic::AtomicU32 {
        self.page.memory().atomic_u32(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Hal as _;
    use crate::fake::World;
    use crate::wire::blkif::{Request, Response};

    type Ring = Front<Request, Response>;

    /// A ring whose indices stand at `at`, and its page.
    fn ring(world: &World, at: u32) -> (Ring, crate::SharedMemory) {
        let page = world.hal().alloc_shared_page().unwrap();
        let memory = world.memory(page.frame()).unwrap();
        let mut ring = Ring::new(page);
        (ring.produced, ring.pushed, ring.consumed) = (at, at, at);
        memory.write(
            0,
            &Header { req_prod: at, req_event: at + 1, rsp_prod: at, rsp_event: at + 1, ..header(&memory) },
        );
        (ring, memory)
    }

    fn header(memory: &crate::SharedMemory) -> Header {
        memory.read(0)
    }

    fn respond(memory: &crate::SharedMemory, index: u32, id: u64) {
        memory.write(Ring::slot(index), &Response { id, ..Response::default() });
        memory.atomic_u32(8).store(index.wrapping_add(1), Ordering::SeqCst);
    }

    #[test]
    fn a_page_is_cleared_and_both_ends_want_to_be_woken() {
        let world = World::new();
        let page = world.hal().alloc_shared_page().unwrap();
        let frame = page.frame();
        assert!(world.content(frame).iter().all(|byte| *byte != 0));
        let ring = Ring::new(page);
        let expected = Header { req_event: 1, rsp_event: 1, ..Header::default() };
        assert_eq!(header(&world.memory(frame).unwrap()), expected);
        assert!(world.content(frame)[64..].iter().all(|byte| *byte == 0));
        assert_eq!((Ring::SLOTS, ring.free()), (32, 32));
        assert_eq!(ring.into_page().frame(), frame);
    }

    #[test]
    fn requests_are_seen_once_pushed() {
        let world = World::new();
        let (mut ring, memory) = ring(&world, 0);
        let index = ring.put(&Request { id: 9, ..Request::default() }).unwrap();
        assert_eq!((index, header(&memory).req_prod, ring.is_pushed(index)), (0, 0, false));
        assert!(ring.push());
        assert_eq!((header(&memory).req_prod, ring.is_pushed(index)), (1, true));
        assert_eq!(memory.read::<Request>(64).id, 9);
        // Nothing new.
        assert!(!ring.push());
    }

    #[test]
    fn a_notification_is_due_where_the_wanted_index_is_passed() {
        let world = World::new();
        for start in [0, u32::MAX - 3] {
            // Wanted at the n-th of three requests pushed at once.
            for (wanted, due) in [(0, false), (1, true), (2, true), (3, true), (4, false)] {
                let (mut ring, memory) = ring(&world, start);
                memory.atomic_u32(4).store(start.wrapping_add(wanted), Ordering::SeqCst);
                for _ in 0..3 {
                    ring.put(&Request::default()).unwrap();
                }
                assert_eq!(ring.push(), due, "from {start}, wanted {wanted}");
            }
        }
    }

    #[test]
    fn a_full_ring_takes_no_more_across_the_wrap_of_its_indices() {
        let world = World::new();
        let (mut ring, memory) = ring(&world, u32::MAX - 10);
        for id in 0..32 {
            ring.put(&Request { id, ..Request::default() }).unwrap();
        }
        assert_eq!((ring.free(), ring.put(&Request::default())), (0, None));
        assert!(ring.push());
        for (index, id) in (0..32).map(|n: u32| (n.wrapping_add(u32::MAX - 10), u64::from(n))) {
            respond(&memory, index, id);
            assert_eq!(ring.take().unwrap().unwrap().id, id);
        }
        assert_eq!((ring.take(), ring.free()), (Ok(None), 32));
    }

    #[test]
    fn more_responses_than_requests_are_refused() {
        let world = World::new();
        let (mut ring, memory) = ring(&world, 7);
        for _ in 0..3 {
            ring.put(&Request::default()).unwrap();
        }
        let _ = ring.push();
        // A fourth, not pushed, does not count.
        ring.put(&Request::default()).unwrap();
        for (produced, responses) in [(11, 4), (7 + 33, 33), (6, u32::MAX)] {
            memory.atomic_u32(8).store(produced, Ordering::SeqCst);
            assert_eq!(ring.take(), Err(Overrun { responses, outstanding: 3 }));
        }
        respond(&memory, 9, 5);
        assert!(ring.take().unwrap().is_some());
    }

    #[test]
    fn rearming_sees_what_came_before_the_wish() {
        let world = World::new();
        let (mut ring, memory) = ring(&world, 0);
        ring.put(&Request::default()).unwrap();
        ring.put(&Request::default()).unwrap();
        let _ = ring.push();
        assert!(!ring.rearm());
        assert_eq!(header(&memory).rsp_event, 1);
        respond(&memory, 0, 0);
        assert!(ring.rearm());
        ring.take().unwrap().unwrap();
        assert!(!ring.rearm());
        assert_eq!(header(&memory).rsp_event, 2);
    }
}
