//! Shared ring of a PV device, `io/ring.h`.

use core::mem::{offset_of, size_of};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The indices at the start of a shared ring. They run freely and wrap at 2³²; a slot is the index modulo the
/// number of slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// Requests produced, written by the frontend.
    pub req_prod: u32,
    /// The backend wants a notification when `req_prod` passes this.
    pub req_event: u32,
    /// Responses produced, written by the backend.
    pub rsp_prod: u32,
    /// The frontend wants a notification when `rsp_prod` passes this.
    pub rsp_event: u32,
    /// Private to each end in other versions of the header, zero here.
    pub pad: [u64; 6],
}

const _: () = {
    assert!(size_of::<Header>() == 64);
    assert!(offset_of!(Header, rsp_prod) == 8);
    assert!(offset_of!(Header, rsp_event) == 12);
};
