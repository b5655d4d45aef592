//! The page shared between Xen and a 64-bit guest, `xen.h` (`struct shared_info`), only the parts used here.

use core::mem::{offset_of, size_of};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// vCPUs with a slot in the page, `XEN_LEGACY_MAX_VCPUS`.
pub const VCPUS: usize = 32;
/// Words of 64 ports each.
pub const WORDS: usize = 64;

/// `struct vcpu_info`. `arch` and `time` are not used here.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VcpuInfo {
    /// Non-zero: an upcall is wanted.
    pub evtchn_upcall_pending: u8,
    /// Non-zero: upcalls are held back (PV guests).
    pub evtchn_upcall_mask: u8,
    /// Padding.
    pub pad: [u8; 6],
    /// One bit for each word of `evtchn_pending` with something new.
    pub evtchn_pending_sel: u64,
    /// `struct arch_vcpu_info`.
    pub arch: [u64; 2],
    /// `struct vcpu_time_info`.
    pub time: [u64; 4],
}

/// `struct shared_info` up to the wall clock.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SharedInfo {
    /// One for each vCPU.
    pub vcpu_info: [VcpuInfo; VCPUS],
    /// One bit for each port: an event arrived.
    pub evtchn_pending: [u64; WORDS],
    /// One bit for each port: events of this port raise no upcall.
    pub evtchn_mask: [u64; WORDS],
    /// Odd while the wall clock is being updated.
    pub wc_version: u32,
    /// Seconds since 1970 UTC at system time 0, low half.
    pub wc_sec: u32,
    /// Nanoseconds.
    pub wc_nsec: u32,
    /// Seconds, high half.
    pub wc_sec_hi: u32,
}

const _: () = {
    assert!(size_of::<VcpuInfo>() == 64);
    assert!(offset_of!(VcpuInfo, evtchn_pending_sel) == 8);
    assert!(offset_of!(SharedInfo, evtchn_pending) == 2048);
    assert!(offset_of!(SharedInfo, evtchn_mask) == 2560);
    assert!(offset_of!(SharedInfo, wc_version) == 3072);
    assert!(size_of::<SharedInfo>() == 3088);
};
