//! Basic types: counted strings, lists, GUIDs, large integers (ntdef.h).

use core::ffi::c_void;

use crate::layout;

/// `PVOID`.
pub(crate) type Pvoid = *mut c_void;
/// `BOOLEAN`: 0 or 1 in one byte.
pub(crate) type Boolean = u8;
/// `KIRQL`.
pub(crate) type Kirql = u8;
/// `LARGE_INTEGER`, used as a plain 64-bit integer.
pub(crate) type LargeInteger = i64;
/// `PHYSICAL_ADDRESS`.
pub(crate) type PhysicalAddress = i64;
/// `HANDLE`.
pub(crate) type Handle = Pvoid;

/// `FALSE`.
pub(crate) const FALSE: Boolean = 0;
/// `TRUE`.
pub(crate) const TRUE: Boolean = 1;
/// Size of a page in bytes.
pub(crate) const PAGE_SIZE: usize = 4096;

/// `UNICODE_STRING`: lengths are in bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnicodeString {
    pub length: u16,
    pub maximum_length: u16,
    pub buffer: *mut u16,
}
layout!(UnicodeString, 0x10, buffer @ 8);

impl UnicodeString {
    /// A string of no characters.
    pub(crate) const EMPTY: Self = Self { length: 0, maximum_length: 0, buffer: core::ptr::null_mut() };

    /// Returns the characters, without a terminator.
    ///
    /// # Safety
    /// `buffer` must be null or hold `length` readable bytes.
    pub(crate) unsafe fn units<'a>(&self) -> &'a [u16] {
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
    pub(crate) unsafe fn text(&self) -> alloc::string::String {
        // SAFETY: the caller keeps the contract of [`Self::units`].
        unsafe { alloc::string::String::from_utf16_lossy(self.units()) }
    }
}

/// `LIST_ENTRY`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct ListEntry {
    pub flink: *mut ListEntry,
    pub blink: *mut ListEntry,
}
layout!(ListEntry, 0x10);

impl ListEntry {
    /// An entry that is on no list; `InitializeListHead` it before use.
    pub(crate) const UNLINKED: Self = Self { flink: core::ptr::null_mut(), blink: core::ptr::null_mut() };

    /// `InitializeListHead`.
    ///
    /// # Safety
    /// `head` must be writable and stay where it is while linked.
    pub(crate) unsafe fn init(head: *mut Self) {
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
    pub(crate) unsafe fn is_empty(head: *const Self) -> bool {
        // SAFETY: by this function's contract, `head` is an initialized list head.
        unsafe { core::ptr::eq((*head).flink, head) }
    }

    /// `InsertTailList`.
    ///
    /// # Safety
    /// `head` must be an initialized list head and `entry` on no list.
    pub(crate) unsafe fn insert_tail(head: *mut Self, entry: *mut Self) {
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
    pub(crate) unsafe fn remove(entry: *mut Self) {
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
    pub(crate) unsafe fn pop(head: *mut Self) -> Option<*mut Self> {
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
pub(crate) struct Guid {
    pub data1: u32,
    pub data2: u16,
    pub data3: u16,
    pub data4: [u8; 8],
}
layout!(Guid, 0x10);

impl Guid {
    /// Returns the registry form, `{xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx}` in upper case.
    pub(crate) fn braced(&self) -> alloc::string::String {
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
