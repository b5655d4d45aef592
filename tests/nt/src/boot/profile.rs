//! The versions of NT that the executive can be.

use protocol::Version;

/// A version whose rules the executive follows. The order is that of time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) enum Profile {
    /// Server 2003 x64.
    #[default]
    Nt52,
    /// Windows 7 and Server 2008 R2.
    Nt61,
    /// Windows 8.1 and Server 2012 R2.
    Nt63,
    /// Windows 10.
    Nt100,
}

impl From<Version> for Profile {
    fn from(version: Version) -> Self {
        match version {
            Version::Nt52 => Self::Nt52,
            Version::Nt61 => Self::Nt61,
            Version::Nt63 => Self::Nt63,
            Version::Nt100 => Self::Nt100,
        }
    }
}

impl Profile {
    /// Returns major version, minor version and build, as `RtlGetVersion` tells them.
    pub(crate) const fn numbers(self) -> (u32, u32, u32) {
        match self {
            Self::Nt52 => (5, 2, 3790),
            Self::Nt61 => (6, 1, 7601),
            Self::Nt63 => (6, 3, 9600),
            Self::Nt100 => (10, 0, 19045),
        }
    }

    /// Returns true if interrupt messages and the routines that connect them exist (NT 6.0).
    pub(crate) fn has_messages(self) -> bool {
        self >= Self::Nt61
    }

    /// Returns true for NT 6.2 or later: Storport's longer structures, NX pool, the Core phase,
    /// StartOverride, devnodes that are configured in boot only where an earlier boot installed them.
    pub(crate) fn is_nt62(self) -> bool {
        self >= Self::Nt63
    }
}
