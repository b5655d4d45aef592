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

impl Disk {
    /// Has everything on the volume of a path written to the disk.
    ///
    /// # Errors
    /// The volume cannot be opened for writing, or not be flushed.
    pub fn flush_volume(self, path: &Path) -> io::Result<()> {
        system::flush_volume(path)
    }
}

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
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        // Nobody else reads it before it has the attributes that it is to have.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(path)?.write_all(content)
    }

    fn flush(&self, path: &Path) -> io::Result<()> {
        // Windows flushes only what is open for writing.
        OpenOptions::new().read(true).write(cfg!(windows)).open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        system::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        system::remove(path)
    }

    fn flush_folder(&self, path: &Path) -> io::Result<()> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        system::flush_folder(folder.unwrap_or(Path::new(".")))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let mut files = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                files.push(entry.path());
            }
        }
        Ok(files)
    }
}

/// Returns where a symbolic link leads, if that is on another file system than the link: a guest can make
/// such links on its volume.
#[must_use]
pub fn leads_away(path: &Path) -> Option<PathBuf> {
    system::leads_away(path)
}

/// Returns when a file was last written.
#[must_use]
pub fn modified(path: &Path) -> Option<std::time::SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

/// Lets nobody but the owner read or write a file.
///
/// # Errors
/// The file's owner is another user.
#[cfg(unix)]
pub fn restrict(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
}
