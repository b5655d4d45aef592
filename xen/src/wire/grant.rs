//! Grant table version 1, `grant_table.h`.

use core::mem::size_of;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `GTF_permit_access`: the entry lets its domain map the frame.
pub const GTF_PERMIT_ACCESS: u16 = 1;
/// `GTF_readonly`: only for reading.
pub const GTF_READONLY: u16 = 1 << 2;
/// `GTF_reading`, set by Xen: mapped or being copied, for reading.
pub const GTF_READING: u16 = 1 << 3;
/// `GTF_writing`, set by Xen: mapped or being copied, for writing.
pub const GTF_WRITING: u16 = 1 << 4;

/// `GNTTAB_NR_RESERVED_ENTRIES`: references 0–7 belong to the tools (console, xenstore).
pub const RESERVED_ENTRIES: u32 = 8;

/// `struct grant_entry_v1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EntryV1 {
    /// `GTF_` bits.
    pub flags: u16,
    /// The domain that is let in.
    pub domid: u16,
    /// Guest frame number.
    pub frame: u32,
}

/// Entries in one frame of the table.
pub const ENTRIES_PER_FRAME: usize = 4096 / size_of::<EntryV1>();

const _: () = assert!(size_of::<EntryV1>() == 8);
