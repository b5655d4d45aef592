//! Files, read and written by a thread of the system's. PASSIVE_LEVEL throughout.
#![expect(unsafe_code, reason = "calls the Zw routines with object attributes and buffers")]

use core::ffi::c_void;
use core::mem::offset_of;
use core::ptr;

use wdk_sys::{
    _FILE_INFORMATION_CLASS, DELETE, FILE_APPEND_DATA, FILE_ATTRIBUTE_NORMAL, FILE_DIRECTORY_FILE,
    FILE_LIST_DIRECTORY, FILE_NON_DIRECTORY_FILE, FILE_OPEN, FILE_OPEN_IF, FILE_READ_ATTRIBUTES,
    FILE_READ_DATA, FILE_SHARE_DELETE, FILE_SHARE_READ, FILE_SHARE_WRITE, FILE_STANDARD_INFORMATION,
    FILE_SYNCHRONOUS_IO_NONALERT, HANDLE, IO_STATUS_BLOCK, LARGE_INTEGER, SYNCHRONIZE, ULONG,
    ntddk::{ZwClose, ZwCreateFile, ZwQueryInformationFile, ZwReadFile, ZwSetInformationFile, ZwWriteFile},
};

use crate::{NtStatus, Result, registry, status::check, unicode};

/// Longest name that a file may be renamed to, in UTF-16 units.
const NAME: usize = 32;

/// FILE_RENAME_INFORMATION with a name of up to [`NAME`] units.
#[repr(C)]
struct Rename {
    /// BOOLEAN, and a flag of newer versions in the same place.
    replace: u32,
    root: HANDLE,
    /// In bytes.
    length: ULONG,
    name: [u16; NAME],
}

/// A file or a folder that is open; dropping it closes the handle.
#[derive(Debug)]
pub struct File(HANDLE);

impl File {
    /// Opens a file by its full path (`\SystemRoot\…`, `\??\C:\…`), whoever else has it open.
    ///
    /// # Errors
    /// `OBJECT_NAME_NOT_FOUND`, `SHARING_VIOLATION`, …
    pub fn open(path: &[u16]) -> Result<Self> {
        let share = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
        Self::create(path, FILE_READ_DATA, share, FILE_OPEN, FILE_NON_DIRECTORY_FILE)
    }

    /// Opens a file by its full path to write behind what it has, and makes it where it is missing. Others may
    /// read it.
    ///
    /// # Errors
    /// `OBJECT_PATH_NOT_FOUND`, `SHARING_VIOLATION`, `MEDIA_WRITE_PROTECTED`, `DISK_FULL`, …
    pub fn append_to(path: &[u16]) -> Result<Self> {
        let access = FILE_APPEND_DATA | FILE_READ_ATTRIBUTES | DELETE;
        Self::create(path, access, FILE_SHARE_READ, FILE_OPEN_IF, FILE_NON_DIRECTORY_FILE)
    }

    /// Makes a folder by its full path, unless it is there.
    ///
    /// # Errors
    /// As for [`append_to`](Self::append_to).
    pub fn make_folder(path: &[u16]) -> Result {
        let share = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
        Self::create(path, FILE_LIST_DIRECTORY, share, FILE_OPEN_IF, FILE_DIRECTORY_FILE).map(drop)
    }

    fn create(path: &[u16], access: ULONG, share: ULONG, disposition: ULONG, kind: ULONG) -> Result<Self> {
        let mut name = unicode::counted(path)?;
        let mut attributes = registry::attributes(ptr::null_mut(), &mut name);
        let (mut file, mut block) = (ptr::null_mut(), IO_STATUS_BLOCK::default());
        // SAFETY: attributes, name, status block and the place for the handle live across the call.
        check(unsafe {
            ZwCreateFile(
                &raw mut file,
                access | SYNCHRONIZE,
                &raw mut attributes,
                &raw mut block,
                ptr::null_mut(),
                FILE_ATTRIBUTE_NORMAL,
                share,
                disposition,
                FILE_SYNCHRONOUS_IO_NONALERT | kind,
                ptr::null_mut(),
                0,
            )
        })?;
        Ok(Self(file))
    }

    /// Returns the file's length in bytes.
    ///
    /// # Errors
    /// What the file system answers.
    pub fn length(&self) -> Result<u64> {
        let (mut found, mut block) = (FILE_STANDARD_INFORMATION::default(), IO_STATUS_BLOCK::default());
        // SAFETY: an open file, and a structure of the class and size given; everything lives across the call.
        check(unsafe {
            ZwQueryInformationFile(
                self.0,
                &raw mut block,
                (&raw mut found).cast(),
                size_of::<FILE_STANDARD_INFORMATION>() as ULONG,
                _FILE_INFORMATION_CLASS::FileStandardInformation,
            )
        })?;
        // SAFETY: the routine has filled it in, and every bit pattern is a value.
        Ok(u64::try_from(unsafe { found.EndOfFile.QuadPart }).unwrap_or(0))
    }

    /// Writes bytes behind the file's end, from resident memory.
    ///
    /// # Errors
    /// `DISK_FULL`, what the disk answers.
    pub fn append(&self, bytes: &[u8]) -> Result {
        // FILE_WRITE_TO_END_OF_FILE, and -1 above it.
        let (mut block, mut end) = (IO_STATUS_BLOCK::default(), LARGE_INTEGER { QuadPart: -1 });
        let length = ULONG::try_from(bytes.len()).map_err(|_| NtStatus::INVALID_PARAMETER)?;
        // SAFETY: an open file that waits for its requests, and a buffer of the length given, which the routine
        // only reads; everything lives across the call.
        check(unsafe {
            ZwWriteFile(
                self.0,
                ptr::null_mut(),
                None,
                ptr::null_mut(),
                &raw mut block,
                bytes.as_ptr().cast_mut().cast::<c_void>(),
                length,
                &raw mut end,
                ptr::null_mut(),
            )
        })
    }

    /// Gives a file of [`append_to`](Self::append_to) another name in its folder, in place of a file that has
    /// it.
    ///
    /// # Errors
    /// `NAME_TOO_LONG` beyond 32 units, what the file system answers.
    pub fn rename(&self, name: &[u16]) -> Result {
        let mut rename = Rename { replace: 1, root: ptr::null_mut(), length: 0, name: [0; NAME] };
        rename.name.get_mut(..name.len()).ok_or(NtStatus::NAME_TOO_LONG)?.copy_from_slice(name);
        rename.length = size_of_val(name) as ULONG;
        let mut block = IO_STATUS_BLOCK::default();
        let length = offset_of!(Rename, name) + size_of_val(name);
        // SAFETY: an open file, and a structure of the class and length given; everything lives across the call.
        check(unsafe {
            ZwSetInformationFile(
                self.0,
                &raw mut block,
                (&raw mut rename).cast(),
                length as ULONG,
                _FILE_INFORMATION_CLASS::FileRenameInformation,
            )
        })
    }

    /// Reads from the file's beginning into resident memory. Returns how many bytes there were.
    ///
    /// # Errors
    /// `END_OF_FILE`, what the disk answers.
    pub fn read_head(&self, into: &mut [u8]) -> Result<usize> {
        let (mut block, mut offset) = (IO_STATUS_BLOCK::default(), LARGE_INTEGER { QuadPart: 0 });
        // SAFETY: an open file that waits for its requests, and a buffer of the length given; everything lives
        // across the call.
        check(unsafe {
            ZwReadFile(
                self.0,
                ptr::null_mut(),
                None,
                ptr::null_mut(),
                &raw mut block,
                into.as_mut_ptr().cast(),
                into.len() as ULONG,
                &raw mut offset,
                ptr::null_mut(),
            )
        })?;
        Ok((block.Information as usize).min(into.len()))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: the handle is open and this value's own.
        let _ = unsafe { ZwClose(self.0) };
    }
}
