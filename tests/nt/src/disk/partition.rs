//! Partitions: the disk's children. A partition's PDO needs no function driver; it carries requests to its
//! disk and registers the volume interface when it is started.

use core::ptr::null_mut;

use alloc::boxed::Box;
use alloc::format;
use alloc::vec;

use super::device::{self, Disk, SECTOR};
use crate::nt::*;
use crate::storage::child::{self, Ids};
use crate::storage::{irp as request_packet, property};
use crate::{ex, io};

/// A partition.
pub(super) struct Partition {
    /// Its PDO.
    pub device: *mut DeviceObject,
    /// The disk's FDO.
    disk: *mut DeviceObject,
    disk_number: u32,
    number: u32,
    /// First sector on the disk.
    first: u64,
    sectors: u64,
    ids: Ids,
    interface: UnicodeString,
}

impl Partition {
    /// Makes partition `number` of a disk, and its PDO. PASSIVE_LEVEL.
    ///
    /// # Safety
    /// The disk outlives the partition.
    pub(super) unsafe fn create(disk: &Disk, number: u32, first: u64, sectors: u64) -> Option<Box<Self>> {
        let mut this = Box::new(Self {
            device: null_mut(),
            disk: disk.device,
            disk_number: disk.number,
            number,
            first,
            sectors,
            ids: Ids {
                device: "STORAGE\\Volume".into(),
                hardware: vec!["STORAGE\\Volume".into()],
                compatible: vec![],
                instance: format!("Disk{}Partition{number}", disk.number),
                description: "Generic volume".into(),
                location: format!("Disk {}, partition {number}", disk.number),
                address: number,
                raw: true,
            },
            interface: UnicodeString::EMPTY,
        });
        let extension = device::partition_extension(&raw mut *this);
        // SAFETY: by this function's contract, the disk outlives the partition.
        unsafe {
            this.device = child::create((*disk.device).driver_object, FILE_DEVICE_DISK, extension)?;
            (*this.device).stack_size = (*disk.device).stack_size;
            (*this.device).alignment_requirement = (*disk.device).alignment_requirement;
        }
        Some(this)
    }
}

/// Handles IRP_MJ_PNP to a partition's PDO.
///
/// # Safety
/// The caller owns the IRP.
pub(super) unsafe fn pnp(partition: *mut Partition, irp: *mut Irp) -> NtStatus {
    // SAFETY: by this function's contract, the caller owns the IRP.
    unsafe {
        if let Some(answered) = child::answer((*partition).device, irp, &(*partition).ids) {
            return answered;
        }
        let found = match (*current_stack_location(irp)).minor_function {
            IRP_MN_START_DEVICE => start(&mut *partition),
            _ => {
                withdraw(&mut *partition);
                status::SUCCESS
            }
        };
        request_packet::complete(irp, found, 0)
    }
}

/// Makes the volume known.
unsafe fn start(partition: &mut Partition) -> NtStatus {
    // SAFETY: the partition's device is its own and has not been deleted.
    unsafe {
        if partition.interface.buffer.is_null() {
            let registered = io::IoRegisterDeviceInterface(
                partition.device,
                &GUID_DEVINTERFACE_VOLUME,
                null_mut(),
                &raw mut partition.interface,
            );
            if !status::success(registered) {
                return registered;
            }
        }
        io::IoSetDeviceInterfaceState(&raw mut partition.interface, TRUE)
    }
}

/// Makes it unknown again.
unsafe fn withdraw(partition: &mut Partition) {
    // SAFETY: the interface's name came from IoRegisterDeviceInterface and is freed once, here.
    unsafe {
        if !partition.interface.buffer.is_null() {
            io::IoSetDeviceInterfaceState(&raw mut partition.interface, FALSE);
            ex::ExFreePoolWithTag(partition.interface.buffer.cast(), 0);
            partition.interface = UnicodeString::EMPTY;
        }
    }
}

/// Deletes a partition that PnP has removed.
///
/// # Safety
/// PASSIVE_LEVEL.
pub(super) unsafe fn delete(mut partition: Box<Partition>) {
    // SAFETY: the caller is at PASSIVE_LEVEL.
    unsafe {
        withdraw(&mut partition);
        device::free_partition_extension(partition.device);
        io::IoDeleteDevice(partition.device);
    }
}

/// Passes a read, write or flush on to the disk, with the offset moved to where the partition begins.
///
/// # Safety
/// The caller owns the IRP.
pub(super) unsafe fn pass_to_disk(partition: &Partition, irp: *mut Irp) -> NtStatus {
    // SAFETY: by this function's contract, the caller owns the IRP.
    unsafe {
        let location = current_stack_location(irp);
        let bytes = partition.sectors * u64::from(SECTOR);
        if matches!((*location).major_function, IRP_MJ_READ | IRP_MJ_WRITE) {
            let ReadWrite { length, byte_offset, .. } = (*location).parameters.read;
            let end = byte_offset.checked_add(length.into());
            if byte_offset < 0 || end.is_none_or(|end| end as u64 > bytes) {
                return request_packet::complete(irp, status::INVALID_PARAMETER, 0);
            }
            (*location).parameters.read.byte_offset += (partition.first * u64::from(SECTOR)) as i64;
        }
        // The disk takes over this location, so a partition needs none of its own.
        request_packet::pass_down(partition.disk, irp)
    }
}

/// Handles IRP_MJ_DEVICE_CONTROL to a partition's PDO.
///
/// # Safety
/// The caller owns the IRP.
pub(super) unsafe fn device_control(partition: &Partition, irp: *mut Irp) -> NtStatus {
    // SAFETY: by this function's contract, the caller owns the IRP.
    unsafe {
        let control = (*current_stack_location(irp)).parameters.device_io_control;
        let length = control.output_buffer_length as usize;
        let (found, information) = match control.io_control_code {
            property::IOCTL_DISK_GET_LENGTH_INFO => {
                let bytes = partition.sectors * u64::from(SECTOR);
                property::give(irp, &bytes.to_le_bytes(), length, 8)
            }
            property::IOCTL_STORAGE_GET_DEVICE_NUMBER => {
                let numbers =
                    [FILE_DEVICE_DISK, partition.disk_number, partition.number].map(u32::to_le_bytes);
                property::give(irp, numbers.as_flattened(), length, 12)
            }
            _ => return request_packet::pass_down(partition.disk, irp),
        };
        request_packet::complete(irp, found, information)
    }
}
