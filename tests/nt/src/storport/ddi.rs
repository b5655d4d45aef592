//! The miniport interface: structures and routine types of storport.h, from the DDI's documentation.

use core::mem::offset_of;

use crate::boot::Profile;
use crate::layout;
use crate::nt::{Boolean, Kdpc, KspinLock, Pvoid};
use crate::storage::srb::Srb;

/// `HW_INITIALIZATION_DATA` as it is from NT 6.2 on.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct HwInitializationData {
    pub size: u32,
    pub adapter_interface_type: i32,
    pub hw_initialize: Option<HwInitialize>,
    pub hw_start_io: Option<HwStartIo>,
    pub hw_interrupt: Option<HwInterrupt>,
    pub hw_find_adapter: Option<HwFindAdapter>,
    pub hw_reset_bus: Option<HwResetBus>,
    pub hw_dma_started: Pvoid,
    pub hw_adapter_state: Pvoid,
    pub device_extension_size: u32,
    pub specific_lu_extension_size: u32,
    pub srb_extension_size: u32,
    pub number_of_access_ranges: u32,
    pub reserved: Pvoid,
    pub map_buffers: u8,
    pub need_physical_addresses: Boolean,
    pub tagged_queuing: Boolean,
    pub auto_request_sense: Boolean,
    pub multiple_request_per_lu: Boolean,
    pub receive_event: Boolean,
    pub vendor_id_length: u16,
    pub vendor_id: Pvoid,
    pub port_version_flags: u16,
    pub device_id_length: u16,
    pub device_id: Pvoid,
    pub hw_adapter_control: Option<HwAdapterControl>,
    pub hw_build_io: Option<HwStartIo>,
    /// From here on new in NT 6.2.
    pub hw_free_adapter_resources: Option<unsafe extern "win64" fn(extension: Pvoid)>,
    pub hw_process_service_request: Pvoid,
    pub hw_complete_service_irp: Pvoid,
    pub hw_initialize_tracing: Pvoid,
    pub hw_cleanup_tracing: Pvoid,
    pub hw_tracing_enabled: Pvoid,
    pub feature_support: u32,
    pub srb_type_flags: u32,
    pub address_type_flags: u32,
    pub reserved1: u32,
    pub hw_unit_control: Pvoid,
}
layout!(
    HwInitializationData, 208, hw_initialize @ 8, hw_find_adapter @ 32, device_extension_size @ 64,
    map_buffers @ 88, vendor_id @ 96, device_id @ 112, hw_adapter_control @ 120, hw_build_io @ 128,
    hw_free_adapter_resources @ 136, hw_unit_control @ 200,
);

/// `HW_INITIALIZATION_DATA` ends here before NT 6.2.
pub(crate) const SIZE_NT52: usize = core::mem::offset_of!(HwInitializationData, hw_free_adapter_resources);
/// Its size from NT 6.2 on.
pub(crate) const SIZE_NT62: usize = size_of::<HwInitializationData>();

/// `HW_INITIALIZE`.
pub(crate) type HwInitialize = unsafe extern "win64" fn(extension: Pvoid) -> Boolean;
/// `HW_STARTIO` and `HW_BUILDIO`.
pub(crate) type HwStartIo = unsafe extern "win64" fn(extension: Pvoid, srb: *mut Srb) -> Boolean;
/// `HW_INTERRUPT`.
pub(crate) type HwInterrupt = unsafe extern "win64" fn(extension: Pvoid) -> Boolean;
/// `HW_FIND_ADAPTER` of a physical miniport.
pub(crate) type HwFindAdapter = unsafe extern "win64" fn(
    extension: Pvoid,
    context: Pvoid,
    bus_information: Pvoid,
    argument: *mut u8,
    configuration: *mut PortConfiguration,
    again: *mut Boolean,
) -> u32;
/// `HW_RESET_BUS`.
pub(crate) type HwResetBus = unsafe extern "win64" fn(extension: Pvoid, path: u32) -> Boolean;
/// `HW_ADAPTER_CONTROL`.
pub(crate) type HwAdapterControl =
    unsafe extern "win64" fn(extension: Pvoid, kind: u32, parameters: Pvoid) -> u32;
/// `HW_PASSIVE_INITIALIZE_ROUTINE`.
pub(crate) type HwPassiveInitialize = unsafe extern "win64" fn(extension: Pvoid) -> Boolean;
/// `HW_TIMER`.
pub(crate) type HwTimer = unsafe extern "win64" fn(extension: Pvoid);

/// `SP_RETURN_FOUND`.
pub(crate) const SP_RETURN_FOUND: u32 = 1;
/// `SP_UNINITIALIZED_VALUE`.
pub(crate) const SP_UNINITIALIZED_VALUE: u32 = u32::MAX;
/// `SCSI_MAXIMUM_TARGETS_PER_BUS`.
pub(crate) const MAXIMUM_TARGETS: u8 = 128;
/// `SCSI_DMA64_SYSTEM_SUPPORTED`.
pub(crate) const DMA64_SYSTEM_SUPPORTED: u8 = 0x80;

/// `STOR_MAP_ALL_BUFFERS`: every buffer until NT 6.1, all but those of reads and writes from NT 6.2 on.
pub(crate) const MAP_ALL_BUFFERS: u8 = 1;
/// `STOR_MAP_NON_READ_WRITE_BUFFERS`.
pub(crate) const MAP_NON_READ_WRITE_BUFFERS: u8 = 2;
/// `STOR_MAP_ALL_BUFFERS_INCLUDING_READ_WRITE`.
pub(crate) const MAP_ALL_INCLUDING_READ_WRITE: u8 = 3;

/// `StorSynchronizeHalfDuplex` as `STOR_SYNCHRONIZATION_MODEL`, the default (documentation "Full Duplex
/// Mode").
pub(crate) const HALF_DUPLEX: u32 = 0;
/// `StorSynchronizeFullDuplex`.
pub(crate) const FULL_DUPLEX: u32 = 1;

/// `ACCESS_RANGE`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct AccessRange {
    pub start: i64,
    pub length: u32,
    pub in_memory: Boolean,
}
layout!(AccessRange, 16, length @ 8, in_memory @ 12);

/// `PORT_CONFIGURATION_INFORMATION` of Storport.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct PortConfiguration {
    pub length: u32,
    pub system_io_bus_number: u32,
    pub adapter_interface_type: i32,
    pub bus_interrupt_level: u32,
    pub bus_interrupt_vector: u32,
    pub interrupt_mode: u32,
    pub maximum_transfer_length: u32,
    pub number_of_physical_breaks: u32,
    pub dma_channel: u32,
    pub dma_port: u32,
    pub dma_width: u32,
    pub dma_speed: u32,
    pub alignment_mask: u32,
    pub number_of_access_ranges: u32,
    pub access_ranges: *mut AccessRange,
    pub miniport_dump_data: Pvoid,
    pub number_of_buses: u8,
    pub initiator_bus_id: [i8; 8],
    pub scatter_gather: Boolean,
    pub master: Boolean,
    pub caches_data: Boolean,
    pub adapter_scans_down: Boolean,
    pub atdisk_primary_claimed: Boolean,
    pub atdisk_secondary_claimed: Boolean,
    pub dma_32_bit_addresses: Boolean,
    pub demand_mode: Boolean,
    pub map_buffers: u8,
    pub need_physical_addresses: Boolean,
    pub tagged_queuing: Boolean,
    pub auto_request_sense: Boolean,
    pub multiple_request_per_lu: Boolean,
    pub receive_event: Boolean,
    pub real_mode_initialized: Boolean,
    pub buffer_access_scsi_port_controlled: Boolean,
    pub maximum_number_of_targets: u8,
    pub srb_type: u8,
    pub address_type: u8,
    pub slot_number: u32,
    pub bus_interrupt_level2: u32,
    pub bus_interrupt_vector2: u32,
    pub interrupt_mode2: u32,
    pub dma_channel2: u32,
    pub dma_port2: u32,
    pub dma_width2: u32,
    pub dma_speed2: u32,
    pub device_extension_size: u32,
    pub specific_lu_extension_size: u32,
    pub srb_extension_size: u32,
    pub dma_64_bit_addresses: u8,
    pub reset_target_supported: Boolean,
    pub maximum_number_of_logical_units: u8,
    pub wmi_data_provider: Boolean,
    pub synchronization_model: u32,
    /// From here on new in NT 6.0 and later.
    pub hw_ms_interrupt_routine: Pvoid,
    pub interrupt_synchronization_mode: u32,
    pub dump_region: [u64; 3],
    pub requested_dump_buffer_size: u32,
    pub virtual_device: Boolean,
    pub dump_mode: u8,
    pub dma_address_width: u8,
    pub extended_flags1: u32,
    pub max_number_of_io: u32,
    pub max_ios_per_lun: u32,
    pub initial_lun_queue_depth: u32,
    pub bus_reset_hold_time: u32,
    pub feature_support: u32,
}
layout!(
    PortConfiguration, 0xE0, maximum_transfer_length @ 24, access_ranges @ 56, number_of_buses @ 72,
    scatter_gather @ 81, map_buffers @ 89, maximum_number_of_targets @ 97, slot_number @ 100,
    device_extension_size @ 132, dma_64_bit_addresses @ 144, synchronization_model @ 148,
    hw_ms_interrupt_routine @ 152, virtual_device @ 196, max_ios_per_lun @ 208, feature_support @ 220,
);

impl PortConfiguration {
    /// Returns the bytes that a version of NT has of it, which it says as the length.
    pub(crate) fn length(nt: Profile) -> usize {
        match nt {
            Profile::Nt52 => offset_of!(Self, hw_ms_interrupt_routine),
            Profile::Nt61 => offset_of!(Self, max_ios_per_lun),
            Profile::Nt63 | Profile::Nt100 => size_of::<Self>(),
        }
    }
}

/// `STOR_SCATTER_GATHER_ELEMENT`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct ScatterGatherElement {
    pub physical_address: i64,
    pub length: u32,
    pub reserved: usize,
}
layout!(ScatterGatherElement, 24, length @ 8);

/// The header of a `STOR_SCATTER_GATHER_LIST`; its elements follow.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct ScatterGatherHeader {
    pub number_of_elements: u32,
    pub reserved: usize,
}
layout!(ScatterGatherHeader, 16);

/// `STOR_DPC`.
#[repr(C)]
pub(crate) struct StorDpc {
    pub dpc: Kdpc,
    pub lock: KspinLock,
}
layout!(StorDpc, 0x48, lock @ 0x40);

/// `STOR_LOCK_HANDLE`.
#[repr(C)]
pub(crate) struct StorLockHandle {
    /// `STOR_SPINLOCK`.
    pub lock: u32,
    pub queue_next: Pvoid,
    pub queue_lock: Pvoid,
    pub old_irql: u8,
}
layout!(StorLockHandle, 32, queue_next @ 8, old_irql @ 24);

/// `DpcLock` as `STOR_SPINLOCK`.
pub(crate) const DPC_LOCK: u32 = 1;
/// `StartIoLock`.
pub(crate) const START_IO_LOCK: u32 = 2;
/// `InterruptLock`.
pub(crate) const INTERRUPT_LOCK: u32 = 3;

/// `ScsiQuerySupportedControlTypes` as `SCSI_ADAPTER_CONTROL_TYPE`.
pub(crate) const QUERY_SUPPORTED_CONTROL_TYPES: u32 = 0;
/// `ScsiStopAdapter`.
pub(crate) const STOP_ADAPTER: u32 = 1;
/// `ScsiRestartAdapter`.
pub(crate) const RESTART_ADAPTER: u32 = 2;
/// One more than the last control type that may be asked for here (`ScsiSetRunningConfig`).
pub(crate) const CONTROL_TYPES: usize = 5;

/// `SCSI_SUPPORTED_CONTROL_TYPE_LIST` with room for every type here.
#[repr(C)]
pub(crate) struct SupportedControlTypes {
    pub max_control_type: u32,
    pub supported: [Boolean; CONTROL_TYPES],
}
layout!(SupportedControlTypes, 12, supported @ 4);
