//! Editing a hive on Windows, in the running one as well as in WinPE and WinRE: a copy of it is loaded into
//! the registry, edited there and unloaded. The hive itself is replaced by the caller, with a backup, as on
//! Linux.
#![expect(unsafe_code, reason = "calls of the registry's API, which std does not have")]

use anyhow::{Context, Result};
use std::{io, path::Path, ptr};
use windows_sys::Win32::{
    Foundation::{ERROR_FILE_NOT_FOUND, ERROR_NO_MORE_ITEMS, ERROR_SUCCESS},
    System::Registry::{
        HKEY, HKEY_LOCAL_MACHINE, KEY_READ, KEY_WRITE, REG_OPTION_BACKUP_RESTORE, RegCloseKey,
        RegCreateKeyExW, RegDeleteKeyW, RegDeleteValueW, RegEnumKeyExW, RegFlushKey, RegLoadKeyW,
        RegOpenKeyExW, RegSetValueExW, RegUnLoadKeyW,
    },
};

use super::Edit;
use crate::{bail_as, bcd::Guid, files::Disk, hive_file::HiveFile, privilege::enable, scratch::Scratch};

/// The longest name of a key, in characters, with its NUL.
const LONGEST_NAME: usize = 256;

/// Returns the bytes of a hive after edits, made by Windows on a copy.
///
/// # Errors
/// The privileges for it are missing, or Windows refuses the hive or an edit.
pub fn edited(hive: &[u8], edits: &[Edit]) -> Result<Vec<u8>> {
    let scratch = Scratch::new()?;
    let file = scratch.path().join("hive");
    std::fs::write(&file, hive).context("cannot write a copy of the hive")?;
    let loaded = Loaded::new(&file)?;
    let made = apply(&loaded.0, edits);
    loaded.unload()?;
    made?;
    // Windows may leave the changes in the copy's log files.
    Ok(HiveFile::read(&Disk, &file).context("the edited copy of the hive")?.content)
}

/// Makes edits below a key of `HKEY_LOCAL_MACHINE`, and has them written to its file.
///
/// # Errors
/// Windows refuses one.
pub fn apply(root: &str, edits: &[Edit]) -> Result<()> {
    for edit in edits {
        match edit {
            Edit::Set { key, name, kind, data } => {
                let open = Key::make(&format!("{root}\\{key}"))?;
                let (value, length) = (wide(name), u32::try_from(data.len())?);
                // SAFETY: the key is open, the name ends with a NUL, and the data has the length that is said.
                let code = unsafe { RegSetValueExW(open.0, value.as_ptr(), 0, *kind, data.as_ptr(), length) };
                check(code, || format!("set {key}\\{name}"))?;
            }
            Edit::DeleteValues { key, names } => {
                let Some(open) = Key::open(&format!("{root}\\{key}"))? else { continue };
                for name in names {
                    let value = wide(name);
                    // SAFETY: the key is open and the name ends with a NUL.
                    let code = unsafe { RegDeleteValueW(open.0, value.as_ptr()) };
                    if code != ERROR_FILE_NOT_FOUND {
                        check(code, || format!("remove {key}\\{name}"))?;
                    }
                }
            }
            Edit::DeleteKey { key } => {
                let (parent, name) = key.rsplit_once('\\').context("the root of a hive is not removed")?;
                if let Some(parent) = Key::open(&format!("{root}\\{parent}"))? {
                    parent.delete(name)?;
                }
            }
        }
    }
    let Some(top) = Key::open(root)? else { return Ok(()) };
    // SAFETY: the key is open.
    check(unsafe { RegFlushKey(top.0) }, || "write the hive".to_owned())
}

/// A hive's file that is loaded, under this name below `HKEY_LOCAL_MACHINE`.
struct Loaded(String);

impl Loaded {
    fn new(file: &Path) -> Result<Loaded> {
        enable("SeBackupPrivilege")?;
        enable("SeRestorePrivilege")?;
        let name = format!("bootcfg-{}", Guid::random());
        let (key, path) = (wide(&name), wide(&file.to_string_lossy()));
        // SAFETY: both strings end with a NUL and live until the call returns.
        let code = unsafe { RegLoadKeyW(HKEY_LOCAL_MACHINE, key.as_ptr(), path.as_ptr()) };
        check(code, || format!("load the hive {}", file.display()))?;
        Ok(Loaded(name))
    }

    fn unload(self) -> Result<()> {
        let code = self.try_unload();
        std::mem::forget(self);
        check(code, || "unload the edited hive".to_owned())
    }

    fn try_unload(&self) -> u32 {
        let key = wide(&self.0);
        // SAFETY: the string ends with a NUL. No key below is open: each lives within one edit.
        unsafe { RegUnLoadKeyW(HKEY_LOCAL_MACHINE, key.as_ptr()) }
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        // Best effort: an error is on its way already, and the copy is no part of any Windows.
        let _ = self.try_unload();
    }
}

/// An open key. With both privileges its access rights are not asked: `Enum` belongs to SYSTEM alone.
struct Key(HKEY);

impl Key {
    fn make(path: &str) -> Result<Key> {
        let name = wide(path);
        let mut open = ptr::null_mut();
        // SAFETY: the path ends with a NUL, and the result has its place.
        let code = unsafe {
            RegCreateKeyExW(
                HKEY_LOCAL_MACHINE,
                name.as_ptr(),
                0,
                ptr::null(),
                REG_OPTION_BACKUP_RESTORE,
                KEY_READ | KEY_WRITE,
                ptr::null(),
                &raw mut open,
                ptr::null_mut(),
            )
        };
        check(code, || format!("open {path}"))?;
        Ok(Key(open))
    }

    /// Returns the key, unless there is none.
    fn open(path: &str) -> Result<Option<Key>> {
        let name = wide(path);
        let mut open = ptr::null_mut();
        // SAFETY: the path ends with a NUL, and the result has its place.
        match unsafe { RegOpenKeyExW(HKEY_LOCAL_MACHINE, name.as_ptr(), 0, KEY_READ, &raw mut open) } {
            ERROR_FILE_NOT_FOUND => return Ok(None),
            code => check(code, || format!("open {path}"))?,
        }
        drop(Key(open));
        // It is there, so that this makes none; and it asks for no rights.
        Key::make(path).map(Some)
    }

    /// Removes a subkey with all below it.
    fn delete(&self, name: &str) -> Result<()> {
        let wide_name = wide(name);
        let mut open = ptr::null_mut();
        // SAFETY: the key is open, the name ends with a NUL, and the result has its place.
        match unsafe { RegOpenKeyExW(self.0, wide_name.as_ptr(), 0, KEY_READ | KEY_WRITE, &raw mut open) } {
            ERROR_FILE_NOT_FOUND => return Ok(()),
            code => check(code, || format!("open {name}"))?,
        }
        let key = Key(open);
        while let Some(child) = key.first_subkey()? {
            key.delete(&child)?;
        }
        drop(key);
        // SAFETY: the key is open and the name ends with a NUL.
        check(unsafe { RegDeleteKeyW(self.0, wide_name.as_ptr()) }, || format!("remove {name}"))
    }

    fn first_subkey(&self) -> Result<Option<String>> {
        let mut name = [0_u16; LONGEST_NAME];
        let mut length = LONGEST_NAME as u32;
        // SAFETY: the key is open, and the buffer has the length that is said.
        let code = unsafe {
            RegEnumKeyExW(
                self.0,
                0,
                name.as_mut_ptr(),
                &raw mut length,
                ptr::null(),
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
        if code == ERROR_NO_MORE_ITEMS {
            return Ok(None);
        }
        check(code, || "list subkeys".to_owned())?;
        Ok(Some(String::from_utf16_lossy(&name[..length as usize])))
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: the key is open, and not used after this. Closing does not fail for an open key.
        unsafe { RegCloseKey(self.0) };
    }
}

fn check(code: u32, what: impl Fn() -> String) -> Result<()> {
    if code == ERROR_SUCCESS {
        return Ok(());
    }
    let error = io::Error::from_raw_os_error(code.cast_signed());
    bail_as!(Tool, "Windows could not {}: {error}; nothing was changed", what())
}

fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}
