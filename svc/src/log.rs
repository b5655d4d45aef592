//! The service's file: a line for each message, of bounded length, with the lines before it in a second file.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use guard::activity::Utc;

use crate::message::Message;

/// Name of the folder below `%SystemRoot%`; the drivers' activity log is there, too.
pub const FOLDER: &str = "Xenguard";
/// Name of the file with the latest lines.
pub const FILE: &str = "service.log";
/// Name of the file with the lines before those.
pub const OLD_FILE: &str = "service.old.log";
/// Largest number of bytes of a file.
pub const FILE_BYTES: u64 = 128 << 10;
/// Largest number of bytes of a line's detail; the rest is cut off.
const DETAIL: usize = 1024;

/// The two files. None is open between two lines, so that each can be copied or deleted at any time.
#[derive(Clone, Debug)]
pub struct Log {
    folder: PathBuf,
    limit: u64,
}

impl Log {
    /// Returns the log in a folder, which need not be there.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), limit: FILE_BYTES }
    }

    /// Adds a line with a time in 100 ns since 1601-01-01 UTC. A file that the line does not fit into becomes the old
    /// one.
    ///
    /// # Errors
    /// The answer of the file system. Nothing depends on the log.
    pub fn add(&self, time: u64, message: Message, detail: &str) -> io::Result<()> {
        let line = line(time, message, detail);
        let path = self.folder.join(FILE);
        let now = fs::metadata(&path).map_or(0, |file| file.len());
        if now > 0 && now + line.len() as u64 > self.limit {
            fs::rename(&path, self.folder.join(OLD_FILE))?;
        }
        fs::create_dir_all(&self.folder)?;
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        file.write_all(line.as_bytes())
    }
}

/// Returns a line such as `2026-11-29T06:31:06.123Z 1 The Xenguard service has started: version 0.1.0`, with the line
/// end of Windows.
fn line(time: u64, message: Message, detail: &str) -> String {
    let end = detail.char_indices().map(|(at, _)| at).find(|&at| at >= DETAIL).unwrap_or(detail.len());
    // One line each, whatever a detail brings along.
    let detail: String = detail[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("{} {} {}{detail}\r\n", Utc(time), message as u32, message.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_added_and_the_folder_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::new(&folder.path().join("Xenguard"));
        log.add(0, Message::Started, "0.1.0").unwrap();
        log.add(10_000_000, Message::Gone, "a\r\nb").unwrap();
        let text = fs::read_to_string(folder.path().join("Xenguard/service.log")).unwrap();
        assert_eq!(
            text,
            "1601-01-01T00:00:00.000Z 1 The Xenguard service has started: version 0.1.0\r\n\
             1601-01-01T00:00:01.000Z 5 The channel of xenpci is gone, and is waited for: a  b\r\n"
        );
    }

    #[test]
    fn both_files_stay_bounded_and_the_last_lines_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log { folder: folder.path().to_owned(), limit: 4096 };
        for number in 0..500 {
            log.add(number, Message::Status, &format!("line {number}")).unwrap();
        }
        let read = |name| fs::read_to_string(folder.path().join(name)).unwrap();
        let (old, new) = (read(OLD_FILE), read(FILE));
        assert!(old.len() <= 4096 && new.len() <= 4096 && old.len() > 3900);
        assert!(new.ends_with("line 499\r\n"), "{new}");
        let all = old + &new;
        let numbers: Vec<u32> =
            all.lines().map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
        let first = numbers[0];
        assert!(numbers.iter().copied().eq(first..500), "{numbers:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    /// A line alone that is longer than a file may be is written all the same, and no empty file is put aside for it.
    #[test]
    fn a_long_detail_is_cut_between_characters() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log { folder: folder.path().to_owned(), limit: 16 };
        log.add(0, Message::Unusable, &"ä".repeat(4000)).unwrap();
        let text = fs::read_to_string(folder.path().join(FILE)).unwrap();
        assert_eq!(text.matches('ä').count(), DETAIL / 2);
        assert!(!folder.path().join(OLD_FILE).exists());
    }
}
