//! The ring: requests out, completions back, nothing of the backend's believed.

use super::{Disk, Error, Failure, Fault, FlushMethod, SECTORS_PER_PAGE, Vbd};
use crate::ring::Front;
use crate::wire::blkif as wire;
use crate::{Access, DomainId, Frame, GrantRef, Hal, Port, grant};

type Ring = Front<wire::Request, wire::Response>;

/// Requests that can be in flight, with a ring of one page.
pub const SLOTS: usize = Ring::SLOTS as usize;

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Disk to memory.
    Read,
    /// Memory to disk.
    Write,
    /// Makes every write durable that completed before.
    Flush,
}

/// A run of sectors in one page of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The page's guest frame.
    pub frame: Frame,
    /// First sector of 512 bytes, 0–7.
    pub first_sector: u8,
    /// Last sector, inclusive.
    pub last_sector: u8,
}

impl Segment {
    /// Sectors in the run. Meaningless unless `first ≤ last`.
    pub const fn sectors(&self) -> u64 {
        self.last_sector.wrapping_sub(self.first_sector) as u64 + 1
    }
}

/// One ring request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The caller's own; comes back with the completion.
    pub tag: usize,
    /// What to do.
    pub operation: Operation,
    /// First sector of 512 bytes on the disk; 0 for a flush.
    pub sector: u64,
    /// Memory, in order, 1 to [`super::MAX_SEGMENTS`]; none for a flush.
    pub segments: &'a [Segment],
}

/// A request that came back. Each submitted request comes back exactly once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The request's.
    pub tag: usize,
    /// The request's.
    pub operation: Operation,
    /// What became of it.
    pub result: Result<(), Failure>,
    /// The backend can still reach pages of this request, since grants of it could not be ended: the memory
    /// must never be used for anything else. Only with a failure.
    pub pages_held: bool,
}

/// Private record of a request in flight.
#[derive(Clone, Copy, Debug)]
struct Shadow {
    tag: usize,
    operation: Operation,
    /// Operation as sent.
    wire_operation: u8,
    /// The request's index on the ring.
    index: u32,
    grants: [GrantRef; wire::MAX_SEGMENTS],
    granted: usize,
}

#[derive(Clone, Copy, Debug)]
enum Slot {
    /// Free; the next free one.
    Free(Option<usize>),
    InFlight(Shadow),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not yet connected.
    Offered,
    Connected(Disk),
    Disconnected,
    Broken(Fault),
}

/// The frontend's half of one vbd's ring.
///
/// Not synchronised: its caller holds a lock around each call. [`Frontend::submit`], [`Frontend::push`] and
/// [`Frontend::poll`] neither wait nor allocate and may be called at *dispatch*; making and dropping it is
/// *passive*.
#[derive(Debug)]
pub struct Frontend<H: Hal> {
    hal: H,
    domain: DomainId,
    handle: u16,
    /// `None` only while being dropped.
    ring: Option<Ring>,
    ring_grant: GrantRef,
    port: Port,
    slots: [Slot; SLOTS],
    free: Option<usize>,
    in_flight: usize,
    state: State,
}

impl<H: Hal> Frontend<H> {
    /// A frontend with an empty ring, granted to the vbd's backend. *Passive*.
    ///
    /// # Errors
    /// [`Error::NoMemory`], [`Error::Grant`].
    pub fn new(hal: H, vbd: Vbd) -> Result<Self, Error> {
        let page = hal.alloc_shared_page().ok_or(Error::NoMemory)?;
        let ring = Ring::new(page);
        let domain = vbd.backend_domain;
        let ring_grant = match hal.grant_access(domain, ring.page().frame(), Access::ReadWrite) {
            Ok(reference) => reference,
            Err(error) => {
                free(&hal, ring);
                return Err(Error::Grant(error));
            }
        };
        let next = |slot| Some(slot + 1).filter(|next| *next < SLOTS);
        Ok(Self {
            hal,
            domain,
            // Backends take the device from xenstore; the field is too narrow for every number.
            handle: vbd.device.0 as u16,
            ring: Some(ring),
            ring_grant,
            port: Port(0),
            slots: core::array::from_fn(|slot| Slot::Free(next(slot))),
            free: Some(0),
            in_flight: 0,
            state: State::Offered,
        })
    }

    /// Grant of the ring's page, for [`super::Offer`].
    pub fn ring(&self) -> GrantRef {
        self.ring_grant
    }

    /// Begins to take requests: the link is connected, and `port` is the one that was offered. Without effect
    /// but at the start. *Dispatch*.
    pub fn connect(&mut self, port: Port, disk: Disk) {
        if self.state == State::Offered {
            self.port = port;
            self.state = State::Connected(disk);
        }
    }

    /// Takes over what changed of the disk, such as its size. Without effect unless connected. *Dispatch*.
    pub fn set_disk(&mut self, disk: Disk) {
        if let State::Connected(current) = &mut self.state {
            *current = disk;
        }
    }

    /// Takes no more requests. Those in flight come back from [`Frontend::poll`] as failed at once.
    /// *Dispatch*.
    ///
    /// The backend may still be working on them: this is for a backend that has closed, or that shall be
    /// given up.
    pub fn disconnect(&mut self) {
        if !matches!(self.state, State::Broken(_)) {
            self.state = State::Disconnected;
        }
    }

    /// The disk, while connected. *Dispatch*.
    pub fn disk(&self) -> Option<&Disk> {
        match &self.state {
            State::Connected(disk) => Some(disk),
            _ => None,
        }
    }

    /// How the backend broke the protocol, if it did. *Dispatch*.
    pub fn fault(&self) -> Option<Fault> {
        match self.state {
            State::Broken(fault) => Some(fault),
            _ => None,
        }
    }

    /// Requests that have not come back yet. *Dispatch*.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Requests that can be submitted now. *Dispatch*.
    pub fn room(&self) -> usize {
        SLOTS - self.in_flight
    }

    /// Writes a request to the ring; the backend sees it after [`Frontend::push`]. *Dispatch*.
    ///
    /// The pages of a read may change until the request comes back, those of a write must not.
    ///
    /// # Errors
    /// See [`Error`]; the request will not come back. [`Error::Full`] and [`crate::grant::Error::Exhausted`]
    /// pass with the next completion. After [`crate::grant::Error::InUse`] the request's pages must never be
    /// used for anything else.
    pub fn submit(&mut self, request: &Request<'_>) -> Result<(), Error> {
        let disk = match &self.state {
            State::Connected(disk) => disk,
            State::Broken(fault) => return Err(Error::Broken(*fault)),
            State::Offered | State::Disconnected => return Err(Error::NotConnected),
        };
        let wire_operation = check(request, disk)?;
        let slot = self.free.ok_or(Error::Full)?;
        let Slot::Free(next) = self.slots[slot] else { return Err(Error::Full) };

        let mut shadow = Shadow {
            tag: request.tag,
            operation: request.operation,
            wire_operation,
            index: 0,
            grants: [GrantRef(0); wire::MAX_SEGMENTS],
            granted: 0,
        };
        let mut message = wire::Request {
            operation: wire_operation,
            nr_segments: request.segments.len() as u8,
            handle: self.handle,
            id: slot as u64,
            sector_number: request.sector,
            ..wire::Request::default()
        };
        // What is written to the disk, the backend has no reason to change.
        let access = if request.operation == Operation::Write { Access::ReadOnly } else { Access::ReadWrite };
        for (segment, place) in request.segments.iter().zip(&mut message.seg) {
            let reference = match self.hal.grant_access(self.domain, segment.frame, access) {
                Ok(reference) => reference,
                Err(error) => return Err(self.withdraw(&shadow, error)),
            };
            shadow.grants[shadow.granted] = reference;
            shadow.granted += 1;
            *place = wire::Segment {
                gref: reference.0,
                first_sect: segment.first_sector,
                last_sect: segment.last_sector,
                pad: [0; 2],
            };
        }
        // As many slots as the ring has, so a free one means room; otherwise the request is taken back.
        let Some(index) = self.ring.as_mut().and_then(|ring| ring.put(&message)) else {
            return match self.end_grants(&shadow) {
                None => Err(Error::Full),
                Some(reference) => Err(Error::Grant(grant::Error::InUse { reference })),
            };
        };
        shadow.index = index;
        self.slots[slot] = Slot::InFlight(shadow);
        self.free = next;
        self.in_flight += 1;
        Ok(())
    }

    /// Lets the backend see what was submitted, and notifies it if it wants that. *Dispatch*.
    pub fn push(&mut self) {
        let connected = matches!(self.state, State::Connected(_));
        if connected && self.ring.as_mut().is_some_and(Ring::push) {
            self.hal.notify(self.port);
        }
    }

    /// The next request that came back. Call it until it answers `None` after each notification: only then
    /// the backend notifies again. *Dispatch*.
    pub fn poll(&mut self) -> Option<Completion> {
        loop {
            let failure = match self.state {
                State::Broken(fault) => Failure::Broken(fault),
                State::Disconnected => Failure::Disconnected,
                State::Offered | State::Connected(_) => match self.take() {
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

    /// The next response, checked.
    fn take(&mut self) -> Result<Option<Completion>, Fault> {
        let Some(ring) = &mut self.ring else { return Ok(None) };
        let response = loop {
            match ring.take().map_err(Fault::Overrun)? {
                Some(response) => break response,
                // Nothing here, but one that came before the backend could see our wish is not announced.
                None if ring.rearm() => {}
                None => return Ok(None),
            }
        };

        let id = response.id;
        let slot = usize::try_from(id).ok().filter(|slot| *slot < SLOTS);
        let slot = slot.ok_or(Fault::UnknownId { id, slots: Ring::SLOTS })?;
        let shadow = match self.slots[slot] {
            Slot::InFlight(shadow) if ring.is_pushed(shadow.index) => shadow,
            _ => return Err(Fault::NotInFlight { id }),
        };
        if response.operation != shadow.wire_operation {
            return Err(Fault::Operation { expected: shadow.wire_operation, found: response.operation });
        }
        let result = match response.status {
            wire::RSP_OKAY => Ok(()),
            wire::RSP_ERROR => Err(Failure::Backend),
            wire::RSP_EOPNOTSUPP => Err(Failure::NotSupported),
            found => return Err(Fault::Status { found }),
        };
        let mut completion = self.retire(slot, &shadow, result);
        if let Some(fault) = self.fault() {
            completion.result = Err(Failure::Broken(fault));
        }
        Ok(Some(completion))
    }

    /// Takes back one request in flight.
    fn abort(&mut self, failure: Failure) -> Option<Completion> {
        let (slot, shadow) = self.slots.iter().enumerate().find_map(|(slot, state)| match state {
            Slot::InFlight(shadow) => Some((slot, *shadow)),
            Slot::Free(_) => None,
        })?;
        Some(self.retire(slot, &shadow, Err(failure)))
    }

    /// Ends a request's grants and frees its slot.
    fn retire(&mut self, slot: usize, shadow: &Shadow, result: Result<(), Failure>) -> Completion {
        let held = self.end_grants(shadow);
        self.slots[slot] = Slot::Free(self.free);
        self.free = Some(slot);
        self.in_flight -= 1;
        Completion { tag: shadow.tag, operation: shadow.operation, result, pages_held: held.is_some() }
    }

    /// A request that could not be granted as a whole: ends what was granted of it.
    fn withdraw(&mut self, shadow: &Shadow, error: grant::Error) -> Error {
        match self.end_grants(shadow) {
            None => Error::Grant(error),
            Some(reference) => Error::Grant(grant::Error::InUse { reference }),
        }
    }

    /// Ends a request's grants. One that cannot be ended is a fault of the backend's.
    fn end_grants(&mut self, shadow: &Shadow) -> Option<GrantRef> {
        let mut held = None;
        for &reference in &shadow.grants[..shadow.granted] {
            if self.hal.end_access(reference).is_err() {
                held = Some(reference);
            }
        }
        if let Some(reference) = held {
            self.fail(Fault::GrantHeld { reference });
        }
        held
    }

    /// Breaks with the backend; the first fault stays.
    fn fail(&mut self, fault: Fault) {
        if matches!(self.state, State::Offered | State::Connected(_)) {
            self.state = State::Broken(fault);
            self.hal.log(format_args!("vbd: {fault}; no further requests"));
        }
    }
}

impl<H: Hal> Drop for Frontend<H> {
    fn drop(&mut self) {
        self.disconnect();
        while self.poll().is_some() {}
        match self.hal.end_access(self.ring_grant) {
            Ok(()) => {
                if let Some(ring) = self.ring.take() {
                    free(&self.hal, ring);
                }
            }
            Err(error) => self.hal.log(format_args!("vbd: the ring's page is kept for good: {error}")),
        }
    }
}

/// Frees the page of a ring that no grant is left of.
#[expect(unsafe_code, reason = "calls a Hal method with a safety contract")]
fn free<H: Hal>(hal: &H, ring: Ring) {
    // SAFETY: the page came from this hal in `Frontend::new`, and its only grant was never made or has ended.
    unsafe { hal.free_shared_page(ring.into_page()) };
}

/// Checks a request against the disk; answers the operation to send.
fn check(request: &Request<'_>, disk: &Disk) -> Result<u8, Error> {
    let Request { operation, sector, segments, .. } = *request;
    let limit = if operation == Operation::Flush { 0 } else { wire::MAX_SEGMENTS };
    if segments.len() > limit || segments.is_empty() != (limit == 0) {
        return Err(Error::Segments { found: segments.len(), limit });
    }
    let mut count = 0;
    for (index, segment) in segments.iter().enumerate() {
        let Segment { first_sector: first, last_sector: last, .. } = *segment;
        if first > last || last >= SECTORS_PER_PAGE {
            return Err(Error::Segment { index, first, last });
        }
        count += segment.sectors();
    }
    disk.check(sector, count)?;
    match (operation, disk.flush) {
        (Operation::Read, _) => Ok(wire::OP_READ),
        (Operation::Write, _) if disk.read_only => Err(Error::ReadOnly),
        (Operation::Write, _) => Ok(wire::OP_WRITE),
        (Operation::Flush, FlushMethod::Flush) => Ok(wire::OP_FLUSH_DISKCACHE),
        (Operation::Flush, FlushMethod::Barrier) => Ok(wire::OP_WRITE_BARRIER),
        (Operation::Flush, FlushMethod::None) => Err(Error::FlushUnsupported),
    }
}

#[cfg(test)]
mod tests;
