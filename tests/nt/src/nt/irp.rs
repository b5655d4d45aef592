//! I/O request packets and their stack locations (wdm.h).

use super::def::{Boolean, Guid, ListEntry, Pvoid};
use super::device::{DeviceObject, FileObject};
use super::mdl::Mdl;
use super::pnp::{DeviceCapabilities, Interface};
use super::resource::CmResourceList;
use super::status::NtStatus;
use crate::layout;

/// Number of `IRP_MJ_` codes, `IRP_MJ_MAXIMUM_FUNCTION + 1`.
pub(crate) const IRP_MJ_COUNT: usize = 28;

/// `IO_STATUS_BLOCK`. `status` shares its place with a pointer in NT.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct IoStatusBlock {
    pub status: NtStatus,
    pub status_high: u32,
    pub information: usize,
}
layout!(IoStatusBlock, 0x10, information @ 8);

impl IoStatusBlock {
    /// Returns a block with a status and an information value.
    pub(crate) const fn new(status: NtStatus, information: usize) -> Self {
        Self { status, status_high: 0, information }
    }
}

/// `IRP`.
#[repr(C, align(16))]
pub(crate) struct Irp {
    pub kind: i16,
    pub size: u16,
    pub mdl_address: *mut Mdl,
    pub flags: u32,
    /// `AssociatedIrp.SystemBuffer` (and `MasterIrp`).
    pub system_buffer: Pvoid,
    pub thread_list_entry: ListEntry,
    pub io_status: IoStatusBlock,
    pub requestor_mode: i8,
    pub pending_returned: Boolean,
    pub stack_count: i8,
    pub current_location: i8,
    pub cancel: Boolean,
    pub cancel_irql: u8,
    pub apc_environment: i8,
    pub allocation_flags: u8,
    pub user_iosb: *mut IoStatusBlock,
    pub user_event: *mut super::ke::Kevent,
    pub overlay: [usize; 2],
    pub cancel_routine: Pvoid,
    pub user_buffer: Pvoid,
    /// `Tail.Overlay.DriverContext`, the driver's while it owns the IRP.
    pub driver_context: [Pvoid; 4],
    pub thread: Pvoid,
    pub auxiliary_buffer: Pvoid,
    pub list_entry: ListEntry,
    pub current_stack_location: *mut IoStackLocation,
    pub original_file_object: *mut FileObject,
    pub tail_rest: usize,
}
layout!(
    Irp, 0xD0, mdl_address @ 8, flags @ 0x10, system_buffer @ 0x18, thread_list_entry @ 0x20, io_status @ 0x30,
    requestor_mode @ 0x40, pending_returned @ 0x41, stack_count @ 0x42, current_location @ 0x43, cancel @ 0x44,
    allocation_flags @ 0x47, user_iosb @ 0x48, user_event @ 0x50, overlay @ 0x58, cancel_routine @ 0x68,
    user_buffer @ 0x70, driver_context @ 0x78, thread @ 0x98, auxiliary_buffer @ 0xA0, list_entry @ 0xA8,
    current_stack_location @ 0xB8, original_file_object @ 0xC0,
);

/// `IRP_BUFFERED_IO`.
pub(crate) const IRP_BUFFERED_IO: u32 = 0x10;
/// `IRP_DEALLOCATE_BUFFER`.
pub(crate) const IRP_DEALLOCATE_BUFFER: u32 = 0x20;
/// `IRP_INPUT_OPERATION`.
pub(crate) const IRP_INPUT_OPERATION: u32 = 0x40;

/// `SL_PENDING_RETURNED`.
pub(crate) const SL_PENDING_RETURNED: u8 = 0x01;
/// `SL_INVOKE_ON_CANCEL`.
pub(crate) const SL_INVOKE_ON_CANCEL: u8 = 0x20;
/// `SL_INVOKE_ON_SUCCESS`.
pub(crate) const SL_INVOKE_ON_SUCCESS: u8 = 0x40;
/// `SL_INVOKE_ON_ERROR`.
pub(crate) const SL_INVOKE_ON_ERROR: u8 = 0x80;

/// `IO_COMPLETION_ROUTINE`.
pub(crate) type CompletionRoutine =
    unsafe extern "win64" fn(device: *mut DeviceObject, irp: *mut Irp, context: Pvoid) -> NtStatus;

/// `IO_STACK_LOCATION`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct IoStackLocation {
    pub major_function: u8,
    pub minor_function: u8,
    pub flags: u8,
    pub control: u8,
    pub parameters: Parameters,
    pub device_object: *mut DeviceObject,
    pub file_object: *mut FileObject,
    pub completion_routine: Option<CompletionRoutine>,
    pub context: Pvoid,
}
layout!(IoStackLocation, 0x48, control @ 3, parameters @ 8, device_object @ 0x28, file_object @ 0x30, completion_routine @ 0x38, context @ 0x40);

/// `IO_STACK_LOCATION.Parameters`: the members used here.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) union Parameters {
    pub read: ReadWrite,
    pub write: ReadWrite,
    pub device_io_control: DeviceIoControl,
    pub scsi: OneArgument,
    pub query_device_relations: QueryDeviceRelations,
    pub query_interface: QueryInterface,
    pub device_capabilities: QueryCapabilities,
    pub filter_resource_requirements: OneArgument,
    pub query_id: QueryId,
    pub query_device_text: QueryDeviceText,
    pub usage_notification: UsageNotification,
    pub start_device: StartDevice,
    pub read_write_config: ReadWriteConfig,
    pub power: PowerParameters,
    pub others: [usize; 4],
}
layout!(Parameters, 0x20);

/// `Parameters.Read` and `Parameters.Write`. `byte_offset` is in bytes.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct ReadWrite {
    pub length: u32,
    pub length_pad: u32,
    pub key: u32,
    pub key_pad: u32,
    pub byte_offset: i64,
}
layout!(ReadWrite, 0x18, key @ 8, byte_offset @ 0x10);

/// `Parameters.DeviceIoControl`: each length is aligned to a pointer.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct DeviceIoControl {
    pub output_buffer_length: u32,
    pub output_pad: u32,
    pub input_buffer_length: u32,
    pub input_pad: u32,
    pub io_control_code: u32,
    pub code_pad: u32,
    pub type3_input_buffer: Pvoid,
}

/// `Parameters.Scsi.Srb` and other members of one pointer.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct OneArgument {
    pub argument: Pvoid,
}

/// `Parameters.QueryDeviceRelations`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct QueryDeviceRelations {
    pub kind: u32,
}

/// `Parameters.QueryInterface`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct QueryInterface {
    pub interface_type: *const Guid,
    pub size: u16,
    pub version: u16,
    pub interface: *mut Interface,
    pub interface_specific_data: Pvoid,
}

/// `Parameters.DeviceCapabilities`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct QueryCapabilities {
    pub capabilities: *mut DeviceCapabilities,
}

/// `Parameters.QueryId`: a `BUS_QUERY_ID_TYPE`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct QueryId {
    pub id_type: u32,
}

/// `Parameters.QueryDeviceText`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct QueryDeviceText {
    pub text_type: u32,
    pub pad: u32,
    pub locale_id: u32,
}

/// `Parameters.UsageNotification`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct UsageNotification {
    pub in_path: Boolean,
    pub reserved: [Boolean; 3],
    pub pad: u32,
    pub kind: u32,
}

/// `Parameters.StartDevice`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct StartDevice {
    pub allocated_resources: *mut CmResourceList,
    pub allocated_resources_translated: *mut CmResourceList,
}

/// `Parameters.ReadWriteConfig`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct ReadWriteConfig {
    pub which_space: u32,
    pub buffer: Pvoid,
    pub offset: u32,
    pub offset_pad: u32,
    pub length: u32,
}

/// `Parameters.Power`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct PowerParameters {
    pub system_context: u32,
    pub context_pad: u32,
    pub kind: u32,
    pub kind_pad: u32,
    pub state: u32,
    pub state_pad: u32,
    pub shutdown_type: u32,
}

/// `DEVICE_RELATIONS`: `count` pointers follow. The one that frees it is the one that asked.
#[repr(C)]
pub(crate) struct DeviceRelations {
    pub count: u32,
    pub objects: [*mut DeviceObject; 1],
}
layout!(DeviceRelations, 0x10, objects @ 8);

/// `IoGetCurrentIrpStackLocation`.
///
/// # Safety
/// The IRP must be valid and owned by the caller.
pub(crate) unsafe fn current_stack_location(irp: *mut Irp) -> *mut IoStackLocation {
    // SAFETY: by this function's contract, the IRP is valid and owned by the caller.
    unsafe { (*irp).current_stack_location }
}

/// `IoGetNextIrpStackLocation`.
///
/// # Safety
/// The IRP must be valid, owned by the caller, and have a location left.
pub(crate) unsafe fn next_stack_location(irp: *mut Irp) -> *mut IoStackLocation {
    // SAFETY: by this function's contract, the IRP is valid, owned by the caller, and have a location left.
    unsafe { (*irp).current_stack_location.sub(1) }
}

/// `IoSkipCurrentIrpStackLocation`.
///
/// # Safety
/// As [`current_stack_location`].
pub(crate) unsafe fn skip_current_stack_location(irp: *mut Irp) {
    // SAFETY: the caller keeps the contract of [`current_stack_location`].
    unsafe {
        (*irp).current_location += 1;
        (*irp).current_stack_location = (*irp).current_stack_location.add(1);
    }
}

/// `IoCopyCurrentIrpStackLocationToNext`: everything but the completion routine.
///
/// # Safety
/// As [`next_stack_location`].
pub(crate) unsafe fn copy_current_stack_location_to_next(irp: *mut Irp) {
    // SAFETY: the caller keeps the contract of [`next_stack_location`].
    unsafe {
        let (current, next) = (current_stack_location(irp), next_stack_location(irp));
        *next = IoStackLocation {
            completion_routine: None,
            context: core::ptr::null_mut(),
            control: 0,
            ..*current
        };
    }
}

/// `IoMarkIrpPending`.
///
/// # Safety
/// As [`current_stack_location`].
pub(crate) unsafe fn mark_irp_pending(irp: *mut Irp) {
    // SAFETY: the caller keeps the contract of [`current_stack_location`].
    unsafe {
        (*current_stack_location(irp)).control |= SL_PENDING_RETURNED;
    }
}

/// `IoSetCompletionRoutine`, called on success, error and cancellation.
///
/// # Safety
/// As [`next_stack_location`].
pub(crate) unsafe fn set_completion_routine(irp: *mut Irp, routine: CompletionRoutine, context: Pvoid) {
    // SAFETY: the caller keeps the contract of [`next_stack_location`].
    unsafe {
        let next = next_stack_location(irp);
        (*next).completion_routine = Some(routine);
        (*next).context = context;
        (*next).control = SL_INVOKE_ON_SUCCESS | SL_INVOKE_ON_ERROR | SL_INVOKE_ON_CANCEL;
    }
}
