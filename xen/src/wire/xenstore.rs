//! Xenstore, `io/xs_wire.h` and `docs/misc/xenstore.txt`.

use core::mem::{offset_of, size_of};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of each of the two rings, `XENSTORE_RING_SIZE`.
pub const RING_SIZE: usize = 1024;
/// Largest payload, `XENSTORE_PAYLOAD_MAX`; the server ends a connection that sends more.
pub const PAYLOAD_MAX: usize = 4096;
/// Longest absolute path, `XENSTORE_ABS_PATH_MAX`.
pub const ABS_PATH_MAX: usize = 3072;
/// Longest relative path, `XENSTORE_REL_PATH_MAX`.
pub const REL_PATH_MAX: usize = 2048;

/// `enum xsd_sockmsg_type`, the messages used here.
pub mod kind {
    /// List of a node's children.
    pub const DIRECTORY: u32 = 1;
    /// Value of a node.
    pub const READ: u32 = 2;
    /// Start a watch.
    pub const WATCH: u32 = 4;
    /// End a watch.
    pub const UNWATCH: u32 = 5;
    /// Start a transaction.
    pub const TRANSACTION_START: u32 = 6;
    /// End a transaction.
    pub const TRANSACTION_END: u32 = 7;
    /// Set a node's value.
    pub const WRITE: u32 = 11;
    /// Create a node.
    pub const MKDIR: u32 = 12;
    /// Remove a node and its children.
    pub const RM: u32 = 13;
    /// A watched node changed; sent by the server only.
    pub const WATCH_EVENT: u32 = 15;
    /// The request failed; the payload is the error's name.
    pub const ERROR: u32 = 16;
    /// Forget every watch and transaction of this guest.
    pub const RESET_WATCHES: u32 = 21;
    /// A part of the list of a node's children.
    pub const DIRECTORY_PART: u32 = 22;
}

/// `struct xsd_sockmsg`: the header of every message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// One of [`kind`].
    pub kind: u32,
    /// Chosen by the client, echoed in the reply.
    pub req_id: u32,
    /// Transaction, 0 for none.
    pub tx_id: u32,
    /// Bytes of payload.
    pub len: u32,
}

/// `struct xenstore_domain_interface`: the page shared with xenstored. Indices run freely and wrap at 2³².
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Interface {
    /// Requests, guest to server.
    pub req: [u8; RING_SIZE],
    /// Replies and watch events, server to guest.
    pub rsp: [u8; RING_SIZE],
    /// Consumed by the server.
    pub req_cons: u32,
    /// Produced by the guest.
    pub req_prod: u32,
    /// Consumed by the guest.
    pub rsp_cons: u32,
    /// Produced by the server.
    pub rsp_prod: u32,
}

const _: () = {
    assert!(size_of::<Header>() == 16);
    assert!(offset_of!(Interface, req_cons) == 2048);
    assert!(offset_of!(Interface, req_prod) == 2052);
    assert!(offset_of!(Interface, rsp_cons) == 2056);
    assert!(offset_of!(Interface, rsp_prod) == 2060);
};
