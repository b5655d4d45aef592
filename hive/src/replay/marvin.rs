//! Marvin32, the hash that guards log entries.

/// The seed that Windows uses for log entries, 82 EF 4D 88 7A 4E 55 C5 as one big number: its low half first.
const SEED: [u32; 2] = [0x7a4e_55c5, 0x82ef_4d88];

/// Hashes `words` with the seed of log entries. What Windows hashes there is a whole number of words.
pub(crate) fn hash(words: &[[u8; 4]]) -> u64 {
    let mut state = SEED;
    for word in words {
        mix(&mut state, u32::from_le_bytes(*word));
    }
    // The bit that ends the data, and the finishing round.
    mix(&mut state, 0x80);
    mix(&mut state, 0);
    u64::from(state[1]) << 32 | u64::from(state[0])
}

const fn mix(state: &mut [u32; 2], word: u32) {
    let [mut low, mut high] = *state;
    low = low.wrapping_add(word);
    high ^= low;
    low = low.rotate_left(20).wrapping_add(high);
    high = high.rotate_left(9) ^ low;
    low = low.rotate_left(27).wrapping_add(high);
    high = high.rotate_left(19);
    *state = [low, high];
}

#[cfg(test)]
mod tests {
    use super::hash;

    /// A second implementation, written by others, gives these values for the same seed.
    #[test]
    fn a_second_implementation_agrees() {
        let vectors = [
            ("", 0xb39e_fca4_0396_6e08),
            ("abcd", 0x2009_4fb1_1a6c_d086),
            ("HvLE, of a log entry", 0x7f6e_01a1_4cbc_3aef),
        ];
        for (text, expected) in vectors {
            assert_eq!(hash(text.as_bytes().as_chunks().0), expected, "{text:?}");
        }
    }
}
