//! The frontend's half of a shared ring, `io/ring.h`.
//!
//! Requests and responses share the slots: a slot holds a request until its response (or another's) is
//! written over it. Both ends keep private copies of the indices they write; what the other end writes is
//! checked.
//!
//! The ring lies in one page or several, of which the last entries of one and the first of the next may share
//! a slot. Notifications are suppressed by wishes, see [`handshake`].

pub mod handshake;

use alloc::vec::Vec;
use core::iter;
use core::mem::{offset_of, size_of};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use crate::wire::ring::Header;
use crate::{PAGE_SIZE, SharedMemory, SharedPage};
use handshake::{Indices, Word};

const WORD: usize = size_of::<u64>();
const PAGE_WORDS: usize = PAGE_SIZE / WORD;
const HEADER_WORDS: usize = size_of::<Header>() / WORD;

/// Requests of up to `REQUEST` words of eight bytes out, which is a slot's size, and responses of `RESPONSE`
/// words back.
#[derive(Debug)]
pub struct Front<const REQUEST: usize, const RESPONSE: usize> {
    /// The page with the header, and the others.
    first: SharedPage,
    others: Vec<SharedPage>,
    /// One less than the number of slots, which is a power of two.
    mask: u32,
    /// Requests written, not all of them published.
    produced: u32,
    /// Requests published.
    pushed: u32,
    /// Responses taken.
    consumed: u32,
    /// Stands for the one slot in a few that lies in two pages, until its request is written.
    spare: [AtomicU64; REQUEST],
}

/// The place of the next request, as words. What is written there is part of the ring once it is [`Blank::put`].
#[derive(Debug)]
pub struct Blank<'a, const REQUEST: usize, const RESPONSE: usize> {
    front: &'a mut Front<REQUEST, RESPONSE>,
    /// The place's page, and the word in it at which the place begins.
    page: usize,
    within: usize,
}

/// More responses than there are requests without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overrun {
    /// Responses that the other end claims to have written.
    pub responses: u32,
    /// Requests that have none yet.
    pub outstanding: u32,
}

/// Slots of a ring of `pages` pages, of `request` words each: the largest power of two that fits.
pub const fn slots(pages: usize, request: usize) -> u32 {
    1 << ((pages * PAGE_WORDS - HEADER_WORDS) / request).ilog2()
}

impl<const REQUEST: usize, const RESPONSE: usize> Front<REQUEST, RESPONSE> {
    /// A response lies in one page, wherever its slot does.
    const RESPONSE_FITS: () = assert!(
        RESPONSE <= REQUEST
            && REQUEST.is_multiple_of(RESPONSE)
            && HEADER_WORDS.is_multiple_of(RESPONSE)
            && PAGE_WORDS.is_multiple_of(RESPONSE)
    );

    /// Returns an empty ring in these pages, all of which are cleared: nothing of the guest's is left in them.
    pub fn new(first: SharedPage, others: Vec<SharedPage>) -> Self {
        let () = Self::RESPONSE_FITS;
        for page in iter::once(&first).chain(&others) {
            page.memory().zero();
        }
        first.memory().write(0, &Header { req_event: 1, rsp_event: 1, ..Header::default() });
        let mask = slots(1 + others.len(), REQUEST) - 1;
        let spare = [const { AtomicU64::new(0) }; REQUEST];
        Self { first, others, mask, produced: 0, pushed: 0, consumed: 0, spare }
    }

    /// Slots of the ring.
    #[inline]
    pub fn slots(&self) -> u32 {
        self.mask + 1
    }

    /// Returns the number of requests that can be written now.
    #[inline]
    pub fn free(&self) -> u32 {
        self.slots() - self.produced.wrapping_sub(self.consumed)
    }

    /// Returns the number of requests published that have no response yet.
    #[inline]
    pub fn outstanding(&self) -> u32 {
        self.pushed.wrapping_sub(self.consumed)
    }

    /// Returns the place of the next request, or `None` where the ring is full.
    #[inline]
    pub fn blank(&mut self) -> Option<Blank<'_, REQUEST, RESPONSE>> {
        if self.free() == 0 {
            return None;
        }
        let (page, within) = self.place(self.produced);
        Some(Blank { front: self, page, within })
    }

    /// Publishes the requests that were written; whether the other end has to be notified of them.
    #[inline]
    #[must_use]
    pub fn push(&mut self) -> bool {
        let from = core::mem::replace(&mut self.pushed, self.produced);
        from != self.pushed && handshake::push(&self.head(), from, self.pushed)
    }

    /// Takes the next response, copied out of the page.
    ///
    /// # Errors
    /// [`Overrun`]; nothing is taken.
    #[inline]
    pub fn take(&mut self) -> Result<Option<[u64; RESPONSE]>, Overrun> {
        let claimed = self.head().load(Word::RspProd, Ordering::Acquire);
        let responses = claimed.wrapping_sub(self.consumed);
        let outstanding = self.outstanding();
        if responses == 0 {
            return Ok(None);
        }
        if responses > outstanding {
            return Err(Overrun { responses, outstanding });
        }
        let (page, within) = self.place(self.consumed);
        let response = self.page(page).words().read(within);
        self.consumed = self.consumed.wrapping_add(1);
        Ok(Some(response))
    }

    /// Asks to be notified of the `after`-th response from here, or of the last there can be; whether any
    /// came meanwhile, for which no notification may come.
    #[inline]
    #[must_use]
    pub fn rearm(&mut self, after: u32) -> bool {
        let after = after.min(self.outstanding()).max(1);
        handshake::rearm(&self.head(), self.consumed, after)
    }

    /// Returns true if the request at `index` has been published.
    #[inline]
    pub fn is_pushed(&self, index: u32) -> bool {
        // Unpublished requests are those from `pushed` up to `produced`.
        index.wrapping_sub(self.pushed) >= self.produced.wrapping_sub(self.pushed)
    }

    /// Gives the pages back.
    pub fn into_pages(self) -> impl Iterator<Item = SharedPage> {
        iter::once(self.first).chain(self.others)
    }

    /// Returns the page and the word in it at which a slot begins. With a power of two of pages and the slots
    /// that fit, the last slot ends inside.
    #[inline]
    fn place(&self, index: u32) -> (usize, usize) {
        let word = HEADER_WORDS + (index & self.mask) as usize * REQUEST;
        (word / PAGE_WORDS, word % PAGE_WORDS)
    }

    /// Copies the spare to the place of the next request, which ends in another page than it begins in.
    #[cold]
    #[inline(never)]
    fn copy_spare(&self) {
        let (page, within) = self.place(self.produced);
        let words = self.spare.each_ref().map(|word| word.load(Ordering::Relaxed));
        let (here, there) = words.split_at(PAGE_WORDS - within);
        self.page(page).words().write(within, here);
        self.page(page + 1).words().write(0, there);
    }

    #[inline]
    fn page(&self, number: usize) -> &SharedMemory {
        match number.checked_sub(1) {
            None => self.first.memory(),
            Some(other) => self.others[other].memory(),
        }
    }

    #[inline]
    fn head(&self) -> Head<'_> {
        Head(&self.first)
    }
}

impl<const REQUEST: usize, const RESPONSE: usize> Blank<'_, REQUEST, RESPONSE> {
    /// Returns the words of the place. What is not written holds what stood there: of a request that
    /// was answered, or of one that was withdrawn.
    #[inline]
    pub fn words(&self) -> &[AtomicU64; REQUEST] {
        let Self { page, within, .. } = *self;
        if within + REQUEST > PAGE_WORDS {
            return &self.front.spare;
        }
        let words = self.front.page(page).words().atomics(within, REQUEST);
        words.first_chunk().unwrap_or(&self.front.spare)
    }

    /// Returns the index that the request will have.
    #[inline]
    pub fn index(&self) -> u32 {
        self.front.produced
    }

    /// Copies a request there. Panics where it is longer than a slot.
    #[inline]
    pub fn copy(&self, request: &[u64]) {
        for (place, word) in self.words()[..request.len()].iter().zip(request) {
            place.store(*word, Ordering::Relaxed);
        }
    }

    /// Puts what was written there on the ring, of which the other end sees nothing before [`Front::push`].
    #[inline]
    pub fn put(self) {
        let Self { front, within, .. } = self;
        if within + REQUEST > PAGE_WORDS {
            front.copy_spare();
        }
        front.produced = front.produced.wrapping_add(1);
    }
}

/// The header's words, in the first page.
struct Head<'a>(&'a SharedPage);

impl Head<'_> {
    #[inline]
    fn word(&self, word: Word) -> &AtomicU32 {
        let offset = match word {
            Word::ReqProd => offset_of!(Header, req_prod),
            Word::ReqEvent => offset_of!(Header, req_event),
            Word::RspProd => offset_of!(Header, rsp_prod),
            Word::RspEvent => offset_of!(Header, rsp_event),
        };
        self.0.memory().atomic_u32(offset)
    }
}

impl Indices for Head<'_> {
    #[inline]
    fn load(&self, word: Word, order: Ordering) -> u32 {
        self.word(word).load(order)
    }

    #[inline]
    fn store(&self, word: Word, value: u32, order: Ordering) {
        self.word(word).store(value, order);
    }

    #[inline]
    fn fence(&self) {
        fence(Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;
    use crate::Hal as _;
    use crate::fake::World;
    use crate::wire::blkif::{Request, Response};

    type Ring = Front<14, 2>;

    /// Puts a request with an id on a ring; its index.
    fn put(ring: &mut Ring, id: u64) -> Option<u32> {
        let request: [u64; 14] = zerocopy::transmute!(Request { id, ..Request::default() });
        let blank = ring.blank()?;
        let index = blank.index();
        blank.copy(&request);
        blank.put();
        Some(index)
    }

    /// Returns the id of a response.
    fn id(response: [u64; 2]) -> u64 {
        let response: Response = zerocopy::transmute!(response);
        response.id
    }

    /// Returns a ring whose indices stand at `at`, and its page.
    fn ring(world: &World, at: u32) -> (Ring, crate::SharedMemory) {
        let page = world.hal().alloc_shared_page().unwrap();
        let memory = world.memory(page.frame()).unwrap();
        let mut ring = Ring::new(page, vec![]);
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
        memory.write(64 + (index % 32) as usize * 112, &Response { id, ..Response::default() });
        memory.atomic_u32(8).store(index.wrapping_add(1), Ordering::SeqCst);
    }

    #[test]
    fn a_page_is_cleared_and_both_ends_want_to_be_woken() {
        let world = World::new();
        let page = world.hal().alloc_shared_page().unwrap();
        let frame = page.frame();
        assert!(world.content(frame).iter().all(|byte| *byte != 0));
        let ring = Ring::new(page, vec![]);
        let expected = Header { req_event: 1, rsp_event: 1, ..Header::default() };
        assert_eq!(header(&world.memory(frame).unwrap()), expected);
        assert!(world.content(frame)[64..].iter().all(|byte| *byte == 0));
        assert_eq!((ring.slots(), ring.free()), (32, 32));
        let pages: Vec<_> = ring.into_pages().map(|page| page.frame()).collect();
        assert_eq!(pages, [frame]);
    }

    #[test]
    fn a_slot_in_two_pages_is_written_whole() {
        let world = World::new();
        let mut pages: Vec<_> = (0..4).map(|_| world.hal().alloc_shared_page().unwrap()).collect();
        let frames: Vec<_> = pages.iter().map(SharedPage::frame).collect();
        let mut ring = Ring::new(pages.remove(0), pages);
        // The 73rd begins eight words before the third page.
        for slot in 0..128 {
            let blank = ring.blank().unwrap();
            for (number, word) in blank.words().iter().enumerate() {
                word.store((slot << 8) | number as u64, Ordering::Relaxed);
            }
            assert_eq!(u64::from(blank.index()), slot);
            blank.put();
        }
        assert!(frames.iter().copied().eq(ring.into_pages().map(|page| page.frame())));
        let bytes: Vec<u8> = frames.into_iter().flat_map(|frame| world.content(frame)).collect();
        let (words, _) = bytes[64..].as_chunks::<8>();
        for (number, word) in words[..128 * 14].iter().enumerate() {
            assert_eq!(u64::from_le_bytes(*word), (((number / 14) << 8) | (number % 14)) as u64);
        }
    }

    #[test]
    fn requests_are_seen_once_pushed() {
        let world = World::new();
        let (mut ring, memory) = ring(&world, 0);
        let index = put(&mut ring, 9).unwrap();
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
                    put(&mut ring, 0).unwrap();
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
            put(&mut ring, id).unwrap();
        }
        assert_eq!((ring.free(), put(&mut ring, 0)), (0, None));
        assert!(ring.push());
        for (index, number) in (0..32).map(|n: u32| (n.wrapping_add(u32::MAX - 10), u64::from(n))) {
            respond(&memory, index, number);
            assert_eq!(id(ring.take().unwrap().unwrap()), number);
        }
        assert_eq!((ring.take(), ring.free()), (Ok(None), 32));
    }

    #[test]
    fn more_responses_than_requests_are_refused() {
        let world = World::new();
        let (mut ring, memory) = ring(&world, 7);
        for _ in 0..3 {
            put(&mut ring, 0).unwrap();
        }
        let _ = ring.push();
        // A fourth, not pushed, does not count.
        put(&mut ring, 0).unwrap();
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
        put(&mut ring, 0).unwrap();
        put(&mut ring, 0).unwrap();
        let _ = ring.push();
        assert!(!ring.rearm(1));
        assert_eq!(header(&memory).rsp_event, 1);
        respond(&memory, 0, 0);
        assert!(ring.rearm(1));
        ring.take().unwrap().unwrap();
        assert!(!ring.rearm(1));
        assert_eq!(header(&memory).rsp_event, 2);
    }
}
