// SPDX-License-Identifier: GPL-3.0-only
//! Pages that a guest has granted, and its event channels: Linux's devices for backends in user space (uapi
//! xen/gntdev.h and xen/evtchn.h).
#![expect(unsafe_code, reason = "maps a guest's pages, and reads and writes them")]

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::ptr::null_mut;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// Bytes of a granted page.
const PAGE: usize = 4096;
/// Most pages of one mapping: those of a ring.
const PAGES: usize = 16;

/// Returns `_IOC(_IOC_NONE, kind, number, size)`.
const fn request(kind: u8, number: u32, size: usize) -> libc::Ioctl {
    ((size as u32) << 16 | (kind as u32) << 8 | number) as libc::Ioctl
}

/// A granted page, `struct ioctl_gntdev_grant_ref`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Reference {
    domain: u32,
    reference: u32,
}

/// `struct ioctl_gntdev_map_grant_ref`.
#[repr(C)]
struct MapGrants {
    count: u32,
    padding: u32,
    /// Offset for mmap, from the driver.
    index: u64,
    references: [Reference; PAGES],
}

/// `struct ioctl_gntdev_unmap_grant_ref`.
#[repr(C)]
struct UnmapGrants {
    index: u64,
    count: u32,
    padding: u32,
}

/// `IOCTL_GNTDEV_MAP_GRANT_REF`, whose size is that of one reference.
const MAP: libc::Ioctl = request(b'G', 0, 24);
/// `IOCTL_GNTDEV_UNMAP_GRANT_REF`.
const UNMAP: libc::Ioctl = request(b'G', 1, 16);

/// The driver for granted pages.
pub(crate) struct Grants(File);

impl Grants {
    /// Opens the driver.
    ///
    /// # Errors
    /// It is not there.
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self(File::options().read(true).write(true).open("/dev/xen/gntdev")?))
    }

    /// Maps pages of a domain one behind the other.
    ///
    /// # Errors
    /// There are more than 16; the domain has not granted them for writing.
    pub(crate) fn map(&self, domain: u32, references: &[u32]) -> io::Result<Mapping> {
        let mut grants = MapGrants {
            count: references.len() as u32,
            padding: 0,
            index: 0,
            references: [Reference::default(); PAGES],
        };
        if references.len() > PAGES {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        for (slot, &reference) in grants.references.iter_mut().zip(references) {
            *slot = Reference { domain, reference };
        }
        ioctl(&self.0, MAP, &mut grants)?;
        let (length, device) = (references.len() * PAGE, self.0.as_raw_fd());
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let offset = grants.index as libc::off_t;
        // SAFETY: a new mapping, wherever there is room for it.
        let address = unsafe { libc::mmap(null_mut(), length, access, libc::MAP_SHARED, device, offset) };
        if address == libc::MAP_FAILED {
            // The driver forgets what was never mapped when it is closed.
            return Err(io::Error::last_os_error());
        }
        Ok(Mapping { address: address.cast(), length, device, index: grants.index })
    }
}

/// Pages of a guest. The guest may change them at any time.
pub(crate) struct Mapping {
    address: *mut u8,
    length: usize,
    device: RawFd,
    index: u64,
}

impl Mapping {
    /// Returns the number of bytes.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Returns the 32-bit word at an offset, which is a multiple of four.
    pub(crate) fn word(&self, at: usize) -> &AtomicU32 {
        assert!(at.is_multiple_of(4) && at + 4 <= self.length, "a word at {at} of {}", self.length);
        // SAFETY: it lies in the mapping, which lives as long as `self`, and is aligned.
        unsafe { AtomicU32::from_ptr(self.address.add(at).cast()) }
    }

    /// Copies bytes out of the pages.
    pub(crate) fn read(&self, at: usize, bytes: &mut [u8]) {
        assert!(at + bytes.len() <= self.length, "{} bytes at {at}", bytes.len());
        for (n, byte) in bytes.iter_mut().enumerate() {
            // SAFETY: within the mapping, by the assertion.
            *byte = unsafe { self.address.add(at + n).read_volatile() };
        }
    }

    /// Copies bytes into the pages.
    pub(crate) fn write(&self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= self.length, "{} bytes at {at}", bytes.len());
        for (n, byte) in bytes.iter().enumerate() {
            // SAFETY: within the mapping, by the assertion.
            unsafe { self.address.add(at + n).write_volatile(*byte) };
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let count = (self.length / PAGE) as u32;
        let mut grants = UnmapGrants { index: self.index, count, padding: 0 };
        // SAFETY: the mapping is this one's own, and the structure is what the request takes. Where either fails, the
        // end of the process undoes it.
        unsafe {
            libc::munmap(self.address.cast(), self.length);
            libc::ioctl(self.device, UNMAP, &raw mut grants);
        }
    }
}

/// `IOCTL_EVTCHN_BIND_INTERDOMAIN`, of the remote domain and port; returns the local port.
const BIND: libc::Ioctl = request(b'E', 1, 8);
/// `IOCTL_EVTCHN_NOTIFY`, of the local port.
const NOTIFY: libc::Ioctl = request(b'E', 4, 4);

/// One end of an event channel.
pub(crate) struct Events {
    device: File,
    port: u32,
}

impl Events {
    /// Binds a port that a domain offers.
    ///
    /// # Errors
    /// The domain does not offer it.
    pub(crate) fn bind(domain: u32, port: u32) -> io::Result<Self> {
        let device = File::options().read(true).write(true).open("/dev/xen/evtchn")?;
        let port = ioctl(&device, BIND, &mut [domain, port])? as u32;
        Ok(Self { device, port })
    }

    /// Notifies the domain.
    ///
    /// # Errors
    /// The channel is closed.
    pub(crate) fn notify(&self) -> io::Result<()> {
        ioctl(&self.device, NOTIFY, &mut [self.port]).map(drop)
    }

    /// Waits for a notification, or until the time is over.
    ///
    /// # Errors
    /// The driver's.
    pub(crate) fn wait(&mut self, time: Duration) -> io::Result<()> {
        let mut wanted = libc::pollfd { fd: self.device.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one structure, as the count says.
        let count = unsafe { libc::poll(&raw mut wanted, 1, time.as_millis() as i32) };
        match count {
            0 => return Ok(()),
            1.. => {}
            _ => return Err(io::Error::last_os_error()),
        }
        let mut port = [0; 4];
        self.device.read_exact(&mut port)?;
        // It is masked until it is written back.
        self.device.write_all(&port)
    }
}

/// Calls a driver with a structure that it reads and writes.
fn ioctl<T>(device: &File, request: libc::Ioctl, argument: &mut T) -> io::Result<i32> {
    // SAFETY: each of the requests above takes such a structure, which lives during the call.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), request, std::ptr::from_mut(argument)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
