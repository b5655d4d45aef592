//! libhivex, as far as it is used.

#![expect(unsafe_code, reason = "calls of a C library that is loaded when it is needed")]

use anyhow::{Context, Result};
use libloading::os::unix::Symbol;
use std::{
    ffi::{CString, c_char, c_int, c_void},
    io,
    os::unix::ffi::OsStrExt,
    path::Path,
};

use crate::bail_as;

/// The name with the version of the interface.
const FILE: &str = "libhivex.so.0";
/// `HIVEX_OPEN_WRITE`
const OPEN_WRITE: c_int = 4;

/// A key of an open hive: `hive_node_h`, 0 for none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node(usize);

/// `hive_set_value`
#[repr(C)]
struct SetValue {
    key: *const c_char,
    data_type: c_int,
    length: usize,
    value: *const u8,
}

type Handle = *mut c_void;

/// The library's calls.
pub(crate) struct Library {
    open: Symbol<unsafe extern "C" fn(*const c_char, c_int) -> Handle>,
    close: Symbol<unsafe extern "C" fn(Handle) -> c_int>,
    root: Symbol<unsafe extern "C" fn(Handle) -> usize>,
    child: Symbol<unsafe extern "C" fn(Handle, usize, *const c_char) -> usize>,
    add: Symbol<unsafe extern "C" fn(Handle, usize, *const c_char) -> usize>,
    delete: Symbol<unsafe extern "C" fn(Handle, usize) -> c_int>,
    set: Symbol<unsafe extern "C" fn(Handle, usize, *const SetValue, c_int) -> c_int>,
    set_all: Symbol<unsafe extern "C" fn(Handle, usize, usize, *const SetValue, c_int) -> c_int>,
    commit: Symbol<unsafe extern "C" fn(Handle, *const c_char, c_int) -> c_int>,
    /// Unloaded after everything above.
    _library: libloading::os::unix::Library,
}

impl Library {
    /// # Errors
    /// It is not installed.
    pub(crate) fn load() -> Result<Library> {
        // SAFETY: loading the library runs no code of it but the C runtime's.
        let Ok(library) = (unsafe { libloading::os::unix::Library::new(FILE) }) else {
            bail_as!(
                Tool,
                "{FILE} is not installed, and BCD stores are written through it: apt-get install libhivex0"
            )
        };
        macro_rules! symbol {
            ($name:literal) => {
                // SAFETY: the type is that of the function in hivex.h, version 0 of the interface.
                unsafe { library.get($name) }.context(concat!("libhivex has no ", stringify!($name)))?
            };
        }
        Ok(Library {
            open: symbol!(b"hivex_open\0"),
            close: symbol!(b"hivex_close\0"),
            root: symbol!(b"hivex_root\0"),
            child: symbol!(b"hivex_node_get_child\0"),
            add: symbol!(b"hivex_node_add_child\0"),
            delete: symbol!(b"hivex_node_delete_child\0"),
            set: symbol!(b"hivex_node_set_value\0"),
            set_all: symbol!(b"hivex_node_set_values\0"),
            commit: symbol!(b"hivex_commit\0"),
            _library: library,
        })
    }

    /// Opens a hive for writing.
    ///
    /// # Errors
    /// It is no hive, or one that libhivex does not read.
    pub(crate) fn open(&self, file: &Path) -> Result<Editor<'_>> {
        let path = CString::new(file.as_os_str().as_bytes())?;
        // SAFETY: the path ends with a NUL and lives until the call returns.
        let handle = unsafe { (self.open)(path.as_ptr(), OPEN_WRITE) };
        if handle.is_null() {
            return failed("open the hive");
        }
        Ok(Editor { library: self, handle })
    }
}

/// An open hive. Changes are in memory until it is committed.
pub(crate) struct Editor<'a> {
    library: &'a Library,
    /// From `hivex_open`, and closed only when this is dropped.
    handle: Handle,
}

impl Editor<'_> {
    /// Returns the root key.
    pub(crate) fn root(&self) -> Result<Node> {
        // SAFETY: the handle is open.
        match unsafe { (self.library.root)(self.handle) } {
            0 => failed("find the root key"),
            node => Ok(Node(node)),
        }
    }

    /// Returns the subkey of this name.
    pub(crate) fn child(&self, parent: Node, name: &str) -> Result<Option<Node>> {
        let name = CString::new(name)?;
        // SAFETY: the handle is open, the node is of it, and the name ends with a NUL and lives until the
        // call returns.
        let node = unsafe { (self.library.child)(self.handle, parent.0, name.as_ptr()) };
        Ok((node != 0).then_some(Node(node)))
    }

    /// Makes a subkey.
    pub(crate) fn add(&self, parent: Node, name: &str) -> Result<Node> {
        let text = CString::new(name)?;
        // SAFETY: the handle is open, the node is of it, and the name ends with a NUL and lives until the
        // call returns.
        match unsafe { (self.library.add)(self.handle, parent.0, text.as_ptr()) } {
            0 => failed(&format!("make the key {name}")),
            node => Ok(Node(node)),
        }
    }

    /// Removes a key with all that is in it.
    pub(crate) fn delete(&self, node: Node) -> Result<()> {
        // SAFETY: the handle is open and the node is of it; the caller has it no more.
        check(unsafe { (self.library.delete)(self.handle, node.0) }, "remove a key")
    }

    /// Sets a value.
    pub(crate) fn set(&self, node: Node, name: &str, data_type: u32, data: &[u8]) -> Result<()> {
        let key = CString::new(name)?;
        let value = SetValue {
            key: key.as_ptr(),
            data_type: c_int::try_from(data_type)?,
            length: data.len(),
            value: data.as_ptr(),
        };
        // SAFETY: the handle is open, the node is of it, and name and data live until the call returns, which
        // copies them.
        check(unsafe { (self.library.set)(self.handle, node.0, &raw const value, 0) }, "set a value")
    }

    /// Replaces all values of a key: names, types and data.
    pub(crate) fn set_all(&self, node: Node, values: &[(String, u32, Vec<u8>)]) -> Result<()> {
        let names =
            values.iter().map(|(name, ..)| CString::new(name.as_str())).collect::<Result<Vec<_>, _>>()?;
        let mut all = Vec::new();
        for ((_, data_type, data), name) in values.iter().zip(&names) {
            let data_type = c_int::try_from(*data_type)?;
            all.push(SetValue { key: name.as_ptr(), data_type, length: data.len(), value: data.as_ptr() });
        }
        // SAFETY: the handle is open, the node is of it, the array has the length that is said, and names and
        // data live until the call returns, which copies them.
        let result = unsafe { (self.library.set_all)(self.handle, node.0, all.len(), all.as_ptr(), 0) };
        check(result, "replace the values of a key")
    }

    /// Writes the file.
    pub(crate) fn commit(&self) -> Result<()> {
        // SAFETY: the handle is open; no name means the file it was opened from.
        check(unsafe { (self.library.commit)(self.handle, std::ptr::null(), 0) }, "write the hive")
    }
}

impl Drop for Editor<'_> {
    fn drop(&mut self) {
        // SAFETY: the handle is open and not used after this. What was to be kept has been committed.
        unsafe { (self.library.close)(self.handle) };
    }
}

fn check(result: c_int, what: &str) -> Result<()> {
    if result == 0 { Ok(()) } else { failed(what) }
}

fn failed<T>(what: &str) -> Result<T> {
    let error = io::Error::last_os_error();
    bail_as!(Tool, "libhivex could not {what}: {error}")
}
