//! The physical pieces of a buffer.

use alloc::vec::Vec;

use crate::mm;
use crate::nt::PAGE_SIZE;

/// A physically contiguous part of a buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Piece {
    /// Physical address.
    pub address: u64,
    /// Length in bytes.
    pub length: u32,
}

/// Returns the pieces of `length` bytes of mapped memory from `address` on: as few as there can be.
pub(crate) fn pieces(address: usize, length: usize) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut at = address;
    while at < address + length {
        let bytes = (PAGE_SIZE - at % PAGE_SIZE).min(address + length - at) as u32;
        let physical = mm::MmGetPhysicalAddress(at as *mut _) as u64;
        match pieces.last_mut() {
            Some(last) if last.address + u64::from(last.length) == physical => last.length += bytes,
            _ => pieces.push(Piece { address: physical, length: bytes }),
        }
        at += bytes as usize;
    }
    pieces
}
