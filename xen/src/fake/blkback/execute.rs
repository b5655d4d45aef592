//! The backend's work on one request.

use std::vec::Vec;

use zerocopy::{FromBytes, IntoBytes};

use super::Blkback;
use crate::wire::blkif as wire;
use crate::{GrantRef, PAGE_SIZE, SharedMemory};

/// Returns the operation that a response to `request` names: of an indirect request the one inside.
pub(super) fn answered(request: &wire::Request) -> u8 {
    match request.operation {
        wire::OP_INDIRECT => part::<wire::Indirect>(request).indirect_op,
        operation => operation,
    }
}

/// Returns the slot's bytes as another kind of request.
fn part<T: FromBytes>(request: &wire::Request) -> T {
    T::read_from_prefix(request.as_bytes()).expect("shorter than a request").0
}

impl Blkback {
    /// Does a request; answers its status.
    pub fn execute(&mut self, request: &wire::Request) -> i16 {
        match request.operation {
            wire::OP_READ | wire::OP_WRITE => {
                let segments = request.seg.get(..usize::from(request.nr_segments));
                let segments = segments.map(<[_]>::to_vec);
                self.transfer(request.operation == wire::OP_WRITE, request.sector_number, segments)
            }
            wire::OP_INDIRECT => {
                let request: wire::Indirect = part(request);
                if !matches!(request.indirect_op, wire::OP_READ | wire::OP_WRITE) {
                    assert!(self.hostile, "{request:?}");
                    return wire::RSP_ERROR;
                }
                let limit = self.own("feature-max-indirect-segments").unwrap_or(0);
                assert!(
                    self.hostile || u64::from(request.nr_segments) <= limit,
                    "{request:?}, at most {limit}"
                );
                let segments = self.indirect_segments(&request);
                self.transfer(request.indirect_op == wire::OP_WRITE, request.sector_number, segments)
            }
            wire::OP_WRITE_BARRIER | wire::OP_FLUSH_DISKCACHE | wire::OP_DISCARD if self.refuses_features => {
                wire::RSP_EOPNOTSUPP
            }
            wire::OP_WRITE_BARRIER | wire::OP_FLUSH_DISKCACHE if request.nr_segments == 0 => {
                self.flushes.push(request.operation);
                wire::RSP_OKAY
            }
            wire::OP_DISCARD if self.own("feature-discard") == Some(1) => {
                let request: wire::Discard = part(request);
                let (sector, count) = (request.sector_number, request.nr_sectors);
                let end = sector.checked_add(count).filter(|end| *end <= self.disk.len() as u64 / 512);
                let Some(end) = end else { return wire::RSP_ERROR };
                self.disk[sector as usize * 512..end as usize * 512].fill(0);
                self.discards.push((sector, count));
                wire::RSP_OKAY
            }
            _ => wire::RSP_EOPNOTSUPP,
        }
    }

    /// Returns the segments that the pages of an indirect request hold.
    fn indirect_segments(&mut self, request: &wire::Indirect) -> Option<Vec<wire::Segment>> {
        let mut left = usize::from(request.nr_segments);
        let mut segments = Vec::new();
        for reference in request.indirect_grefs {
            let count = left.min(wire::SEGMENTS_PER_PAGE);
            if count == 0 {
                break;
            }
            let reference = GrantRef(reference);
            let memory = self.map(reference, false)?;
            segments.extend((0..count).map(|n| memory.read::<wire::Segment>(n * size_of::<wire::Segment>())));
            self.unmap(reference, false);
            left -= count;
        }
        Some(segments)
    }

    fn transfer(&mut self, write: bool, sector: u64, segments: Option<Vec<wire::Segment>>) -> i16 {
        let valid =
            |segment: &wire::Segment| segment.first_sect <= segment.last_sect && segment.last_sect < 8;
        let Some(segments) = segments.filter(|all| all.iter().all(valid)) else {
            assert!(self.hostile, "segments that make no sense");
            return wire::RSP_ERROR;
        };
        let count: u64 =
            segments.iter().map(|segment| u64::from(segment.last_sect - segment.first_sect) + 1).sum();
        // As blkback does: each segment has to be whole blocks, not only all of them together.
        let whole = |segment: &wire::Segment| {
            (u64::from(segment.last_sect - segment.first_sect) + 1).is_multiple_of(self.block)
        };
        if !sector.is_multiple_of(self.block) || !segments.iter().all(whole) {
            return wire::RSP_ERROR;
        }
        let end = sector.checked_add(count);
        if end.is_none_or(|end| end > self.disk.len() as u64 / 512) {
            return wire::RSP_ERROR;
        }
        self.segments.push(segments.len());
        let mut at = sector as usize * 512;
        for segment in &segments {
            let reference = GrantRef(segment.gref);
            // The page of a read is written.
            let Some(memory) = self.map(reference, !write) else {
                assert!(self.hostile, "{reference:?} does not allow this");
                return wire::RSP_ERROR;
            };
            let offset = usize::from(segment.first_sect) * 512;
            let length = (usize::from(segment.last_sect) + 1) * 512 - offset;
            debug_assert!(offset + length <= PAGE_SIZE);
            let sectors = &mut self.disk[at..at + length];
            if write {
                memory.copy_out(offset, sectors);
            } else {
                memory.copy_in(offset, sectors);
            }
            at += length;
            if self.hold_pages && self.persistent.is_none() {
                self.held.push((reference, !write));
            } else {
                self.unmap(reference, !write);
            }
        }
        wire::RSP_OKAY
    }

    /// Maps a grant. A persistent one is mapped for writing whatever it is for, and stays so.
    fn map(&mut self, reference: GrantRef, write: bool) -> Option<SharedMemory> {
        if self.persistent.is_none() {
            return self.world.map(Self::DOMAIN, reference, write);
        }
        let memory = self.world.map(Self::DOMAIN, reference, true)?;
        let known = self.persistent.as_mut().is_some_and(|kept| !kept.insert(reference.0));
        if known {
            self.world.unmap(reference, true);
        }
        Some(memory)
    }

    fn unmap(&mut self, reference: GrantRef, write: bool) {
        if self.persistent.is_none() {
            self.world.unmap(reference, write);
        }
    }
}
