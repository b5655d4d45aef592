//! Files, read by a thread of the system's. PASSIVE_LEVEL throughout.
#![expect(unsafe_code, reason = "calls the Zw routines with object attributes and buffers")]

use core::ptr;

use wdk_sys::{
    FILE_ATTRIBUTE_NORMAL, FILE_NON_DIRECTORY_FILE, FILE_OPEN, FILE_READ_DATA, FILE_SHARE_DELETE,
    FILE_SHARE_READ, FILE_SHARE_WRITE, FILE_SYNCHRONOUS_IO_NONALERT, HANDLE, IO_STATUS_BLOCK, LARGE_INTEGER,
    SYNCHRONIZE, ULONG,
    ntddk::{ZwClose, ZwCreateFile, ZwReadFile},
};

use crate::{Result, registry, status::check, unicode};

/// A file that is open for reading; dropping it closes the handle.
#[derive(Debug)]
pub struct File(HANDLE);

impl File {
    /// Opens a file by its full path (`\SystemRoot\…`, `\??\C:\…`), whoever else has it open.
    ///
    /// # Errors
    /// `OBJECT_NAME_NOT_FOUND`, `SHARING_VIOLATION`, …
    pub fn open(path: &[u16]) -> Result<Self> {
        let mut name = unicode::counted(path)?;
        let mut attributes = registry::attributes(ptr::null_mut(), &mut name);
        let (mut file, mut block) = (ptr::null_mut(), IO_STATUS_BLOCK::default());
        // SAFETY: attributes, name, status block and the place for the handle live across the call.
        check(unsafe {
            ZwCreateFile(
                &raw mut file,
                FILE_READ_DATA | SYNCHRONIZE,
                &raw mut attributes,
                &raw mut block,
                ptr::null_mut(),
                FILE_ATTRIBUTE_NORMAL,
                FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                FILE_OPEN,
                FILE_SYNCHRONOUS_IO_NONALERT | FILE_NON_DIRECTORY_FILE,
                ptr::null_mut(),
                0,
            )
        })?;
        Ok(Self(file))
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
