//! The ring: requests out, completions back, nothing of the backend's believed.

mod responses;
mod submit;

pub(super) use submit::{Sectors, SegmentSource};

use alloc::vec::Vec;
use core::mem::ManuallyDrop;

use super::indirect::{Blocks, Chain};
use super::pool::{Pool, Run};
use super::{Config, Disk, Error, Failure, Fault, FlushMethod, SECTORS_PER_PAGE, Vbd};
use crate::ring::{self, Front};
use crate::wire::blkif as wire;
use crate::{Access, DomainId, Frame, GrantRef, Hal, Port, SharedMemory, SharedPage, grant};

/// Words of a request and of a response.
pub(super) const REQUEST_WORDS: usize = size_of::<wire::Request>() / size_of::<u64>();
const RESPONSE_WORDS: usize = size_of::<wire::Response>() / size_of::<u64>();
type Ring = Front<REQUEST_WORDS, RESPONSE_WORDS>;

/// The operation of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Disk to memory.
    Read,
    /// Memory to disk.
    Write,
    /// Makes every write durable that completed before.
    Flush,
    /// The sectors' content is not needed any more.
    Discard,
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
    /// Returns true if the run is one: `first ≤ last < 8`.
    #[inline]
    const fn is_sound(&self) -> bool {
        self.first_sector <= self.last_sector && self.last_sector < SECTORS_PER_PAGE
    }

    /// Returns the number of sectors in the run. Meaningless unless `first ≤ last`.
    pub const fn sectors(&self) -> u64 {
        self.last_sector.wrapping_sub(self.first_sector) as u64 + 1
    }
}

/// One ring request over pages of the caller's.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The caller's own; comes back with the completion.
    pub tag: usize,
    /// The operation; a discard has [`Frontend::discard`].
    pub operation: Operation,
    /// First sector of 512 bytes on the disk; 0 for a flush.
    pub sector: u64,
    /// Memory, in order, 1 to [`Frontend::segments`]; none for a flush.
    pub segments: &'a [Segment],
}

/// One ring request whose data is copied through the frontend's own pages.
#[derive(Clone, Copy, Debug)]
pub struct Copied {
    /// The caller's own, as in [`Request`].
    pub tag: usize,
    /// A read or a write.
    pub operation: Operation,
    /// First sector, as in [`Request`].
    pub sector: u64,
    /// Bytes, whole sectors, at most [`Frontend::copy_room`].
    pub bytes: usize,
    /// Offset of these bytes in the caller's data; comes back with what a read brought.
    pub offset: usize,
}

/// Data of a copied read that came back, page by page.
#[derive(Debug)]
pub struct Arrived<'a> {
    /// The request's.
    pub tag: usize,
    /// Its offset in the caller's data.
    pub offset: usize,
    /// The memory that holds it, in its first `length` bytes.
    pub memory: &'a SharedMemory,
    /// Number of bytes.
    pub length: usize,
}

/// A request that came back. Each submitted request comes back exactly once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The request's.
    pub tag: usize,
    /// The request's.
    pub operation: Operation,
    /// The request's result.
    pub result: Result<(), Failure>,
    /// The backend can still reach pages of the caller's, since grants of them could not be ended: the
    /// memory must never be used for anything else. Only with a failure.
    pub pages_held: bool,
}

/// Private record of a request in flight.
#[derive(Clone, Copy, Debug)]
struct Shadow {
    tag: usize,
    /// For a copied request: where its data begins, its length in bytes, which is 0 for others, and its pages.
    offset: usize,
    bytes: u32,
    pages: Run,
    /// The request's index on the ring.
    index: u32,
    segments: u16,
    operation: Operation,
    /// The operation that the response has to name.
    wire_operation: u8,
}

impl Shadow {
    /// Returns true if the data goes through the frontend's own pages.
    #[inline]
    const fn is_copied(&self) -> bool {
        self.bytes > 0
    }

    /// Returns true if the segments are in pages of their own, as more than a slot holds are.
    #[inline]
    const fn is_indirect(&self) -> bool {
        self.segments as usize > wire::MAX_SEGMENTS
    }
}

/// The private record of a place for a request.
#[derive(Debug)]
struct Slot {
    request: Option<Shadow>,
    /// The next free slot, of one that is free.
    next: u16,
    /// The grants of the request's segments, unless it is indirect or copied.
    row: [u32; wire::MAX_SEGMENTS],
    /// The pages of the request's segments, if it is indirect.
    chain: Chain,
}

/// The free slots, each of which has the number of the next.
#[derive(Debug, Default)]
struct FreeSlots {
    /// The first one; as many as there are slots, where none is free.
    first: u16,
    /// Number of slots that are not free.
    used: usize,
}

impl FreeSlots {
    /// Takes the first one out.
    #[inline]
    fn take(&mut self, slot: &Slot) {
        self.first = slot.next;
        self.used += 1;
    }

    /// Puts a slot in, whose request has ended.
    #[inline]
    fn put(&mut self, number: usize, slot: &mut Slot) {
        slot.request = None;
        slot.next = core::mem::replace(&mut self.first, number as u16);
        self.used -= 1;
    }
}

/// The reason why a frontend is not connected.
#[derive(Clone, Copy, Debug)]
enum State {
    /// Not yet connected.
    Offered,
    Disconnected,
    /// The guest has been resumed: every grant and the port are gone.
    Forgotten,
    Broken(Fault),
}

/// The frontend's half of one of a vbd's rings.
///
/// Not synchronised: its caller holds a lock around each call. What is marked *dispatch* neither waits nor
/// allocates; making and dropping it is *passive*.
#[derive(Debug)]
pub struct Frontend<H: Hal> {
    hal: H,
    domain: DomainId,
    handle: u16,
    config: Config,
    ring: ManuallyDrop<Ring>,
    ring_grants: Vec<GrantRef>,
    port: Port,
    slots: Vec<Slot>,
    free: FreeSlots,
    grants: grant::Cache,
    pool: Pool,
    blocks: Blocks,
    /// The disk, while connected; the state counts while not.
    disk: Option<Disk>,
    state: State,
}

impl<H: Hal> Frontend<H> {
    /// Returns a frontend with an empty ring, granted to the vbd's backend. `config` is within what the
    /// backend offers ([`Config::within`]). *Passive*.
    ///
    /// # Errors
    /// [`Error::NoMemory`], [`Error::Grant`].
    pub fn new(hal: H, vbd: Vbd, config: Config) -> Result<Self, Error> {
        let domain = vbd.backend_domain;
        let pages = 1usize << config.ring_order.min(wire::MAX_RING_ORDER);
        let count = ring::slots(pages, REQUEST_WORDS);
        let mut slots = Vec::new();
        slots.try_reserve_exact(count as usize).map_err(|_| Error::NoMemory)?;
        let (row, chain) = Default::default();
        slots.extend((1..=count).map(|next| Slot { request: None, next: next as u16, row, chain }));
        let mut grants = grant::Cache::new(&hal).ok_or(Error::NoMemory)?;
        let parts = (|| {
            let (ring, ring_grants) = share_ring(&hal, &mut grants, domain, pages)?;
            let pool = Pool::new(&hal, &mut grants, domain, 0, false)?;
            let blocks = Blocks::new(&hal, &mut grants, domain, 0, 0, false)?;
            Ok((ring, ring_grants, pool, blocks))
        })();
        let (ring, ring_grants, pool, blocks) = match parts {
            Ok(parts) => parts,
            Err(error) => {
                grants.give_all(&hal);
                return Err(error);
            }
        };
        let mut frontend = Self {
            domain,
            // Backends take the device from xenstore; the field is too narrow for every number.
            handle: vbd.device.0 as u16,
            config,
            ring: ManuallyDrop::new(ring),
            ring_grants,
            port: Port(0),
            slots,
            free: FreeSlots::default(),
            grants,
            pool,
            blocks,
            state: State::Offered,
            disk: None,
            hal,
        };
        // What fails from here on is cleaned up by the drop.
        let Config { pool, indirect, segments, persistent, .. } = config;
        let Self { hal, grants, pool: own, blocks, .. } = &mut frontend;
        *own = Pool::new(hal, grants, domain, pool, persistent)?;
        *blocks = Blocks::new(hal, grants, domain, indirect, segments, persistent)?;
        Ok(frontend)
    }

    /// Grants of the ring's pages, for [`super::QueueOffer`].
    pub fn ring(&self) -> &[GrantRef] {
        &self.ring_grants
    }

    /// Returns the sizes that it was made with.
    #[inline]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Begins to take requests: the link is connected, and `port` is the one that was offered. Where the
    /// backend does not keep grants mapped, they are not persistent. Without effect but at the start.
    /// *Dispatch*.
    pub fn connect(&mut self, port: Port, disk: Disk) {
        if self.disk.is_none() && matches!(self.state, State::Offered) {
            if !disk.persistent {
                self.config.persistent = false;
                self.pool.for_requests();
            }
            self.port = port;
            self.disk = Some(disk);
        }
    }

    /// Takes over a new size of the disk, in sectors of 512 bytes. What else the backend's nodes say was agreed
    /// on when the two ends connected. Without effect unless connected. *Dispatch*.
    pub fn resize(&mut self, sectors: u64) {
        if let Some(disk) = &mut self.disk {
            disk.sectors = sectors;
        }
    }

    /// Stops using an operation that the backend offered and has refused.
    fn unlearn(&mut self, operation: Operation) {
        let Some(disk) = &mut self.disk else { return };
        match operation {
            Operation::Flush if disk.flush != FlushMethod::None => {
                disk.flush = FlushMethod::None;
                self.hal.log(format_args!("vbd: the backend refuses to flush, and is not asked any more"));
            }
            Operation::Discard if disk.discard.is_some() => {
                disk.discard = None;
                self.hal.log(format_args!("vbd: the backend refuses to discard, and is not asked any more"));
            }
            _ => {}
        }
    }

    /// Takes no more requests. Those in flight come back from [`Frontend::take`] as failed at once.
    /// *Dispatch*.
    ///
    /// The backend may still be working on them: this is for a backend that has closed, or that shall be
    /// given up.
    pub fn disconnect(&mut self) {
        if !matches!(self.state, State::Broken(_) | State::Forgotten) {
            self.disk = None;
            self.state = State::Disconnected;
        }
    }

    /// Disconnects like [`Frontend::disconnect`] after a resume, when the grant table is a new one: no grant
    /// of the former life is ended, since none is left. Those in flight come back with
    /// [`Failure::Disconnected`]; the backend that had them is gone. *Dispatch*.
    pub fn forget(&mut self) {
        self.disk = None;
        self.state = State::Forgotten;
        self.grants.forget();
    }

    /// Returns the disk, while connected. *Dispatch*.
    #[inline]
    pub fn disk(&self) -> Option<&Disk> {
        self.disk.as_ref()
    }

    /// Returns the backend's breach of the protocol, if there was one. *Dispatch*.
    pub fn fault(&self) -> Option<Fault> {
        match self.state {
            State::Broken(fault) => Some(fault),
            _ => None,
        }
    }

    /// Returns the number of requests that have not come back yet. *Dispatch*.
    #[inline]
    pub fn in_flight(&self) -> usize {
        self.free.used
    }

    /// Returns the number of writes and discards that have not come back yet. *Dispatch*.
    pub fn changes_in_flight(&self) -> usize {
        self.changes().count()
    }

    /// Returns true if the backend may still carry out a write or a discard that has not come back, although it would not
    /// be told by its memory: data that was copied for it is in pages that it has mapped, and a discard has none. A write
    /// of the system's own pages that are mapped comes back with [`Completion::pages_held`]. *Dispatch*.
    pub fn may_change_later(&self) -> bool {
        self.changes().any(|shadow| {
            let used = || self.pool.any_used(&self.grants, shadow.pages, shadow.segments.into());
            shadow.operation == Operation::Discard || shadow.is_copied() && used()
        })
    }

    fn changes(&self) -> impl Iterator<Item = &Shadow> {
        let in_flight = self.slots.iter().filter_map(|slot| slot.request.as_ref());
        in_flight.filter(|shadow| matches!(shadow.operation, Operation::Write | Operation::Discard))
    }

    /// Returns the number of requests that can be submitted now. *Dispatch*.
    pub fn room(&self) -> usize {
        self.slots.len() - self.free.used
    }

    /// Returns the largest number of segments of a request. *Dispatch*.
    #[inline]
    pub fn segments(&self) -> usize {
        self.config.segments.into()
    }

    /// Returns the number of the frontend's own pages that are free. *Dispatch*.
    #[inline]
    pub(crate) fn free_pages(&self) -> usize {
        self.pool.available()
    }

    /// Returns the largest number of bytes of a copied request now. *Dispatch*.
    #[inline]
    pub fn copy_room(&self) -> usize {
        self.free_pages().min(self.segments()) * crate::PAGE_SIZE
    }

    /// Returns the largest number of bytes of a copied request for which the frontend always has grants,
    /// while nothing is in flight: so a queue makes progress however many grants others hold. *Dispatch*.
    #[inline]
    pub fn reserve(&self) -> usize {
        self.pool.reserve().min(self.segments()) * crate::PAGE_SIZE
    }

    /// Lets the backend see the requests that were submitted, and notifies it where the ring's protocol asks
    /// for that; returns whether it did. *Dispatch*.
    pub fn push(&mut self) -> bool {
        let due = self.disk.is_some() && self.ring.push();
        if due {
            self.hal.notify(self.port);
        }
        due
    }

    /// Notifies the backend, whether or not the protocol asks for it: for a watchdog. *Dispatch*.
    pub fn nudge(&mut self) {
        if self.disk.is_some() {
            self.hal.notify(self.port);
        }
    }

    /// Leaves grant references that it does not need for the next second to others; to be called once a second.
    /// *Dispatch*.
    pub fn trim(&mut self) {
        self.grants.trim(&self.hal, self.free.used == 0);
    }

    /// Breaks with the backend; the first fault stays.
    #[cold]
    #[inline(never)]
    fn fail(&mut self, fault: Fault) {
        if matches!(self.state, State::Offered) {
            self.disk = None;
            self.state = State::Broken(fault);
            self.hal.log(format_args!("vbd: {fault}; no further requests"));
        }
    }
}

impl<H: Hal> Drop for Frontend<H> {
    #[expect(unsafe_code, reason = "takes the ring apart")]
    fn drop(&mut self) {
        self.disconnect();
        while self.take(&mut |_| ()).is_some() {}
        let Self { hal, grants, .. } = self;
        let mut grants = (!matches!(self.state, State::Forgotten)).then_some(grants);
        let mut kept =
            self.pool.end(hal, grants.as_deref_mut()) + self.blocks.end(hal, grants.as_deref_mut());
        // SAFETY: the frontend is gone after this, and uses its ring no more.
        let ring = unsafe { ManuallyDrop::take(&mut self.ring) };
        for (page, grant) in ring.into_pages().zip(&self.ring_grants) {
            if grants.as_mut().is_some_and(|grants| grants.end(hal, *grant).is_err()) {
                kept += 1;
            } else {
                free(hal, page);
            }
        }
        self.grants.give_all(&self.hal);
        if kept > 0 {
            self.hal.log(format_args!("vbd: {kept} pages are kept for good: the backend has them mapped"));
        }
    }
}

/// Returns an empty ring, granted page by page.
fn share_ring<H: Hal>(
    hal: &H,
    grants: &mut grant::Cache,
    domain: DomainId,
    count: usize,
) -> Result<(Ring, Vec<GrantRef>), Error> {
    let (mut pages, mut granted) = (Vec::new(), Vec::new());
    let reserved = pages.try_reserve_exact(count).is_ok() && granted.try_reserve_exact(count).is_ok();
    if !reserved {
        return Err(Error::NoMemory);
    }
    let shared = (0..count).try_for_each(|_| {
        let page: SharedPage = hal.alloc_shared_page().ok_or(Error::NoMemory)?;
        // Before it is granted: nothing of the guest's is left in it.
        page.memory().zero();
        let frame = page.frame();
        pages.push(page);
        granted.push(grants.grant(hal, domain, frame, Access::ReadWrite).map_err(Error::Grant)?);
        Ok(())
    });
    if let Err(error) = shared {
        // No backend has been told of them.
        for (index, page) in pages.into_iter().enumerate() {
            if granted.get(index).is_none_or(|grant| grants.end(hal, *grant).is_ok()) {
                free(hal, page);
            }
        }
        return Err(error);
    }
    let first = pages.remove(0);
    Ok((Ring::new(first, pages), granted))
}

/// Frees a page of a ring.
#[expect(unsafe_code, reason = "calls a Hal method with a safety contract")]
fn free<H: Hal>(hal: &H, page: SharedPage) {
    // SAFETY: the page came from this hal in `share_ring`, and its only grant was never made or has ended.
    unsafe { hal.free_shared_page(page) };
}

#[cfg(test)]
mod tests;
