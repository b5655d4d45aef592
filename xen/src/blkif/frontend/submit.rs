//! Requests onto the ring.

use zerocopy::IntoBytes;

use super::super::pool::Pool;
use super::super::{Disk, Error, Failure, FlushMethod, SECTOR_SIZE, SECTORS_PER_PAGE};
use super::{Copied, Frontend, Operation, Records, Request, Segment, Shadow, Slot, State};
use crate::wire::blkif as wire;
use crate::{Access, GrantRef, Hal, PAGE_SIZE, SharedMemory, grant};

/// One segment as it is sent, and its private record.
struct Part {
    reference: GrantRef,
    record: u32,
    first_sector: u8,
    last_sector: u8,
}

/// The head of a request, before its segments.
struct Head {
    tag: usize,
    operation: Operation,
    wire_operation: u8,
    sector: u64,
    segments: usize,
    copied: Option<(usize, usize)>,
}

impl<H: Hal> Frontend<H> {
    /// Writes a request to the ring; the backend sees it after [`Frontend::push`]. *Dispatch*.
    ///
    /// The pages of a read may change until the request comes back, those of a write must not.
    ///
    /// # Errors
    /// See [`Error`]; the request will not come back. [`Error::Full`] and [`crate::grant::Error::Exhausted`]
    /// pass with the next completion. After [`crate::grant::Error::InUse`] the request's pages must never be
    /// used for anything else. [`Error::CopyOnly`] with persistent grants.
    pub fn submit(&mut self, request: &Request<'_>) -> Result<(), Error> {
        let Request { tag, operation, sector, segments } = *request;
        if operation == Operation::Flush && segments.is_empty() {
            return self.flush(tag);
        }
        let sectors = segments.iter().map(Segment::sectors).sum();
        self.submit_pages(tag, operation, sector, sectors, segments.len(), segments.iter().copied())
    }

    /// Submits like [`Frontend::submit`], for `count` segments of `sectors` in all, which come one by one.
    /// *Dispatch*.
    ///
    /// # Errors
    /// As there.
    pub fn submit_pages(
        &mut self,
        tag: usize,
        operation: Operation,
        sector: u64,
        sectors: u64,
        count: usize,
        mut segments: impl Iterator<Item = Segment>,
    ) -> Result<(), Error> {
        let wire_operation = transfer(operation, self.connected()?)?;
        self.check(sector, sectors, count)?;
        if self.config.persistent {
            return Err(Error::CopyOnly);
        }
        let domain = self.domain;
        // What is written to the disk, the backend has no reason to change.
        let access = if operation == Operation::Write { Access::ReadOnly } else { Access::ReadWrite };
        let head = Head { tag, operation, wire_operation, sector, segments: count, copied: None };
        self.send(head, |hal, _, index| {
            let segment = segments.next().ok_or(Error::Segments { found: index, limit: count })?;
            let Segment { frame, first_sector: first, last_sector: last } = segment;
            if first > last || last >= SECTORS_PER_PAGE {
                return Err(Error::Segment { index, first, last });
            }
            let reference = hal.grant_access(domain, frame, access).map_err(Error::Grant)?;
            Ok(Part { reference, record: reference.0, first_sector: first, last_sector: last })
        })
    }

    /// Writes a request to the ring whose data goes through the frontend's own pages. For a write `fill` is
    /// called for each page, with the offset in the caller's data and the number of bytes to put at the
    /// page's start. What a read brings comes with [`Frontend::take`]. *Dispatch*.
    ///
    /// # Errors
    /// As [`Frontend::submit`]. [`Error::Full`] also where fewer pages are free than the request needs.
    pub fn submit_copied(
        &mut self,
        request: &Copied,
        mut fill: impl FnMut(usize, usize, &SharedMemory),
    ) -> Result<(), Error> {
        let Copied { tag, operation, sector, bytes, offset } = *request;
        let wire_operation = transfer(operation, self.connected()?)?;
        let count = bytes.div_ceil(PAGE_SIZE);
        if !bytes.is_multiple_of(SECTOR_SIZE as usize) {
            return Err(Error::Unaligned { address: 0, length: bytes as u32 });
        }
        self.check(sector, (bytes / SECTOR_SIZE as usize) as u64, count)?;
        if count > self.pool.available() {
            return Err(Error::Full);
        }
        let domain = self.domain;
        let access = if operation == Operation::Write { Access::ReadOnly } else { Access::ReadWrite };
        let copied = Some((offset, bytes));
        let head = Head { tag, operation, wire_operation, sector, segments: count, copied };
        self.send(head, |hal, pool, index| {
            let mut page = pool.take().ok_or(Error::Full)?;
            let reference = match pool.grant(hal, domain, page, access) {
                Ok(reference) => reference,
                Err(error) => {
                    pool.give(hal, page, false);
                    page = pool.take_reserved().ok_or(Error::Grant(error))?;
                    pool.grant(hal, domain, page, access).map_err(Error::Grant)?
                }
            };
            let done = index * PAGE_SIZE;
            let length = (bytes - done).min(PAGE_SIZE);
            if let (Operation::Write, Some(memory)) = (operation, pool.memory(page)) {
                fill(offset + done, length, memory);
            }
            let last_sector = (length / SECTOR_SIZE as usize - 1) as u8;
            Ok(Part { reference, record: page.into(), first_sector: 0, last_sector })
        })
    }

    /// Writes a flush to the ring, by the operation that the backend has. *Dispatch*.
    ///
    /// # Errors
    /// [`Error::FlushUnsupported`], [`Error::Full`], and where there is no backend.
    pub fn flush(&mut self, tag: usize) -> Result<(), Error> {
        let wire_operation = match self.connected()?.flush {
            FlushMethod::Flush => wire::OP_FLUSH_DISKCACHE,
            FlushMethod::Barrier => wire::OP_WRITE_BARRIER,
            FlushMethod::None => return Err(Error::FlushUnsupported),
        };
        let operation = Operation::Flush;
        let head = Head { tag, operation, wire_operation, sector: 0, segments: 0, copied: None };
        self.send(head, |_, _, _| Err(Error::Full))
    }

    /// Writes a discard of `sectors` sectors to the ring. *Dispatch*.
    ///
    /// # Errors
    /// [`Error::DiscardUnsupported`], [`Error::ReadOnly`], [`Error::Range`], [`Error::Block`],
    /// [`Error::Full`], and where there is no backend.
    pub fn discard(&mut self, tag: usize, sector: u64, sectors: u64) -> Result<(), Error> {
        let disk = self.connected()?;
        if disk.discard.is_none() {
            return Err(Error::DiscardUnsupported);
        }
        if disk.read_only {
            return Err(Error::ReadOnly);
        }
        disk.check(sector, sectors)?;
        let slot = self.free.ok_or(Error::Full)?;
        let message = wire::Discard {
            operation: wire::OP_DISCARD,
            handle: self.handle,
            id: slot.into(),
            sector_number: sector,
            nr_sectors: sectors,
            ..wire::Discard::default()
        };
        let shadow = Shadow {
            tag,
            operation: Operation::Discard,
            wire_operation: wire::OP_DISCARD,
            index: 0,
            segments: 0,
            copied: None,
            records: Records::Inline([0; wire::MAX_SEGMENTS]),
        };
        self.put(slot, shadow, message.as_bytes())
    }

    fn connected(&self) -> Result<&Disk, Error> {
        match &self.state {
            State::Connected(disk) => Ok(disk),
            State::Broken(fault) => Err(Error::Broken(*fault)),
            State::Offered | State::Disconnected | State::Forgotten => Err(Error::NotConnected),
        }
    }

    fn check(&self, sector: u64, sectors: u64, segments: usize) -> Result<(), Error> {
        let limit = self.segments();
        if segments > limit || segments == 0 {
            return Err(Error::Segments { found: segments, limit });
        }
        self.connected()?.check(sector, sectors)
    }

    /// Writes a request whose segments `part` makes one by one; those made are taken back if one fails.
    fn send(
        &mut self,
        head: Head,
        mut part: impl FnMut(&H, &mut Pool, usize) -> Result<Part, Error>,
    ) -> Result<(), Error> {
        let Head { tag, operation, wire_operation, sector, segments, copied } = head;
        let slot = self.free.ok_or(Error::Full)?;
        let records = if segments <= wire::MAX_SEGMENTS {
            Records::Inline([0; wire::MAX_SEGMENTS])
        } else {
            Records::Indirect(self.blocks.take(segments).ok_or(Error::Full)?)
        };
        let mut shadow = Shadow { tag, operation, wire_operation, index: 0, segments: 0, copied, records };
        let mut message = wire::Request {
            operation: wire_operation,
            nr_segments: segments as u8,
            handle: self.handle,
            id: slot.into(),
            sector_number: sector,
            ..wire::Request::default()
        };
        for index in 0..segments {
            let part = match part(&self.hal, &mut self.pool, index) {
                Ok(part) => part,
                Err(error) => return Err(self.withdraw(&shadow, segments, error)),
            };
            let segment = wire::Segment {
                gref: part.reference.0,
                first_sect: part.first_sector,
                last_sect: part.last_sector,
                pad: [0; 2],
            };
            match &mut shadow.records {
                Records::Inline(records) => {
                    records[index] = part.record;
                    message.seg[index] = segment;
                }
                Records::Indirect(chain) => self.blocks.set(chain, index, &segment, part.record),
            }
            shadow.segments += 1;
        }
        let sent = match &shadow.records {
            // Only what is used of the slot.
            Records::Inline(_) => {
                let length =
                    core::mem::offset_of!(wire::Request, seg) + segments * size_of::<wire::Segment>();
                self.put(slot, shadow, &message.as_bytes()[..length])
            }
            Records::Indirect(chain) => {
                let indirect = wire::Indirect {
                    operation: wire::OP_INDIRECT,
                    indirect_op: wire_operation,
                    nr_segments: segments as u16,
                    id: slot.into(),
                    sector_number: sector,
                    handle: self.handle,
                    indirect_grefs: self.blocks.grants(chain, segments),
                    ..wire::Indirect::default()
                };
                self.put(slot, shadow, indirect.as_bytes())
            }
        };
        // As many slots as the ring has, so a free one means room; otherwise the request is taken back.
        sent.map_err(|error| self.withdraw(&shadow, segments, error))
    }

    fn put(&mut self, slot: u16, mut shadow: Shadow, message: &[u8]) -> Result<(), Error> {
        let place = &mut self.slots[usize::from(slot)];
        let (Slot::Free(next), Some(ring)) = (*place, &mut self.ring) else { return Err(Error::Full) };
        shadow.index = ring.put(message).ok_or(Error::Full)?;
        *place = Slot::InFlight(shadow);
        self.free = next;
        self.in_flight += 1;
        Ok(())
    }

    /// Takes back what was made of a request that could not be sent. Returns the error to answer with.
    fn withdraw(&mut self, shadow: &Shadow, segments: usize, error: Error) -> Error {
        let held = self.release(shadow);
        if let Records::Indirect(chain) = &shadow.records {
            self.blocks.give(chain, segments);
        }
        match held {
            Some(reference) if shadow.copied.is_none() => Error::Grant(grant::Error::InUse { reference }),
            _ => error,
        }
    }

    /// Ends a request's grants and gives back its pages. A grant that cannot be ended is a fault of the
    /// backend's.
    pub(super) fn release(&mut self, shadow: &Shadow) -> Option<GrantRef> {
        let forget = self.state == State::Forgotten;
        let mut held = None;
        for index in 0..usize::from(shadow.segments) {
            let record = match &shadow.records {
                Records::Inline(records) => records[index],
                Records::Indirect(chain) => self.blocks.record(chain, index),
            };
            let kept = if shadow.copied.is_some() {
                self.pool.give(&self.hal, record as u16, forget)
            } else if forget {
                None
            } else {
                let reference = GrantRef(record);
                self.hal.end_access(reference).is_err().then_some(reference)
            };
            held = kept.or(held);
        }
        if let Some(reference) = held {
            self.fail(super::Fault::GrantHeld { reference });
        }
        held
    }

    /// Gives back a request's slot with all that belongs to it.
    pub(super) fn retire(
        &mut self,
        slot: usize,
        shadow: &Shadow,
        result: Result<(), Failure>,
    ) -> super::Completion {
        let held = self.release(shadow);
        if let Records::Indirect(chain) = &shadow.records {
            self.blocks.give(chain, shadow.segments.into());
        }
        self.slots[slot] = Slot::Free(self.free);
        self.free = Some(slot as u16);
        self.in_flight -= 1;
        super::Completion {
            tag: shadow.tag,
            operation: shadow.operation,
            result,
            pages_held: held.is_some() && shadow.copied.is_none(),
        }
    }
}

/// Returns the operation to send for a read or write.
fn transfer(operation: Operation, disk: &Disk) -> Result<u8, Error> {
    match operation {
        Operation::Read => Ok(wire::OP_READ),
        Operation::Write if disk.read_only => Err(Error::ReadOnly),
        Operation::Write => Ok(wire::OP_WRITE),
        Operation::Flush | Operation::Discard => Err(Error::Segments { found: 1, limit: 0 }),
    }
}
