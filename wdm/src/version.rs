//! The version of the running NT.
#![expect(unsafe_code, reason = "calls RtlGetVersion")]

use wdk_sys::{OSVERSIONINFOW, ULONG, ntddk::RtlGetVersion};

/// A version of NT: 5.2.3790 is Server 2003.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Version {
    /// 5, 6 or 10.
    pub major: u32,
    /// 2 for 5.2.
    pub minor: u32,
    /// The build.
    pub build: u32,
}

impl Version {
    /// Server 2003 and XP x64.
    pub const NT_5_2: Self = Self { major: 5, minor: 2, build: 0 };
    /// Windows 8 and Server 2012.
    pub const NT_6_2: Self = Self { major: 6, minor: 2, build: 0 };
}

/// Returns the running system's version. PASSIVE_LEVEL.
#[must_use]
pub fn running() -> Version {
    let mut version = OSVERSIONINFOW {
        dwOSVersionInfoSize: size_of::<OSVERSIONINFOW>() as ULONG,
        ..OSVERSIONINFOW::default()
    };
    // SAFETY: a structure with its size filled in; the routine always succeeds for it.
    let _ = unsafe { RtlGetVersion((&raw mut version).cast()) };
    Version { major: version.dwMajorVersion, minor: version.dwMinorVersion, build: version.dwBuildNumber }
}
