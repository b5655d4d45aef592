//! The boot archive: a POSIX ustar file (IEEE Std 1003.1, pax) holding what the boot partition would.

/// The archive in memory.
#[derive(Clone, Copy)]
pub(crate) struct Archive {
    bytes: &'static [u8],
}

impl Archive {
    /// Returns an archive of these bytes.
    pub(crate) const fn new(bytes: &'static [u8]) -> Self {
        Self { bytes }
    }

    /// Returns its regular files: last path component, contents.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&'static str, &'static [u8])> + use<> {
        let mut rest = self.bytes;
        core::iter::from_fn(move || {
            loop {
                let (header, after) = rest.split_at_checked(512)?;
                if header[0] == 0 {
                    return None;
                }
                let size = octal(&header[124..136])?;
                let contents = after.get(..size)?;
                rest = after.get(size.next_multiple_of(512)..).unwrap_or(&[]);
                if matches!(header[156], b'0' | 0) {
                    let end = header[..100].iter().position(|&b| b == 0).unwrap_or(100);
                    let path = core::str::from_utf8(&header[..end]).ok()?;
                    return Some((path.rsplit('/').next().unwrap_or(path), contents));
                }
            }
        })
    }

    /// Returns the file of that name, in any case.
    pub(crate) fn file(&self, name: &str) -> Option<&'static [u8]> {
        self.files().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, contents)| contents)
    }
}

fn octal(field: &[u8]) -> Option<usize> {
    let text = core::str::from_utf8(field).ok()?.trim_matches(['\0', ' ']);
    usize::from_str_radix(text, 8).ok()
}
