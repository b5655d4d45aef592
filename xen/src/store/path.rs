//! Paths of nodes.

use core::fmt;

use super::Error;
use crate::wire::xenstore::{ABS_PATH_MAX, REL_PATH_MAX};

/// Checks a path: characters `[A-Za-z0-9-/_@]`, no empty part, no slash at the end but of `/` itself, at most
/// 3072 bytes where absolute and 2048 where relative. A special watch path (`@…`) passes too.
///
/// # Errors
/// [`Error::Path`], [`Error::PathLength`].
pub fn check(path: &str) -> Result<(), Error> {
    let bytes = path.as_bytes();
    let limit = if bytes.first() == Some(&b'/') { ABS_PATH_MAX } else { REL_PATH_MAX };
    if bytes.len() > limit {
        return Err(Error::PathLength { found: bytes.len(), limit });
    }
    if path == "/" {
        return Ok(());
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-/_@".contains(&byte);
    let wrong = (0..bytes.len()).find(|&at| {
        !allowed(bytes[at]) || bytes[at] == b'/' && matches!(bytes.get(at + 1), None | Some(b'/'))
    });
    match wrong {
        Some(offset) => Err(Error::Path { offset }),
        None if bytes.is_empty() => Err(Error::Path { offset: 0 }),
        None => Ok(()),
    }
}

/// A path put together without allocation: at most 256 bytes, which every device's paths stay far below.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PathBuf {
    bytes: [u8; Self::CAPACITY],
    length: usize,
}

impl PathBuf {
    /// Bytes it can hold.
    pub const CAPACITY: usize = 256;

    /// Returns a path.
    ///
    /// # Errors
    /// As [`check`], and [`Error::PathLength`] beyond the capacity.
    pub fn new(path: &str) -> Result<Self, Error> {
        check(path)?;
        let mut bytes = [0; Self::CAPACITY];
        let target = bytes
            .get_mut(..path.len())
            .ok_or(Error::PathLength { found: path.len(), limit: Self::CAPACITY })?;
        target.copy_from_slice(path.as_bytes());
        Ok(Self { bytes, length: path.len() })
    }

    /// Returns this path with `/name` after it.
    ///
    /// # Errors
    /// As [`PathBuf::new`].
    pub fn join(&self, name: &str) -> Result<Self, Error> {
        let found = self.length + 1 + name.len();
        let mut bytes = self.bytes;
        let target =
            bytes.get_mut(self.length..found).ok_or(Error::PathLength { found, limit: Self::CAPACITY })?;
        target[0] = b'/';
        target[1..].copy_from_slice(name.as_bytes());
        let joined = Self { bytes, length: found };
        check(joined.as_str())?;
        Ok(joined)
    }

    /// Returns the path.
    pub fn as_str(&self) -> &str {
        // Only ever made of checked, that is ASCII, text.
        core::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

impl core::ops::Deref for PathBuf {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for PathBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for PathBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::string::String;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn good_paths_pass() {
        for path in [
            "/",
            "device",
            "device/vbd/768",
            "/local/domain/0/backend/vbd/1/51712",
            "@releaseDomain",
            "a-b_c",
        ] {
            assert_eq!(check(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn bad_paths_name_the_place() {
        for (path, offset) in
            [("", 0), ("a/", 1), ("//", 0), ("a//b", 1), ("a b", 1), ("a\0", 1), ("dé", 1), ("a/.", 2)]
        {
            assert_eq!(check(path), Err(Error::Path { offset }), "{path}");
        }
    }

    #[test]
    fn lengths_are_limited() {
        assert_eq!(check(&"a".repeat(2048)), Ok(()));
        assert_eq!(check(&"a".repeat(2049)), Err(Error::PathLength { found: 2049, limit: 2048 }));
        let absolute = |length: usize| String::from("/") + &"a".repeat(length - 1);
        assert_eq!(check(&absolute(3072)), Ok(()));
        assert_eq!(check(&absolute(3073)), Err(Error::PathLength { found: 3073, limit: 3072 }));
    }

    #[test]
    fn joining_checks_the_whole() {
        let path = PathBuf::new("device/vbd").unwrap().join("768").unwrap();
        assert_eq!(path.as_str(), "device/vbd/768");
        assert_eq!(std::format!("{path} {path:?}"), "device/vbd/768 \"device/vbd/768\"");
        assert_eq!(path.join("a b"), Err(Error::Path { offset: 16 }));
        assert_eq!(path.join(""), Err(Error::Path { offset: 14 }));
        let long = PathBuf::new(&"a".repeat(250)).unwrap();
        assert!(long.join("12345").is_ok());
        assert_eq!(long.join("123456"), Err(Error::PathLength { found: 257, limit: 256 }));
        assert_eq!(PathBuf::new(&"a".repeat(257)), Err(Error::PathLength { found: 257, limit: 256 }));
    }

    proptest! {
        #[test]
        fn a_checked_path_has_no_empty_part_and_only_allowed_characters(path in "[a-z/@. ]{0,12}") {
            let parts = path.strip_prefix('/').unwrap_or(&path).split('/');
            let good = path == "/" || parts.clone().all(|part| {
                !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'@')
            });
            prop_assert_eq!(check(&path).is_ok(), good);
        }
    }
}
