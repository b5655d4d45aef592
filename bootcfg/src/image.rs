//! PE images, as far as a boot loader asks: for which machine, of which version, and who signed.
//!
//! Source: "PE Format" (Microsoft): `e_lfanew` at 0x3c, the machine behind the signature, in the optional
//! header the system's version at 40, the subsystem at 68, and of an x64 image the data directories at 112.

use std::{fs::File, io::Read, path::Path};

/// `IMAGE_FILE_MACHINE_AMD64`.
const AMD64: u16 = 0x8664;
/// `IMAGE_SUBSYSTEM_NATIVE`.
const NATIVE: u16 = 1;
/// `IMAGE_SUBSYSTEM_WINDOWS_GUI`.
const WINDOWS: u16 = 2;
/// `IMAGE_SUBSYSTEM_WINDOWS_CUI`.
const CONSOLE: u16 = 3;
/// The entry of the certificate table among the data directories.
const CERTIFICATES: usize = 4;
/// Names in certificates of those that Windows' loader trusts to vouch for kernel drivers: the root of
/// cross-certificates, and the issuers of what Microsoft signs itself (attestation and WHQL). Source:
/// "Kernel-mode code signing requirements", "Cross-certificates for kernel mode code signing".
const TRUSTED: [&str; 4] = [
    "Microsoft Code Verification Root",
    "Microsoft Windows Third Party Component CA",
    "Microsoft Windows Hardware Compatibility",
    "Microsoft Windows Production PCA",
];

/// The signature in an image. What it is worth is for the loader to say; what it can be worth is told by who
/// stands behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signature {
    /// There is none in the file.
    None,
    /// By a certificate behind which Microsoft does not stand: it counts where test signing is on.
    Test,
    /// By one behind which Microsoft stands.
    Trusted,
}

/// The machine of an image's file, and the version of the system that it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// The kernel is for x64.
    pub is_x64: bool,
    /// Major and minor version: 5.2 is Server 2003, 6.0 Vista.
    pub version: (u16, u16),
}

impl Kernel {
    /// Reads the header of a kernel's file; `None` where it is none.
    #[must_use]
    pub fn of_file(path: &Path) -> Option<Kernel> {
        let mut start = Vec::new();
        File::open(path).ok()?.take(4096).read_to_end(&mut start).ok()?;
        let optional = optional_header(&start)?;
        let version = (word(&start, optional + 40)?, word(&start, optional + 42)?);
        Some(Kernel { is_x64: word(&start, optional - 20)? == AMD64, version })
    }
}

/// Returns whether this is a driver for x64.
#[must_use]
pub fn is_x64_driver(image: &[u8]) -> bool {
    optional_header(image).is_some_and(|optional| {
        word(image, optional - 20) == Some(AMD64) && word(image, optional + 68) == Some(NATIVE)
    })
}

/// Returns whether this is a program for x64, without a window or with one.
#[must_use]
pub fn is_x64_program(image: &[u8]) -> bool {
    optional_header(image).is_some_and(|optional| {
        word(image, optional - 20) == Some(AMD64)
            && matches!(word(image, optional + 68), Some(WINDOWS | CONSOLE))
    })
}

/// Returns the signature in an x64 image.
#[must_use]
pub fn signature(image: &[u8]) -> Signature {
    let table = || {
        let entry = optional_header(image)? + 112 + 8 * CERTIFICATES;
        let (at, size) = (long(image, entry)? as usize, long(image, entry + 4)? as usize);
        // A table that is cut off was not signed like that.
        image.get(at..at.checked_add(size)?).filter(|table| table.len() > 8)
    };
    match table() {
        None => Signature::None,
        Some(table) => {
            let has = |name: &str| table.windows(name.len()).any(|part| part == name.as_bytes());
            if TRUSTED.iter().any(|name| has(name)) { Signature::Trusted } else { Signature::Test }
        }
    }
}

/// Returns the offset of the optional header.
fn optional_header(image: &[u8]) -> Option<usize> {
    let header = long(image, 0x3c)? as usize;
    let is_image = image.starts_with(b"MZ") && image.get(header..)?.starts_with(b"PE\0\0");
    is_image.then_some(header + 24)
}

fn word(image: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*image.get(at..)?.first_chunk()?))
}

fn long(image: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*image.get(at..)?.first_chunk()?))
}

/// Makes the least that counts as a program, for tests, with something in it.
#[doc(hidden)]
#[must_use]
pub fn sample_program(content: &[u8]) -> Vec<u8> {
    let mut image = sample_driver(content, None);
    image[0x40 + 24 + 68] = CONSOLE as u8;
    image
}

/// Makes the least that counts as a driver, for tests: with something in it, and a certificate of this
/// issuer, if one is given.
#[doc(hidden)]
#[must_use]
pub fn sample_driver(content: &[u8], issuer: Option<&str>) -> Vec<u8> {
    let mut image = vec![0; 0x200];
    image[..2].copy_from_slice(b"MZ");
    image[0x3c] = 0x40;
    image[0x40..0x46].copy_from_slice(b"PE\0\0\x64\x86");
    image[0x40 + 24 + 68] = 1;
    image.extend(content);
    if let Some(issuer) = issuer {
        let certificate = [&[0x30, 0, 0, 0, 0, 2, 2, 0], issuer.as_bytes()].concat();
        let entry = 0x40 + 24 + 112 + 8 * CERTIFICATES;
        let (at, size) = (image.len() as u32, certificate.len() as u32);
        image[entry..entry + 4].copy_from_slice(&at.to_le_bytes());
        image[entry + 4..entry + 8].copy_from_slice(&size.to_le_bytes());
        image.extend(certificate);
    }
    image
}

/// Makes the header of a kernel's file, for tests.
#[doc(hidden)]
#[must_use]
pub fn sample_kernel(is_x64: bool, (major, minor): (u16, u16)) -> Vec<u8> {
    let mut image = sample_driver(b"", None);
    if !is_x64 {
        image[0x44..0x46].copy_from_slice(&[0x4c, 1]);
    }
    image[0x40 + 24 + 40..0x40 + 24 + 42].copy_from_slice(&major.to_le_bytes());
    image[0x40 + 24 + 42..0x40 + 24 + 44].copy_from_slice(&minor.to_le_bytes());
    image
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_driver_is_told() {
        let driver = sample_driver(b"one", None);
        assert!(is_x64_driver(&driver));
        for (at, byte) in [(0, b'X'), (0x40, b'X'), (0x44, 0x4c), (0x40 + 24 + 68, 3)] {
            let mut other = driver.clone();
            other[at] = byte;
            assert!(!is_x64_driver(&other), "{at:#x}");
        }
        assert!(!is_x64_driver(b"MZ"));
    }

    #[test]
    fn who_signed() {
        assert_eq!(signature(&sample_driver(b"x", None)), Signature::None);
        assert_eq!(signature(&sample_driver(b"x", Some("Xenguard test"))), Signature::Test);
        let trusted = sample_driver(b"x", Some("CN=Microsoft Windows Third Party Component CA 2014"));
        assert_eq!(signature(&trusted), Signature::Trusted);
        assert_eq!(signature(&trusted[..trusted.len() - 1]), Signature::None, "cut off");
        // A time stamp of Microsoft's vouches for the time alone.
        assert_eq!(signature(&sample_driver(b"x", Some("Microsoft Time-Stamp PCA 2010"))), Signature::Test);
    }
}
