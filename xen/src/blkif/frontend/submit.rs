//! Requests onto the ring.

use core::slice;
use core::sync::atomic::{AtomicU64, Ordering};

use super::super::pool::{Pool, Run};
use super::super::{Disk, Error, Fault, FlushMethod, SECTOR_SIZE, SECTORS_PER_PAGE};
use super::{Copied, Frontend, Operation, REQUEST_WORDS, Request, Segment, Shadow};
use crate::wire::blkif::{self as wire, SEGMENTS_PER_PAGE};
use crate::{Access, DomainId, GrantRef, Hal, PAGE_SIZE, SharedMemory, grant};

const INDIRECT_WORDS: usize = size_of::<wire::Indirect>() / size_of::<u64>();
const DISCARD_WORDS: usize = size_of::<wire::Discard>() / size_of::<u64>();

// The segments of a page get their grants at once, and those end at once.
const _: () = assert!(SEGMENTS_PER_PAGE <= grant::MOST && wire::MAX_SEGMENTS <= SEGMENTS_PER_PAGE);

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
pub(crate) trait SegmentSource: Clone {
    /// Hands out the next segment: its frame, and its sectors. `None` where there is none, or it cannot be granted.
    fn hand_out(&mut self) -> Option<(u32, Sectors)>;

    /// Returns what is wrong with the next segment, which was not handed out; `None` where there is none.
    fn refusal(&self) -> Option<Error>;
}

impl SegmentSource for slice::Iter<'_, Segment> {
    #[inline]
    fn hand_out(&mut self) -> Option<(u32, Sectors)> {
        let segment = self.as_slice().first()?;
        let number = segment.frame.0.try_into().ok().filter(|_| segment.is_sound())?;
        self.next();
        Some((number, Sectors::new(segment.first_sector, segment.last_sector)))
    }

    fn refusal(&self) -> Option<Error> {
        let segment = self.as_slice().first()?;
        let Segment { frame, first_sector: first, last_sector: last } = *segment;
        Some(match segment.is_sound() {
            true => Error::Grant(grant::Error::FrameTooLarge { frame }),
            false => Error::Segment { first, last },
        })
    }
}

/// Means of making segments.
struct Means<'a, H> {
    hal: &'a H,
    grants: &'a mut grant::Cache,
    pool: &'a mut Pool,
}

/// The private records of segments.
struct Records<'a> {
    /// A grant for each segment, of the caller's pages.
    grants: &'a mut [u32],
    /// The frontend's own pages.
    pages: &'a mut Run,
}

/// A maker of a request's segments.
trait Maker<H>: Clone {
    /// Makes the segments from number `from` on, as many as there are words, at most a page of them: a word, as it goes
    /// to the backend, and a record for each.
    ///
    /// # Errors
    /// Beside the error stands how many were made.
    fn make(
        &mut self,
        means: &mut Means<'_, H>,
        from: usize,
        words: &[AtomicU64],
        records: Records<'_>,
    ) -> Result<(), (usize, Error)>;
}

/// The maker for a request without segments.
#[derive(Clone)]
struct NoSegments;

impl<H> Maker<H> for NoSegments {
    fn make(
        &mut self,
        _: &mut Means<'_, H>,
        _: usize,
        _: &[AtomicU64],
        _: Records<'_>,
    ) -> Result<(), (usize, Error)> {
        Ok(())
    }
}

/// The maker of segments of the caller's pages.
#[derive(Clone)]
struct Granted<S> {
    segments: S,
    terms: grant::Terms,
    /// Segments of the whole request.
    count: usize,
}

impl<H: Hal, S: SegmentSource> Maker<H> for Granted<S> {
    // The call would cost as much as a segment.
    #[inline(always)]
    fn make(
        &mut self,
        Means { hal, grants, .. }: &mut Means<'_, H>,
        from: usize,
        words: &[AtomicU64],
        records: Records<'_>,
    ) -> Result<(), (usize, Error)> {
        let wanted = words.len();
        let (entries, references) = grants.reserve(*hal, wanted).map_err(|error| (0, Error::Grant(error)))?;
        // In registers.
        let mut segments = self.segments.clone();
        for (made, ((record, word), reference)) in
            records.grants.iter_mut().zip(words).zip(references).enumerate()
        {
            let Some((frame, sectors)) = segments.hand_out() else {
                grants.used_in_part(wanted, made);
                let short = Error::Segments { found: from + made, limit: self.count };
                return Err((made, segments.refusal().unwrap_or(short)));
            };
            entries.grant(*reference, self.terms, frame);
            *record = reference.0;
            word.store(sectors.word(*reference), Ordering::Relaxed);
        }
        self.segments = segments;
        grants.used(wanted);
        Ok(())
    }
}

/// The maker of segments of the frontend's own pages.
#[derive(Clone)]
struct CopiedPages<F> {
    to: (DomainId, Access),
    request: Copied,
    fill: F,
}

impl<H: Hal, F: Fn(usize, usize, &SharedMemory) + Copy> Maker<H> for CopiedPages<F> {
    #[inline(always)]
    fn make(
        &mut self,
        Means { hal, grants, pool }: &mut Means<'_, H>,
        from: usize,
        words: &[AtomicU64],
        records: Records<'_>,
    ) -> Result<(), (usize, Error)> {
        let Copied { operation, bytes, offset, .. } = self.request;
        let taken = pool.take(*hal, grants, self.to, words, |word, reference| {
            word.store(Sectors::WHOLE.word(reference), Ordering::Relaxed);
        })?;
        records.pages.last = taken.last;
        let start = from * PAGE_SIZE;
        // The last page of a request need not be whole.
        if bytes < start + words.len() * PAGE_SIZE
            && let [.., word] = words
        {
            word.store(last_sectors(bytes).word(pool.granted(taken.last)), Ordering::Relaxed);
        }
        if operation == Operation::Write {
            let pages = pool.walk(taken.first).take(words.len());
            for (page, done) in pages.zip((start..bytes).step_by(PAGE_SIZE)) {
                (self.fill)(offset + done, (bytes - done).min(PAGE_SIZE), page.memory());
            }
        }
        Ok(())
    }
}

/// Returns the sectors in the last page of so many bytes, whole sectors and more than none.
const fn last_sectors(bytes: usize) -> Sectors {
    Sectors::new(0, ((bytes - 1) % PAGE_SIZE / SECTOR_SIZE as usize) as u8)
}

/// A request that is to be sent.
#[derive(Clone)]
struct Message<M> {
    shadow: Shadow,
    sector: u64,
    maker: M,
}

impl Shadow {
    /// Returns the record of a request of so many segments, no more than a request can have.
    #[inline]
    const fn new(tag: usize, operation: Operation, wire_operation: u8, segments: usize) -> Self {
        let (segments, pages) = (segments as u16, Run::EMPTY);
        Self { tag, offset: 0, bytes: 0, pages, index: 0, segments, operation, wire_operation }
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
        self.check_count(segments.len())?;
        let sectors = segments.iter().map(Segment::sectors).sum();
        self.submit_pages(tag, operation, sector, sectors, segments.len(), segments.iter())
    }

    /// Submits like [`Frontend::submit`] `count` segments, no more than a request can have. They are the first of
    /// `sectors` sectors, for all of which the disk must have room. *Dispatch*.
    ///
    /// # Errors
    /// Those of [`Frontend::submit`].
    // Two callers, of which one is rare: what it hands on stays in registers.
    #[inline(always)]
    pub(crate) fn submit_pages(
        &mut self,
        tag: usize,
        operation: Operation,
        sector: u64,
        sectors: u64,
        count: usize,
        segments: impl SegmentSource,
    ) -> Result<(), Error> {
        let (wire_operation, access) = transfer(operation, sector, sectors, self.connected()?)?;
        if self.config.persistent {
            return Err(Error::CopyOnly);
        }
        let terms = grant::Terms::new(self.domain, access);
        let shadow = Shadow::new(tag, operation, wire_operation, count);
        self.send(Message { shadow, sector, maker: Granted { segments, terms, count } })
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
        fill: impl Fn(usize, usize, &SharedMemory) + Copy,
    ) -> Result<(), Error> {
        let count = request.bytes.div_ceil(PAGE_SIZE);
        self.check_count(count)?;
        self.submit_copied_pages(*request, count, (request.bytes / SECTOR_SIZE as usize) as u64, fill)
    }

    /// Submits like [`Frontend::submit_copied`] `count` pages, no more than a request can have. They are the first of
    /// `sectors` sectors, for all of which the disk must have room. *Dispatch*.
    ///
    /// # Errors
    /// Those of [`Frontend::submit_copied`].
    // As Frontend::submit_pages.
    #[inline(always)]
    pub(crate) fn submit_copied_pages(
        &mut self,
        request: Copied,
        count: usize,
        sectors: u64,
        fill: impl Fn(usize, usize, &SharedMemory) + Copy,
    ) -> Result<(), Error> {
        let Copied { tag, operation, sector, bytes, offset } = request;
        let (wire_operation, access) = transfer(operation, sector, sectors, self.connected()?)?;
        if !bytes.is_multiple_of(SECTOR_SIZE as usize) {
            return Err(Error::Unaligned { address: 0, length: bytes as u32 });
        }
        let to = (self.domain, access);
        let shadow = Shadow::new(tag, operation, wire_operation, count);
        let pages = self.pool.next_run();
        let shadow = Shadow { offset, bytes: bytes as u32, pages, ..shadow };
        self.send(Message { shadow, sector, maker: CopiedPages { to, request, fill } })
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
        let shadow = Shadow::new(tag, Operation::Flush, wire_operation, 0);
        self.send(Message { shadow, sector: 0, maker: NoSegments })
    }

    /// Writes a discard of `sectors` sectors to the ring. *Dispatch*.
    ///
    /// # Errors
    /// [`Error::DiscardUnsupported`], [`Error::ReadOnly`], [`Error::Range`], [`Error::Block`],
    /// [`Error::Full`], and where there is no backend.
    pub fn discard(&mut self, tag: usize, sector: u64, sectors: u64) -> Result<(), Error> {
        let (disk, handle) = (self.connected()?, self.handle);
        if disk.discard.is_none() {
            return Err(Error::DiscardUnsupported);
        }
        if disk.read_only {
            return Err(Error::ReadOnly);
        }
        disk.check(sector, sectors)?;
        let number = self.free.first;
        let slot = self.slots.get_mut(usize::from(number)).ok_or(Error::Full)?;
        let blank = self.ring.blank().ok_or(Error::Full)?;
        let message: [u64; DISCARD_WORDS] = zerocopy::transmute!(wire::Discard {
            operation: wire::OP_DISCARD,
            handle,
            id: number.into(),
            sector_number: sector,
            nr_sectors: sectors,
            ..wire::Discard::default()
        });
        let shadow = Shadow::new(tag, Operation::Discard, wire::OP_DISCARD, 0);
        slot.request = Some(Shadow { index: blank.index(), ..shadow });
        blank.copy(&message);
        blank.put();
        self.free.take(slot);
        Ok(())
    }

    /// Returns the disk.
    ///
    /// # Errors
    /// [`Error::NotConnected`], [`Error::Broken`].
    #[inline]
    fn connected(&self) -> Result<&Disk, Error> {
        self.disk().ok_or_else(|| self.not_connected())
    }

    #[cold]
    #[inline(never)]
    fn not_connected(&self) -> Error {
        self.fault().map_or(Error::NotConnected, Error::Broken)
    }

    fn check_count(&self, segments: usize) -> Result<(), Error> {
        let limit = self.segments();
        if segments > limit || segments == 0 {
            return Err(Error::Segments { found: segments, limit });
        }
        Ok(())
    }

    /// Writes a request; what was made of it is taken back if something fails.
    // As Frontend::submit_pages.
    #[inline(always)]
    fn send<M: Maker<H>>(&mut self, message: Message<M>) -> Result<(), Error> {
        if usize::from(message.shadow.segments) <= wire::MAX_SEGMENTS {
            self.send_inside(message)
        } else {
            // A copy is what lets the message stay in registers above.
            self.send_indirect(message.clone())
        }
    }

    /// Writes a request whose segments are in it.
    // As Frontend::submit_pages.
    #[inline(always)]
    fn send_inside<M: Maker<H>>(&mut self, message: Message<M>) -> Result<(), Error> {
        let Message { shadow, sector, mut maker } = message;
        let number = self.free.first;
        let Self { hal, grants, pool, slots, ring, handle, .. } = self;
        let slot = slots.get_mut(usize::from(number)).ok_or(Error::Full)?;
        let blank = ring.blank().ok_or(Error::Full)?;
        let segments = usize::from(shadow.segments);
        let [head, id, sector, ..]: [u64; REQUEST_WORDS] = zerocopy::transmute!(wire::Request {
            operation: shadow.wire_operation,
            nr_segments: segments as u8,
            handle: *handle,
            id: number.into(),
            sector_number: sector,
            ..wire::Request::default()
        });
        let [first, second, third, words @ ..] = blank.words();
        first.store(head, Ordering::Relaxed);
        second.store(id, Ordering::Relaxed);
        third.store(sector, Ordering::Relaxed);
        let shadow = slot.request.insert(Shadow { index: blank.index(), ..shadow });
        let records = Records { grants: &mut slot.row[..segments], pages: &mut shadow.pages };
        let mut means = Means { hal, grants, pool };
        if let Err((made, error)) = maker.make(&mut means, 0, &words[..segments], records) {
            return Err(self.withdraw(made).unwrap_or(error));
        }
        blank.put();
        self.free.take(slot);
        Ok(())
    }

    /// Writes a request whose segments are in pages of their own.
    #[inline(never)]
    fn send_indirect<M: Maker<H>>(&mut self, message: Message<M>) -> Result<(), Error> {
        let Message { shadow, sector, mut maker } = message;
        let number = self.free.first;
        let Self { hal, grants, pool, blocks, slots, ring, handle, .. } = self;
        let slot = slots.get_mut(usize::from(number)).ok_or(Error::Full)?;
        let blank = ring.blank().ok_or(Error::Full)?;
        let segments = usize::from(shadow.segments);
        blocks.take(&mut slot.chain, segments).ok_or(Error::Full)?;
        let indirect: [u64; INDIRECT_WORDS] = zerocopy::transmute!(wire::Indirect {
            operation: wire::OP_INDIRECT,
            indirect_op: shadow.wire_operation,
            nr_segments: shadow.segments,
            id: number.into(),
            sector_number: sector,
            handle: *handle,
            indirect_grefs: blocks.grants(&slot.chain, segments),
            ..wire::Indirect::default()
        });
        let shadow = slot.request.insert(Shadow { index: blank.index(), ..shadow });
        let mut means = Means { hal, grants, pool };
        for (page, from) in (0..segments).step_by(SEGMENTS_PER_PAGE).enumerate() {
            let count = (segments - from).min(SEGMENTS_PER_PAGE);
            let (memory, records) = blocks.page(&slot.chain, page);
            let words = memory.words().atomics(0, count);
            let records = Records { grants: &mut records[..count], pages: &mut shadow.pages };
            if let Err((made, error)) = maker.make(&mut means, from, words, records) {
                return Err(self.withdraw(from + made).unwrap_or(error));
            }
        }
        blank.copy(&indirect);
        blank.put();
        self.free.take(slot);
        Ok(())
    }

    /// Takes back the request of the first free slot, of which so many segments were made, since it cannot be sent.
    /// Returns an error to answer with if the backend holds a page of the caller's.
    #[cold]
    #[inline(never)]
    fn withdraw(&mut self, made: usize) -> Option<Error> {
        let number = self.free.first.into();
        self.free.take(&self.slots[number]);
        let (shadow, held) = self.retire(number, Some(made))?;
        let reference = held?;
        self.fail(Fault::GrantHeld { reference });
        (!shadow.is_copied()).then_some(Error::Grant(grant::Error::InUse { reference }))
    }
}

/// Returns the operation to send for a read or write of a run of sectors, for which the disk must have room, and the
/// access to its pages that the backend needs: what is written to the disk, it has no reason to change.
#[inline]
fn transfer(operation: Operation, sector: u64, sectors: u64, disk: &Disk) -> Result<(u8, Access), Error> {
    disk.check(sector, sectors)?;
    match operation {
        Operation::Read => Ok((wire::OP_READ, Access::ReadWrite)),
        Operation::Write if disk.read_only => Err(Error::ReadOnly),
        Operation::Write => Ok((wire::OP_WRITE, Access::ReadOnly)),
        Operation::Flush | Operation::Discard => Err(Error::Segments { found: 1, limit: 0 }),
    }
}
