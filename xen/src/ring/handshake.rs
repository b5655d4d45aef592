//! Wake-ups between the two ends of a shared ring: the ring's indices, and the wishes written beside them
//! (`io/ring.h`).
//!
//! Each end publishes an index and then reads the other's wish; each end publishes its wish and then reads
//! the other's index. A full fence lies between the two steps on both sides, so that of an index and a wish
//! written at the same time at least one is seen: a wake-up may come for nothing, but none is lost.
//!
//! The words are reached through [`Indices`], so that the same code runs over a shared page and, in
//! `tests/handshake.rs`, over loom's atomics, which try every order of the two ends' steps.

use core::sync::atomic::Ordering;

/// A word of the ring's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Requests published, by the frontend.
    ReqProd,
    /// At which request the backend wants to be woken.
    ReqEvent,
    /// Responses published, by the backend.
    RspProd,
    /// At which response the frontend wants to be woken.
    RspEvent,
}

/// The header's words.
pub trait Indices {
    /// Reads a word.
    fn load(&self, word: Word, order: Ordering) -> u32;
    /// Writes a word.
    fn store(&self, word: Word, value: u32, order: Ordering);
    /// Puts a sequentially consistent fence here.
    fn fence(&self);
}

/// Publishes the requests from index `from` up to `to`; whether the backend has to be notified.
#[inline]
#[must_use]
pub fn push(indices: &impl Indices, from: u32, to: u32) -> bool {
    indices.store(Word::ReqProd, to, Ordering::Release);
    // The backend writes its wish, then reads `req_prod`.
    indices.fence();
    let wanted = indices.load(Word::ReqEvent, Ordering::Relaxed);
    to.wrapping_sub(wanted) < to.wrapping_sub(from)
}

/// Asks to be notified of the `after`-th response beyond `consumed` (1 for the next); whether any response is
/// there already, for which no notification may come.
///
/// At least `after` requests must be without a response, or the wish never comes true.
#[inline]
#[must_use]
pub fn rearm(indices: &impl Indices, consumed: u32, after: u32) -> bool {
    indices.store(Word::RspEvent, consumed.wrapping_add(after), Ordering::Relaxed);
    // The backend writes `rsp_prod`, then reads the wish.
    indices.fence();
    indices.load(Word::RspProd, Ordering::Relaxed) != consumed
}
