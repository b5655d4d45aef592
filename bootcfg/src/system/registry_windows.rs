//! `HKEY_LOCAL_MACHINE` of the running Windows.

#![expect(unsafe_code, reason = "calls of the registry's API, which std does not have")]

use anyhow::{Context, Result};
use std::{io, ptr};
use windows_sys::Win32::{
    Foundation::{ERROR_FILE_NOT_FOUND, ERROR_NO_MORE_ITEMS, ERROR_SUCCESS},
    System::Registry::{
        HKEY, HKEY_LOCAL_MACHINE, KEY_QUERY_VALUE, KEY_READ, KEY_SET_VALUE, RegCloseKey, RegDeleteKeyW,
        RegDeleteValueW, RegEnumKeyExW, RegFlushKey, RegOpenKeyExW, RegQueryValueExW, RegSetValueExW,
    },
};

use super::raw_value::RawValue;

/// Longest text that is read, in bytes.
const LONGEST: usize = 8192;

/// Sets a value in an existing key.
pub(super) fn set(key: &str, name: &str, kind: u32, data: &[u8]) -> Result<()> {
    let open = Open::new(key, KEY_SET_VALUE)?.with_context(|| format!("HKLM\\{key} is not there"))?;
    let name = wide(name);
    // SAFETY: the key is open, the name ends with a NUL, and the data has the length that is said.
    let code = unsafe { RegSetValueExW(open.0, name.as_ptr(), 0, kind, data.as_ptr(), data.len() as u32) };
    check(code, key)
}

/// Removes a value; one that is not there is removed already.
pub(super) fn delete_value(key: &str, name: &str) -> Result<()> {
    let Some(open) = Open::new(key, KEY_SET_VALUE)? else { return Ok(()) };
    let name = wide(name);
    // SAFETY: the key is open, and the name ends with a NUL.
    match unsafe { RegDeleteValueW(open.0, name.as_ptr()) } {
        ERROR_FILE_NOT_FOUND => Ok(()),
        code => check(code, key),
    }
}

/// Returns when the hive that has the key is on the disk.
pub(super) fn flush(key: &str) -> Result<()> {
    let open = Open::new(key, KEY_QUERY_VALUE)?.with_context(|| format!("HKLM\\{key} is not there"))?;
    // SAFETY: the key is open.
    check(unsafe { RegFlushKey(open.0) }, key)
}

/// Removes a key that has no subkeys; one that is not there is removed already.
pub(super) fn delete(key: &str) -> Result<()> {
    let path = wide(key);
    // SAFETY: the path ends with a NUL.
    match unsafe { RegDeleteKeyW(HKEY_LOCAL_MACHINE, path.as_ptr()) } {
        ERROR_FILE_NOT_FOUND => Ok(()),
        code => check(code, key),
    }
}

/// Returns the names of the subkeys; `None` where the key is not there.
pub(super) fn keys(key: &str) -> Result<Option<Vec<String>>> {
    let Some(open) = Open::new(key, KEY_READ)? else { return Ok(None) };
    let mut names = Vec::new();
    for index in 0.. {
        // The longest name of a key has 255 characters.
        let (mut name, mut length) = ([0_u16; 256], 256);
        // SAFETY: the key is open, and the buffer has the length that is said.
        let code = unsafe {
            RegEnumKeyExW(
                open.0,
                index,
                name.as_mut_ptr(),
                &raw mut length,
                ptr::null(),
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
        if code == ERROR_NO_MORE_ITEMS {
            break;
        }
        check(code, key)?;
        names.push(String::from_utf16_lossy(&name[..length as usize]));
    }
    Ok(Some(names))
}

/// Returns a value; `None` where key or value is not there.
pub(super) fn value(key: &str, name: &str) -> Result<Option<RawValue>> {
    let Some(open) = Open::new(key, KEY_QUERY_VALUE)? else { return Ok(None) };
    let name = wide(name);
    let (mut kind, mut data, mut length) = (0, vec![0; LONGEST], LONGEST as u32);
    // SAFETY: the key is open, the name ends with a NUL, and the buffer has the length that is said.
    let code = unsafe {
        RegQueryValueExW(open.0, name.as_ptr(), ptr::null(), &mut kind, data.as_mut_ptr(), &mut length)
    };
    if code == ERROR_FILE_NOT_FOUND {
        return Ok(None);
    }
    check(code, key)?;
    data.truncate(length as usize);
    Ok(Some(RawValue { kind, data }))
}

/// An open key.
struct Open(HKEY);

impl Open {
    fn new(key: &str, access: u32) -> Result<Option<Open>> {
        let path = wide(key);
        let mut open = ptr::null_mut();
        // SAFETY: the path ends with a NUL, and the result has its place.
        let code = unsafe { RegOpenKeyExW(HKEY_LOCAL_MACHINE, path.as_ptr(), 0, access, &mut open) };
        if code == ERROR_FILE_NOT_FOUND {
            return Ok(None);
        }
        check(code, key)?;
        Ok(Some(Open(open)))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // SAFETY: the key is open, and not used after this. Closing does not fail for an open key.
        unsafe { RegCloseKey(self.0) };
    }
}

fn check(code: u32, key: &str) -> Result<()> {
    if code == ERROR_SUCCESS {
        return Ok(());
    }
    Err(io::Error::from_raw_os_error(code.cast_signed())).with_context(|| format!("registry: HKLM\\{key}"))
}

fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}
