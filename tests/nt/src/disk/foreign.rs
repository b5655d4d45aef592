//! A disk that is none of the suite's, and has an interface, a size, and what it is made of.

use core::ptr::null_mut;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use volume::{BlockDevice, SECTOR};

use crate::fs::Device;
use crate::ke::Lock;
use crate::nt::*;
use crate::storage::{fdo, irp as request_packet, policy, property};
use crate::{io, ke, pnp};

/// The content of a disk.
pub(crate) enum Content {
    /// It never answers a read: one on USB whose cable is loose.
    Silence,
    /// Neither does this one, on a controller that nobody knows: an iSCSI unit whose host is gone.
    SilentUnit,
    /// A master boot record with this signature, and zeros.
    Signature(u32),
    /// The content of the system's disk of this number, by another path.
    Disk(u32),
    /// The same, as qemu emulates it on USB.
    UsbDisk(u32),
    /// The same on a controller that nobody knows: the first reads fail, and it has grown since the other path was opened.
    OddDisk(u32),
}

impl Content {
    /// Returns the enumerator and the ids of its disk. The first bus is one that qemu's disk emulation does not use; of
    /// the others' controller nobody knows what it is.
    const fn ids(&self) -> (&'static str, &'static str) {
        match self {
            Self::Silence => ("USBSTOR", "USBSTOR\\DiskDead"),
            Self::UsbDisk(_) => ("USBSTOR", "USBSTOR\\DiskQEMU____QEMU_HARDDISK___2.5+"),
            Self::SilentUnit | Self::Signature(_) | Self::Disk(_) | Self::OddDisk(_) => {
                ("SCSI", "SCSI\\DiskOther")
            }
        }
    }
}

/// The content of the disk that arrives next, and the time that each of its reads takes.
static NEXT: Lock<Option<(Content, Duration)>> = Lock::new(None);
/// The links of disks that are a second path to one of the system's.
static SECOND_PATHS: Lock<Vec<String>> = Lock::new(Vec::new());

/// A signature that no disk of a scenario has.
pub(crate) const OTHER_SIGNATURE: u32 = 0x0DD5_1612;
/// Size of a disk that is no other's, in sectors.
const SECTORS: u64 = 1 << 21;
/// More sectors of an odd disk than the other path has, and reads of it that fail.
const GROWTH: u64 = 2048;
const FAILURES: u32 = 2;
/// Offset of the signature in a master boot record, and of what says that it is one.
const SIGNATURE: usize = 0x1B8;
const MARK: usize = 510;

struct Foreign {
    lower: *mut DeviceObject,
    pdo: *mut DeviceObject,
    link: UnicodeString,
    content: Content,
    delay: Duration,
    /// Number of reads so far.
    reads: AtomicU32,
    /// The other path, where there is one.
    other: Option<Device>,
}

impl Foreign {
    fn sectors(&self) -> u64 {
        let more = if let Content::OddDisk(_) = self.content { GROWTH } else { 0 };
        self.other.as_ref().map_or(SECTORS, |other| other.sectors() + more)
    }

    /// Reads from it; false where it has no answer.
    fn read(&self, sector: u64, buffer: &mut [u8]) -> bool {
        match (&self.content, &self.other) {
            (Content::Signature(signature), _) => {
                buffer.fill(0);
                if sector == 0 {
                    buffer[SIGNATURE..SIGNATURE + 4].copy_from_slice(&signature.to_le_bytes());
                    buffer[MARK..SECTOR].copy_from_slice(&[0x55, 0xAA]);
                }
                true
            }
            (Content::OddDisk(_), _) if self.reads.fetch_add(1, Ordering::Relaxed) < FAILURES => false,
            (Content::Disk(_) | Content::UsbDisk(_) | Content::OddDisk(_), Some(other)) => {
                other.read(sector, buffer).is_ok()
            }
            _ => false,
        }
    }
}

/// Opens the system's disk of a number. PASSIVE_LEVEL.
pub(crate) fn open(number: u32) -> Device {
    let units: Vec<u16> = format!("\\Device\\Harddisk{number}\\DR{number}").encode_utf16().collect();
    let length = (units.len() * 2) as u16;
    let mut name = UnicodeString { length, maximum_length: length, buffer: units.as_ptr().cast_mut() };
    // SAFETY: the name outlives the call.
    match unsafe { Device::open(&raw mut name) } {
        Ok(device) => device,
        Err(status) => crate::ke::panicked(format_args!("disk {number} cannot be opened: {status:#x}")),
    }
}

/// Writes a master boot record with a signature to the system's disk of a number, and flushes it. PASSIVE_LEVEL.
pub(crate) fn sign(number: u32, signature: u32) {
    let mut block = [0; SECTOR];
    block[SIGNATURE..SIGNATURE + 4].copy_from_slice(&signature.to_le_bytes());
    block[MARK..].copy_from_slice(&[0x55, 0xAA]);
    let mut disk = open(number);
    if let Err(error) = disk.write(0, &block).and_then(|()| disk.flush()) {
        crate::ke::panicked(format_args!("disk {number} cannot be written: {error}"));
    }
}

/// Has a disk arrive. Returns its PDO.
///
/// # Safety
/// IRQL `PASSIVE_LEVEL`.
pub(crate) unsafe fn arrive(content: Content) -> *mut DeviceObject {
    // SAFETY: the caller is at IRQL `PASSIVE_LEVEL`.
    unsafe { arrive_slow(content, Duration::ZERO) }
}

/// Has a disk arrive of whose reads each takes a time. Returns its PDO.
///
/// # Safety
/// IRQL `PASSIVE_LEVEL`.
pub(crate) unsafe fn arrive_slow(content: Content, delay: Duration) -> *mut DeviceObject {
    let (enumerator, id) = content.ids();
    *NEXT.lock() = Some((content, delay));
    // SAFETY: the caller is at IRQL `PASSIVE_LEVEL`.
    unsafe { pnp::add_root_device(enumerator, &[id, "ForeignDisk"], &[], Vec::new()) }
}

/// Notes that every driver has heard of the disk with a link: from now on a file system may be mounted on it.
pub(crate) fn heard_of(link: &str) {
    if SECOND_PATHS.lock().iter().any(|path| path.eq_ignore_ascii_case(link)) {
        crate::log!("a second path to a disk may be used");
    }
}

/// Starts the driver: its DriverEntry.
///
/// # Safety
/// Called by the I/O manager with the driver object.
pub(crate) unsafe extern "win64" fn driver_entry(
    driver: *mut DriverObject,
    _: *mut UnicodeString,
) -> NtStatus {
    // SAFETY: by this function's contract, it is called by the I/O manager with the driver object.
    unsafe {
        fdo::describe(driver, add_device, dispatch_pnp, dispatch_power);
        let functions = &mut (*driver).major_function;
        functions[usize::from(IRP_MJ_READ)] = Some(dispatch_read);
        functions[usize::from(IRP_MJ_DEVICE_CONTROL)] = Some(dispatch_device_control);
        status::SUCCESS
    }
}

unsafe fn extension_of<'a>(device: *mut DeviceObject) -> &'a mut Foreign {
    // SAFETY: the caller keeps `device` valid for this call.
    unsafe { &mut **(*device).device_extension.cast::<*mut Foreign>() }
}

unsafe extern "win64" fn add_device(driver: *mut DriverObject, pdo: *mut DeviceObject) -> NtStatus {
    // SAFETY: the caller keeps `driver` and `pdo` valid for this call.
    unsafe {
        match fdo::attach(driver, pdo, FILE_DEVICE_DISK, null_mut()) {
            Ok((device, lower)) => {
                let (content, delay) = NEXT.lock().take().unwrap_or((Content::Silence, Duration::ZERO));
                let other = match content {
                    Content::Disk(number) | Content::UsbDisk(number) | Content::OddDisk(number) => {
                        Some(open(number))
                    }
                    Content::Silence | Content::SilentUnit | Content::Signature(_) => None,
                };
                let link = UnicodeString::EMPTY;
                let reads = AtomicU32::new(0);
                let foreign = Foreign { lower, pdo, link, content, delay, reads, other };
                let extension = Box::into_raw(Box::new(foreign));
                fdo::initialized(device, lower, extension, DO_DIRECT_IO)
            }
            Err(status) => status,
        }
    }
}

unsafe extern "win64" fn dispatch_power(device: *mut DeviceObject, irp: *mut Irp) -> NtStatus {
    // SAFETY: the caller keeps `device` and `irp` valid for this call.
    unsafe { policy::power(device, extension_of(device).lower, irp, policy::NOTHING) }
}

/// Answers a read; one without an answer is taken, and that is the last that is heard of it.
unsafe extern "win64" fn dispatch_read(device: *mut DeviceObject, irp: *mut Irp) -> NtStatus {
    // SAFETY: the caller keeps `device` and `irp` valid for this call; the MDL describes the caller's buffer.
    unsafe {
        let disk = extension_of(device);
        if let Content::Silence | Content::SilentUnit = disk.content {
            crate::report!("dead-disk read");
            mark_irp_pending(irp);
            return status::PENDING;
        }
        if !disk.delay.is_zero() {
            ke::delay(disk.delay.as_millis() as u64);
        }
        let read = (*current_stack_location(irp)).parameters.read;
        let length = read.length as usize;
        let buffer =
            core::slice::from_raw_parts_mut(request_packet::system_address((*irp).mdl_address), length);
        match disk.read(read.byte_offset as u64 / SECTOR as u64, buffer) {
            true => request_packet::complete(irp, status::SUCCESS, length),
            false => request_packet::complete(irp, status::DEVICE_NOT_READY, 0),
        }
    }
}

unsafe extern "win64" fn dispatch_device_control(device: *mut DeviceObject, irp: *mut Irp) -> NtStatus {
    const FIXED_MEDIA: u32 = 12;
    // SAFETY: the caller keeps `device` and `irp` valid for this call.
    unsafe {
        let control = (*current_stack_location(irp)).parameters.device_io_control;
        let length = control.output_buffer_length as usize;
        let (found, information) = match control.io_control_code {
            property::IOCTL_DISK_GET_LENGTH_INFO => property::give(
                irp,
                &(extension_of(device).sectors() * SECTOR as u64).to_le_bytes(),
                length,
                8,
            ),
            property::IOCTL_DISK_GET_DRIVE_GEOMETRY => {
                let mut geometry = [0; 24];
                let rest = [FIXED_MEDIA, 255, 63, 512].map(u32::to_le_bytes);
                geometry[8..].copy_from_slice(rest.as_flattened());
                property::give(irp, &geometry, length, 24)
            }
            _ => return request_packet::pass_down(extension_of(device).lower, irp),
        };
        request_packet::complete(irp, found, information)
    }
}

unsafe extern "win64" fn dispatch_pnp(device: *mut DeviceObject, irp: *mut Irp) -> NtStatus {
    // SAFETY: the caller keeps `device` and `irp` valid for this call.
    unsafe {
        let disk = extension_of(device);
        match (*current_stack_location(irp)).minor_function {
            IRP_MN_START_DEVICE => {
                let mut found = request_packet::forward_and_wait(disk.lower, irp);
                if status::success(found) {
                    let link = &raw mut disk.link;
                    found =
                        io::IoRegisterDeviceInterface(disk.pdo, &GUID_DEVINTERFACE_DISK, null_mut(), link);
                    if status::success(found) {
                        if disk.other.is_some() {
                            SECOND_PATHS.lock().push((*link).text());
                        }
                        found = io::IoSetDeviceInterfaceState(link, TRUE);
                    }
                }
                request_packet::complete(irp, found, 0)
            }
            IRP_MN_REMOVE_DEVICE => {
                let lower = disk.lower;
                io::IoSetDeviceInterfaceState(&raw mut disk.link, FALSE);
                fdo::remove::<Foreign>(device, lower, irp)
            }
            _ => fdo::pnp(disk.lower, irp),
        }
    }
}
