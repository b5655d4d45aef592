//! The real files.

use super::{Attributes, Files};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

#[cfg(unix)]
#[path = "disk_unix.rs"]
mod system;
#[cfg(windows)]
#[path = "disk_windows.rs"]
mod system;

/// The largest boot configuration that is read into memory: real ones have kilobytes, a BCD at most a few
/// megabytes.
const LARGEST: u64 = 64 << 20;

/// The file systems of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Files for Disk {
    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        system::resolve(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        // Asked before it is opened: to open a pipe would wait for its other end.
        if !fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let mut content = Vec::new();
        File::open(path)?.take(LARGEST + 1).read_to_end(&mut content)?;
        if content.len() as u64 > LARGEST {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "too large for a boot configuration"));
        }
        Ok(content)
    }

    fn attributes(&self, path: &Path) -> io::Result<Attributes> {
        system::attributes(path)
    }

    fn set_attributes(&self, path: &Path, attributes: &Attributes) -> io::Result<()> {
        system::set_attributes(path, attributes)
    }

    fn create(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        OpenOptions::new().write(true).create_new(true).open(path)?.write_all(content)
    }

    fn flush(&self, path: &Path) -> io::Result<()> {
        // Windows flushes only what is open for writing.
        OpenOptions::new().read(true).write(cfg!(windows)).open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        system::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn flush_folder(&self, path: &Path) -> io::Result<()> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        system::flush_folder(folder.unwrap_or(Path::new(".")))
    }
}
