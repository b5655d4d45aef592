//! The disk's FDO.

use core::ptr::null_mut;
use core::sync::atomic::{AtomicU32, Ordering};

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;

use volume::mbr::Mbr;
use zerocopy::FromBytes;

use super::partition::{self, Partition};
use super::{request, transfer};
use crate::ke::Lock;
use crate::nt::{property as property_id, *};
use crate::report::{Escaped, escaped_utf16};
use crate::storage::policy::{self, Steps};
use crate::storage::property::{self, AdapterDescriptor, BUS_TYPE_ATA};
use crate::storage::sense::{self, Sense};
use crate::storage::srb::{Direction, Srb, function};
use crate::storage::{cdb, child, fdo, irp as request_packet};
use crate::{cm, ex, io, report};

/// The structure behind the device extension of one of this driver's devices.
pub(super) enum Extension {
    Disk(Box<Disk>),
    Partition(*mut Partition),
}

/// A disk.
pub(super) struct Disk {
    /// The FDO.
    pub device: *mut DeviceObject,
    /// The device below.
    pub lower: *mut DeviceObject,
    pdo: *mut DeviceObject,
    /// `n` in `\Device\Harddisk<n>`.
    pub number: u32,
    /// Size in sectors.
    pub sectors: u64,
    /// Bytes in a sector.
    pub sector_size: u32,
    /// Most bytes in one request to the port driver.
    pub max_transfer: u32,
    interface: UnicodeString,
    started: bool,
    removed: bool,
    /// The SAN policy keeps it offline.
    offline: bool,
    /// Transfers that wait until the disk is in D0 again; `None` while it is.
    held: Lock<Option<Vec<usize>>>,
    /// Seconds that a transfer may take: the miniport's `IoTimeoutValue` from NT 6.2 on, or [`timeout`].
    pub timeout: u32,
    #[expect(clippy::vec_box, reason = "a partition's PDO holds its address")]
    partitions: Option<Vec<Box<Partition>>>,
}

static NEXT_NUMBER: AtomicU32 = AtomicU32::new(0);

/// Seconds a command may take: `Services\\disk\\TimeOutValue`, 10 unless it says otherwise.
static TIMEOUT: AtomicU32 = AtomicU32::new(10);

/// Seconds a command may take.
pub(super) fn timeout() -> u32 {
    TIMEOUT.load(Ordering::Relaxed)
}

/// Bytes in a sector where no partition table is looked for in other sizes.
pub(super) const SECTOR: u32 = 512;

/// Starts the driver: its DriverEntry.
///
/// # Safety
/// Called by the I/O manager with the driver object.
pub(crate) unsafe extern "win64" fn driver_entry(
    driver: *mut DriverObject,
    _: *mut UnicodeString,
) -> NtStatus {
    let path = format!("{}\\disk", cm::SERVICES);
    if let Some(seconds) = cm::get(&path, "TimeOutValue").and_then(|value| value.as_dword()) {
        TIMEOUT.store(seconds.max(1), Ordering::Relaxed);
    }
    // SAFETY: by this function's contract, it is called by the I/O manager with the driver object.
    unsafe {
        fdo::describe(driver, add_device, dispatch_pnp, dispatch_power);
        let functions = &mut (*driver).major_function;
        for code in [IRP_MJ_READ, IRP_MJ_WRITE, IRP_MJ_FLUSH_BUFFERS, IRP_MJ_SHUTDOWN] {
            functions[usize::from(code)] = Some(dispatch_transfer);
        }
        functions[usize::from(IRP_MJ_DEVICE_CONTROL)] = Some(dispatch_device_control);
        functions[usize::from(IRP_MJ_SYSTEM_CONTROL)] = Some(dispatch_system_control);
        status::SUCCESS
    }
}

unsafe fn extension_of<'a>(device: *mut DeviceObject) -> &'a mut Extension {
    // SAFETY: the caller keeps `device` valid for this call.
    unsafe { &mut **(*device).device_extension.cast::<*mut Extension>() }
}

unsafe extern "win64" fn add_device(driver: *mut DriverObject, pdo: *mut DeviceObject) -> NtStatus {
    let number = NEXT_NUMBER.fetch_add(1, Ordering::Relaxed);
    let units: Vec<u16> = format!("\\Device\\Harddisk{number}\\DR{number}").encode_utf16().collect();
    let length = (units.len() * 2) as u16;
    let mut name = UnicodeString { length, maximum_length: length, buffer: units.as_ptr().cast_mut() };
    // SAFETY: the caller keeps `driver` and `pdo` valid for this call.
    unsafe {
        let (device, lower) = match fdo::attach(driver, pdo, FILE_DEVICE_DISK, &raw mut name) {
            Ok(attached) => attached,
            Err(status) => return status,
        };
        let disk = Disk {
            device,
            lower,
            pdo,
            number,
            sectors: 0,
            sector_size: SECTOR,
            max_transfer: 0,
            interface: UnicodeString::EMPTY,
            started: false,
            removed: false,
            offline: false,
            held: Lock::new(None),
            timeout: timeout(),
            partitions: None,
        };
        let extension = Box::into_raw(Box::new(Extension::Disk(Box::new(disk))));
        fdo::initialized(device, lower, extension, DO_DIRECT_IO)
    }
}

unsafe extern "win64" fn dispatch_system_control(device: *mut DeviceObject, irp: *mut Irp) -> NtStatus {
    // SAFETY: the caller keeps `device` and `irp` valid for this call.
    unsafe {
        match extension_of(device) {
            Extension::Disk(disk) => request_packet::pass_down(disk.lower, irp),
            Extension::Partition(_) => request_packet::complete_unchanged(irp),
        }
    }
}

unsafe extern "win64" fn dispatch_power(device: *mut DeviceObject, irp: *mut Irp) -> NtStatus {
    // SAFETY: the caller keeps `device` and `irp` valid for this call.
    unsafe {
        match extension_of(device) {
            Extension::Partition(_) => child::power(device, irp),
            Extension::Disk(disk) => {
                policy::power(device, disk.lower, irp, Steps { down: fall_asleep, up: wake })
            }
        }
    }
}

/// Handles IRP_MJ_READ, WRITE, FLUSH_BUFFERS and SHUTDOWN.
unsafe extern "win64" fn dispatch_transfer(device: *mut DeviceObject, irp: *mut Irp) -> NtStatus {
    // SAFETY: the caller keeps `device` and `irp` valid for this call.
    unsafe {
        match extension_of(device) {
            Extension::Partition(partition) => partition::pass_to_disk(&**partition, irp),
            Extension::Disk(disk) if disk.removed || !disk.started => {
                request_packet::complete(irp, status::DEVICE_DOES_NOT_EXIST, 0)
            }
            Extension::Disk(disk) if disk.holds(irp) => status::PENDING,
            Extension::Disk(disk) => transfer::begin(disk, irp),
        }
    }
}

unsafe extern "win64" fn dispatch_device_control(device: *mut DeviceObject, irp: *mut Irp) -> NtStatus {
    // SAFETY: the caller keeps `device` and `irp` valid for this call.
    unsafe {
        let disk = match extension_of(device) {
            Extension::Partition(partition) => return partition::device_control(&**partition, irp),
            Extension::Disk(disk) => disk,
        };
        let control = (*current_stack_location(irp)).parameters.device_io_control;
        let length = control.output_buffer_length as usize;
        let bytes = disk.sectors * u64::from(disk.sector_size);
        let (found, information) = match control.io_control_code {
            property::IOCTL_DISK_GET_LENGTH_INFO => property::give(irp, &bytes.to_le_bytes(), length, 8),
            property::IOCTL_DISK_GET_DRIVE_GEOMETRY => property::give(irp, &disk.geometry(), length, 24),
            property::IOCTL_STORAGE_GET_DEVICE_NUMBER => {
                // STORAGE_DEVICE_NUMBER: device type, device number, partition number.
                let numbers = [FILE_DEVICE_DISK, disk.number, 0].map(u32::to_le_bytes);
                property::give(irp, numbers.as_flattened(), length, 12)
            }
            property::IOCTL_DISK_CHECK_VERIFY => (status::SUCCESS, 0),
            _ => return request_packet::pass_down(disk.lower, irp),
        };
        request_packet::complete(irp, found, information)
    }
}

/// Makes the disk ready for D3 (WDK, "Handling Power Requests to Storage Peripherals"): nothing new goes down to it,
/// its cache is written, and it stops. PASSIVE_LEVEL.
unsafe fn fall_asleep(device: *mut DeviceObject) {
    // SAFETY: the caller keeps `device` valid for this call.
    unsafe {
        let Extension::Disk(disk) = extension_of(device) else { return };
        if !disk.started || disk.removed {
            return;
        }
        *disk.held.lock() = Some(Vec::new());
        let flushed = disk.order(&cdb::synchronize_cache());
        let stopped = disk.order(&cdb::start_stop(false));
        report!("disk-power disk={} state=3 flush={flushed:#x} stop={stopped:#x}", disk.number);
    }
}

/// Starts the disk in D0, and lets what has waited go down to it. PASSIVE_LEVEL.
unsafe fn wake(device: *mut DeviceObject) {
    // SAFETY: the caller keeps `device` valid for this call.
    unsafe {
        let Extension::Disk(disk) = extension_of(device) else { return };
        let Some(held) = disk.held.lock().take() else { return };
        let started = disk.order(&cdb::start_stop(true));
        report!("disk-power disk={} state=0 start={started:#x} held={}", disk.number, held.len());
        for irp in held {
            transfer::begin(disk, irp as *mut Irp);
        }
    }
}

impl Disk {
    /// Keeps a transfer until the disk is in D0 again; false where it is.
    unsafe fn holds(&self, irp: *mut Irp) -> bool {
        let mut held = self.held.lock();
        let Some(waiting) = &mut *held else { return false };
        // SAFETY: the caller owns the IRP.
        unsafe { mark_irp_pending(irp) };
        waiting.push(irp as usize);
        true
    }

    /// Sends a command without data, and waits. PASSIVE_LEVEL.
    unsafe fn order(&self, cdb: &[u8]) -> NtStatus {
        let mut sense = [0; sense::LENGTH];
        let mut srb = Srb::execute(cdb, Direction::None, null_mut(), 0, self.timeout, &mut sense);
        // SAFETY: the device below stays until the disk is removed.
        unsafe { request::send(self.lower, &mut srb) }
    }

    /// Returns `DISK_GEOMETRY`: cylinders, `FixedMedia`, 255 tracks in a cylinder, 63 sectors in a track,
    /// sector size.
    fn geometry(&self) -> [u8; 24] {
        const FIXED_MEDIA: u32 = 12;
        let mut geometry = [0; 24];
        geometry[..8].copy_from_slice(&(self.sectors / (255 * 63)).to_le_bytes());
        let rest = [FIXED_MEDIA, 255, 63, self.sector_size].map(u32::to_le_bytes);
        geometry[8..].copy_from_slice(rest.as_flattened());
        geometry
    }
}

unsafe extern "win64" fn dispatch_pnp(device: *mut DeviceObject, irp: *mut Irp) -> NtStatus {
    // SAFETY: the caller keeps `device` and `irp` valid for this call.
    unsafe {
        let disk = match extension_of(device) {
            Extension::Partition(partition) => return partition::pnp(*partition, irp),
            Extension::Disk(disk) => disk,
        };
        let location = current_stack_location(irp);
        match (*location).minor_function {
            IRP_MN_START_DEVICE => {
                let mut found = request_packet::forward_and_wait(disk.lower, irp);
                if status::success(found) {
                    found = start(disk);
                }
                request_packet::complete(irp, found, 0)
            }
            _ if fdo::asks_for_children(irp) => {
                let devices = partitions(disk);
                fdo::children(disk.lower, irp, &devices)
            }
            IRP_MN_SURPRISE_REMOVAL => {
                withdraw(disk);
                fdo::pnp(disk.lower, irp)
            }
            IRP_MN_REMOVE_DEVICE => {
                withdraw(disk);
                release(disk);
                let lower = disk.lower;
                for partition in disk.partitions.take().into_iter().flatten() {
                    partition::delete(partition);
                }
                fdo::remove::<Extension>(device, lower, irp)
            }
            _ => fdo::pnp(disk.lower, irp),
        }
    }
}

/// Starts a disk: claims it, learns its size, and makes it known. PASSIVE_LEVEL.
unsafe fn start(disk: &mut Disk) -> NtStatus {
    // SAFETY: `disk` holds its PDO and the device below it, which stay until it is removed.
    unsafe {
        if !disk.started {
            let mut claim = Srb::of(function::CLAIM_DEVICE);
            let claimed = request::send(disk.lower, &mut claim);
            if !status::success(claimed) {
                return claimed;
            }
            let Some(adapter) = property::query_adapter(disk.lower) else { return status::DEVICE_NOT_READY };
            // A buffer may begin inside a page, which costs one more piece.
            let pieces = adapter.maximum_physical_pages.saturating_sub(1).max(1);
            disk.max_transfer = adapter.maximum_transfer_length.min(pieces.saturating_mul(PAGE_SIZE as u32));
            (*disk.device).alignment_requirement = adapter.alignment_mask;
            let miniport =
                property::query_miniport(disk.lower).map_or(0, |miniport| miniport.io_timeout_value);
            disk.timeout = if miniport == 0 { timeout() } else { miniport.into() };
            let sized = read_capacity(disk);
            if !status::success(sized) {
                release(disk);
                return sized;
            }
            announce(disk, &adapter);
            disk.offline = super::san::keeps_offline(disk.number, adapter.bus_type);
            if disk.offline {
                report!("offline disk={} bus-type={}", disk.number, adapter.bus_type);
            }
            let registered = io::IoRegisterDeviceInterface(
                disk.pdo,
                &GUID_DEVINTERFACE_DISK,
                null_mut(),
                &raw mut disk.interface,
            );
            if !status::success(registered) {
                return registered;
            }
            disk.started = true;
        }
        io::IoSetDeviceInterfaceState(&raw mut disk.interface, TRUE)
    }
}

/// Learns size and sector size with READ CAPACITY(10), and (16) for a disk beyond it.
unsafe fn read_capacity(disk: &mut Disk) -> NtStatus {
    let mut answer = [0; 8];
    // SAFETY: the device below `disk` stays until `disk` is removed.
    unsafe {
        let found = request::read(disk.lower, &cdb::read_capacity_10(), &mut answer);
        if !status::success(found) {
            return found;
        }
        let number = |bytes: &[u8]| bytes.iter().fold(0u64, |n, &b| n << 8 | u64::from(b));
        (disk.sectors, disk.sector_size) = (number(&answer[..4]) + 1, number(&answer[4..]) as u32);
        if disk.sectors > u64::from(u32::MAX) {
            let mut answer = [0; 32];
            let found = request::read(disk.lower, &cdb::read_capacity_16(32), &mut answer);
            if !status::success(found) {
                return found;
            }
            (disk.sectors, disk.sector_size) = (number(&answer[..8]) + 1, number(&answer[8..12]) as u32);
        }
        if !disk.sector_size.is_power_of_two() || disk.sector_size < SECTOR {
            return status::DEVICE_CONFIGURATION_ERROR;
        }
        (*disk.device).sector_size = disk.sector_size as u16;
        status::SUCCESS
    }
}

/// Sends TEST UNIT READY once: what it was refused with, as key, code and qualifier in a number, and 0 where
/// it was not; then asks for the size, in sectors of the disk's. PASSIVE_LEVEL.
///
/// # Safety
/// `device` must be a disk's device object.
pub(crate) unsafe fn probe(device: *mut DeviceObject) -> (u32, u64) {
    // SAFETY: by this function's contract, `device` is a disk's device object.
    unsafe {
        let Extension::Disk(disk) = extension_of(device) else { return (0, 0) };
        let mut sense = [0; sense::LENGTH];
        let mut srb = Srb::execute(&[0; 6], Direction::None, null_mut(), 0, disk.timeout, &mut sense);
        let found = request::send(disk.lower, &mut srb);
        let told = match Sense::parse(&sense) {
            Some(sense) if !status::success(found) => {
                u32::from_be_bytes([0, sense.key, sense.code, sense.qualifier])
            }
            _ => 0,
        };
        let known = disk.sectors;
        let _ = read_capacity(disk);
        // The driver itself keeps the size that it started with.
        (told, core::mem::replace(&mut disk.sectors, known))
    }
}

/// Sends one command to a disk, once; `Out` sends `data`. The bytes moved, or what it was refused with.
/// PASSIVE_LEVEL.
///
/// # Safety
/// `device` must be a disk's device object that stays meanwhile; `data` must be in non-paged memory.
pub(crate) unsafe fn command(
    device: *mut DeviceObject,
    cdb: &[u8],
    direction: Direction,
    data: &mut [u8],
) -> Result<usize, Option<Sense>> {
    // SAFETY: by this function's contract, `device` is a disk's device object that stays meanwhile; `data`
    // is in non-paged memory.
    unsafe {
        let Extension::Disk(disk) = extension_of(device) else { return Err(None) };
        let mut sense = [0; sense::LENGTH];
        let (buffer, length) = (data.as_mut_ptr(), data.len() as u32);
        let mut srb = Srb::execute(cdb, direction, buffer, length, disk.timeout, &mut sense);
        let found = request::send(disk.lower, &mut srb);
        if status::success(found) { Ok(srb.data_transfer_length as usize) } else { Err(Sense::parse(&sense)) }
    }
}

/// Reads the partition table, if the disk has one.
unsafe fn partition_table(disk: &Disk) -> Option<Mbr> {
    // NT reads it into cache-aligned pool: aligned to 64 bytes, and hardly ever to more.
    let length = disk.sector_size as usize;
    let mut memory = alloc::vec![0u8; length + 2 * SECTOR as usize];
    let skip = (SECTOR as usize - memory.as_ptr() as usize % SECTOR as usize) + 64;
    let sector = &mut memory[skip..skip + length];
    let (command, command_length) = cdb::transfer(false, 0, 1);
    // SAFETY: the device below `disk` stays until `disk` is removed.
    let found = unsafe { request::read(disk.lower, &command[..command_length], sector) };
    if !status::success(found) {
        return None;
    }
    Mbr::read_from_prefix(sector).ok().map(|(mbr, _)| mbr).filter(Mbr::is_valid)
}

/// Prints the disk's line.
unsafe fn announce(disk: &Disk, adapter: &AdapterDescriptor) {
    let bus = if u32::from(adapter.bus_type) == BUS_TYPE_ATA { "ide" } else { "scsi" };
    // SAFETY: the PDO of `disk` stays until it is removed, and so does the PDO's driver.
    unsafe {
        let driver = &(*(*disk.pdo).driver_object).driver_name;
        let driver = alloc::string::String::from_utf16_lossy(driver.units());
        let driver = driver.rsplit('\\').next().unwrap_or_default();
        let signature = partition_table(disk).map_or(0, |mbr| mbr.signature.get());
        report!(
            "disk n={} bus={bus} driver={} hwid={} sectors={} sig={signature:08X}",
            disk.number,
            Escaped(driver),
            hardware_id(disk.pdo),
            disk.sectors,
        );
    }
}

/// Returns the first hardware id of a PDO, as a report value.
unsafe fn hardware_id(pdo: *mut DeviceObject) -> alloc::string::String {
    let mut ids = [0u16; 256];
    let mut length = 0;
    // SAFETY: the caller keeps `pdo` valid for this call.
    let found = unsafe {
        io::IoGetDeviceProperty(
            pdo,
            property_id::HARDWARE_ID,
            size_of_val(&ids) as u32,
            ids.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    let end = ids.iter().position(|&unit| unit == 0).unwrap_or(ids.len());
    if status::success(found) { escaped_utf16(&ids[..end]) } else { "?".into() }
}

/// Returns the PDOs of the disk's partitions, found the first time.
unsafe fn partitions(disk: &mut Disk) -> Vec<*mut DeviceObject> {
    // SAFETY: `disk` stays where it is until its partitions are deleted.
    unsafe {
        if disk.partitions.is_none() && disk.started && !disk.offline {
            let table = partition_table(disk);
            let mut found = Vec::new();
            if let Some(table) = table.filter(|_| disk.sector_size == SECTOR) {
                for (n, (first, sectors)) in table.partitions(disk.sectors).enumerate() {
                    found.extend(Partition::create(disk, n as u32 + 1, first, sectors));
                }
            }
            disk.partitions = Some(found);
        }
    }
    disk.partitions.iter().flatten().map(|partition| partition.device).collect()
}

/// Makes a disk that is going away unknown. PASSIVE_LEVEL.
unsafe fn withdraw(disk: &mut Disk) {
    disk.removed = true;
    // SAFETY: the interface's name came from IoRegisterDeviceInterface and is freed once, here.
    unsafe {
        if !disk.interface.buffer.is_null() {
            io::IoSetDeviceInterfaceState(&raw mut disk.interface, FALSE);
            ex::ExFreePoolWithTag(disk.interface.buffer.cast(), 0);
            disk.interface = UnicodeString::EMPTY;
        }
    }
}

/// Gives the claim on the device back.
unsafe fn release(disk: &Disk) {
    // SAFETY: the device below `disk` stays until `disk` is removed.
    unsafe {
        request::send(disk.lower, &mut Srb::of(function::RELEASE_DEVICE));
    }
}

/// Returns a pointer for the device extension of a partition's PDO.
pub(super) fn partition_extension(partition: *mut Partition) -> usize {
    Box::into_raw(Box::new(Extension::Partition(partition))) as usize
}

/// Frees what [`partition_extension`] made.
///
/// # Safety
/// `device` must be a partition's PDO that is about to be deleted.
pub(super) unsafe fn free_partition_extension(device: *mut DeviceObject) {
    // SAFETY: by this function's contract, `device` is a partition's PDO that is about to be deleted.
    unsafe {
        drop(Box::from_raw((*device).device_extension.cast::<*mut Extension>().read()));
    }
}

/// Returns the direction of an SRB for `write`.
pub(super) fn direction(write: bool) -> Direction {
    if write { Direction::Out } else { Direction::In }
}
