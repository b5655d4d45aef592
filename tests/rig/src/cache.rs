//! Directories made once and kept: each carries a stamp that names what it was made from and vouches for its
//! files. A directory is made under another name and renamed when whole, so an interrupted making leaves
//! nothing that could be taken for a result.

use std::fmt::{self, Write as _};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::error::{FileContext, RigError};

const STAMP: &str = "stamp";

/// Names a set of inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key(String);

impl Key {
    /// Hashes the inputs; where one ends and the next begins is part of the hash.
    pub(crate) fn of(inputs: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for input in inputs {
            hash.update((input.len() as u64).to_le_bytes());
            hash.update(input);
        }
        let mut text = String::new();
        for byte in hash.finalize() {
            let _ = write!(text, "{byte:02x}");
        }
        Self(text)
    }
}

/// State of the directory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Whole and made from the same inputs.
    Good,
    /// Not there.
    Missing,
    /// Made from other inputs.
    Stale,
    /// Not as it was made.
    Damaged(String),
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good => f.write_str("up to date"),
            Self::Missing => f.write_str("missing"),
            Self::Stale => f.write_str("stale (made from other inputs)"),
            Self::Damaged(how) => write!(f, "damaged ({how})"),
        }
    }
}

/// Returns one line of a stamp: a file's length and time of last change.
fn vouch(dir: &Path, file: &str) -> Result<String, RigError> {
    let path = dir.join(file);
    let meta = fs::metadata(&path).file("look at", &path)?;
    Ok(format!("{file}\t{} bytes, changed {}.{:09}", meta.len(), meta.mtime(), meta.mtime_nsec()))
}

/// Compares a directory with its stamp and the stamp with the inputs.
pub(crate) fn state(dir: &Path, key: &Key) -> State {
    let Ok(stamp) = fs::read_to_string(dir.join(STAMP)) else {
        return if dir.exists() { State::Damaged("no stamp".to_owned()) } else { State::Missing };
    };
    let mut lines = stamp.lines();
    if lines.next() != Some(key.0.as_str()) {
        return State::Stale;
    }
    for line in lines {
        let file = line.split('\t').next().unwrap_or_default();
        match vouch(dir, file) {
            Ok(now) if now == line => {}
            Ok(now) => return State::Damaged(format!("expected {line}, found {now}").replace('\t', ": ")),
            Err(error) => return State::Damaged(error.to_string()),
        }
    }
    State::Good
}

/// Returns the stamp itself: an input of what is made from the directory.
pub(crate) fn stamp(dir: &Path) -> Result<Vec<u8>, RigError> {
    let path = dir.join(STAMP);
    fs::read(&path).file("read", path)
}

/// Makes `dir` by `make`, which fills a directory under another name and returns the files to vouch for.
pub(crate) fn make(
    dir: &Path,
    key: &Key,
    make: impl FnOnce(&Path) -> Result<Vec<&'static str>, RigError>,
) -> Result<(), RigError> {
    // The whole name: `snapshot-4.20` is not to be made where `snapshot-4.14` is.
    let part = dir.with_added_extension("part");
    remove(&part)?;
    fs::create_dir_all(&part).file("create", &part)?;
    let mut stamp = format!("{}\n", key.0);
    for file in make(&part)? {
        stamp += &vouch(&part, file)?;
        stamp.push('\n');
    }
    let path = part.join(STAMP);
    fs::write(&path, stamp).file("write", path)?;
    remove(dir)?;
    fs::rename(&part, dir).file("rename to", dir)
}

/// Removes a directory that may be there.
pub(crate) fn remove(dir: &Path) -> Result<(), RigError> {
    if dir.exists() { fs::remove_dir_all(dir).file("remove", dir) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("rig-cache-{}-{name}", std::process::id()));
            remove(&dir).unwrap();
            fs::create_dir_all(&dir).unwrap();
            Self(dir)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = remove(&self.0);
        }
    }

    fn made(scratch: &Scratch) -> (PathBuf, Key) {
        let (dir, key) = (scratch.0.join("thing"), Key::of(&[b"a", b"b"]));
        make(&dir, &key, |part| {
            fs::write(part.join("file"), "content").unwrap();
            Ok(vec!["file"])
        })
        .unwrap();
        (dir, key)
    }

    #[test]
    fn whole_stale_and_missing() {
        let scratch = Scratch::new("states");
        let (dir, key) = made(&scratch);
        assert_eq!(state(&dir, &key), State::Good);
        assert_eq!(state(&dir, &Key::of(&[b"ab", b""])), State::Stale, "inputs are kept apart");
        assert_eq!(state(&scratch.0.join("other"), &key), State::Missing);
    }

    #[test]
    fn truncated_changed_and_removed_files_are_damage() {
        let scratch = Scratch::new("damage");
        let (dir, key) = made(&scratch);
        fs::write(dir.join("file"), "CONTENT").unwrap();
        assert!(matches!(state(&dir, &key), State::Damaged(_)), "same length, other time");
        fs::write(dir.join("file"), "cont").unwrap();
        assert!(matches!(state(&dir, &key), State::Damaged(how) if how.contains("4 bytes")));
        fs::remove_file(dir.join("file")).unwrap();
        assert!(matches!(state(&dir, &key), State::Damaged(_)));
        fs::remove_file(dir.join(STAMP)).unwrap();
        assert_eq!(state(&dir, &key), State::Damaged("no stamp".to_owned()));
    }

    #[test]
    fn names_that_differ_behind_a_dot_are_made_apart() {
        let scratch = Scratch::new("dots");
        let [one, other] = ["thing-4.14", "thing-4.20"].map(|name| scratch.0.join(name));
        let key = Key::of(&[b"a"]);
        let fill = |part: &Path| {
            fs::write(part.join("file"), "content").unwrap();
            Ok(vec!["file"])
        };
        make(&one, &key, |part| {
            make(&other, &key, fill)?;
            fill(part)
        })
        .unwrap();
        assert_eq!([one, other].map(|dir| state(&dir, &key)), [State::Good, State::Good]);
    }

    #[test]
    fn a_failed_making_leaves_the_old_one() {
        let scratch = Scratch::new("failed");
        let (dir, key) = made(&scratch);
        let result = make(&dir, &Key::of(&[b"new"]), |_| Err(RigError::NoBookworm));
        assert!(result.is_err());
        assert_eq!(state(&dir, &key), State::Good);
    }
}
