//! Attributes and names on Windows.

#![expect(unsafe_code, reason = "two calls of the Windows API that std does not have")]

use super::Attributes;
use std::{
    fs, io,
    os::windows::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_ATTRIBUTE_NORMAL, FILE_ATTRIBUTE_READONLY, MOVEFILE_REPLACE_EXISTING, MOVEFILE_WRITE_THROUGH,
    MoveFileExW, SetFileAttributesW,
};

pub fn attributes(path: &Path) -> io::Result<Attributes> {
    Ok(Attributes { dos: fs::metadata(path)?.file_attributes() & Attributes::DOS, unix: None })
}

pub fn set_attributes(path: &Path, attributes: &Attributes) -> io::Result<()> {
    let value = if attributes.dos == 0 { FILE_ATTRIBUTE_NORMAL } else { attributes.dos };
    let path = wide(path);
    // SAFETY: `path` ends with a NUL and lives until the call returns.
    let set = |value| succeeded(unsafe { SetFileAttributesW(path.as_ptr(), value) });
    // Read-only comes last: Wine keeps the others in an extended attribute, which only a writable file takes.
    match value & !FILE_ATTRIBUTE_READONLY {
        0 => Ok(()),
        others => set(others),
    }
    .and_then(|()| if value & FILE_ATTRIBUTE_READONLY == 0 { Ok(()) } else { set(value) })
}

/// NT 5.2 cannot say where a link leads; a link itself must not be replaced by a file.
pub fn resolve(path: &Path) -> io::Result<PathBuf> {
    if fs::symlink_metadata(path)?.is_symlink() {
        let text = "it is a symbolic link; name the file that it leads to";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    std::path::absolute(path)
}

/// As `std::fs::rename`, but on the disk when it returns.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (wide(from), wide(to));
    // SAFETY: both end with a NUL and live until the call returns.
    succeeded(unsafe {
        MoveFileExW(from.as_ptr(), to.as_ptr(), MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH)
    })
}

/// Windows flushes names with `MOVEFILE_WRITE_THROUGH`; a folder cannot be flushed.
pub fn flush_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

fn wide(path: &Path) -> Vec<u16> {
    path.as_os_str().encode_wide().chain([0]).collect()
}

fn succeeded(result: i32) -> io::Result<()> {
    if result == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
