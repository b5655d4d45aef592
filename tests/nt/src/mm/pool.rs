//! Pool for drivers, with guards.
//!
//! Every block has a record outside of pool memory. A small block stands in a slot between two guard
//! patterns; its slot is filled when freed and checked when used again. A block of a page or more has pages
//! of its own, an unmapped page behind them, and the rest of its last page filled with the pattern.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use super::space::{NONPAGED_POOL, PAGED_POOL, Region};
use super::{PAGE_SIZE, map, paged};
use crate::io::device::check_not_queued;
use crate::ke::{Lock, irql};
use crate::ldr::driver_name;
use crate::nt::{APC_LEVEL, Pvoid};
use crate::verifier::{Violation, violation};

/// A kind of pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Type {
    /// Non-paged and executable, as NT 5.2 has it.
    NonPaged,
    /// Non-paged, not executable.
    NonPagedNx,
    /// Paged.
    Paged,
}

impl Type {
    fn region(self) -> &'static Region {
        if self == Self::Paged { &PAGED_POOL } else { &NONPAGED_POOL }
    }

    fn protection(self) -> u64 {
        if self == Self::NonPaged { map::EXECUTE_READ_WRITE } else { map::READ_WRITE }
    }
}

/// A block in use.
#[derive(Clone)]
pub(crate) struct Block {
    pub size: usize,
    pub tag: u32,
    /// Id of the driver that allocated it.
    pub driver: usize,
    kind: Type,
    /// Slot size, or 0 for pages of its own.
    slot: usize,
}

#[derive(Default)]
struct Pool {
    blocks: BTreeMap<usize, Block>,
    /// Free slots by kind and size, used again in the order they were freed.
    free: BTreeMap<(u8, usize), VecDeque<usize>>,
}

static POOL: Lock<Pool> = Lock::new(Pool { blocks: BTreeMap::new(), free: BTreeMap::new() });

/// Returns the number of blocks that drivers have, and their bytes.
pub(crate) fn in_use() -> (usize, usize) {
    let pool = POOL.lock();
    (pool.blocks.len(), pool.blocks.values().map(|block| block.size).sum())
}

/// Bytes before and, at least, behind a small block.
const GUARD: usize = 16;
const GUARD_BYTE: u8 = 0xFD;
const FREE_BYTE: u8 = 0xDD;
/// The byte that fills fresh pool: drivers must not take it for zero.
const FRESH_BYTE: u8 = 0xCD;

fn text(tag: u32) -> alloc::string::String {
    tag.to_le_bytes().iter().map(|&b| if b.is_ascii_graphic() { b as char } else { '.' }).collect()
}

/// Allocates a block; null if there is no memory. 16-byte aligned, page-aligned from a page on.
pub(crate) fn allocate(kind: Type, size: usize, tag: u32, driver: usize) -> Pvoid {
    let needed = size + 2 * GUARD;
    let address = if needed <= PAGE_SIZE / 2 {
        allocate_slot(kind, needed.next_power_of_two().max(64))
    } else {
        allocate_pages(kind, size)
    };
    let Some((start, slot)) = address else { return core::ptr::null_mut() };
    let end = if slot == 0 { start + size.next_multiple_of(PAGE_SIZE) } else { start - GUARD + slot };
    // SAFETY: the slot or the pages were just taken for this block.
    unsafe {
        core::ptr::write_bytes(start as *mut u8, FRESH_BYTE, size);
        core::ptr::write_bytes((start + size) as *mut u8, GUARD_BYTE, end - start - size);
        if slot != 0 {
            core::ptr::write_bytes((start - GUARD) as *mut u8, GUARD_BYTE, GUARD);
        }
    }
    POOL.lock().blocks.insert(start, Block { size, tag, driver, kind, slot });
    start as Pvoid
}

fn allocate_pages(kind: Type, size: usize) -> Option<(usize, usize)> {
    let pages = size.div_ceil(PAGE_SIZE);
    let start = kind.region().allocate(pages, kind.protection())?;
    if kind == Type::Paged {
        paged::watch(start, pages, kind.protection());
    }
    Some((start, 0))
}

/// Stops if a free slot was written to.
fn check_free(start: usize, slot: usize) {
    // SAFETY: a free slot lies in mapped pool.
    let bytes = unsafe { core::slice::from_raw_parts(start as *const u8, slot) };
    if let Some(at) = bytes.iter().position(|&b| b != FREE_BYTE) {
        violation(
            Violation::PoolUsedAfterFree,
            format_args!(
                "block={:#x} offset={} byte={:#x}",
                start + GUARD,
                at as isize - GUARD as isize,
                bytes[at]
            ),
        );
    }
}

fn allocate_slot(kind: Type, slot: usize) -> Option<(usize, usize)> {
    let key = (kind as u8, slot);
    let taken = POOL.lock().free.entry(key).or_default().pop_front();
    let start = match taken {
        Some(start) => {
            check_free(start, slot);
            start
        }
        None => {
            let page = kind.region().allocate(1, kind.protection())?;
            if kind == Type::Paged {
                paged::watch(page, 1, kind.protection());
            }
            // SAFETY: the page was just mapped.
            unsafe { core::ptr::write_bytes(page as *mut u8, FREE_BYTE, PAGE_SIZE) };
            let mut pool = POOL.lock();
            pool.free.entry(key).or_default().extend((page + slot..page + PAGE_SIZE).step_by(slot));
            page
        }
    };
    Some((start + GUARD, slot))
}

/// Returns the damage to a block's guards: the offset from the block's start of the first changed byte, and
/// the byte.
fn broken_guard(start: usize, block: &Block) -> Option<(isize, u8)> {
    let (low, high) = if block.slot == 0 {
        (start, start + block.size.next_multiple_of(PAGE_SIZE))
    } else {
        (start - GUARD, start - GUARD + block.slot)
    };
    let changed = |from: usize, to: usize| {
        // SAFETY: the guards of a block in use are mapped.
        (from..to).map(|at| (at, unsafe { *(at as *const u8) })).find(|&(_, byte)| byte != GUARD_BYTE)
    };
    let found = changed(low, start).or_else(|| changed(start + block.size, high));
    found.map(|(at, byte)| (at as isize - start as isize, byte))
}

fn check_guard(start: usize, block: &Block) {
    if let Some((offset, byte)) = broken_guard(start, block) {
        violation(
            Violation::PoolOverrun,
            format_args!(
                "block={start:#x} size={} tag={} driver={} offset={offset} byte={byte:#x}",
                block.size,
                text(block.tag),
                driver_name(block.driver)
            ),
        );
    }
}

/// Frees a block; with a tag, it must be the one it was allocated with.
///
/// # Safety
/// The block is not used any more.
pub(crate) unsafe fn free(address: Pvoid, tag: Option<u32>) {
    let start = address as usize;
    let Some(block) = POOL.lock().blocks.remove(&start) else {
        violation(Violation::PoolFreedTwice, format_args!("block={start:#x}"));
    };
    let level = irql::current();
    if block.kind == Type::Paged && level > APC_LEVEL {
        violation(Violation::WrongIrql, format_args!("routine=ExFreePoolWithTag pool=paged irql={level}"));
    }
    if tag.is_some_and(|tag| tag != block.tag) {
        violation(
            Violation::PoolBadTag,
            format_args!("block={start:#x} allocated={} freed={}", text(block.tag), text(tag.unwrap_or(0))),
        );
    }
    check_guard(start, &block);
    check_not_queued(start, start + block.size, &driver_name(block.driver));
    // SAFETY: by this function's contract, the block is not used any more.
    unsafe {
        if block.slot == 0 {
            if block.kind == Type::Paged {
                paged::forget(start);
            }
            block.kind.region().free(start, block.size.div_ceil(PAGE_SIZE));
            return;
        }
        core::ptr::write_bytes((start - GUARD) as *mut u8, FREE_BYTE, block.slot);
    }
    let mut pool = POOL.lock();
    pool.free.entry((block.kind as u8, block.slot)).or_default().push_back(start - GUARD);
}

/// Checks the guards of every block, and of every free slot that nothing wrote to it.
pub(crate) fn check_all() {
    let blocks: Vec<(usize, Block)> =
        POOL.lock().blocks.iter().map(|(&start, block)| (start, block.clone())).collect();
    for (start, block) in blocks {
        check_guard(start, &block);
    }
    let free: Vec<(usize, usize)> = POOL
        .lock()
        .free
        .iter()
        .flat_map(|(&(_, slot), list)| list.iter().map(move |&start| (start, slot)))
        .collect();
    for (start, slot) in free {
        check_free(start, slot);
    }
}

/// Stops if a driver that is being unloaded still has blocks.
pub(crate) fn check_no_leak(driver: usize) {
    let left: Vec<(usize, Block)> =
        POOL.lock().blocks.iter().filter(|(_, b)| b.driver == driver).map(|(&s, b)| (s, b.clone())).collect();
    if let Some((start, block)) = left.first() {
        violation(
            Violation::PoolLeaked,
            format_args!(
                "driver={} blocks={} first={start:#x} size={} tag={}",
                driver_name(driver),
                left.len(),
                block.size,
                text(block.tag)
            ),
        );
    }
}
