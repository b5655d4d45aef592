/// FNV-1a of 64 bits, over data that one end writes and the other reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum(u64);

impl Checksum {
    /// Makes the checksum of no data.
    #[must_use]
    pub const fn new() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }

    /// Returns the checksum of some bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> u64 {
        Self::new().and(bytes).value()
    }

    /// Adds bytes.
    #[must_use]
    pub fn and(self, bytes: &[u8]) -> Self {
        Self(bytes.iter().fold(self.0, |sum, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3)))
    }

    /// Returns the checksum of all that was added.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }
}

impl Default for Checksum {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of the algorithm's authors.
    #[test]
    fn known_values() {
        assert_eq!(Checksum::of(b""), 0xCBF2_9CE4_8422_2325);
        assert_eq!(Checksum::of(b"a"), 0xAF63_DC4C_8601_EC8C);
        assert_eq!(Checksum::new().and(b"foo").and(b"bar").value(), 0x8594_4171_F739_67E8);
    }
}
