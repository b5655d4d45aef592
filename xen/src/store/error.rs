//! Errors of xenstore.

use core::fmt;

/// A xenstore operation that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Not sent: a path with a character outside `[A-Za-z0-9-/_@]`, an empty part or a slash at its end.
    Path {
        /// Offset in the path of what is wrong.
        offset: usize,
    },
    /// Not sent: a path or token with too many bytes.
    PathLength {
        /// Its length.
        found: usize,
        /// The longest that is allowed.
        limit: usize,
    },
    /// Not sent: a token that holds a NUL.
    Token,
    /// Not sent: the message would be too long, and the server would end the connection.
    Payload {
        /// Bytes of payload.
        found: usize,
        /// The most that is allowed.
        limit: usize,
    },
    /// The server refused.
    Refused(Errno),
    /// A node's value is not the number, text or list that it should be.
    Value,
    /// The caller's buffer is too small.
    NoSpace {
        /// Bytes that are needed.
        needed: usize,
        /// Bytes that were given.
        given: usize,
    },
    /// No answer in time. The next operation first waits for this one's answer and drops it.
    TimedOut,
    /// The connection is unusable from here on.
    Broken(Fault),
}

impl Error {
    /// Returns true if the node (or its parent) does not exist.
    pub const fn is_missing(&self) -> bool {
        matches!(self, Self::Refused(Errno::NoEntry))
    }

    /// Returns true if it says nothing of the node: the same operation may succeed a while later.
    pub const fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::TimedOut | Self::Refused(Errno::NoMemory | Errno::Io | Errno::Busy | Errno::Again)
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path { offset } => write!(f, "the path is not valid at byte {offset}"),
            Self::PathLength { found, limit } => {
                write!(f, "path or token of {found} bytes, at most {limit} allowed")
            }
            Self::Token => write!(f, "the token holds a NUL"),
            Self::Payload { found, limit } => write!(f, "message of {found} bytes, at most {limit} allowed"),
            Self::Refused(errno) => write!(f, "xenstore answered {}", errno.name()),
            Self::Value => write!(f, "a node's value is not of the expected form"),
            Self::NoSpace { needed, given } => write!(f, "buffer of {given} bytes, {needed} needed"),
            Self::TimedOut => write!(f, "xenstore did not answer in time"),
            Self::Broken(fault) => write!(f, "the xenstore connection is broken: {fault}"),
        }
    }
}

impl core::error::Error for Error {}

/// A fault of the ring's other end. The connection is unusable from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A ring's indices are further apart than the ring has bytes.
    Indices {
        /// Produced.
        produced: u32,
        /// Consumed.
        consumed: u32,
    },
    /// A message announces more payload than is allowed.
    Oversized {
        /// Bytes announced.
        found: u32,
        /// The most that is allowed.
        limit: u32,
    },
    /// A reply to another request than the one that is open.
    RequestId {
        /// The open request, if there is one.
        expected: Option<u32>,
        /// The reply's.
        found: u32,
    },
    /// A reply of another type than its request.
    Kind {
        /// The request's.
        expected: u32,
        /// The reply's.
        found: u32,
    },
    /// A reply or event whose payload is not of the form that its type has.
    Malformed {
        /// The message's type.
        kind: u32,
    },
    /// The server took only part of a message before time was up.
    Stalled {
        /// Bytes it took.
        sent: usize,
        /// Bytes of the message.
        of: usize,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Indices { produced, consumed } => {
                write!(f, "ring indices {produced:#x} produced and {consumed:#x} consumed are too far apart")
            }
            Self::Oversized { found, limit } => {
                write!(f, "message of {found} bytes, at most {limit} allowed")
            }
            Self::RequestId { expected: Some(expected), found } => {
                write!(f, "reply to request {found}, expected {expected}")
            }
            Self::RequestId { expected: None, found } => write!(f, "reply to request {found}, none is open"),
            Self::Kind { expected, found } => write!(f, "reply of type {found}, expected {expected}"),
            Self::Malformed { kind } => write!(f, "malformed message of type {kind}"),
            Self::Stalled { sent, of } => write!(f, "the server took {sent} of {of} bytes and stopped"),
        }
    }
}

/// Defines [`Errno`] and its names on the wire.
macro_rules! errno {
    ($($variant:ident $name:literal $doc:literal,)*) => {
        /// Errors that the server answers: `xsd_errors` of `io/xs_wire.h`, and one of oxenstored's own.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Errno {
            $(#[doc = $doc] $variant,)*
            /// A name that is not in the list.
            Other,
        }

        impl Errno {
            /// Returns the error of a name without its NUL.
            pub(crate) fn from_name(name: &[u8]) -> Self {
                $(if name == $name.as_bytes() { return Self::$variant; })*
                Self::Other
            }

            /// Returns the name on the wire.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Other => "an unknown error",
                }
            }
        }
    };
}

errno! {
    Invalid "EINVAL" "The server understood the request but not its content.",
    Access "EACCES" "Not permitted.",
    Exists "EEXIST" "It exists already.",
    IsDirectory "EISDIR" "It is a directory.",
    NoEntry "ENOENT" "It does not exist.",
    NoMemory "ENOMEM" "The server is out of memory.",
    NoSpace "ENOSPC" "A quota is used up.",
    Quota "EQUOTA" "A quota is used up, in oxenstored's word.",
    Io "EIO" "The server's storage failed.",
    NotEmpty "ENOTEMPTY" "It has children.",
    NotImplemented "ENOSYS" "The server does not know the request.",
    ReadOnly "EROFS" "The store is read-only.",
    Busy "EBUSY" "Busy.",
    Again "EAGAIN" "The transaction collided with another; do it again.",
    Connected "EISCONN" "Connected already.",
    TooBig "E2BIG" "The answer does not fit a message.",
    Permission "EPERM" "Not permitted.",
}
