//! Basic types: counted strings, lists, GUIDs, large integers (ntdef.h).

use core::ffi::c_void;

use crate::layout;

/// `PVOID`.
pub type Pvoid = *mut c_void;
/// `BOOLEAN`: 0 or 1 in one byte.
pub type Boolean = u8;
/// `KIRQL`.
pub type Kirql = u8;
/// `LARGE_INTEGER`, used as a plain 64-bit integer.
pub type LargeInteger = i64;
/// `PHYSICAL_ADDRESS`.
pub type PhysicalAddress = i64;
/// `HANDLE`.
pub type Handle = Pvoid;

/// `FALSE`.
pub const FALSE: Boolean = 0;
/// `TRUE`.
pub const TRUE: Boolean = 1;
/// Size of a page in bytes.
pub const PAGE_SIZE: usize = 4096;

/// `UNICODE_STRING`: lengths are in bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct UnicodeString {
    pub length: u16,
    pub maximum_length: u16,
    pub buffer: *mut u16,
}
layout!(UnicodeString, 0x10, buffer @ 8);

impl UnicodeString {
    /// A string of no characters.
    pub const EMPTY: Self = Self { length: 0, maximum_length: 0, buffer: core::ptr::null_mut() };

    /// Returns the characters, without a terminator.
    ///
    /// # Safety
    /// `buffer` must be null or hold `length` readable bytes.
    pub unsafe fn units<'a>(&self) -> &'a [u16] {
        // SAFETY: by this function's contract, `buffer` is null or hold `length` readable bytes.
        unsafe {
            if self.buffer.is_null() {
                &[]
            } else {
                core::slice::from_raw_parts(self.buffer, usize::from(self.length) / 2)
            }
        }
    }

    /// Returns the string as Rust text, unpaired surrogates replaced.
    ///
    /// # Safety
    /// As [`Self::units`].
    pub unsafe fn text(&self) -> alloc::string::String {
        // SAFETY: the caller keeps the contract of [`Self::units`].
        unsafe { alloc::string::String::from_utf16_lossy(self.units()) }
    }
}

/// `LIST_ENTRY`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ListEntry {
    pub flink: *mut ListEntry,
    pub blink: *mut ListEntry,
}
layout!(ListEntry, 0x10);

impl ListEntry {
    /// An entry that is on no list; `InitializeListHead` it before use.
    pub const UNLINKED: Self = Self { flink: core::ptr::null_mut(), blink: core::ptr::null_mut() };

    /// `InitializeListHead`.
    ///
    /// # Safety
    /// `head` must be writable and stay where it is while linked.
    pub unsafe fn init(head: *mut Self) {
        // SAFETY: by this function's contract, `head` is writable and stay where it is while linked.
        unsafe {
            (*head).flink = head;
            (*head).blink = head;
        }
    }

    /// `IsListEmpty`.
    ///
    /// # Safety
    /// `head` must be an initialized list head.
    pub unsafe fn is_empty(head: *const Self) -> bool {
        // SAFETY: by this function's contract, `head` is an initialized list head.
        unsafe { core::ptr::eq((*head).flink, head) }
    }

    /// `InsertTailList`.
    ///
    /// # Safety
    /// `head` must be an initialized list head and `entry` on no list.
    pub unsafe fn insert_tail(head: *mut Self, entry: *mut Self) {
        // SAFETY: by this function's contract, `head` is an initialized list head and `entry` on no list.
        unsafe {
            let last = (*head).blink;
            (*entry).flink = head;
            (*entry).blink = last;
            (*last).flink = entry;
            (*head).blink = entry;
        }
    }

    /// `RemoveEntryList`.
    ///
    /// # Safety
    /// `entry` must be on a list.
    pub unsafe fn remove(entry: *mut Self) {
        // SAFETY: by this function's contract, `entry` is on a list.
        unsafe {
            let (next, previous) = ((*entry).flink, (*entry).blink);
            (*previous).flink = next;
            (*next).blink = previous;
            *entry = Self::UNLINKED;
        }
    }

    /// `RemoveHeadList`, or `None` if the list is empty.
    ///
    /// # Safety
    /// `head` must be an initialized list head.
    pub unsafe fn pop(head: *mut Self) -> Option<*mut Self> {
        // SAFETY: by this function's contract, `head` is an initialized list head.
        unsafe {
            if Self::is_empty(head) {
                return None;
            }
            let first = (*head).flink;
            Self::remove(first);
            Some(first)
        }
    }
}

/// `GUID`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Guid {
    pub data1: u32,
    pub data2: u16,
    pub data3: u16,
    pub data4: [u8; 8],
}
layout!(Guid, 0x10);

impl Guid {
    /// Returns the registry form, `{xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx}` in upper case.
    pub fn braced(&self) -> alloc::string::String {
        let d = &self.data4;
        alloc::format!(
            "{{{:08X}-{:04X}-{:04X}-{:02X}{:02X}-{:02X}{:02X}{:02X}{:02X}{:02X}{:02X}}}",
            self.data1,
            self.data2,
            self.data3,
            d[0],
            d[1],
            d[2],
            d[3],
            d[4],
            d[5],
            d[6],
            d[7]
        )
    }
}
