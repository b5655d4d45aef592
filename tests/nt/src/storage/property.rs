//! The device controls by which a class driver learns of the device and the controller below it
//! (ntddstor.h, ntddscsi.h, ntdddisk.h).

use core::mem::offset_of;

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::inquiry::Inquiry;
use super::irp;
use crate::layout;
use crate::nt::*;

/// `IOCTL_STORAGE_QUERY_PROPERTY`.
pub(crate) const IOCTL_STORAGE_QUERY_PROPERTY: u32 = 0x002D_1400;
/// `IOCTL_STORAGE_GET_DEVICE_NUMBER`.
pub(crate) const IOCTL_STORAGE_GET_DEVICE_NUMBER: u32 = 0x002D_1080;
/// `IOCTL_SCSI_GET_ADDRESS`.
pub(crate) const IOCTL_SCSI_GET_ADDRESS: u32 = 0x0004_1018;
/// `IOCTL_DISK_GET_DRIVE_GEOMETRY`.
pub(crate) const IOCTL_DISK_GET_DRIVE_GEOMETRY: u32 = 0x0007_0000;
/// `IOCTL_DISK_GET_LENGTH_INFO`.
pub(crate) const IOCTL_DISK_GET_LENGTH_INFO: u32 = 0x0007_405C;
/// `IOCTL_DISK_CHECK_VERIFY` and `IOCTL_STORAGE_CHECK_VERIFY` share the answer of a fixed disk.
pub(crate) const IOCTL_DISK_CHECK_VERIFY: u32 = 0x0007_4800;

/// `StorageDeviceProperty` as `STORAGE_PROPERTY_ID`.
const STORAGE_DEVICE_PROPERTY: u32 = 0;
/// `StorageAdapterProperty`.
const STORAGE_ADAPTER_PROPERTY: u32 = 1;
/// `StorageMiniportProperty`, from NT 6.2 on.
const STORAGE_MINIPORT_PROPERTY: u32 = 4;

/// `STORAGE_PROPERTY_QUERY` without additional parameters.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct PropertyQuery {
    property_id: u32,
    query_type: u32,
    additional: u32,
}
layout!(PropertyQuery, 12);

/// `STORAGE_DEVICE_DESCRIPTOR`; strings follow it, found by their offsets.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub(crate) struct DeviceDescriptor {
    pub version: u32,
    pub size: u32,
    pub device_type: u8,
    pub device_type_modifier: u8,
    pub removable_media: u8,
    pub command_queueing: u8,
    pub vendor_id_offset: u32,
    pub product_id_offset: u32,
    pub product_revision_offset: u32,
    pub serial_number_offset: u32,
    /// `STORAGE_BUS_TYPE`.
    pub bus_type: u32,
    pub raw_properties_length: u32,
}
layout!(DeviceDescriptor, 36, device_type @ 8, vendor_id_offset @ 12, bus_type @ 28);

/// `STORAGE_ADAPTER_DESCRIPTOR` as NT 5.2 has it.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub(crate) struct AdapterDescriptor {
    pub version: u32,
    pub size: u32,
    /// Most bytes in one request.
    pub maximum_transfer_length: u32,
    /// Most discontiguous pages in one request.
    pub maximum_physical_pages: u32,
    /// Buffers must be aligned to this plus one.
    pub alignment_mask: u32,
    pub adapter_uses_pio: u8,
    pub adapter_scans_down: u8,
    pub command_queueing: u8,
    pub accelerated_transfer: u8,
    pub bus_type: u8,
    pub pad: u8,
    pub bus_major_version: u16,
    pub bus_minor_version: u16,
    pub pad2: u16,
}
layout!(AdapterDescriptor, 32, maximum_transfer_length @ 8, adapter_uses_pio @ 20, bus_type @ 24);

/// `STORAGE_MINIPORT_DESCRIPTOR` as NT 6.2 has it.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub(crate) struct MiniportDescriptor {
    pub version: u32,
    pub size: u32,
    /// `STORAGE_PORT_CODE_SET`.
    pub port_driver: u32,
    pub lun_reset_supported: u8,
    pub target_reset_supported: u8,
    /// The miniport's `IoTimeoutValue`, 0 where it sets none.
    pub io_timeout_value: u16,
}
layout!(MiniportDescriptor, 16, port_driver @ 8, io_timeout_value @ 14);

/// `BusTypeAtapi` as `STORAGE_BUS_TYPE`.
pub(crate) const BUS_TYPE_ATAPI: u32 = 2;
/// `BusTypeAta` as `STORAGE_BUS_TYPE`.
pub(crate) const BUS_TYPE_ATA: u32 = 3;
/// `BusTypeScsi`.
pub(crate) const BUS_TYPE_SCSI: u32 = 1;

/// The data with which a port driver answers these controls.
pub(crate) struct Properties<'a> {
    /// The device's INQUIRY data.
    pub inquiry: &'a Inquiry,
    /// Its serial number, empty if it has none.
    pub serial: &'a [u8],
    /// The adapter, bus type included.
    pub adapter: AdapterDescriptor,
    /// The miniport, where the port driver has one and the version of NT describes it.
    pub miniport: Option<MiniportDescriptor>,
    /// Port, path, target and logical unit.
    pub address: [u8; 4],
}

impl AdapterDescriptor {
    /// Returns a descriptor of an adapter on a bus of `bus_type`.
    pub(crate) fn new(bus_type: u32, maximum_transfer_length: u32, maximum_physical_pages: u32) -> Self {
        Self {
            version: size_of::<Self>() as u32,
            size: size_of::<Self>() as u32,
            maximum_transfer_length,
            maximum_physical_pages,
            command_queueing: TRUE,
            bus_type: bus_type as u8,
            ..Self::new_zeroed()
        }
    }
}

/// Answers a buffered device control to a port driver's PDO. Does not complete the IRP; returns status and
/// bytes returned.
///
/// # Safety
/// `irp` is a device control that the caller owns.
pub(crate) unsafe fn answer(irp: *mut Irp, properties: &Properties) -> (NtStatus, usize) {
    // SAFETY: by this function's contract, `irp` is a device control that the caller owns.
    unsafe {
        let control = (*current_stack_location(irp)).parameters.device_io_control;
        let length = control.output_buffer_length as usize;
        match control.io_control_code {
            IOCTL_STORAGE_QUERY_PROPERTY => {
                if (control.input_buffer_length as usize) < offset_of!(PropertyQuery, additional) {
                    return (status::INVALID_PARAMETER, 0);
                }
                match (*irp).system_buffer.cast::<u32>().read() {
                    STORAGE_DEVICE_PROPERTY => give(irp, &device_descriptor(properties), length, 8),
                    STORAGE_ADAPTER_PROPERTY => give(irp, properties.adapter.as_bytes(), length, 8),
                    STORAGE_MINIPORT_PROPERTY if let Some(miniport) = &properties.miniport => {
                        give(irp, miniport.as_bytes(), length, 8)
                    }
                    _ => (status::NOT_SUPPORTED, 0),
                }
            }
            IOCTL_SCSI_GET_ADDRESS => {
                let [port, path, target, lun] = properties.address;
                // SCSI_ADDRESS: length, then the four numbers.
                give(irp, &[8, 0, 0, 0, port, path, target, lun], length, 8)
            }
            _ => (status::INVALID_DEVICE_REQUEST, 0),
        }
    }
}

/// Puts `answer` into the IRP's system buffer, cut to `length` bytes, which must be at least `least`.
///
/// # Safety
/// `irp` is a buffered device control that the caller owns, with an output buffer of `length` bytes.
pub(crate) unsafe fn give(irp: *mut Irp, answer: &[u8], length: usize, least: usize) -> (NtStatus, usize) {
    if length < least.min(answer.len()) {
        return (status::BUFFER_TOO_SMALL, 0);
    }
    let count = answer.len().min(length);
    // SAFETY: by this function's contract, `irp` is a buffered device control that the caller owns, with an
    // output buffer of `length` bytes.
    unsafe {
        answer.as_ptr().copy_to_nonoverlapping((*irp).system_buffer.cast(), count);
    }
    (status::SUCCESS, count)
}

/// Returns the device descriptor with its strings.
fn device_descriptor(properties: &Properties) -> alloc::vec::Vec<u8> {
    let header = size_of::<DeviceDescriptor>();
    let mut strings = alloc::vec::Vec::new();
    let mut put = |text: &[u8]| {
        let at = (header + strings.len()) as u32;
        strings.extend_from_slice(text);
        strings.push(0);
        at
    };
    let [vendor, product, revision] = properties.inquiry.names().map(&mut put);
    let serial = if properties.serial.is_empty() { 0 } else { put(properties.serial) };
    let descriptor = DeviceDescriptor {
        version: header as u32,
        size: (header + strings.len()) as u32,
        device_type: properties.inquiry.0[0] & 0x1F,
        removable_media: properties.inquiry.is_removable().into(),
        command_queueing: properties.adapter.command_queueing,
        vendor_id_offset: vendor,
        product_id_offset: product,
        product_revision_offset: revision,
        serial_number_offset: serial,
        bus_type: properties.adapter.bus_type.into(),
        ..DeviceDescriptor::new_zeroed()
    };
    let mut bytes = descriptor.as_bytes().to_vec();
    bytes.extend_from_slice(&strings);
    bytes
}

/// Asks the adapter below a device for its descriptor. PASSIVE_LEVEL.
///
/// # Safety
/// `device` must be referenced or attached to.
pub(crate) unsafe fn query_adapter(device: *mut DeviceObject) -> Option<AdapterDescriptor> {
    // SAFETY: by this function's contract, `device` is referenced or attached to.
    unsafe { query(device, STORAGE_ADAPTER_PROPERTY) }
}

/// Asks the adapter below a device for its miniport's descriptor. PASSIVE_LEVEL.
///
/// # Safety
/// `device` must be referenced or attached to.
pub(crate) unsafe fn query_miniport(device: *mut DeviceObject) -> Option<MiniportDescriptor> {
    // SAFETY: by this function's contract, `device` is referenced or attached to.
    unsafe { query(device, STORAGE_MINIPORT_PROPERTY) }
}

/// Asks for a property's descriptor.
unsafe fn query<T: FromBytes + IntoBytes>(device: *mut DeviceObject, property_id: u32) -> Option<T> {
    let query = PropertyQuery { property_id, query_type: 0, additional: 0 };
    let mut descriptor = T::new_zeroed();
    // SAFETY: the caller keeps `device` referenced or attached to.
    let (found, _) = unsafe {
        irp::device_control(device, IOCTL_STORAGE_QUERY_PROPERTY, query.as_bytes(), descriptor.as_mut_bytes())
    };
    status::success(found).then_some(descriptor)
}
