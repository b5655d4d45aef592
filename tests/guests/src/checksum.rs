//! The checksum in a PE header.

/// Computes the checksum of `image`, whose header keeps it at `field`: the sum of all 16-bit words with
/// each carry added back, the field itself taken as zero, plus the length (as IMAGHELP's
/// `CheckSumMappedFile` does).
pub fn compute(image: &[u8], field: usize) -> u32 {
    let mut sum = 0_u32;
    for (index, pair) in image.chunks(2).enumerate() {
        let offset = index * 2;
        if offset == field || offset == field + 2 {
            continue;
        }
        sum += u32::from(pair[0]) | pair.get(1).map_or(0, |high| u32::from(*high) << 8);
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum.wrapping_add(image.len() as u32)
}

#[cfg(test)]
mod tests {
    use super::compute;

    #[test]
    fn carries_are_added_back_and_the_field_is_left_out() {
        assert_eq!(compute(&[0xff, 0xff, 0x02, 0x00, 9, 9, 9, 9], 4), 2 + 8);
    }

    #[test]
    fn an_odd_last_byte_counts_as_a_word() {
        assert_eq!(compute(&[0, 0, 0, 0, 5], 0), 5 + 5);
    }
}
