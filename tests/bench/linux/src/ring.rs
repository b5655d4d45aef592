//! io_uring on a device opened with O_DIRECT.
#![expect(unsafe_code, reason = "the kernel writes into buffers that requests in flight point to")]

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use bench::Engine;
use bench::workload::{MAX_DEPTH, buffer_bytes};
use io_uring::{IoUring, opcode, types};
use rustix::fs::OFlags;
use rustix::time::{ClockId, clock_gettime};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// O_DIRECT wants buffers at addresses of whole sectors.
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
struct Page([u8; 4096]);

/// A device, its queue, and the buffers of its requests.
pub(crate) struct Ring {
    ring: IoUring,
    device: File,
    /// One for each slot, of its largest request; what the kernel has is not touched here until it is done.
    buffers: Vec<Vec<Page>>,
}

impl Ring {
    /// Opens a device; also returns its size in bytes.
    pub(crate) fn open(path: &Path) -> io::Result<(Self, u64)> {
        let flags = i32::try_from(OFlags::DIRECT.bits()).map_err(io::Error::other)?;
        let mut device = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?;
        let size = device.seek(SeekFrom::End(0))?;
        let ring = IoUring::new(MAX_DEPTH as u32)?;
        let pages = |slot| buffer_bytes(slot) as usize / size_of::<Page>();
        // Touched now, so that no run pays for it.
        let buffers = (0..MAX_DEPTH).map(|slot| vec![Page([0xB5; 4096]); pages(slot)]).collect();
        Ok((Self { ring, device, buffers }, size))
    }
}

impl Engine for Ring {
    fn now(&mut self) -> u64 {
        let now = clock_gettime(ClockId::Monotonic);
        now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
    }

    fn buffer(&mut self, slot: usize) -> &mut [u8] {
        self.buffers[slot].as_mut_bytes()
    }

    fn submit(&mut self, slot: usize, write: bool, offset: u64, bytes: u32) {
        let fd = types::Fd(self.device.as_raw_fd());
        let buffer = self.buffers[slot].as_mut_ptr().cast::<u8>();
        let entry = match write {
            true => opcode::Write::new(fd, buffer, bytes).offset(offset).build(),
            false => opcode::Read::new(fd, buffer, bytes).offset(offset).build(),
        };
        // SAFETY: the buffer is the slot's own, at least `bytes` long, lives as long as the ring, and by the
        // contract of `Engine` nobody touches it until the slot is reported done.
        let pushed =
            unsafe { self.ring.submission().push(&entry.user_data(slot as u64 | u64::from(bytes) << 8)) };
        pushed.expect("the queue has an entry for each slot");
    }

    fn wait(&mut self, done: &mut dyn FnMut(usize, bool)) {
        while let Err(error) = self.ring.submit_and_wait(1) {
            assert!(error.kind() == io::ErrorKind::Interrupted, "io_uring_enter: {error}");
        }
        for completion in self.ring.completion() {
            let (slot, bytes) = (completion.user_data() as usize & 0xFF, completion.user_data() >> 8);
            done(slot, i64::from(completion.result()) == bytes as i64);
        }
    }
}
