//! CRC-32 (IEEE 802.3), over data blocks and over every metadata sector.

use crate::block::{SECTOR, Sector};

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        let mut c = n as u32;
        let mut bit = 0;
        while bit < 8 {
            c = if c & 1 == 1 { 0xEDB8_8320 ^ (c >> 1) } else { c >> 1 };
            bit += 1;
        }
        table[n] = c;
        n += 1;
    }
    table
};

/// Returns the CRC-32 of `bytes`.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |c, &b| TABLE[usize::from(c as u8 ^ b)] ^ (c >> 8))
}

/// Offset in a metadata sector of the checksum of all before it.
const AT: usize = SECTOR - 4;

/// Puts the checksum into the last four bytes of a metadata sector.
pub(crate) fn seal(mut sector: Sector) -> Sector {
    let crc = crc32(&sector[..AT]);
    sector[AT..].copy_from_slice(&crc.to_le_bytes());
    sector
}

/// Returns the checksum a sealed sector carries. Not the same as the CRC-32 of the whole sector, which is one
/// and the same for every sealed sector, as a CRC over data and its own CRC is.
pub(crate) fn seal_of(sector: &Sector) -> u32 {
    u32::from_le_bytes([sector[AT], sector[AT + 1], sector[AT + 2], sector[AT + 3]])
}

/// Returns true if a metadata sector is as it was sealed.
pub(crate) fn is_sealed(sector: &Sector) -> bool {
    crc32(&sector[..AT]) == seal_of(sector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_value() {
        // The check value of CRC-32/ISO-HDLC in the catalogue of parametrised CRC algorithms.
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn a_changed_bit_breaks_the_seal() {
        let mut sector = seal([7; SECTOR]);
        assert!(is_sealed(&sector));
        sector[100] ^= 1;
        assert!(!is_sealed(&sector));
    }
}
