//! Files by their paths: the crash dump that NT has copied, and files on the system's volume, which is disk 0's.
//!
//! The volume knows no folders: one is a file without bytes whose name ends in a backslash. A path is looked up
//! without regard to case.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use volume::Error;

use crate::fs::Mounted;
use crate::nt::*;
use crate::ob::{self, Kind};
use crate::{diskdump, mountmgr};

/// The path of the crash dump.
const DUMP: &str = "\\SystemRoot\\MEMORY.DMP";
/// The beginning of paths on the system's volume.
const SYSTEM_ROOT: &str = "\\SystemRoot\\";

const DELETE: u32 = 0x0001_0000;
const SYNCHRONIZE: u32 = 0x0010_0000;
/// `FILE_APPEND_DATA`.
const APPEND: u32 = 4;
/// `FILE_SHARE_READ | FILE_SHARE_WRITE`.
const SHARED: u32 = 3;
/// `FILE_OPEN` and `FILE_OPEN_IF`.
const OPEN: u32 = 1;
const OPEN_IF: u32 = 3;
/// `FILE_DIRECTORY_FILE`, `FILE_SYNCHRONOUS_IO_NONALERT` and `FILE_NON_DIRECTORY_FILE`.
const FOLDER: u32 = 1;
const SYNCHRONOUS: u32 = 0x20;
const NO_FOLDER: u32 = 0x40;
/// `FileStandardInformation` and `FileRenameInformation`.
const STANDARD: u32 = 5;
const RENAME: u32 = 10;

/// True while the system's volume takes nothing more.
static FULL: AtomicBool = AtomicBool::new(false);
/// Writes that it has refused for that.
static REFUSED: AtomicU32 = AtomicU32::new(0);

/// Has the volume refuse what drivers write, as a full one does, or take it again.
pub(crate) fn fill(full: bool) {
    FULL.store(full, Ordering::Release);
}

/// Returns how many writes a full volume has refused.
pub(crate) fn refused() -> u32 {
    REFUSED.load(Ordering::Acquire)
}

/// Returns the text of a file of the system's volume, empty where it is not there. PASSIVE_LEVEL.
pub(crate) fn text(name: &str) -> String {
    let content = mountmgr::with_system_volume(|volume| volume.read_file(name).ok()).flatten();
    String::from_utf8_lossy(&content.unwrap_or_default()).into_owned()
}

/// Puts a file on the system's volume, full or not, as one that was there before. PASSIVE_LEVEL.
pub(crate) fn put(name: &str, content: &[u8]) {
    let folder = name.rsplit_once('\\').map(|(folder, _)| format!("{folder}\\"));
    let put = mountmgr::with_system_volume(|volume| {
        folder.map_or(Ok(()), |folder| volume.write_file(&folder, &[]))?;
        volume.write_file(name, content)
    });
    assert!(matches!(put, Some(Ok(()))), "{name} on the system's volume: {put:?}");
}

/// The thing that a file object of this module stands for.
enum Opened {
    Dump,
    /// A file or a folder of the system's volume: its name there, and the access that was asked for.
    File {
        name: String,
        access: u32,
    },
}

/// Returns what a handle stands for.
///
/// # Safety
/// The handle stays open while the answer is used.
unsafe fn opened<'a>(handle: Handle) -> Result<&'a mut Opened, NtStatus> {
    let body = ob::body(handle).ok_or(status::INVALID_HANDLE)?;
    // SAFETY: the handle keeps the object; the context of a file is null or what `ZwCreateFile` put there.
    unsafe {
        if ob::kind(body) != Kind::File {
            return Err(status::OBJECT_TYPE_MISMATCH);
        }
        (*body.cast::<FileObject>())
            .fs_context
            .cast::<Opened>()
            .as_mut()
            .ok_or(status::INVALID_DEVICE_REQUEST)
    }
}

/// Frees what a file object stands for, as its last reference goes.
///
/// # Safety
/// The file object has no device, and nobody uses it any more.
pub(super) unsafe fn forget(file: *mut FileObject) {
    // SAFETY: null, or the box of `ZwCreateFile`.
    unsafe {
        let context = (*file).fs_context.cast::<Opened>();
        if !context.is_null() {
            (*file).fs_context = core::ptr::null_mut();
            drop(Box::from_raw(context));
        }
    }
}

/// Returns the status that a file system answers for an error of the volume.
fn status_of(error: &Error) -> NtStatus {
    match error {
        Error::Io(error) => error.code,
        Error::Corrupt(_) => status::DISK_CORRUPT_ERROR,
        Error::NoSpace | Error::TooLarge => status::DISK_FULL,
        Error::NotFound => status::OBJECT_NAME_NOT_FOUND,
        Error::BadName => status::OBJECT_NAME_INVALID,
    }
}

/// Returns the volume's own spelling of a name.
fn find(volume: &Mounted, name: &str) -> Option<String> {
    volume.files().find(|other| other.eq_ignore_ascii_case(name)).map(ToOwned::to_owned)
}

/// Does something with the system's volume. PASSIVE_LEVEL.
fn on_volume<T>(run: impl FnOnce(&mut Mounted) -> Result<T, NtStatus>) -> Result<T, NtStatus> {
    mountmgr::with_system_volume(run).unwrap_or(Err(status::OBJECT_PATH_NOT_FOUND))
}

/// Writes a whole file.
fn store(volume: &mut Mounted, name: &str, content: &[u8]) -> Result<(), NtStatus> {
    if FULL.load(Ordering::Acquire) {
        REFUSED.fetch_add(1, Ordering::AcqRel);
        return Err(status::DISK_FULL);
    }
    volume.write_file(name, content).map_err(|error| status_of(&error))
}

/// Opens or makes a file or a folder. Returns its name.
fn open_or_make(
    volume: &mut Mounted,
    path: &str,
    folder: bool,
    disposition: u32,
) -> Result<String, NtStatus> {
    if let Some((above, _)) = path.rsplit_once('\\')
        && find(volume, &format!("{above}\\")).is_none()
    {
        return Err(status::OBJECT_PATH_NOT_FOUND);
    }
    let as_folder = format!("{path}\\");
    match (find(volume, path), find(volume, &as_folder)) {
        (Some(_), _) if folder => Err(status::NOT_A_DIRECTORY),
        (_, Some(_)) if !folder => Err(status::FILE_IS_A_DIRECTORY),
        (Some(name), _) | (_, Some(name)) => Ok(name),
        _ if disposition == OPEN => Err(status::OBJECT_NAME_NOT_FOUND),
        _ => {
            let name = if folder { as_folder } else { path.to_owned() };
            store(volume, &name, &[]).map(|()| name)
        }
    }
}

/// `ZwCreateFile`, with FILE_OPEN or FILE_OPEN_IF and synchronous. NT's own program may still be writing to the
/// crash dump. IRQL `PASSIVE_LEVEL`.
///
/// # Safety
/// As documented by the WDK: `handle` and `block` writable, `attributes` valid.
pub(crate) unsafe extern "win64" fn ZwCreateFile(
    handle: *mut Handle,
    access: u32,
    attributes: *const ObjectAttributes,
    _block: *mut IoStatusBlock,
    _allocation: *const i64,
    _file_attributes: u32,
    share: u32,
    disposition: u32,
    options: u32,
    _ea: Pvoid,
    _ea_length: u32,
) -> NtStatus {
    // SAFETY: the caller does as the WDK documents: `handle` writable, `attributes` valid.
    unsafe {
        let path = (*(*attributes).object_name).text();
        let folder = options & FOLDER != 0;
        if options & SYNCHRONOUS == 0
            || access & SYNCHRONIZE == 0
            || !matches!(disposition, OPEN | OPEN_IF)
            || folder == (options & NO_FOLDER != 0)
        {
            return status::INVALID_PARAMETER;
        }
        let found = if path.eq_ignore_ascii_case(DUMP) {
            match diskdump::copied() {
                None => Err(status::OBJECT_NAME_NOT_FOUND),
                Some(_) if share & SHARED != SHARED || access & APPEND != 0 => Err(status::SHARING_VIOLATION),
                Some(_) => Ok(Opened::Dump),
            }
        } else {
            match path.get(..SYSTEM_ROOT.len()) {
                Some(root) if root.eq_ignore_ascii_case(SYSTEM_ROOT) => {
                    on_volume(|volume| open_or_make(volume, &path[SYSTEM_ROOT.len()..], folder, disposition))
                        .map(|name| Opened::File { name, access })
                }
                _ => Err(status::OBJECT_PATH_NOT_FOUND),
            }
        };
        let opened = match found {
            Ok(opened) => opened,
            Err(error) => return error,
        };
        // Without a device: nobody is told of its end.
        let file: *mut FileObject = ob::create(Kind::File);
        (*file).kind = IO_TYPE_FILE;
        (*file).size = size_of::<FileObject>() as i16;
        (*file).fs_context = Box::into_raw(Box::new(opened)).cast();
        *handle = ob::open(file.cast());
        ob::dereference(file.cast());
        status::SUCCESS
    }
}

/// `ZwReadFile`, at an offset, of the crash dump. IRQL `PASSIVE_LEVEL`.
///
/// # Safety
/// As documented by the WDK: `block` and `offset` valid, `buffer` has `length` bytes.
pub(crate) unsafe extern "win64" fn ZwReadFile(
    handle: Handle,
    _event: Handle,
    _routine: Pvoid,
    _context: Pvoid,
    block: *mut IoStatusBlock,
    buffer: *mut u8,
    length: u32,
    offset: *const i64,
    _key: Pvoid,
) -> NtStatus {
    // SAFETY: the caller does as the WDK documents: `block` and `offset` valid, `buffer` has `length` bytes.
    unsafe {
        match opened(handle) {
            Ok(Opened::Dump) => {}
            Ok(Opened::File { .. }) => return status::ACCESS_DENIED,
            Err(error) => return error,
        }
        let content = diskdump::copied().unwrap_or_default();
        let from = usize::try_from(*offset).unwrap_or(usize::MAX);
        let Some(rest) = content.get(from..).filter(|rest| !rest.is_empty()) else {
            return status::END_OF_FILE;
        };
        let count = rest.len().min(length as usize);
        core::ptr::copy_nonoverlapping(rest.as_ptr(), buffer, count);
        *block = IoStatusBlock::new(status::SUCCESS, count);
        status::SUCCESS
    }
}

/// `ZwWriteFile`, behind the end of a file of the system's volume. IRQL `PASSIVE_LEVEL`.
///
/// # Safety
/// As documented by the WDK: `block` and `offset` valid, `buffer` has `length` bytes.
pub(crate) unsafe extern "win64" fn ZwWriteFile(
    handle: Handle,
    _event: Handle,
    _routine: Pvoid,
    _context: Pvoid,
    block: *mut IoStatusBlock,
    buffer: *const u8,
    length: u32,
    offset: *const i64,
    _key: Pvoid,
) -> NtStatus {
    // SAFETY: the caller does as the WDK documents: `block` and `offset` valid, `buffer` has `length` bytes.
    unsafe {
        let (name, bytes) = match opened(handle) {
            Ok(Opened::File { name, access }) if *access & APPEND != 0 => {
                (name.clone(), core::slice::from_raw_parts(buffer, length as usize))
            }
            Ok(_) => return status::ACCESS_DENIED,
            Err(error) => return error,
        };
        // FILE_WRITE_TO_END_OF_FILE.
        if *offset != -1 {
            return status::NOT_SUPPORTED;
        }
        let written = on_volume(|volume| {
            let mut content = volume.read_file(&name).map_err(|error| status_of(&error))?;
            content.extend_from_slice(bytes);
            store(volume, &name, &content)
        });
        match written {
            Ok(()) => {
                *block = IoStatusBlock::new(status::SUCCESS, bytes.len());
                status::SUCCESS
            }
            Err(error) => error,
        }
    }
}

/// `ZwQueryInformationFile`, of class FileStandardInformation. IRQL `PASSIVE_LEVEL`.
///
/// # Safety
/// As documented by the WDK: `block` writable, `information` has `length` bytes.
pub(crate) unsafe extern "win64" fn ZwQueryInformationFile(
    handle: Handle,
    block: *mut IoStatusBlock,
    information: *mut u8,
    length: u32,
    class: u32,
) -> NtStatus {
    /// Allocated bytes, bytes, links, two flags, padding.
    const BYTES: usize = 24;
    // SAFETY: the caller does as the WDK documents: `block` writable, `information` has `length` bytes.
    unsafe {
        let name = match opened(handle) {
            Ok(Opened::File { name, .. }) => name.clone(),
            Ok(Opened::Dump) => return status::ACCESS_DENIED,
            Err(error) => return error,
        };
        if class != STANDARD {
            return status::INVALID_INFO_CLASS;
        }
        if (length as usize) < BYTES {
            return status::INFO_LENGTH_MISMATCH;
        }
        match on_volume(|volume| volume.read_file(&name).map_err(|error| status_of(&error))) {
            Ok(content) => {
                let size = (content.len() as u64).to_le_bytes();
                let mut answer = [0; BYTES];
                answer[..8].copy_from_slice(&size);
                answer[8..16].copy_from_slice(&size);
                answer[16] = 1;
                core::ptr::copy_nonoverlapping(answer.as_ptr(), information, BYTES);
                *block = IoStatusBlock::new(status::SUCCESS, BYTES);
                status::SUCCESS
            }
            Err(error) => error,
        }
    }
}

/// `ZwSetInformationFile`, of class FileRenameInformation: another name in the same folder, in place of a file
/// that has it. What is left of the old one is a file without bytes. IRQL `PASSIVE_LEVEL`.
///
/// # Safety
/// As documented by the WDK: `block` writable, `information` has `length` bytes.
pub(crate) unsafe extern "win64" fn ZwSetInformationFile(
    handle: Handle,
    block: *mut IoStatusBlock,
    information: *const u8,
    length: u32,
    class: u32,
) -> NtStatus {
    /// ReplaceIfExists, RootDirectory, FileNameLength.
    const HEAD: usize = 20;
    // SAFETY: the caller does as the WDK documents: `block` writable, `information` has `length` bytes.
    unsafe {
        let opened = match opened(handle) {
            Ok(opened) => opened,
            Err(error) => return error,
        };
        let Opened::File { name, access } = opened else { return status::ACCESS_DENIED };
        let bytes = core::slice::from_raw_parts(information, length as usize);
        let (Some(head), Some(rest)) = (bytes.get(..HEAD), bytes.get(HEAD..)) else {
            return status::INFO_LENGTH_MISMATCH;
        };
        let named = u32::from_le_bytes([head[16], head[17], head[18], head[19]]) as usize;
        let Some(units) = rest.get(..named) else { return status::INVALID_PARAMETER };
        let units: Vec<u16> =
            units.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
        let to = String::from_utf16_lossy(&units);
        if class != RENAME || head[8..16] != [0; 8] || to.is_empty() || to.contains('\\') {
            return status::INVALID_PARAMETER;
        }
        if *access & DELETE == 0 {
            return status::ACCESS_DENIED;
        }
        let new = match name.rsplit_once('\\') {
            Some((folder, _)) => format!("{folder}\\{to}"),
            None => to,
        };
        let replace = head[0] != 0;
        let renamed = on_volume(|volume| {
            let there = find(volume, &new);
            if there.is_some() && !replace {
                return Err(status::OBJECT_NAME_COLLISION);
            }
            let content = volume.read_file(name).map_err(|error| status_of(&error))?;
            let new = there.unwrap_or(new);
            store(volume, &new, &content)?;
            store(volume, name, &[])?;
            Ok(new)
        });
        match renamed {
            Ok(new) => {
                *name = new;
                *block = IoStatusBlock::new(status::SUCCESS, 0);
                status::SUCCESS
            }
            Err(error) => error,
        }
    }
}
