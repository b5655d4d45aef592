//! `HKEY_LOCAL_MACHINE` of the running Windows.

#![expect(unsafe_code, reason = "calls of the registry's API, which std does not have")]

use anyhow::{Context, Result};
use std::{io, ptr};
use windows_sys::Win32::{
    Foundation::{ERROR_FILE_NOT_FOUND, ERROR_SUCCESS},
    System::Registry::{
        HKEY, HKEY_LOCAL_MACHINE, KEY_QUERY_VALUE, KEY_SET_VALUE, REG_DWORD, REG_SZ, RegCloseKey,
        RegOpenKeyExW, RegQueryValueExW, RegSetValueExW,
    },
};

/// Longest text that is read, in bytes.
const LONGEST: usize = 8192;

pub fn dword(key: &str, name: &str) -> Result<Option<u32>> {
    let Some((REG_DWORD, data)) = value(key, name)? else { return Ok(None) };
    Ok(data.first_chunk().map(|bytes| u32::from_le_bytes(*bytes)))
}

pub fn text(key: &str, name: &str) -> Result<Option<String>> {
    let Some((REG_SZ, data)) = value(key, name)? else { return Ok(None) };
    let units = data.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    let units: Vec<_> = units.take_while(|&unit| unit != 0).collect();
    Ok(Some(String::from_utf16_lossy(&units)))
}

pub fn set_dword(key: &str, name: &str, number: u32) -> Result<()> {
    let open = Open::new(key, KEY_SET_VALUE)?.with_context(|| format!("HKLM\\{key} is not there"))?;
    let (name, data) = (wide(name), number.to_le_bytes());
    // SAFETY: the key is open, the name ends with a NUL, and the data has the length that is said.
    let code =
        unsafe { RegSetValueExW(open.0, name.as_ptr(), 0, REG_DWORD, data.as_ptr(), data.len() as u32) };
    check(code, key)
}

fn value(key: &str, name: &str) -> Result<Option<(u32, Vec<u8>)>> {
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
    Ok(Some((kind, data)))
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
