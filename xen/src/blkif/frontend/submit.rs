//! Requests onto the ring.

use core::slice;
use core::sync::atomic::{AtomicU64, Ordering};

use super::super::pool::Pool;
use super::super::{Disk, Error, FlushMethod, SECTOR_SIZE, SECTORS_PER_PAGE};
use super::{Copied, Frontend, Operation, REQUEST_WORDS, Request, Segment, Shadow, Slot, State};
use crate::wire::blkif::{self as wire, SEGMENTS_PER_PAGE};
use crate::{Access, DomainId, GrantRef, Hal, PAGE_SIZE, SharedMemory, grant};

/// Words of a request before its segments.
const HEAD: usize = core::mem::offset_of!(wire::Request, seg) / size_of::<u64>();
const INDIRECT_WORDS: usize = size_of::<wire::Indirect>() / size_of::<u64>();

/// Segments that are made at once: no fewer than fit a ring slot. A page of segments holds a multiple of them.
const BATCH: usize = 64;

const _: () = assert!(BATCH >= wire::MAX_SEGMENTS && SEGMENTS_PER_PAGE.is_multiple_of(BATCH));
// A batch gets its grants at once, and those of a page of segments end at once.
const _: () = assert!(BATCH <= grant::MOST && SEGMENTS_PER_PAGE <= grant::MOST);

/// A run of sectors in a page: the first, and above it the last, as a segment has them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sectors(u16);

impl Sectors {
    /// All of a page.
    pub(crate) const WHOLE: Self = Self::new(0, SECTORS_PER_PAGE - 1);

    /// Returns the run from `first` to `last`, 0–7.
    #[inline]
    pub(crate) const fn new(first: u8, last: u8) -> Self {
        Self(u16::from_le_bytes([first, last]))
    }

    /// Returns the first sector.
    #[cfg(test)]
    pub(crate) const fn first(self) -> u8 {
        self.0.to_le_bytes()[0]
    }

    /// Returns the last sector.
    #[cfg(test)]
    pub(crate) const fn last(self) -> u8 {
        self.0.to_le_bytes()[1]
    }

    /// Returns the segment as it goes to the backend.
    #[inline]
    const fn word(self, reference: GrantRef) -> u64 {
        reference.0 as u64 | (self.0 as u64) << 32
    }
}

/// Segments of a request, one after the other.
pub(crate) trait SegmentSource {
    /// Hands out the next segments, as many as `frames` has places for and there are: frames and their sectors, of
    /// which there are as many places. Answers how many were handed out.
    ///
    /// # Errors
    /// [`Error::Segment`], [`grant::Error::FrameTooLarge`], for a segment that was not handed out.
    fn hand_out(&mut self, frames: &mut [u32], sectors: &mut [Sectors]) -> (usize, Result<(), Error>);
}

impl SegmentSource for slice::Iter<'_, Segment> {
    fn hand_out(&mut self, frames: &mut [u32], sectors: &mut [Sectors]) -> (usize, Result<(), Error>) {
        let mut taken = 0;
        for ((place, sectors), segment) in frames.iter_mut().zip(sectors).zip(self) {
            let Segment { frame, first_sector: first, last_sector: last } = *segment;
            if first > last || last >= SECTORS_PER_PAGE {
                return (taken, Err(Error::Segment { first, last }));
            }
            let Ok(number) = frame.0.try_into() else {
                return (taken, Err(Error::Grant(grant::Error::FrameTooLarge { frame })));
            };
            (*place, *sectors) = (number, Sectors::new(first, last));
            taken += 1;
        }
        (taken, Ok(()))
    }
}

/// A place for a segment's word.
trait Place {
    fn set(self, word: u64);
}

impl Place for &mut u64 {
    #[inline]
    fn set(self, word: u64) {
        *self = word;
    }
}

impl Place for &AtomicU64 {
    #[inline]
    fn set(self, word: u64) {
        self.store(word, Ordering::Relaxed);
    }
}

/// Means of making segments.
struct Means<'a, H> {
    hal: &'a H,
    grants: &'a mut grant::Cache,
    pool: &'a mut Pool,
}

/// A maker of a request's segments.
trait Maker<H> {
    /// Makes the segments from number `from` on, as many as there are records, at most [`BATCH`]: a record and a
    /// word, as it goes to the backend, for each. Answers how many were made, also where one fails.
    fn make(
        &mut self,
        means: &mut Means<'_, H>,
        from: usize,
        words: impl Iterator<Item = impl Place>,
        records: &mut [u32],
    ) -> (usize, Result<(), Error>);
}

/// The maker for a request without segments.
struct NoSegments;

impl<H> Maker<H> for NoSegments {
    fn make(
        &mut self,
        _: &mut Means<'_, H>,
        _: usize,
        _: impl Iterator<Item = impl Place>,
        _: &mut [u32],
    ) -> (usize, Result<(), Error>) {
        (0, Ok(()))
    }
}

/// The maker of segments of the caller's pages. A record is the grant.
struct Granted<'a, S> {
    segments: &'a mut S,
    terms: grant::Terms,
    /// Segments of the whole request.
    count: usize,
}

impl<H: Hal, S: SegmentSource> Maker<H> for Granted<'_, S> {
    #[inline]
    fn make(
        &mut self,
        means: &mut Means<'_, H>,
        from: usize,
        words: impl Iterator<Item = impl Place>,
        records: &mut [u32],
    ) -> (usize, Result<(), Error>) {
        let Means { hal, grants, .. } = means;
        let mut sectors = [Sectors::WHOLE; BATCH];
        let wanted = records.len();
        // The frames stand where their grants will.
        let (made, result) = self.segments.hand_out(records, &mut sectors);
        let (entries, references) = match grants.reserve(*hal, made) {
            Ok(reserved) => reserved,
            Err(error) => return (0, Err(Error::Grant(error))),
        };
        for (((record, sectors), reference), place) in
            records.iter_mut().zip(&sectors).zip(references).zip(words)
        {
            entries.grant(*reference, self.terms, *record);
            *record = reference.0;
            place.set(sectors.word(*reference));
        }
        grants.used(made);
        let short = Error::Segments { found: from + made, limit: self.count };
        (made, result.and(if made == wanted { Ok(()) } else { Err(short) }))
    }
}

/// The maker of segments of the frontend's own pages. A record is the page's number in the pool.
struct CopiedPages<F> {
    domain: DomainId,
    access: Access,
    /// Bytes of the whole request, and where they begin in the caller's data.
    bytes: usize,
    offset: usize,
    operation: Operation,
    fill: F,
}

impl<H: Hal, F: FnMut(usize, usize, &SharedMemory)> Maker<H> for CopiedPages<F> {
    #[inline]
    fn make(
        &mut self,
        Means { hal, grants, pool }: &mut Means<'_, H>,
        from: usize,
        words: impl Iterator<Item = impl Place>,
        records: &mut [u32],
    ) -> (usize, Result<(), Error>) {
        let mut references = [GrantRef(0); BATCH];
        let references = &mut references[..records.len()];
        let to = (self.domain, self.access);
        let (made, result) = pool.take_all(*hal, grants, to, records, references);
        let start = from * PAGE_SIZE;
        if self.operation == Operation::Write {
            for (index, page) in records[..made].iter().enumerate() {
                let done = start + index * PAGE_SIZE;
                if let Some(memory) = pool.memory(*page as u16) {
                    (self.fill)(self.offset + done, (self.bytes - done).min(PAGE_SIZE), memory);
                }
            }
        }
        // The last page of a request need not be whole.
        let last = (self.bytes - 1 - start) / PAGE_SIZE;
        for (index, (reference, place)) in references[..made].iter().zip(words).enumerate() {
            let sectors = if index == last { last_sectors(self.bytes) } else { Sectors::WHOLE };
            place.set(sectors.word(*reference));
        }
        (made, result)
    }
}

/// Returns the sectors in the last page of so many bytes, whole sectors and more than none.
const fn last_sectors(bytes: usize) -> Sectors {
    Sectors::new(0, ((bytes - 1) % PAGE_SIZE / SECTOR_SIZE as usize) as u8)
}

/// A request without its segments.
struct Head {
    tag: usize,
    operation: Operation,
    wire_operation: u8,
    sector: u64,
    segments: usize,
    /// For a copied request: where its data begins, and its length in bytes, which is 0 for others.
    offset: usize,
    bytes: usize,
}

impl Head {
    /// Returns the record of the request with so many segments made, in so many pages of their own.
    #[inline]
    fn shadow(&self, made: usize, pages: u8) -> Shadow {
        let Self { tag, operation, wire_operation, offset, bytes, .. } = *self;
        // Both are no more than a request can have.
        let (segments, bytes) = (made as u16, bytes as u32);
        Shadow { tag, offset, bytes, index: 0, segments, pages, operation, wire_operation }
    }
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
        self.check(sector, sectors, segments.len())?;
        self.submit_pages(tag, operation, sector, segments.len(), &mut segments.iter())
    }

    /// Submits like [`Frontend::submit`] so many segments, which the disk and a request have room for. *Dispatch*.
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub(crate) fn submit_pages(
        &mut self,
        tag: usize,
        operation: Operation,
        sector: u64,
        count: usize,
        segments: &mut impl SegmentSource,
    ) -> Result<(), Error> {
        let wire_operation = transfer(operation, self.connected()?)?;
        if self.config.persistent {
            return Err(Error::CopyOnly);
        }
        let domain = self.domain;
        // What is written to the disk, the backend has no reason to change.
        let access = if operation == Operation::Write { Access::ReadOnly } else { Access::ReadWrite };
        let head = Head { tag, operation, wire_operation, sector, segments: count, offset: 0, bytes: 0 };
        let terms = grant::Terms::new(domain, access);
        self.send(&head, Granted { segments, terms, count })
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
        fill: impl FnMut(usize, usize, &SharedMemory),
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
        let head = Head { tag, operation, wire_operation, sector, segments: count, offset, bytes };
        self.send(&head, CopiedPages { domain, access, bytes, offset, operation, fill })
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
        let head = Head { tag, operation, wire_operation, sector: 0, segments: 0, offset: 0, bytes: 0 };
        self.send(&head, NoSegments)
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
            offset: 0,
            bytes: 0,
            index: 0,
            segments: 0,
            pages: 0,
        };
        let message: [u64; size_of::<wire::Discard>() / size_of::<u64>()] = zerocopy::transmute!(message);
        self.put(slot, &shadow, &message)
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

    /// Writes a request; what was made of it is taken back if something fails.
    #[inline]
    fn send(&mut self, head: &Head, maker: impl Maker<H>) -> Result<(), Error> {
        let slot = self.free.ok_or(Error::Full)?;
        if head.segments <= wire::MAX_SEGMENTS {
            self.send_inside(slot, head, maker)
        } else {
            self.send_indirect(slot, head, maker)
        }
    }

    /// Writes a request whose segments are in it.
    #[inline]
    fn send_inside(&mut self, slot: u16, head: &Head, mut maker: impl Maker<H>) -> Result<(), Error> {
        let Head { wire_operation, sector, segments, .. } = *head;
        let mut message: [u64; REQUEST_WORDS] = zerocopy::transmute!(wire::Request {
            operation: wire_operation,
            nr_segments: segments as u8,
            handle: self.handle,
            id: slot.into(),
            sector_number: sector,
            ..wire::Request::default()
        });
        let Self { hal, grants, pool, rows, .. } = self;
        let words = message[HEAD..].iter_mut();
        let records = &mut rows[usize::from(slot)][..segments];
        let (made, result) = maker.make(&mut Means { hal, grants, pool }, 0, words, records);
        // Only what is used of the slot.
        self.finish(slot, &head.shadow(made, 0), &message[..HEAD + segments], result)
    }

    /// Writes a request whose segments are in pages of their own.
    #[inline(never)]
    fn send_indirect(&mut self, slot: u16, head: &Head, mut maker: impl Maker<H>) -> Result<(), Error> {
        let Head { wire_operation, sector, segments, .. } = *head;
        let chain = &mut self.chains[usize::from(slot)];
        let pages = self.blocks.take(chain, segments).ok_or(Error::Full)?;
        let indirect: [u64; INDIRECT_WORDS] = zerocopy::transmute!(wire::Indirect {
            operation: wire::OP_INDIRECT,
            indirect_op: wire_operation,
            nr_segments: segments as u16,
            id: slot.into(),
            sector_number: sector,
            handle: self.handle,
            indirect_grefs: self.blocks.grants(&chain[..pages.into()]),
            ..wire::Indirect::default()
        });
        let Self { hal, grants, pool, blocks, chains, .. } = self;
        let chain = &chains[usize::from(slot)];
        let mut means = Means { hal, grants, pool };
        let (mut made, mut result) = (0, Ok(()));
        while made < segments && result.is_ok() {
            let (page, first) = (made / SEGMENTS_PER_PAGE, made % SEGMENTS_PER_PAGE);
            let wanted = (segments - made).min(BATCH);
            let (memory, records) = blocks.page(chain, page);
            let words = memory.words().atomics(first, wanted).iter();
            let (more, made_all) = maker.make(&mut means, made, words, &mut records[first..first + wanted]);
            (made, result) = (made + more, made_all);
        }
        self.finish(slot, &head.shadow(made, pages), &indirect, result)
    }

    /// Puts a request on the ring, if its segments were made, or takes them back.
    #[inline]
    fn finish(
        &mut self,
        slot: u16,
        shadow: &Shadow,
        message: &[u64],
        made: Result<(), Error>,
    ) -> Result<(), Error> {
        // As many slots as the ring has, so a free one means room.
        match made.and_then(|()| self.put(slot, shadow, message)) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.withdraw(slot, shadow, error)),
        }
    }

    #[inline]
    fn put(&mut self, slot: u16, shadow: &Shadow, message: &[u64]) -> Result<(), Error> {
        let place = &mut self.slots[usize::from(slot)];
        let (Slot::Free(next), Some(ring)) = (&*place, &mut self.ring) else { return Err(Error::Full) };
        let next = *next;
        let index = ring.put(message).ok_or(Error::Full)?;
        *place = Slot::InFlight(Shadow { index, ..*shadow });
        self.free = next;
        self.in_flight += 1;
        Ok(())
    }

    /// Takes back what was made of a request that could not be sent. Returns the error to answer with.
    #[cold]
    fn withdraw(&mut self, slot: u16, shadow: &Shadow, error: Error) -> Error {
        match self.release(usize::from(slot), shadow) {
            Some(reference) if shadow.bytes == 0 => Error::Grant(grant::Error::InUse { reference }),
            _ => error,
        }
    }

    /// Ends the grants of a slot's request and gives back its pages. A grant that cannot be ended is a fault of
    /// the backend's.
    #[inline]
    fn release(&mut self, slot: usize, shadow: &Shadow) -> Option<GrantRef> {
        let forget = self.state == State::Forgotten;
        let Self { hal, grants, pool, blocks, rows, chains, .. } = self;
        let mut end = |records: &[u32]| match shadow.bytes {
            0 if forget => None,
            0 => grants.end_all(hal, records),
            _ => pool.give_all(hal, grants, records, forget),
        };
        let segments = usize::from(shadow.segments);
        let held = if shadow.pages == 0 {
            end(&rows[slot][..segments])
        } else {
            let pages = &chains[slot][..shadow.pages.into()];
            let mut held = None;
            for (place, first) in (0..segments).step_by(SEGMENTS_PER_PAGE).enumerate() {
                let count = (segments - first).min(SEGMENTS_PER_PAGE);
                held = end(&blocks.records(&chains[slot], place)[..count]).or(held);
            }
            blocks.give(pages);
            held
        };
        if let Some(reference) = held {
            self.fail(super::Fault::GrantHeld { reference });
        }
        held
    }

    /// Gives back a request's slot with all that belongs to it. Returns true if the backend holds pages of the
    /// caller's.
    #[inline]
    pub(super) fn retire(&mut self, slot: usize, shadow: &Shadow) -> bool {
        let held = self.release(slot, shadow);
        self.slots[slot] = Slot::Free(self.free);
        self.free = Some(slot as u16);
        self.in_flight -= 1;
        held.is_some() && shadow.bytes == 0
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
