//! The CD-ROM class driver: the FDO on every CD-ROM drive (`cdrom` on NT). At START it looks at the medium,
//! reads the sectors where ISO 9660 has its volume descriptors, and reports what it found.

use core::ptr::null_mut;
use core::sync::atomic::{AtomicU32, Ordering};

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::disk::request;
use crate::ke::Lock;
use crate::nt::*;
use crate::report;
use crate::report::Escaped;
use crate::storage::sense::{self, Sense};
use crate::storage::srb::{Direction, Srb, function};
use crate::storage::{cdb, child, fdo, irp as request_packet, policy};

struct CdRom {
    lower: *mut DeviceObject,
    pdo: *mut DeviceObject,
    number: u32,
    started: bool,
}

static NEXT_NUMBER: AtomicU32 = AtomicU32::new(0);

/// A drive that is started.
struct Known {
    /// The driver that serves it.
    driver: String,
    /// The device below this driver's.
    lower: usize,
}

static DRIVES: Lock<Vec<Known>> = Lock::new(Vec::new());

/// Bytes in a sector.
const SECTOR: usize = 2048;
/// The first volume descriptor (ECMA-119, 6.7.1), and how many sectors are read from there on.
const FIRST_DESCRIPTOR: u64 = 16;
const SECTORS: usize = 4;

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
        (*(*driver).driver_extension).add_device = Some(add_device);
        let functions = &mut (*driver).major_function;
        functions[usize::from(IRP_MJ_PNP)] = Some(dispatch_pnp);
        functions[usize::from(IRP_MJ_POWER)] = Some(dispatch_power);
        functions[usize::from(IRP_MJ_SYSTEM_CONTROL)] = Some(dispatch_pass);
        functions[usize::from(IRP_MJ_DEVICE_CONTROL)] = Some(dispatch_pass);
        status::SUCCESS
    }
}

unsafe fn extension_of<'a>(device: *mut DeviceObject) -> &'a mut CdRom {
    // SAFETY: the caller keeps `device` valid for this call.
    unsafe { &mut **(*device).device_extension.cast::<*mut CdRom>() }
}

unsafe extern "win64" fn add_device(driver: *mut DriverObject, pdo: *mut DeviceObject) -> NtStatus {
    // SAFETY: the caller keeps `driver` and `pdo` valid for this call.
    unsafe {
        let (device, lower) = match fdo::attach(driver, pdo, child::FILE_DEVICE_CD_ROM, null_mut()) {
            Ok(attached) => attached,
            Err(status) => return status,
        };
        let number = NEXT_NUMBER.fetch_add(1, Ordering::Relaxed);
        let extension = Box::into_raw(Box::new(CdRom { lower, pdo, number, started: false }));
        fdo::initialized(device, lower, extension, DO_DIRECT_IO)
    }
}

unsafe extern "win64" fn dispatch_pass(device: *mut DeviceObject, irp: *mut Irp) -> NtStatus {
    // SAFETY: the caller keeps `device` and `irp` valid for this call.
    unsafe { request_packet::pass_down(extension_of(device).lower, irp) }
}

unsafe extern "win64" fn dispatch_power(device: *mut DeviceObject, irp: *mut Irp) -> NtStatus {
    // SAFETY: the caller keeps `device` and `irp` valid for this call.
    unsafe { policy::power(device, extension_of(device).lower, irp, policy::NOTHING) }
}

unsafe extern "win64" fn dispatch_pnp(device: *mut DeviceObject, irp: *mut Irp) -> NtStatus {
    // SAFETY: the caller keeps `device` and `irp` valid for this call.
    unsafe {
        let drive = extension_of(device);
        match (*current_stack_location(irp)).minor_function {
            IRP_MN_START_DEVICE => {
                let mut found = request_packet::forward_and_wait(drive.lower, irp);
                if status::success(found) && !drive.started {
                    found = start(drive);
                }
                request_packet::complete(irp, found, 0)
            }
            IRP_MN_REMOVE_DEVICE => {
                let lower = drive.lower;
                DRIVES.lock().retain(|known| known.lower != lower as usize);
                if drive.started {
                    let mut release = Srb::of(function::RELEASE_DEVICE);
                    request::send(lower, &mut release);
                }
                fdo::remove::<CdRom>(device, lower, irp)
            }
            _ => fdo::pnp(drive.lower, irp),
        }
    }
}

/// Claims the drive and looks at its medium. A drive without one starts too. PASSIVE_LEVEL.
unsafe fn start(drive: &mut CdRom) -> NtStatus {
    let mut claim = Srb::of(function::CLAIM_DEVICE);
    // SAFETY: `drive` holds the PDO and the device below it, which stay until it is removed.
    unsafe {
        let claimed = request::send(drive.lower, &mut claim);
        if !status::success(claimed) {
            return claimed;
        }
        drive.started = true;
        let driver = crate::io::driver::name_of((*drive.pdo).driver_object);
        DRIVES.lock().push(Known { driver: driver.to_string(), lower: drive.lower as usize });
        let (sectors, volume) = match medium(drive) {
            Ok((sectors, volume)) => (sectors, volume),
            Err(found) => (0, format!("{found:#x}")),
        };
        report!("cdrom n={} driver={driver} sectors={sectors} volume={}", drive.number, Escaped(&volume));
        status::SUCCESS
    }
}

/// Returns the size in sectors and the volume's identifier (ECMA-119, 8.4).
unsafe fn medium(drive: &CdRom) -> Result<(u32, String), NtStatus> {
    let mut capacity = [0; 8];
    // SAFETY: the device below `drive` stays until `drive` is removed.
    unsafe {
        checked(request::read(drive.lower, &cdb::read_capacity_10(), &mut capacity))?;
        let sectors = u32::from_be_bytes([capacity[0], capacity[1], capacity[2], capacity[3]]) + 1;
        let mut data = alloc::vec![0; SECTORS * SECTOR];
        let (command, length) = cdb::transfer(false, FIRST_DESCRIPTOR, SECTORS as u32);
        checked(request::read(drive.lower, &command[..length], &mut data))?;
        let volume = match &data[1..6] {
            b"CD001" => String::from_utf8_lossy(data[40..72].trim_ascii_end()).to_string(),
            _ => "none".into(),
        };
        Ok((sectors, volume))
    }
}

/// Sends one command, once, to the drive that `driver` serves: the bytes of `data` that were filled, or what
/// it was refused with. PASSIVE_LEVEL; the drive stays meanwhile.
pub(crate) fn command(driver: &str, cdb: &[u8], data: &mut [u8]) -> Result<usize, Sense> {
    let lower = DRIVES.lock().iter().find(|known| known.driver == driver).map(|known| known.lower);
    let Some(lower) = lower else { crate::ke::panicked(format_args!("{driver} serves no CD-ROM drive")) };
    let direction = if data.is_empty() { Direction::None } else { Direction::In };
    let mut sense = [0; sense::LENGTH];
    let (buffer, length) = (data.as_mut_ptr(), data.len() as u32);
    let mut srb = Srb::execute(cdb, direction, buffer, length, TIMEOUT, &mut sense);
    // SAFETY: the device below a drive that is started.
    let found = unsafe { request::send(lower as *mut DeviceObject, &mut srb) };
    if status::success(found) {
        return Ok(srb.data_transfer_length as usize);
    }
    match Sense::parse(&sense) {
        Some(sense) => Err(sense),
        None => crate::ke::panicked(format_args!("{cdb:02x?} failed without sense data: {found:#x}")),
    }
}

/// Seconds a command may take.
const TIMEOUT: u32 = 10;

fn checked(found: NtStatus) -> Result<(), NtStatus> {
    if status::success(found) { Ok(()) } else { Err(found) }
}
