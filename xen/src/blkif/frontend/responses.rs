//! Responses off the ring.

use super::super::indirect::Blocks;
use super::super::pool::Pool;
use super::super::{Failure, Fault};
use super::{Arrived, Completion, Frontend, Operation, Ring, Shadow, Slot, State};
use crate::wire::blkif as wire;
use crate::{GrantRef, Hal, PAGE_SIZE, grant};

impl<H: Hal> Frontend<H> {
    /// Returns the next request that came back; the data of copied reads is not looked at. Call it until it
    /// answers `None` after each notification: only then the backend notifies again. *Dispatch*.
    pub fn poll(&mut self) -> Option<Completion> {
        loop {
            let taken = self.take(&mut |_| ());
            if taken.is_some() || !self.rearm() {
                return taken;
            }
        }
    }

    /// Returns the next request that came back. What a copied read brought is given to `arrived` first. After
    /// `None` the backend notifies again only once [`Frontend::rearm`] has been called. *Dispatch*.
    pub fn take(&mut self, arrived: &mut impl FnMut(Arrived<'_>)) -> Option<Completion> {
        if self.disk.is_none() {
            return self.abort();
        }
        let response: wire::Response = match self.ring.take() {
            Ok(Some(response)) => zerocopy::transmute!(response),
            Ok(None) => return None,
            Err(overrun) => return self.break_off(Fault::Overrun(overrun)),
        };
        let Self { hal, ring, slots, free, grants, pool, blocks, .. } = self;
        let (id, count) = (response.id, slots.len() as u32);
        let number = usize::try_from(id).unwrap_or(usize::MAX);
        let Some(slot) = slots.get_mut(number) else {
            return self.break_off(Fault::UnknownId { id, slots: count });
        };
        let shadow = match slot.answered(&response, ring) {
            Ok(shadow) => shadow,
            Err(fault) => return self.break_off(fault),
        };
        if response.status != wire::RSP_OKAY {
            return self.refused(number, response.status);
        }
        let shadow = *shadow;
        let Shadow { tag, operation, segments, .. } = shadow;
        if shadow.is_copied() && operation == Operation::Read {
            deliver(&shadow, pool, arrived);
        }
        let owners = Owners { hal, grants, pool, blocks };
        let held = owners.take_back(slot, &shadow, segments.into(), false);
        free.put(number, slot);
        if let Some(reference) = held {
            return Some(self.complete_held(reference, shadow.is_copied(), tag, operation, Failure::Broken));
        }
        Some(Completion { tag, operation, result: Ok(()), pages_held: false })
    }

    /// Asks to be notified of the next response. Returns whether a response is there already, which may not be
    /// announced: take it, then ask again. *Dispatch*.
    #[inline]
    #[must_use]
    pub fn rearm(&mut self) -> bool {
        self.disk.is_some() && self.ring.rearm(1)
    }

    /// Breaks with the backend, and takes back one request in flight.
    #[cold]
    #[inline(never)]
    fn break_off(&mut self, fault: Fault) -> Option<Completion> {
        self.fail(fault);
        self.abort()
    }

    /// Takes back one request in flight, since nothing comes from the backend any more.
    #[cold]
    #[inline(never)]
    fn abort(&mut self) -> Option<Completion> {
        let failure = if self.fault().is_some() { Failure::Broken } else { Failure::Disconnected };
        let mut slots = self.slots.iter();
        let number = slots.position(|slot| slot.request.is_some())?;
        self.end(number, failure)
    }

    /// Ends a request that the backend could not carry out.
    #[cold]
    #[inline(never)]
    fn refused(&mut self, number: usize, status: i16) -> Option<Completion> {
        let failure = match status {
            wire::RSP_ERROR => Failure::Backend,
            wire::RSP_EOPNOTSUPP => {
                self.unlearn(self.slots[number].request?.operation);
                Failure::NotSupported
            }
            found => return self.break_off(Fault::Status { found }),
        };
        self.end(number, failure)
    }

    /// Ends the request of a slot with a failure.
    fn end(&mut self, number: usize, failure: Failure) -> Option<Completion> {
        let (shadow, held) = self.retire(number, None)?;
        let Shadow { tag, operation, .. } = shadow;
        Some(match held {
            None => Completion { tag, operation, result: Err(failure), pages_held: false },
            Some(reference) => self.complete_held(reference, shadow.is_copied(), tag, operation, failure),
        })
    }

    /// Ends the request of a slot, of which so many segments were made, or all. Returns what it was, and a grant that could
    /// not be ended.
    pub(super) fn retire(
        &mut self,
        number: usize,
        made: Option<usize>,
    ) -> Option<(Shadow, Option<GrantRef>)> {
        let forget = matches!(self.state, State::Forgotten);
        let Self { hal, slots, free, grants, pool, blocks, .. } = self;
        let slot = &mut slots[number];
        let shadow = slot.request?;
        let made = made.unwrap_or(shadow.segments.into());
        let held = Owners { hal, grants, pool, blocks }.take_back(slot, &shadow, made, forget);
        free.put(number, slot);
        Some((shadow, held))
    }

    /// Breaks with a backend that holds a page of a request. Returns the completion to answer with.
    #[cold]
    #[inline(never)]
    fn complete_held(
        &mut self,
        reference: GrantRef,
        copied: bool,
        tag: usize,
        operation: Operation,
        failure: Failure,
    ) -> Completion {
        self.fail(Fault::GrantHeld { reference });
        let failure = if self.fault().is_some() { Failure::Broken } else { failure };
        // The frontend keeps its own pages by itself.
        Completion { tag, operation, result: Err(failure), pages_held: !copied }
    }
}

/// The owners of what a request has while it is in flight.
struct Owners<'a, H> {
    hal: &'a H,
    grants: &'a mut grant::Cache,
    pool: &'a mut Pool,
    blocks: &'a mut Blocks,
}

impl<H: Hal> Owners<'_, H> {
    /// Ends the grants of the first segments of a slot's request, so many as were made, and gives back the frontend's own
    /// pages. Answers a grant that could not be ended. `forget`: grants are gone, there is nothing to end.
    // Two callers, of which one is rare.
    #[inline(always)]
    fn take_back(self, slot: &Slot, shadow: &Shadow, made: usize, forget: bool) -> Option<GrantRef> {
        let Self { hal, grants, pool, blocks } = self;
        let held = if shadow.is_copied() {
            pool.give(hal, grants, shadow.pages, made, forget)
        } else if forget {
            None
        } else if shadow.is_indirect() {
            blocks.end_all(hal, grants, &slot.chain, made)
        } else {
            grants.end_all(hal, &slot.row[..made])
        };
        if shadow.is_indirect() {
            blocks.give(&slot.chain, shadow.segments.into());
        }
        held
    }
}

impl Slot {
    /// Returns the request in flight that a response is for.
    #[inline]
    fn answered(&self, response: &wire::Response, ring: &Ring) -> Result<&Shadow, Fault> {
        let wire::Response { id, operation: found, .. } = *response;
        let shadow = match &self.request {
            Some(shadow) if ring.is_pushed(shadow.index) => shadow,
            _ => return Err(Fault::NotInFlight { id }),
        };
        let expected = shadow.wire_operation;
        // blkback names the operation inside an indirect request, others may name the request.
        if found == expected || shadow.is_indirect() && found == wire::OP_INDIRECT {
            return Ok(shadow);
        }
        Err(Fault::Operation { expected, found })
    }
}

/// Shows the caller what a copied read brought.
#[inline]
fn deliver(shadow: &Shadow, pool: &Pool, arrived: &mut impl FnMut(Arrived<'_>)) {
    let Shadow { tag, mut offset, bytes, pages, .. } = *shadow;
    let mut left = bytes as usize;
    for page in pool.walk(pages.first) {
        let length = left.min(PAGE_SIZE);
        arrived(Arrived { tag, offset, memory: page.memory(), length });
        offset += length;
        left -= length;
        if left == 0 {
            break;
        }
    }
}
