//! The Authenticode hash of an image: everything but what a signature changes ("Windows Authenticode Portable
//! Executable Signature Format").

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

/// Offsets in the optional header of a 64-bit image (PE format, "Optional Header").
const CHECKSUM: usize = 64;
const CERTIFICATE_TABLE: usize = 144;
/// The signature and the file header precede the optional header.
const OPTIONAL_HEADER: usize = 24;
/// `IMAGE_NT_OPTIONAL_HDR64_MAGIC`.
const MAGIC_64: u16 = 0x20b;

/// Returns the SHA-256 of a 64-bit image without checksum, certificate table entry and certificates. An
/// unsigned image is hashed as if padded to eight bytes, which is what signing does to it.
///
/// # Errors
/// It is no 64-bit image.
pub(super) fn digest(image: &[u8]) -> Result<[u8; 32]> {
    let word = |at: usize| -> Result<usize> {
        let bytes = image.get(at..at + 4).context("the image is cut short")?;
        Ok(u32::from_le_bytes(bytes.try_into()?) as usize)
    };
    ensure!(image.starts_with(b"MZ"), "no image");
    let header = word(0x3c)? + OPTIONAL_HEADER;
    ensure!(word(header)? as u16 == MAGIC_64, "no 64-bit image");
    let (checksum, table) = (header + CHECKSUM, header + CERTIFICATE_TABLE);
    let end = match word(table)? {
        0 => image.len(),
        certificates => certificates,
    };
    let rest = image.get(table + 8..end).context("the certificates are outside of the image")?;
    let mut hash = Sha256::new();
    hash.update(&image[..checksum]);
    hash.update(&image[checksum + 4..table]);
    hash.update(rest);
    hash.update(&[0; 7][..end.next_multiple_of(8) - end]);
    Ok(hash.finalize().into())
}

/// Returns the certificates of an image, which its signature is one of; none where it is not signed.
///
/// # Errors
/// It is no 64-bit image, or the table leads out of it.
pub(super) fn certificates(image: &[u8]) -> Result<&[u8]> {
    digest(image)?;
    let word =
        |at: usize| image.get(at..at + 4).and_then(|bytes| Some(u32::from_le_bytes(bytes.try_into().ok()?)));
    let header = word(0x3c).context("the image is cut short")? as usize + OPTIONAL_HEADER;
    let (at, size) = (word(header + CERTIFICATE_TABLE), word(header + CERTIFICATE_TABLE + 4));
    let (at, size) =
        (at.context("no certificate table")? as usize, size.context("no certificate table")? as usize);
    image.get(at..at.saturating_add(size)).context("the certificates lead out of the image")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Returns a header, a body of `length` bytes, and, where signed, certificates behind it.
    pub(crate) fn image(length: usize, signed: bool) -> Vec<u8> {
        let mut bytes = vec![0; 0x200];
        bytes[..2].copy_from_slice(b"MZ");
        bytes[0x3c] = 0x40;
        bytes[0x58..0x5a].copy_from_slice(&MAGIC_64.to_le_bytes());
        bytes.extend(vec![7; length]);
        if signed {
            bytes.resize(bytes.len().next_multiple_of(8), 0);
            let at = bytes.len() as u32;
            let table = 0x40 + OPTIONAL_HEADER + CERTIFICATE_TABLE;
            bytes[table..table + 4].copy_from_slice(&at.to_le_bytes());
            bytes[table + 4..table + 8].copy_from_slice(&64_u32.to_le_bytes());
            bytes[0x58 + CHECKSUM] = 9;
            bytes.extend([1; 64]);
        }
        bytes
    }

    #[test]
    fn a_signature_leaves_the_hash_as_it_was() {
        for length in [0, 3, 8] {
            assert_eq!(digest(&image(length, false)).unwrap(), digest(&image(length, true)).unwrap());
        }
        let mut changed = image(8, true);
        changed[0x201] ^= 1;
        assert_ne!(digest(&changed).unwrap(), digest(&image(8, true)).unwrap());
        assert_eq!(certificates(&image(8, true)).unwrap(), [1; 64]);
        assert!(certificates(&image(8, false)).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_image_is_refused() {
        assert!(digest(b"[Version]").is_err());
        assert!(digest(&image(0, false)[..0x80]).is_err());
    }
}
