//! Responses off the ring.

use super::super::{Failure, Fault};
use super::{Arrived, Completion, Frontend, Operation, Shadow, State};
use crate::wire::blkif as wire;
use crate::{Hal, PAGE_SIZE};

/// A response that has been checked: the number of its slot, and the request's result.
struct Answer {
    number: usize,
    result: Result<(), Failure>,
}

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
        if self.disk.is_some() {
            match self.take_response() {
                Ok(Some(Answer { number, result })) => {
                    return self.complete(number, result, arrived);
                }
                Ok(None) => return None,
                Err(fault) => self.fail(fault),
            }
        }
        self.abort()
    }

    /// Asks to be notified of the next response. Returns whether a response is there already, which may not be
    /// announced: take it, then ask again. *Dispatch*.
    #[inline]
    #[must_use]
    pub fn rearm(&mut self) -> bool {
        self.disk.is_some() && self.ring.rearm(1)
    }

    /// Takes the next response, and checks it.
    // The call would copy the request.
    #[inline(always)]
    fn take_response(&mut self) -> Result<Option<Answer>, Fault> {
        let Some(response) = self.ring.take().map_err(Fault::Overrun)? else { return Ok(None) };
        let response: wire::Response = zerocopy::transmute!(response);

        let id = response.id;
        let number = usize::try_from(id).unwrap_or(usize::MAX);
        let shadow = match self.slots.get(number).map(|slot| &slot.request) {
            Some(Some(shadow)) if self.ring.is_pushed(shadow.index) => shadow,
            Some(_) => return Err(Fault::NotInFlight { id }),
            None => return Err(Fault::UnknownId { id, slots: self.slots.len() as u32 }),
        };
        // blkback names the operation inside an indirect request, others may name the request.
        let known = response.operation == shadow.wire_operation
            || shadow.pages > 0 && response.operation == wire::OP_INDIRECT;
        if !known {
            return Err(Fault::Operation { expected: shadow.wire_operation, found: response.operation });
        }
        let result = match response.status {
            wire::RSP_OKAY => Ok(()),
            wire::RSP_ERROR => Err(Failure::Backend),
            wire::RSP_EOPNOTSUPP => {
                self.unlearn(shadow.operation);
                Err(Failure::NotSupported)
            }
            found => return Err(Fault::Status { found }),
        };
        Ok(Some(Answer { number, result }))
    }

    /// Ends the request of a slot that is in flight.
    #[inline]
    fn complete(
        &mut self,
        number: usize,
        mut result: Result<(), Failure>,
        arrived: &mut impl FnMut(Arrived<'_>),
    ) -> Option<Completion> {
        let shadow = self.slots[number].request.as_ref()?;
        let Shadow { tag, operation, bytes, .. } = *shadow;
        if result.is_ok() && operation == Operation::Read && bytes > 0 {
            self.deliver(number, shadow, arrived);
        }
        let held = self.retire(number).is_some();
        if held && let State::Broken(_) = self.state {
            result = Err(Failure::Broken);
        }
        Some(Completion { tag, operation, result, pages_held: held && bytes == 0 })
    }

    /// Shows the caller what a copied read brought.
    #[inline]
    fn deliver(&self, number: usize, shadow: &Shadow, arrived: &mut impl FnMut(Arrived<'_>)) {
        let Shadow { tag, offset, bytes, segments, pages, .. } = *shadow;
        let slot = &self.slots[number];
        let (mut offset, mut left) = (offset, bytes as usize);
        let mut show = |records: &[u32]| {
            for page in records {
                let length = left.min(PAGE_SIZE);
                if let Some(memory) = self.pool.memory(*page) {
                    arrived(Arrived { tag, offset, memory, length });
                }
                offset += length;
                left -= length;
            }
        };
        if pages == 0 {
            show(&slot.row[..segments.into()]);
        } else {
            self.blocks.records(&slot.chain[..pages.into()], segments.into()).for_each(show);
        }
    }

    /// Takes back one request in flight, since nothing comes from the backend any more.
    #[cold]
    #[inline(never)]
    fn abort(&mut self) -> Option<Completion> {
        let failure = if self.fault().is_some() { Failure::Broken } else { Failure::Disconnected };
        let mut slots = self.slots.iter();
        let number = slots.position(|slot| slot.request.is_some())?;
        self.complete(number, Err(failure), &mut |_| ())
    }
}
