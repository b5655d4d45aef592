//! Block interface, `io/blkif.h`, x86_64 layout (protocol `x86_64-abi`).

use core::mem::{offset_of, size_of};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `BLKIF_OP_READ`.
pub const OP_READ: u8 = 0;
/// `BLKIF_OP_WRITE`.
pub const OP_WRITE: u8 = 1;
/// `BLKIF_OP_WRITE_BARRIER`; with no segments it is an ordered flush.
pub const OP_WRITE_BARRIER: u8 = 2;
/// `BLKIF_OP_FLUSH_DISKCACHE`.
pub const OP_FLUSH_DISKCACHE: u8 = 3;
/// `BLKIF_OP_DISCARD`, a [`Discard`].
pub const OP_DISCARD: u8 = 5;
/// `BLKIF_OP_INDIRECT`, an [`Indirect`].
pub const OP_INDIRECT: u8 = 6;

/// `BLKIF_RSP_OKAY`.
pub const RSP_OKAY: i16 = 0;
/// `BLKIF_RSP_ERROR`.
pub const RSP_ERROR: i16 = -1;
/// `BLKIF_RSP_EOPNOTSUPP`.
pub const RSP_EOPNOTSUPP: i16 = -2;

/// `BLKIF_MAX_SEGMENTS_PER_REQUEST`: segments carried in the request itself.
pub const MAX_SEGMENTS: usize = 11;

/// `BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST`: pages of segments that an indirect request can name.
pub const MAX_INDIRECT_PAGES: usize = 8;
/// Segments in such a page.
pub const SEGMENTS_PER_PAGE: usize = crate::PAGE_SIZE / size_of::<Segment>();

/// Largest ring, as a power of two of pages, that the protocol's backends know (`max-ring-page-order`).
pub const MAX_RING_ORDER: u8 = 4;

/// `VDISK_CDROM` of the backend node `info`.
pub const INFO_CDROM: u32 = 1;
/// `VDISK_REMOVABLE` of the backend node `info`.
pub const INFO_REMOVABLE: u32 = 2;
/// `VDISK_READONLY` of the backend node `info`.
pub const INFO_READ_ONLY: u32 = 4;

/// `struct blkif_request_segment`: the part of one granted page that takes part in a transfer.
/// Sectors are 512 bytes, whatever the backend's `sector-size`; both ends are inclusive, 0–7.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Segment {
    /// Grant reference of the page.
    pub gref: u32,
    /// First 512-byte sector of the page.
    pub first_sect: u8,
    /// Last 512-byte sector of the page, inclusive.
    pub last_sect: u8,
    /// Padding, zero.
    pub pad: [u8; 2],
}

/// `struct blkif_request` for reads, writes and flushes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Request {
    /// One of the `OP_` constants.
    pub operation: u8,
    /// Segments used, at most [`MAX_SEGMENTS`].
    pub nr_segments: u8,
    /// Virtual device; backends take it from xenstore instead.
    pub handle: u16,
    /// Padding, zero.
    pub pad: [u8; 4],
    /// The frontend's private value, echoed in the response.
    pub id: u64,
    /// First sector of the transfer on the disk, in 512-byte units.
    pub sector_number: u64,
    /// The pages.
    pub seg: [Segment; MAX_SEGMENTS],
}

/// `struct blkif_request_indirect`: a read or write whose segments lie in pages of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Indirect {
    /// [`OP_INDIRECT`].
    pub operation: u8,
    /// [`OP_READ`] or [`OP_WRITE`]; the response names this one.
    pub indirect_op: u8,
    /// Segments in all.
    pub nr_segments: u16,
    /// Padding, zero.
    pub pad: [u8; 4],
    /// Id, as in [`Request`].
    pub id: u64,
    /// First sector, as in [`Request`].
    pub sector_number: u64,
    /// Handle, as in [`Request`].
    pub handle: u16,
    /// Padding, zero.
    pub pad2: [u8; 2],
    /// Grants of pages of [`Segment`]s, [`SEGMENTS_PER_PAGE`] in each but the last.
    pub indirect_grefs: [u32; MAX_INDIRECT_PAGES],
    /// Padding, zero.
    pub pad3: [u8; 4],
}

/// `struct blkif_request_discard`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Discard {
    /// [`OP_DISCARD`].
    pub operation: u8,
    /// `BLKIF_DISCARD_SECURE` is 1.
    pub flag: u8,
    /// Handle, as in [`Request`].
    pub handle: u16,
    /// Padding, zero.
    pub pad: [u8; 4],
    /// Id, as in [`Request`].
    pub id: u64,
    /// First sector, as in [`Request`].
    pub sector_number: u64,
    /// Sectors of 512 bytes.
    pub nr_sectors: u64,
}

/// `struct blkif_response`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Response {
    /// Copied from the request.
    pub id: u64,
    /// Copied from the request.
    pub operation: u8,
    /// Padding.
    pub pad: u8,
    /// One of the `RSP_` constants.
    pub status: i16,
    /// Padding.
    pub pad2: [u8; 4],
}

const _: () = {
    assert!(size_of::<Segment>() == 8);
    assert!(size_of::<Request>() == 112);
    assert!(offset_of!(Request, id) == 8);
    assert!(offset_of!(Request, sector_number) == 16);
    assert!(offset_of!(Request, seg) == 24);
    assert!(size_of::<Indirect>() == 64);
    assert!(offset_of!(Indirect, id) == 8);
    assert!(offset_of!(Indirect, handle) == 24);
    assert!(offset_of!(Indirect, indirect_grefs) == 28);
    assert!(size_of::<Discard>() == 32);
    assert!(offset_of!(Discard, nr_sectors) == 24);
    assert!(SEGMENTS_PER_PAGE == 512);
    assert!(size_of::<Response>() == 16);
    assert!(offset_of!(Response, status) == 10);
};
