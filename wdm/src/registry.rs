//! The registry. PASSIVE_LEVEL throughout.
#![expect(unsafe_code, reason = "calls the Zw routines with object attributes and buffers")]

use alloc::vec::Vec;
use core::mem::offset_of;
use core::ptr;

use wdk_sys::{
    _KEY_INFORMATION_CLASS, _KEY_VALUE_INFORMATION_CLASS, HANDLE, KEY_BASIC_INFORMATION, KEY_READ,
    KEY_VALUE_PARTIAL_INFORMATION, KEY_WRITE, OBJ_CASE_INSENSITIVE, OBJ_KERNEL_HANDLE, OBJECT_ATTRIBUTES,
    REG_DWORD, REG_EXPAND_SZ, REG_OPTION_NON_VOLATILE, REG_OPTION_VOLATILE, REG_SZ, ULONG,
    ntddk::{
        ZwClose, ZwCreateKey, ZwDeleteKey, ZwDeleteValueKey, ZwEnumerateKey, ZwFlushKey, ZwOpenKey,
        ZwQueryValueKey, ZwSetValueKey,
    },
};

use crate::{NtStatus, Result, pool, status::check, unicode};

/// `\Registry\Machine\SYSTEM\CurrentControlSet\Services`.
pub const SERVICES: &[u16] = crate::utf16!("\\Registry\\Machine\\SYSTEM\\CurrentControlSet\\Services");
/// `\Registry\Machine\SYSTEM\CurrentControlSet\Control`.
pub const CONTROL: &[u16] = crate::utf16!("\\Registry\\Machine\\SYSTEM\\CurrentControlSet\\Control");

/// `\Registry\Machine\SYSTEM\CurrentControlSet\Enum`.
pub const ENUM: &[u16] = crate::utf16!("\\Registry\\Machine\\SYSTEM\\CurrentControlSet\\Enum");

/// An open key; dropping it closes the handle.
#[derive(Debug)]
pub struct Key(HANDLE);

/// A value's type and data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Value {
    /// REG_xxx.
    pub kind: u32,
    /// The data, as stored.
    pub data: Vec<u8>,
}

impl Key {
    /// Opens a key by its full path (`\Registry\Machine\…`) for reading.
    ///
    /// # Errors
    /// `OBJECT_NAME_NOT_FOUND`, `ACCESS_DENIED`, …
    pub fn open(path: &[u16]) -> Result<Self> {
        Self::open_at(ptr::null_mut(), path, KEY_READ)
    }

    /// Opens a key by its full path for reading and writing.
    ///
    /// # Errors
    /// `OBJECT_NAME_NOT_FOUND`, `ACCESS_DENIED`, …
    pub fn open_for_write(path: &[u16]) -> Result<Self> {
        Self::open_at(ptr::null_mut(), path, KEY_READ | KEY_WRITE)
    }

    /// Opens a key below this one for reading.
    ///
    /// # Errors
    /// `OBJECT_NAME_NOT_FOUND`, `ACCESS_DENIED`, …
    pub fn open_below(&self, path: &[u16]) -> Result<Self> {
        Self::open_at(self.0, path, KEY_READ)
    }

    /// Opens a key below this one for reading and writing, and makes it if it is not there (one level);
    /// a `volatile` key is gone after the next boot.
    ///
    /// # Errors
    /// `ACCESS_DENIED`, …
    pub fn create_below(&self, name: &[u16], volatile: bool) -> Result<Self> {
        let mut name = unicode::counted(name)?;
        let mut attributes = attributes(self.0, &mut name);
        let options = if volatile { REG_OPTION_VOLATILE } else { REG_OPTION_NON_VOLATILE };
        let mut key = ptr::null_mut();
        // SAFETY: attributes, name and the place for the handle live across the call.
        check(unsafe {
            ZwCreateKey(
                &raw mut key,
                KEY_READ | KEY_WRITE,
                &raw mut attributes,
                0,
                ptr::null_mut(),
                options,
                ptr::null_mut(),
            )
        })?;
        Ok(Self(key))
    }

    fn open_at(root: HANDLE, path: &[u16], access: u32) -> Result<Self> {
        let mut name = unicode::counted(path)?;
        let mut attributes = attributes(root, &mut name);
        let mut key = ptr::null_mut();
        // SAFETY: attributes, name and the place for the handle live across the call.
        check(unsafe { ZwOpenKey(&raw mut key, access, &raw mut attributes) })?;
        Ok(Self(key))
    }

    /// Reads a value of any type and length.
    ///
    /// # Errors
    /// `OBJECT_NAME_NOT_FOUND`, `INSUFFICIENT_RESOURCES`, …
    pub fn value(&self, name: &[u16]) -> Result<Value> {
        const HEADER: usize = offset_of!(KEY_VALUE_PARTIAL_INFORMATION, Data);
        let mut name = unicode::counted(name)?;
        // The value may grow between two queries, so ask until it fits.
        let mut length = 256;
        loop {
            let mut buffer = pool::try_vec::<u32>(length / 4 + 1)?;
            let room = (buffer.len() * 4) as ULONG;
            let mut needed: ULONG = 0;
            // SAFETY: the buffer has `room` bytes, aligned for the structure's ULONGs.
            let status = unsafe {
                ZwQueryValueKey(
                    self.0,
                    &raw mut name,
                    _KEY_VALUE_INFORMATION_CLASS::KeyValuePartialInformation,
                    buffer.as_mut_ptr().cast(),
                    room,
                    &raw mut needed,
                )
            };
            match NtStatus(status) {
                NtStatus::BUFFER_OVERFLOW | NtStatus::BUFFER_TOO_SMALL if needed > room => {
                    length = needed as usize;
                }
                status => {
                    status.to_result()?;
                    let [_, kind, data_length, ..] = buffer[..] else {
                        return Err(NtStatus::INFO_LENGTH_MISMATCH);
                    };
                    let bytes: &[u8] = as_bytes(&buffer);
                    let data = bytes
                        .get(HEADER..HEADER + data_length as usize)
                        .ok_or(NtStatus::INFO_LENGTH_MISMATCH)?;
                    let mut copy = pool::try_vec(data.len())?;
                    copy.copy_from_slice(data);
                    return Ok(Value { kind, data: copy });
                }
            }
        }
    }

    /// Reads a REG_DWORD.
    ///
    /// # Errors
    /// `OBJECT_NAME_NOT_FOUND`; `OBJECT_TYPE_MISMATCH` for another type or length.
    pub fn dword(&self, name: &[u16]) -> Result<u32> {
        let value = self.value(name)?;
        match (value.kind, <[u8; 4]>::try_from(&value.data[..])) {
            (REG_DWORD, Ok(bytes)) => Ok(u32::from_le_bytes(bytes)),
            _ => Err(NtStatus::OBJECT_TYPE_MISMATCH),
        }
    }

    /// Reads a REG_SZ or REG_EXPAND_SZ, without its terminator.
    ///
    /// # Errors
    /// `OBJECT_NAME_NOT_FOUND`; `OBJECT_TYPE_MISMATCH` for another type.
    pub fn string(&self, name: &[u16]) -> Result<Vec<u16>> {
        let value = self.value(name)?;
        if !matches!(value.kind, REG_SZ | REG_EXPAND_SZ) {
            return Err(NtStatus::OBJECT_TYPE_MISMATCH);
        }
        let mut text = units(&value.data)?;
        text.truncate(unicode::until_nul(&text).len());
        Ok(text)
    }

    /// Writes the hive that the key is in to the disk. Before the session manager has opened the hives NT
    /// answers success and writes nothing.
    ///
    /// # Errors
    /// What ZwFlushKey answers.
    pub fn flush(&self) -> Result {
        // SAFETY: an open key.
        check(unsafe { ZwFlushKey(self.0) })
    }

    /// Writes a REG_DWORD. The key was opened for writing.
    ///
    /// # Errors
    /// `ACCESS_DENIED`, …
    pub fn set_dword(&self, name: &[u16], value: u32) -> Result {
        self.set(name, REG_DWORD, &value.to_le_bytes())
    }

    /// Takes a value away. The key was opened for writing.
    ///
    /// # Errors
    /// `OBJECT_NAME_NOT_FOUND`, `ACCESS_DENIED`, …
    pub fn delete(&self, name: &[u16]) -> Result {
        let mut name = unicode::counted(name)?;
        // SAFETY: an open key, and a name that lives across the call.
        check(unsafe { ZwDeleteValueKey(self.0, &raw mut name) })
    }

    /// Deletes a key below this one that has no keys below it.
    ///
    /// # Errors
    /// `OBJECT_NAME_NOT_FOUND`, `ACCESS_DENIED`, `CANNOT_DELETE`, …
    pub fn delete_below(&self, path: &[u16]) -> Result {
        /// DELETE (winnt.h).
        const DELETE: u32 = 0x0001_0000;
        let key = Self::open_at(self.0, path, DELETE)?;
        // SAFETY: an open key.
        check(unsafe { ZwDeleteKey(key.0) })
    }

    /// Writes a value of any type (REG_xxx). The key was opened for writing.
    ///
    /// # Errors
    /// `ACCESS_DENIED`, …
    pub fn set(&self, name: &[u16], kind: u32, data: &[u8]) -> Result {
        let mut name = unicode::counted(name)?;
        // SAFETY: name and data live across the call, and data has the length given.
        check(unsafe {
            ZwSetValueKey(
                self.0,
                &raw mut name,
                0,
                kind,
                data.as_ptr().cast_mut().cast(),
                data.len() as ULONG,
            )
        })
    }

    /// Returns the name of the n-th subkey, counted from 0.
    ///
    /// # Errors
    /// `NO_MORE_ENTRIES` past the last, …
    pub fn subkey(&self, n: u32) -> Result<Vec<u16>> {
        const HEADER: usize = offset_of!(KEY_BASIC_INFORMATION, Name);
        // A key's name has at most 255 characters.
        let mut buffer = [0_u64; (HEADER + 2 * 256) / 8];
        let mut needed: ULONG = 0;
        // SAFETY: the buffer has the size given and the structure's alignment.
        check(unsafe {
            ZwEnumerateKey(
                self.0,
                n,
                _KEY_INFORMATION_CLASS::KeyBasicInformation,
                buffer.as_mut_ptr().cast(),
                size_of_val(&buffer) as ULONG,
                &raw mut needed,
            )
        })?;
        let bytes = as_bytes(&buffer);
        let length_at = offset_of!(KEY_BASIC_INFORMATION, NameLength);
        let length =
            bytes[length_at..].first_chunk::<4>().map_or(0, |length| u32::from_le_bytes(*length) as usize);
        units(bytes.get(HEADER..HEADER + length).ok_or(NtStatus::INFO_LENGTH_MISMATCH)?)
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: the handle is open and this value's own.
        let _ = unsafe { ZwClose(self.0) };
    }
}

pub(crate) fn attributes(root: HANDLE, name: &mut wdk_sys::UNICODE_STRING) -> OBJECT_ATTRIBUTES {
    OBJECT_ATTRIBUTES {
        Length: size_of::<OBJECT_ATTRIBUTES>() as ULONG,
        RootDirectory: root,
        ObjectName: name,
        Attributes: OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE,
        SecurityDescriptor: ptr::null_mut(),
        SecurityQualityOfService: ptr::null_mut(),
    }
}

/// Returns the bytes of a slice of integers.
fn as_bytes<T: Copy>(values: &[T]) -> &[u8] {
    const { assert!(align_of::<T>() == size_of::<T>()) }
    // SAFETY: integers (no padding, by the check above) of which every byte is initialized.
    unsafe { core::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

/// Returns the UTF-16 units of little-endian data; an odd byte at the end is dropped.
fn units(data: &[u8]) -> Result<Vec<u16>> {
    let mut text = Vec::new();
    text.try_reserve_exact(data.len() / 2).map_err(|_| NtStatus::INSUFFICIENT_RESOURCES)?;
    text.extend(data.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])));
    Ok(text)
}
