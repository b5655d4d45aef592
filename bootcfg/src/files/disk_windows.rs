//! Attributes and names on Windows.

#![expect(unsafe_code, reason = "calls of the Windows API that std does not have")]

use super::Attributes;
use std::{
    fs, io,
    os::windows::{ffi::OsStrExt, fs::MetadataExt},
    path::{Component, Path, PathBuf, Prefix},
    ptr,
};
use windows_sys::Win32::{
    Security::{DACL_SECURITY_INFORMATION, GetFileSecurityW, SetFileSecurityW},
    Storage::FileSystem::{
        FILE_ATTRIBUTE_NORMAL, FILE_ATTRIBUTE_READONLY, MOVEFILE_REPLACE_EXISTING, MOVEFILE_WRITE_THROUGH,
        MoveFileExW, SetFileAttributesW,
    },
};

pub(super) fn attributes(path: &Path) -> io::Result<Attributes> {
    let dos = fs::metadata(path)?.file_attributes() & Attributes::DOS;
    Ok(Attributes { dos, unix: None, security: security(path)? })
}

pub(super) fn set_attributes(path: &Path, attributes: &Attributes) -> io::Result<()> {
    if let Some(wanted) = &attributes.security
        && security(path)?.as_ref() != Some(wanted)
    {
        set_security(path, wanted)?;
    }
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

/// Returns who may do what with a file, the DACL; `None` on a file system that has no descriptors.
fn security(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let path = wide(path);
    let mut needed = 0;
    // SAFETY: `path` ends with a NUL; no buffer is given, and its length says so.
    unsafe {
        GetFileSecurityW(path.as_ptr(), DACL_SECURITY_INFORMATION, ptr::null_mut(), 0, &raw mut needed);
    }
    if needed == 0 {
        return Ok(None);
    }
    // In units of four bytes, as a descriptor must lie.
    let mut descriptor = vec![0_u32; needed.div_ceil(4) as usize];
    // SAFETY: `path` ends with a NUL, and the buffer has the length that is said.
    succeeded(unsafe {
        GetFileSecurityW(
            path.as_ptr(),
            DACL_SECURITY_INFORMATION,
            descriptor.as_mut_ptr().cast(),
            needed,
            &raw mut needed,
        )
    })?;
    let mut bytes: Vec<u8> = descriptor.into_iter().flat_map(u32::to_le_bytes).collect();
    bytes.truncate(needed as usize);
    Ok(Some(bytes))
}

fn set_security(path: &Path, wanted: &[u8]) -> io::Result<()> {
    let path = wide(path);
    let mut descriptor = vec![0_u32; wanted.len().div_ceil(4)];
    for (word, bytes) in descriptor.iter_mut().zip(wanted.chunks(4)) {
        let mut whole = [0; 4];
        whole[..bytes.len()].copy_from_slice(bytes);
        *word = u32::from_le_bytes(whole);
    }
    // SAFETY: `path` ends with a NUL, and the descriptor, which Windows checks, lives until the call returns.
    succeeded(unsafe {
        SetFileSecurityW(path.as_ptr(), DACL_SECURITY_INFORMATION, descriptor.as_mut_ptr().cast())
    })
}

/// NT 5.2 cannot say where a link leads; a link itself must not be replaced by a file.
pub(super) fn resolve(path: &Path) -> io::Result<PathBuf> {
    if fs::symlink_metadata(path)?.is_symlink() {
        let text = "it is a symbolic link; name the file that it leads to";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    std::path::absolute(path)
}

/// [`resolve`] takes no links at all here.
pub(super) fn leads_away(_path: &Path) -> Option<PathBuf> {
    None
}

/// Renames as `std::fs::rename` does, and is on the disk when it returns.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (wide(from), wide(to));
    // SAFETY: both end with a NUL and live until the call returns.
    succeeded(unsafe {
        MoveFileExW(from.as_ptr(), to.as_ptr(), MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH)
    })
}

/// Windows removes no read-only file. The attribute of a link is left alone, since it may be set on its target.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let there = fs::symlink_metadata(path)?;
    if there.is_file() && there.file_attributes() & FILE_ATTRIBUTE_READONLY != 0 {
        let others = there.file_attributes() & !FILE_ATTRIBUTE_READONLY;
        let (name, value) = (wide(path), if others == 0 { FILE_ATTRIBUTE_NORMAL } else { others });
        // SAFETY: `name` ends with a NUL and lives until the call returns.
        let cleared = succeeded(unsafe { SetFileAttributesW(name.as_ptr(), value) });
        // Where it cannot be cleared, removing says why.
        let _ = cleared;
    }
    fs::remove_file(path)
}

/// Windows flushes a volume by its device.
pub(super) fn flush_volume(path: &Path) -> io::Result<()> {
    let letter = match path.components().next() {
        Some(Component::Prefix(prefix)) => match prefix.kind() {
            Prefix::Disk(letter) | Prefix::VerbatimDisk(letter) => char::from(letter),
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        },
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    };
    fs::OpenOptions::new().read(true).write(true).open(format!(r"\\.\{letter}:"))?.sync_all()
}

/// Windows flushes names with `MOVEFILE_WRITE_THROUGH`; a folder cannot be flushed.
pub(super) fn flush_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

fn wide(path: &Path) -> Vec<u16> {
    path.as_os_str().encode_wide().chain([0]).collect()
}

fn succeeded(result: i32) -> io::Result<()> {
    if result == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
