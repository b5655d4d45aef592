//! The file system: the journaling volume of the crate `volume`, over a volume's device object.

use core::ptr::null_mut;

use alloc::vec::Vec;

use volume::{BlockDevice, IoError, SECTOR, Volume};

use crate::io;
use crate::nt::*;
use crate::ob;
use crate::storage::irp as request_packet;
use crate::storage::property;

/// An open device that holds a volume. Every read and write goes to the device: the cache is the volume's.
#[derive(Debug)]
pub(crate) struct Device {
    device: *mut DeviceObject,
    /// Keeps the device open.
    file: *mut FileObject,
    sectors: u64,
}

// SAFETY: a device object takes requests from every thread.
unsafe impl Send for Device {}

/// A mounted volume.
pub(crate) type Mounted = Volume<Device>;

impl Device {
    /// Opens the device of a symbolic link. PASSIVE_LEVEL.
    ///
    /// # Safety
    /// `link` must be a valid string.
    pub(crate) unsafe fn open(link: *mut UnicodeString) -> Result<Self, NtStatus> {
        /// `FILE_READ_DATA | FILE_WRITE_DATA`.
        const READ_WRITE: u32 = 3;
        let (mut device, mut file) = (null_mut(), null_mut());
        // SAFETY: by this function's contract, `link` is a valid string.
        unsafe {
            let opened = io::IoGetDeviceObjectPointer(link, READ_WRITE, &raw mut file, &raw mut device);
            if !status::success(opened) {
                return Err(opened);
            }
            let mut this = Self { device, file, sectors: 0 };
            let mut bytes = [0; 8];
            let (found, _) =
                request_packet::device_control(device, property::IOCTL_DISK_GET_LENGTH_INFO, &[], &mut bytes);
            if !status::success(found) {
                return Err(found);
            }
            this.sectors = u64::from_le_bytes(bytes) / SECTOR as u64;
            Ok(this)
        }
    }

    /// Returns the device object: the top of its stack when it was opened.
    pub(crate) fn object(&self) -> *mut DeviceObject {
        self.device
    }

    /// Returns the number of the disk that the volume is on. PASSIVE_LEVEL.
    pub(crate) fn disk_number(&self) -> Option<u32> {
        let mut numbers = [0; 12];
        // SAFETY: the device is open.
        let (found, length) = unsafe {
            let code = property::IOCTL_STORAGE_GET_DEVICE_NUMBER;
            request_packet::device_control(self.device, code, &[], &mut numbers)
        };
        let number = u32::from_le_bytes([numbers[4], numbers[5], numbers[6], numbers[7]]);
        (status::success(found) && length == numbers.len()).then_some(number)
    }

    /// Sends a request and waits.
    fn request(&self, major: u8, sector: u64, buffer: *mut u8, length: usize) -> Result<(), IoError> {
        let mut offset = (sector * SECTOR as u64) as i64;
        let mut result = IoStatusBlock::new(status::SUCCESS, 0);
        let found = request_packet::with_event(|event| {
            // SAFETY: the device is open, and buffer, offset, event and result stay until the IRP is done.
            unsafe {
                let irp = io::IoBuildSynchronousFsdRequest(
                    major.into(),
                    self.device,
                    buffer.cast(),
                    length as u32,
                    &raw mut offset,
                    event,
                    &raw mut result,
                );
                if irp.is_null() {
                    return status::INSUFFICIENT_RESOURCES;
                }
                let found = io::IofCallDriver(self.device, irp);
                if found != status::PENDING {
                    return found;
                }
                request_packet::wait(event);
            }
            result.status
        });
        match status::success(found) {
            true => Ok(()),
            false => Err(IoError { sector, code: found }),
        }
    }
}

impl BlockDevice for Device {
    fn sectors(&self) -> u64 {
        self.sectors
    }
    fn read(&self, sector: u64, buffer: &mut [u8]) -> Result<(), IoError> {
        self.request(IRP_MJ_READ, sector, buffer.as_mut_ptr(), buffer.len())
    }
    fn write(&mut self, sector: u64, buffer: &[u8]) -> Result<(), IoError> {
        // Data for the device must lie in memory that stays where it is; the caller's may be anywhere.
        let mut copy: Vec<u8> = buffer.to_vec();
        self.request(IRP_MJ_WRITE, sector, copy.as_mut_ptr(), copy.len())
    }
    fn flush(&mut self) -> Result<(), IoError> {
        self.request(IRP_MJ_FLUSH_BUFFERS, 0, null_mut(), 0)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: the reference is the one that `open` was given.
        unsafe { ob::ObfDereferenceObject(self.file.cast()) };
    }
}
