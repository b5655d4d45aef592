//! Pages of segments, for requests with more than fit a ring slot.

use alloc::vec::Vec;

use super::Error;
use crate::wire::blkif::{MAX_INDIRECT_PAGES, SEGMENTS_PER_PAGE};
use crate::{Access, DomainId, GrantRef, Hal, SharedMemory, SharedPage, grant};

/// The pages that a request uses, in order.
pub(super) type Chain = [u16; MAX_INDIRECT_PAGES];

#[derive(Debug)]
struct Block {
    page: SharedPage,
    grant: GrantRef,
    /// The private record of each segment in the page.
    records: Vec<u32>,
}

/// Returns the pages of so many segments.
fn pages(chain: &Chain, segments: usize) -> &[u16] {
    &chain[..segments.div_ceil(SEGMENTS_PER_PAGE)]
}

/// The pages, each granted as long as the ring is: what stands in them is grant references and sector
/// numbers.
#[derive(Debug)]
pub(super) struct Blocks {
    blocks: Vec<Block>,
    free: Vec<u16>,
}

impl Blocks {
    /// Allocates and grants `count` pages, for requests of up to `segments`. *Passive*.
    ///
    /// Backends with persistent grants map whatever they are given for writing; others only read these.
    pub(super) fn new(
        hal: &impl Hal,
        grants: &mut grant::Cache,
        domain: DomainId,
        count: u16,
        segments: u16,
        persistent: bool,
    ) -> Result<Self, Error> {
        let mut all = Self { blocks: Vec::new(), free: Vec::new() };
        let reserved = all.blocks.try_reserve_exact(count.into()).is_ok()
            && all.free.try_reserve_exact(count.into()).is_ok();
        if !reserved {
            return Err(Error::NoMemory);
        }
        let access = if persistent { Access::ReadWrite } else { Access::ReadOnly };
        for index in (0..count).rev() {
            match Self::block(hal, grants, domain, usize::from(segments).min(SEGMENTS_PER_PAGE), access) {
                Ok(block) => all.blocks.push(block),
                Err(error) => {
                    all.end(hal, Some(grants));
                    return Err(error);
                }
            }
            all.free.push(index);
        }
        Ok(all)
    }

    #[expect(unsafe_code, reason = "calls a Hal method with a safety contract")]
    fn block(
        hal: &impl Hal,
        grants: &mut grant::Cache,
        domain: DomainId,
        records: usize,
        access: Access,
    ) -> Result<Block, Error> {
        let mut list = Vec::new();
        list.try_reserve_exact(records).map_err(|_| Error::NoMemory)?;
        list.resize(records, 0);
        let page = hal.alloc_shared_page().ok_or(Error::NoMemory)?;
        page.memory().zero();
        match grants.grant(hal, domain, page.frame(), access) {
            Ok(grant) => Ok(Block { page, grant, records: list }),
            Err(error) => {
                // SAFETY: the page came from this hal just now and was not granted.
                unsafe { hal.free_shared_page(page) };
                Err(Error::Grant(error))
            }
        }
    }

    /// Takes the pages for a request of so many segments; none where they are not all free. *Dispatch*.
    pub(super) fn take(&mut self, chain: &mut Chain, segments: usize) -> Option<()> {
        let count = segments.div_ceil(SEGMENTS_PER_PAGE);
        if count > MAX_INDIRECT_PAGES || count > self.free.len() {
            return None;
        }
        for place in &mut chain[..count] {
            *place = self.free.pop()?;
        }
        Some(())
    }

    /// Gives back the pages of so many segments. *Dispatch*.
    pub(super) fn give(&mut self, chain: &Chain, segments: usize) {
        // Never more than there are blocks: no allocation.
        self.free.extend(pages(chain, segments));
    }

    /// Ends the grants of a request's first segments, as many as were made. Answers one of those that the backend has
    /// mapped, if there is one. *Dispatch*.
    #[inline(never)]
    pub(super) fn end_all(
        &self,
        hal: &impl Hal,
        grants: &mut grant::Cache,
        chain: &Chain,
        made: usize,
    ) -> Option<GrantRef> {
        let mut held = None;
        for (page, from) in chain.iter().zip((0..made).step_by(SEGMENTS_PER_PAGE)) {
            let records = &self.blocks[usize::from(*page)].records;
            held = grants.end_all(hal, &records[..(made - from).min(SEGMENTS_PER_PAGE)]).or(held);
        }
        held
    }

    /// Returns a page of a chain by its place: its memory, and the private records of its segments.
    #[inline]
    pub(super) fn page(&mut self, chain: &Chain, place: usize) -> (&SharedMemory, &mut [u32]) {
        let block = &mut self.blocks[usize::from(chain[place])];
        (block.page.memory(), &mut block.records)
    }

    /// Returns the grants of the pages of so many segments, as an indirect request names them.
    pub(super) fn grants(&self, chain: &Chain, segments: usize) -> [u32; MAX_INDIRECT_PAGES] {
        let mut grants = [0; MAX_INDIRECT_PAGES];
        for (grant, block) in grants.iter_mut().zip(pages(chain, segments)) {
            *grant = self.blocks[usize::from(*block)].grant.0;
        }
        grants
    }

    /// Ends the grants, unless they have gone with a former life of the guest, and frees the pages; how many had
    /// to be kept. *Passive*.
    #[expect(unsafe_code, reason = "calls a Hal method with a safety contract")]
    pub(super) fn end(&mut self, hal: &impl Hal, mut grants: Option<&mut grant::Cache>) -> usize {
        let mut kept = 0;
        for block in self.blocks.drain(..) {
            if grants.as_mut().is_some_and(|grants| grants.end(hal, block.grant).is_err()) {
                kept += 1;
            } else {
                // SAFETY: the page came from this hal in `block`; its one grant has ended or went with a
                // former life of the guest.
                unsafe { hal.free_shared_page(block.page) };
            }
        }
        self.free.clear();
        kept
    }
}
