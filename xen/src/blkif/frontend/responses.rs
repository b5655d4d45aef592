//! Responses off the ring.

use super::super::{Failure, Fault};
use super::{Arrived, Completion, Frontend, Operation, Shadow, Slot, State};
use crate::wire::blkif as wire;
use crate::{Hal, PAGE_SIZE};

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
        loop {
            let failure = match self.state {
                State::Broken(_) => Failure::Broken,
                State::Disconnected | State::Forgotten => Failure::Disconnected,
                State::Offered | State::Connected(_) => match self.take_response(arrived) {
                    Ok(taken) => return taken,
                    Err(fault) => {
                        self.fail(fault);
                        continue;
                    }
                },
            };
            return self.abort(failure);
        }
    }

    /// Asks to be notified of the next response. Returns whether a response is there already, which may not be
    /// announced: take it, then ask again. *Dispatch*.
    #[must_use]
    pub fn rearm(&mut self) -> bool {
        let (State::Connected(_), Some(ring)) = (self.state, &mut self.ring) else { return false };
        ring.rearm(1)
    }

    /// Returns the next response, checked.
    fn take_response(&mut self, arrived: &mut impl FnMut(Arrived<'_>)) -> Result<Option<Completion>, Fault> {
        let Some(ring) = &mut self.ring else { return Ok(None) };
        let Some(response) = ring.take().map_err(Fault::Overrun)? else { return Ok(None) };
        let response: wire::Response = zerocopy::transmute!(response);

        let id = response.id;
        let slot = usize::try_from(id).ok().filter(|slot| *slot < self.slots.len());
        let slot = slot.ok_or(Fault::UnknownId { id, slots: self.slots.len() as u32 })?;
        let shadow = match self.slots[slot] {
            Slot::InFlight(shadow) if ring.is_pushed(shadow.index) => shadow,
            _ => return Err(Fault::NotInFlight { id }),
        };
        // blkback names the operation inside an indirect request, others may name the request.
        let known = response.operation == shadow.wire_operation
            || shadow.pages > 0 && response.operation == wire::OP_INDIRECT;
        if !known {
            return Err(Fault::Operation { expected: shadow.wire_operation, found: response.operation });
        }
        let mut result = match response.status {
            wire::RSP_OKAY => Ok(()),
            wire::RSP_ERROR => Err(Failure::Backend),
            wire::RSP_EOPNOTSUPP => {
                self.unlearn(shadow.operation);
                Err(Failure::NotSupported)
            }
            found => return Err(Fault::Status { found }),
        };
        if result.is_ok() && shadow.operation == Operation::Read && shadow.bytes > 0 {
            self.deliver(slot, &shadow, arrived);
        }
        let pages_held = self.retire(slot, &shadow);
        if let State::Broken(_) = self.state {
            result = Err(Failure::Broken);
        }
        let Shadow { tag, operation, .. } = shadow;
        Ok(Some(Completion { tag, operation, result, pages_held }))
    }

    /// Shows the caller what a copied read brought.
    fn deliver(&self, slot: usize, shadow: &Shadow, arrived: &mut impl FnMut(Arrived<'_>)) {
        let Shadow { tag, offset, .. } = *shadow;
        let bytes = shadow.bytes as usize;
        let (mut done, mut place) = (0, 0);
        while done < bytes {
            let pages = match shadow.pages {
                0 => &self.rows[slot][..],
                _ => self.blocks.records(&self.chains[slot], place),
            };
            for page in &pages[..pages.len().min((bytes - done).div_ceil(PAGE_SIZE))] {
                if let Some(memory) = self.pool.memory(*page as u16) {
                    let length = (bytes - done).min(PAGE_SIZE);
                    arrived(Arrived { tag, offset: offset + done, memory, length });
                }
                done += PAGE_SIZE;
            }
            place += 1;
        }
    }

    /// Takes back one request in flight.
    fn abort(&mut self, failure: Failure) -> Option<Completion> {
        let (slot, shadow) = self.slots.iter().enumerate().find_map(|(slot, state)| match state {
            Slot::InFlight(shadow) => Some((slot, *shadow)),
            Slot::Free(_) => None,
        })?;
        let pages_held = self.retire(slot, &shadow);
        let Shadow { tag, operation, .. } = shadow;
        Some(Completion { tag, operation, result: Err(failure), pages_held })
    }
}
