//! Errors of a block device.

use core::fmt;

use crate::{GrantRef, grant, ring, store};

/// An operation of the frontend that failed. Nothing was sent to the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Not connected, or not any more.
    NotConnected,
    /// The backend broke the protocol; nothing more is sent to it.
    Broken(Fault),
    /// The ring is full: try again after a completion.
    Full,
    /// A request has no segments, or more than one may have.
    Segments {
        /// Number of its segments.
        found: usize,
        /// The most that are allowed.
        limit: usize,
    },
    /// A segment's sectors are not `first ≤ last < 8`.
    Segment {
        /// Its first sector.
        first: u8,
        /// Its last sector.
        last: u8,
    },
    /// The request goes beyond the end of the disk.
    Range {
        /// First sector.
        sector: u64,
        /// Number of sectors.
        count: u64,
        /// Sectors of the disk.
        sectors: u64,
    },
    /// First sector or length are not whole logical blocks.
    Block {
        /// First sector.
        sector: u64,
        /// Number of sectors.
        count: u64,
        /// Bytes of a logical block.
        block: u32,
    },
    /// Memory that does not start and end on whole logical blocks: use a bounce buffer.
    Unaligned {
        /// Guest-physical address.
        address: u64,
        /// Bytes.
        length: u32,
    },
    /// A scatter list that holds fewer bytes than the transfer has.
    ListTooShort {
        /// Bytes of the transfer.
        expected: u64,
        /// Bytes of the list.
        found: u64,
    },
    /// A write to a disk that is read-only.
    ReadOnly,
    /// The backend has no way to flush. Whether its writes are durable when they complete is not known.
    FlushUnsupported,
    /// The backend cannot discard.
    DiscardUnsupported,
    /// Grants are persistent: only the frontend's own pages may be granted.
    CopyOnly,
    /// No grant, or one that could not be taken back.
    Grant(grant::Error),
    /// No page for the ring.
    NoMemory,
    /// A xenstore operation failed.
    Store {
        /// The node's last part.
        node: &'static str,
        /// The reason.
        error: store::Error,
    },
    /// A node whose value makes no sense.
    Node {
        /// Its last part.
        node: &'static str,
        /// The node's value.
        found: u64,
    },
}

impl Error {
    /// Returns true if a frontend's folder is without its node `backend`. It belongs to no device, because
    /// one has left it or is being made. Linux and FreeBSD pass over such a folder, too.
    pub const fn is_no_device(&self) -> bool {
        match self {
            Self::Store { node, error } => matches!(node.as_bytes(), b"backend") && error.is_missing(),
            _ => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConnected => write!(f, "not connected to a backend"),
            Self::Broken(fault) => write!(f, "the backend broke the protocol: {fault}"),
            Self::Full => write!(f, "the ring is full"),
            Self::Segments { found, limit } => write!(f, "{found} segments, 1 to {limit} allowed"),
            Self::Segment { first, last } => {
                write!(f, "a segment has sectors {first} to {last}, expected first ≤ last < 8")
            }
            Self::Range { sector, count, sectors } => {
                write!(f, "{count} sectors at {sector} of a disk of {sectors}")
            }
            Self::Block { sector, count, block } => {
                write!(f, "{count} sectors at {sector} are not whole blocks of {block} bytes")
            }
            Self::Unaligned { address, length } => {
                write!(f, "{length} bytes at {address:#x} are not whole blocks")
            }
            Self::ListTooShort { expected, found } => {
                write!(f, "scatter list of {found} bytes, expected {expected}")
            }
            Self::ReadOnly => write!(f, "the disk is read-only"),
            Self::FlushUnsupported => write!(f, "the backend cannot flush"),
            Self::DiscardUnsupported => write!(f, "the backend cannot discard"),
            Self::CopyOnly => write!(f, "with persistent grants data has to be copied"),
            Self::Grant(error) => write!(f, "{error}"),
            Self::NoMemory => write!(f, "no page for the ring"),
            Self::Store { node, error } => write!(f, "node {node}: {error}"),
            Self::Node { node, found } => write!(f, "node {node} holds {found}, which makes no sense"),
        }
    }
}

impl core::error::Error for Error {}

/// The reason why a request that was sent did not do its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The backend answered "error".
    Backend,
    /// The backend answered "not supported".
    NotSupported,
    /// The backend broke the protocol; whether the work was done is not known. The frontend has the [`Fault`].
    Broken,
    /// The frontend was disconnected; whether the work was done is not known.
    Disconnected,
    /// A part of the transfer could not be sent; whether others did their work is not known.
    Unsent,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backend => write!(f, "the backend failed the request"),
            Self::NotSupported => write!(f, "the backend does not support the request"),
            Self::Broken => write!(f, "the backend broke the protocol"),
            Self::Disconnected => write!(f, "disconnected from the backend"),
            Self::Unsent => write!(f, "a part was not sent"),
        }
    }
}

impl core::error::Error for Failure {}

/// A backend's breach of the protocol. The first fault of a frontend is final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// More responses than requests without one.
    Overrun(ring::Overrun),
    /// A response's id is not that of a slot.
    UnknownId {
        /// The id.
        id: u64,
        /// Slots there are.
        slots: u32,
    },
    /// A response to a request that is not in flight.
    NotInFlight {
        /// The id.
        id: u64,
    },
    /// A response to another operation than the request's.
    Operation {
        /// The request's.
        expected: u8,
        /// The response's.
        found: u8,
    },
    /// A status that does not exist.
    Status {
        /// The status.
        found: i16,
    },
    /// A page still mapped by the backend after its response.
    GrantHeld {
        /// The grant.
        reference: GrantRef,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overrun(ring::Overrun { responses, outstanding }) => {
                write!(f, "{responses} responses to {outstanding} requests")
            }
            Self::UnknownId { id, slots } => {
                write!(f, "response with id {id:#x}, expected less than {slots}")
            }
            Self::NotInFlight { id } => write!(f, "response to request {id}, which is not in flight"),
            Self::Operation { expected, found } => {
                write!(f, "response to operation {found}, expected {expected}")
            }
            Self::Status { found } => write!(f, "status {found}"),
            Self::GrantHeld { reference } => {
                write!(f, "grant {} still mapped after the response", reference.0)
            }
        }
    }
}

impl core::error::Error for Fault {}
