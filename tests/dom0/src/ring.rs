// SPDX-License-Identifier: GPL-3.0-only
//! A backend that breaks the protocol: writes into the ring of a disk that another backend serves.
#![expect(unsafe_code, reason = "maps a guest's page, and writes to it")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// `struct ioctl_gntdev_map_grant_ref` with one reference (Linux, include/uapi/xen/gntdev.h).
#[repr(C)]
struct MapGrant {
    count: u32,
    padding: u32,
    /// Offset for mmap, from the driver.
    index: u64,
    domain: u32,
    reference: u32,
}

/// `IOCTL_GNTDEV_MAP_GRANT_REF`: `_IOC(_IOC_NONE, 'G', 0, 24)`.
const MAP_GRANT_REF: u32 = 24 << 16 | 0x47 << 8;
/// Size of a granted page.
const PAGE: usize = 4096;
/// `rsp_prod`, the third of the words at the beginning of a shared ring (Xen, io/ring.h).
const RESPONSES: usize = 2;
/// More answers than a ring has requests.
const TOO_MANY: u32 = u32::MAX / 2;

/// Writes too many answers into the ring that a domain has granted, again and again, since the backend that serves it
/// writes the right number.
///
/// # Errors
/// The page cannot be mapped.
pub(crate) fn spoil(domain: u32, reference: u32, time: Duration) -> io::Result<()> {
    let device = File::options().read(true).write(true).open("/dev/xen/gntdev")?;
    let mut grant = MapGrant { count: 1, padding: 0, index: 0, domain, reference };
    // SAFETY: the request takes such a structure, which lives during the call.
    if unsafe { libc::ioctl(device.as_raw_fd(), MAP_GRANT_REF as _, &raw mut grant) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping of one page, wherever there is room for it.
    let page = unsafe {
        libc::mmap(null_mut(), PAGE, access, libc::MAP_SHARED, device.as_raw_fd(), grant.index as libc::off_t)
    };
    if page == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the word lies in the page, which stays mapped until the process ends, and is aligned.
    let responses = unsafe { AtomicU32::from_ptr(page.cast::<u32>().add(RESPONSES)) };
    let end = Instant::now() + time;
    while Instant::now() < end {
        responses.store(TOO_MANY, Ordering::Release);
    }
    Ok(())
}
