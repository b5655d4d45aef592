//! Contents of a block of the disk: its own number, so that a read can be told from one of another block, and
//! a stamp, so that a write can be told from none.

/// Bytes of a block.
pub const BLOCK: usize = 4096;

/// Stamp of a block that nobody has written.
pub const UNTOUCHED: u64 = 0x4845_5246_4845_5246;

/// Fills `data`, a whole number of blocks, with what belongs to `offset`. Only the heads carry meaning.
pub fn fill(data: &mut [u8], offset: u64, stamp: u64) {
    for (number, block) in (offset / BLOCK as u64..).zip(data.chunks_exact_mut(BLOCK)) {
        block[..8].copy_from_slice(&number.to_le_bytes());
        block[8..16].copy_from_slice(&stamp.to_le_bytes());
    }
}

/// Returns the number and the stamp in the first block of `data`.
pub fn head(data: &[u8]) -> (u64, u64) {
    let word = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&data[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    (word(0), word(8))
}

/// Returns true if every block of `data`, which lies at `offset`, carries its own number.
pub fn is_right(data: &[u8], offset: u64) -> bool {
    (offset / BLOCK as u64..).zip(data.chunks_exact(BLOCK)).all(|(number, block)| head(block).0 == number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_of_another_place_is_noticed() {
        let mut data = [0; 3 * BLOCK];
        fill(&mut data, 5 * BLOCK as u64, 7);
        assert!(is_right(&data, 5 * BLOCK as u64));
        assert!(!is_right(&data, 6 * BLOCK as u64));
        assert_eq!(head(&data[2 * BLOCK..]), (7, 7));
        data[BLOCK] ^= 1;
        assert!(!is_right(&data, 5 * BLOCK as u64));
    }
}
