//! The registry routines that drivers call: keys by handle. IRQL `PASSIVE_LEVEL` throughout.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Value, delete_key, delete_value, exists, flush, get, keys, make_below, refusal, set};
use crate::boot;
use crate::nt::*;
use crate::ob::{self, Kind};

/// The body of a key object: its path.
struct KeyBody {
    path: *mut String,
}

/// Frees the path of a key object that went.
///
/// # Safety
/// `body` is a key object that nobody uses any more.
pub(crate) unsafe fn close_key(body: Pvoid) {
    // SAFETY: by this function's contract, `body` is a key object that nobody uses any more.
    unsafe {
        drop(Box::from_raw((*body.cast::<KeyBody>()).path));
    }
}

/// Opens a handle to a key.
///
/// # Safety
/// `handle` is writable.
pub(crate) unsafe fn open_handle(path: String, handle: *mut Handle) -> NtStatus {
    let body: *mut KeyBody = ob::create(Kind::Key);
    // SAFETY: by this function's contract, `handle` is writable.
    unsafe {
        (*body).path = Box::into_raw(Box::new(path));
        *handle = ob::open(body.cast());
        ob::dereference(body.cast());
    }
    status::SUCCESS
}

unsafe fn path_of(handle: Handle) -> Result<String, NtStatus> {
    let body = ob::body(handle).ok_or(status::INVALID_HANDLE)?;
    // SAFETY: the caller keeps `handle` valid for this call.
    unsafe {
        if ob::kind(body) != Kind::Key {
            return Err(status::OBJECT_TYPE_MISMATCH);
        }
        let path = (*(*body.cast::<KeyBody>()).path).clone();
        if exists(&path) { Ok(path) } else { Err(status::KEY_DELETED) }
    }
}

/// Returns the full path that object attributes name.
unsafe fn path_named(attributes: *const ObjectAttributes) -> Result<String, NtStatus> {
    // SAFETY: the caller keeps `attributes` valid for this call.
    unsafe {
        let name = (*(*attributes).object_name).text();
        let root = (*attributes).root_directory;
        if root.is_null() {
            let rooted = name.get(..9).is_some_and(|start| start.eq_ignore_ascii_case("\\Registry"));
            return if rooted { Ok(name) } else { Err(status::OBJECT_PATH_NOT_FOUND) };
        }
        if name.starts_with('\\') {
            return Err(status::OBJECT_NAME_INVALID);
        }
        Ok(alloc::format!("{}\\{name}", path_of(root)?))
    }
}

/// `ZwOpenKey`.
///
/// # Safety
/// As documented by the WDK: `handle` writable, `attributes` valid.
pub(crate) unsafe extern "win64" fn ZwOpenKey(
    handle: *mut Handle,
    _access: u32,
    attributes: *const ObjectAttributes,
) -> NtStatus {
    // SAFETY: the caller does as the WDK documents: `handle` writable, `attributes` valid.
    unsafe {
        match path_named(attributes) {
            Ok(path) if exists(&path) => open_handle(path, handle),
            Ok(_) => status::OBJECT_NAME_NOT_FOUND,
            Err(error) => error,
        }
    }
}

/// `ZwCreateKey`.
///
/// # Safety
/// As documented by the WDK.
pub(crate) unsafe extern "win64" fn ZwCreateKey(
    handle: *mut Handle,
    _access: u32,
    attributes: *const ObjectAttributes,
    _title_index: u32,
    _class: *mut UnicodeString,
    options: u32,
    disposition: *mut u32,
) -> NtStatus {
    // SAFETY: the caller does as the WDK documents.
    unsafe {
        let path = match path_named(attributes) {
            Ok(path) => path,
            Err(error) => return error,
        };
        // REG_CREATED_NEW_KEY, REG_OPENED_EXISTING_KEY.
        let found = if exists(&path) { 2 } else { 1 };
        if let (1, Some(refusal)) = (found, refusal()) {
            return refusal;
        }
        if found == 1
            && let Err(error) = make_below(&path, options & REG_OPTION_VOLATILE != 0)
        {
            return error;
        }
        if !disposition.is_null() {
            *disposition = found;
        }
        open_handle(path, handle)
    }
}

/// Hands an information block out as `Zw` routines do: nothing if the header does not fit, what fits
/// otherwise.
unsafe fn answer(block: &[u8], header: usize, buffer: Pvoid, length: u32, result: *mut u32) -> NtStatus {
    let room = length as usize;
    // SAFETY: the caller keeps `buffer` and `result` valid for this call.
    unsafe {
        *result = block.len() as u32;
        if room < header {
            return status::BUFFER_TOO_SMALL;
        }
        core::ptr::copy_nonoverlapping(block.as_ptr(), buffer.cast(), room.min(block.len()));
    }
    if room < block.len() { status::BUFFER_OVERFLOW } else { status::SUCCESS }
}

fn words(block: &mut Vec<u8>, words: &[u32]) {
    block.extend(words.iter().flat_map(|word| word.to_le_bytes()));
}

/// `ZwQueryValueKey`.
///
/// # Safety
/// As documented by the WDK: `buffer` has `length` bytes.
pub(crate) unsafe extern "win64" fn ZwQueryValueKey(
    handle: Handle,
    name: *mut UnicodeString,
    class: u32,
    buffer: Pvoid,
    length: u32,
    result: *mut u32,
) -> NtStatus {
    // SAFETY: the caller does as the WDK documents: `buffer` has `length` bytes.
    unsafe {
        let path = match path_of(handle) {
            Ok(path) => path,
            Err(error) => return error,
        };
        let name = (*name).text();
        if boot::options().unreadable.as_deref() == Some(&name) {
            return status::INSUFFICIENT_RESOURCES;
        }
        let Some(Value { kind, data }) = get(&path, &name) else { return status::OBJECT_NAME_NOT_FOUND };
        let units: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let mut block = Vec::new();
        let header = match class {
            KEY_VALUE_BASIC_INFORMATION => {
                words(&mut block, &[0, kind, units.len() as u32]);
                block.extend(&units);
                12
            }
            KEY_VALUE_FULL_INFORMATION => {
                let offset = (20 + units.len()).next_multiple_of(8);
                words(&mut block, &[0, kind, offset as u32, data.len() as u32, units.len() as u32]);
                block.extend(&units);
                block.resize(offset, 0);
                block.extend(&data);
                20
            }
            KEY_VALUE_PARTIAL_INFORMATION => {
                words(&mut block, &[0, kind, data.len() as u32]);
                block.extend(&data);
                12
            }
            _ => return status::INVALID_PARAMETER,
        };
        answer(&block, header, buffer, length, result)
    }
}

/// `ZwSetValueKey`.
///
/// # Safety
/// As documented by the WDK: `data` has `size` bytes.
pub(crate) unsafe extern "win64" fn ZwSetValueKey(
    handle: Handle,
    name: *mut UnicodeString,
    _title_index: u32,
    kind: u32,
    data: Pvoid,
    size: u32,
) -> NtStatus {
    if let Some(refusal) = refusal() {
        return refusal;
    }
    // SAFETY: the caller does as the WDK documents: `data` has `size` bytes.
    unsafe {
        let path = match path_of(handle) {
            Ok(path) => path,
            Err(error) => return error,
        };
        let data = if size == 0 {
            Vec::new()
        } else {
            core::slice::from_raw_parts(data.cast(), size as usize).to_vec()
        };
        set(&path, &(*name).text(), Value { kind, data });
        status::SUCCESS
    }
}

/// `ZwEnumerateKey`.
///
/// # Safety
/// As documented by the WDK: `buffer` has `length` bytes.
pub(crate) unsafe extern "win64" fn ZwEnumerateKey(
    handle: Handle,
    index: u32,
    class: u32,
    buffer: Pvoid,
    length: u32,
    result: *mut u32,
) -> NtStatus {
    // SAFETY: the caller does as the WDK documents: `buffer` has `length` bytes.
    unsafe {
        let path = match path_of(handle) {
            Ok(path) => path,
            Err(error) => return error,
        };
        let Some(name) = keys(&path).into_iter().nth(index as usize) else { return status::NO_MORE_ENTRIES };
        if class != KEY_BASIC_INFORMATION {
            return status::INVALID_PARAMETER;
        }
        let units: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let mut block = Vec::new();
        // LastWriteTime, TitleIndex, NameLength, Name.
        words(&mut block, &[0, 0, 0, units.len() as u32]);
        block.extend(&units);
        answer(&block, 16, buffer, length, result)
    }
}

/// `ZwDeleteValueKey`.
///
/// # Safety
/// As documented by the WDK.
pub(crate) unsafe extern "win64" fn ZwDeleteValueKey(handle: Handle, name: *mut UnicodeString) -> NtStatus {
    if let Some(refusal) = refusal() {
        return refusal;
    }
    // SAFETY: the caller does as the WDK documents.
    unsafe {
        match path_of(handle) {
            Ok(path) if delete_value(&path, &(*name).text()) => status::SUCCESS,
            Ok(_) => status::OBJECT_NAME_NOT_FOUND,
            Err(error) => error,
        }
    }
}

/// `ZwDeleteKey`: of a key without keys below it.
///
/// # Safety
/// As documented by the WDK.
pub(crate) unsafe extern "win64" fn ZwDeleteKey(handle: Handle) -> NtStatus {
    if let Some(refusal) = refusal() {
        return refusal;
    }
    // SAFETY: the caller does as the WDK documents.
    unsafe {
        match path_of(handle) {
            Ok(path) if !keys(&path).is_empty() => status::CANNOT_DELETE,
            Ok(path) => {
                delete_key(&path);
                status::SUCCESS
            }
            Err(error) => error,
        }
    }
}

/// `ZwFlushKey`: the key's hive is on the disk when this returns; before the session manager runs nothing
/// happens.
///
/// # Safety
/// As documented by the WDK.
pub(crate) unsafe extern "win64" fn ZwFlushKey(handle: Handle) -> NtStatus {
    if let Some(refusal) = refusal() {
        return refusal;
    }
    // SAFETY: the caller does as the WDK documents.
    unsafe {
        match path_of(handle) {
            Ok(_) => {
                flush();
                status::SUCCESS
            }
            Err(error) => error,
        }
    }
}
