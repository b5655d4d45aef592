//! `hiberfil.sys`: does it hold an image that the next boot will resume?

use std::{fs::File, io::Read, path::Path};

use super::Answer;
use crate::guest_files;

/// Meaning of the file's first bytes. Source of the signatures: `PO_MEMORY_IMAGE` in NT's symbols; "HIBR" and
/// its like since Windows 8, in lower case before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hibernation {
    /// No file, or one that is not resumed from.
    None,
    /// An image that will be resumed, or is half resumed.
    Image,
    /// It cannot be told.
    Unknown(String),
}

impl Hibernation {
    /// Of the system volume mounted at `root`.
    #[must_use]
    pub fn below(root: &Path) -> Hibernation {
        let file = match guest_files::file(root, "hiberfil.sys") {
            Ok(Some(file)) => file,
            Ok(None) => return Hibernation::None,
            Err(error) => return Hibernation::Unknown(format!("{error:#}")),
        };
        let mut start = Vec::new();
        match File::open(&file).and_then(|file| file.take(4096).read_to_end(&mut start)) {
            Ok(_) => Hibernation::of(&start),
            Err(error) => Hibernation::Unknown(format!("{} cannot be read: {error}", file.display())),
        }
    }

    /// By the file's first page.
    #[must_use]
    pub fn of(start: &[u8]) -> Hibernation {
        let signature = start.get(..4).map(<[u8]>::to_ascii_lowercase);
        match signature.as_deref() {
            // "link": the image is in another place. "rstr": a resume has begun and not ended.
            Some(b"hibr" | b"rstr" | b"link") => Hibernation::Image,
            // "wake": it has been resumed from.
            Some(b"wake") => Hibernation::None,
            None => Hibernation::None,
            _ if start.iter().all(|&byte| byte == 0) => Hibernation::None,
            Some(other) => Hibernation::Unknown(format!(
                "hiberfil.sys begins with \"{}\", expected HIBR, RSTR, LINK, WAKE or zeros",
                other.escape_ascii()
            )),
        }
    }

    /// Returns the answer for a reader.
    pub(super) fn answer(&self) -> (Answer, String) {
        match self {
            Hibernation::None => (Answer::No, "no image".to_owned()),
            Hibernation::Image => (Answer::Yes, "an image is present; its disks must not change".to_owned()),
            Hibernation::Unknown(why) => (Answer::Unknown, format!("unknown ({why})")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_page_tells() {
        for image in [b"hibr", b"HIBR", b"RSTR", b"rstr", b"link"] {
            let page = [image.as_slice(), &[7; 4092]].concat();
            assert_eq!(Hibernation::of(&page), Hibernation::Image);
        }
        for none in [b"wake".as_slice(), b"WAKE", &[0; 4096], b""] {
            assert_eq!(Hibernation::of(none), Hibernation::None);
        }
        assert!(matches!(Hibernation::of(b"\x00\x00\x00\x01"), Hibernation::Unknown(_)));
    }
}
