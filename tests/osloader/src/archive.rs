//! The boot archive: a POSIX ustar file (IEEE Std 1003.1, pax) with the files that the loader takes.

use alloc::vec::Vec;

/// Bytes of a header, and the unit of a file's content.
const BLOCK: usize = 512;

/// The archive in memory.
#[derive(Clone, Copy, Debug)]
pub struct Archive<'a> {
    bytes: &'a [u8],
}

impl<'a> Archive<'a> {
    /// Returns an archive of these bytes.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Returns its regular files: last path component, contents.
    pub fn files(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        let mut rest = self.bytes;
        core::iter::from_fn(move || {
            loop {
                let (header, after) = rest.split_at_checked(BLOCK)?;
                if header[0] == 0 {
                    return None;
                }
                let size = octal(&header[124..136])?;
                let contents = after.get(..size)?;
                rest = after.get(size.next_multiple_of(BLOCK)..).unwrap_or(&[]);
                if matches!(header[156], b'0' | 0) {
                    let end = header[..100].iter().position(|&b| b == 0).unwrap_or(100);
                    let path = core::str::from_utf8(&header[..end]).ok()?;
                    return Some((path.rsplit('/').next().unwrap_or(path), contents));
                }
            }
        })
    }

    /// Returns the file of that name, in any case.
    pub fn file(&self, name: &str) -> Option<&'a [u8]> {
        self.files().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, contents)| contents)
    }
}

fn octal(field: &[u8]) -> Option<usize> {
    let text = core::str::from_utf8(field).ok()?.trim_matches(['\0', ' ']);
    usize::from_str_radix(text, 8).ok()
}

/// Adds a file to an archive in the making: name of at most 100 bytes, contents. Only the fields that
/// [`Archive::files`] reads are written.
pub fn add(archive: &mut Vec<u8>, name: &str, contents: &[u8]) {
    let mut header = [0; BLOCK];
    let length = name.len().min(100);
    header[..length].copy_from_slice(&name.as_bytes()[..length]);
    for (digit, byte) in header[124..135].iter_mut().rev().enumerate() {
        *byte = b'0' + (contents.len() >> (3 * digit) & 7) as u8;
    }
    header[156] = b'0';
    archive.extend_from_slice(&header);
    archive.extend_from_slice(contents);
    archive.resize(archive.len().next_multiple_of(BLOCK), 0);
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;

    #[test]
    fn what_was_added_is_found() {
        let mut bytes = Vec::new();
        add(&mut bytes, "a.sys", &vec![7; 1000]);
        add(&mut bytes, "BCD", b"x");
        let archive = Archive::new(&bytes);
        assert_eq!(archive.file("A.SYS"), Some(&vec![7; 1000][..]));
        assert_eq!(archive.file("bcd"), Some(&b"x"[..]));
        assert_eq!(archive.files().count(), 2);
        assert_eq!(bytes.len(), 512 + 1024 + 512 + 512);
    }
}
