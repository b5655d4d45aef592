//! Driver and device objects, file objects, remove locks (wdm.h).

use core::ffi::c_void;

use super::def::{Boolean, ListEntry, Pvoid, UnicodeString};
use super::irp::{IRP_MJ_COUNT, Irp};
use super::ke::{KdeviceQueue, Kdpc, Kevent};
use super::status::NtStatus;
use crate::layout;

/// `DRIVER_DISPATCH`.
pub(crate) type DispatchRoutine =
    unsafe extern "win64" fn(device: *mut DeviceObject, irp: *mut Irp) -> NtStatus;
/// `DRIVER_INITIALIZE`.
pub(crate) type DriverInitialize =
    unsafe extern "win64" fn(driver: *mut DriverObject, registry_path: *mut UnicodeString) -> NtStatus;
/// `DRIVER_ADD_DEVICE`.
pub(crate) type AddDeviceRoutine =
    unsafe extern "win64" fn(driver: *mut DriverObject, pdo: *mut DeviceObject) -> NtStatus;
/// `DRIVER_UNLOAD`.
pub(crate) type UnloadRoutine = unsafe extern "win64" fn(driver: *mut DriverObject);
/// `DRIVER_REINITIALIZE`.
pub(crate) type ReinitializeRoutine =
    unsafe extern "win64" fn(driver: *mut DriverObject, context: Pvoid, count: u32);

/// `DRIVER_OBJECT`.
#[repr(C)]
pub(crate) struct DriverObject {
    pub kind: i16,
    pub size: i16,
    pub device_object: *mut DeviceObject,
    pub flags: u32,
    pub driver_start: Pvoid,
    pub driver_size: u32,
    pub driver_section: Pvoid,
    pub driver_extension: *mut DriverExtension,
    pub driver_name: UnicodeString,
    pub hardware_database: *mut UnicodeString,
    pub fast_io_dispatch: Pvoid,
    pub driver_init: Option<DriverInitialize>,
    pub driver_start_io: Pvoid,
    pub driver_unload: Option<UnloadRoutine>,
    pub major_function: [Option<DispatchRoutine>; IRP_MJ_COUNT],
}
layout!(
    DriverObject, 0x150, device_object @ 8, flags @ 0x10, driver_start @ 0x18, driver_size @ 0x20,
    driver_section @ 0x28, driver_extension @ 0x30, driver_name @ 0x38, hardware_database @ 0x48,
    fast_io_dispatch @ 0x50, driver_init @ 0x58, driver_start_io @ 0x60, driver_unload @ 0x68,
    major_function @ 0x70,
);

/// `IO_TYPE_DRIVER`.
pub(crate) const IO_TYPE_DRIVER: i16 = 4;
/// `IO_TYPE_DEVICE`.
pub(crate) const IO_TYPE_DEVICE: i16 = 3;
/// `IO_TYPE_FILE`.
pub(crate) const IO_TYPE_FILE: i16 = 5;
/// `IO_TYPE_IRP`.
pub(crate) const IO_TYPE_IRP: i16 = 6;
/// `IO_TYPE_DEVICE_OBJECT_EXTENSION`.
pub(crate) const IO_TYPE_DEVICE_OBJECT_EXTENSION: i16 = 13;

/// `DRIVER_EXTENSION`: the documented part.
#[repr(C)]
pub(crate) struct DriverExtension {
    pub driver_object: *mut DriverObject,
    pub add_device: Option<AddDeviceRoutine>,
    pub count: u32,
    pub service_key_name: UnicodeString,
}
layout!(DriverExtension, 0x28, add_device @ 8, count @ 0x10, service_key_name @ 0x18);

/// `DEVICE_OBJECT`.
#[repr(C, align(16))]
pub(crate) struct DeviceObject {
    pub kind: i16,
    pub size: u16,
    pub reference_count: i32,
    pub driver_object: *mut DriverObject,
    pub next_device: *mut DeviceObject,
    pub attached_device: *mut DeviceObject,
    pub current_irp: *mut Irp,
    pub timer: Pvoid,
    pub flags: u32,
    pub characteristics: u32,
    pub vpb: Pvoid,
    pub device_extension: Pvoid,
    pub device_type: u32,
    pub stack_size: i8,
    pub queue: [usize; 9],
    pub alignment_requirement: u32,
    pub device_queue: KdeviceQueue,
    pub dpc: Kdpc,
    pub active_thread_count: u32,
    pub security_descriptor: Pvoid,
    pub device_lock: Kevent,
    pub sector_size: u16,
    pub spare1: u16,
    pub device_object_extension: *mut DevobjExtension,
    pub reserved: Pvoid,
}
layout!(
    DeviceObject, 0x150, reference_count @ 4, driver_object @ 8, next_device @ 0x10,
    attached_device @ 0x18, flags @ 0x30, characteristics @ 0x34, vpb @ 0x38, device_extension @ 0x40,
    device_type @ 0x48, stack_size @ 0x4C, queue @ 0x50, alignment_requirement @ 0x98,
    device_queue @ 0xA0, dpc @ 0xC8, active_thread_count @ 0x108, security_descriptor @ 0x110,
    device_lock @ 0x118, sector_size @ 0x130, device_object_extension @ 0x138,
);

/// `DEVOBJ_EXTENSION`: undocumented past the device object; the executive keeps the stack's downward link
/// and the device node here, as NT does.
#[repr(C)]
pub(crate) struct DevobjExtension {
    pub kind: i16,
    pub size: u16,
    pub device_object: *mut DeviceObject,
    pub power_flags: u32,
    pub dope: Pvoid,
    pub extension_flags: u32,
    /// The PnP manager's `DevNode` if this is a PDO.
    pub device_node: *mut c_void,
    /// The device this one is attached to.
    pub attached_to: *mut DeviceObject,
    pub start_io_count: i32,
    pub start_io_key: i32,
    pub start_io_flags: u32,
    pub vpb: Pvoid,
}
layout!(DevobjExtension, 0x50, device_object @ 8, extension_flags @ 0x20, device_node @ 0x28, attached_to @ 0x30);

/// `DO_BUFFERED_IO`.
pub(crate) const DO_BUFFERED_IO: u32 = 0x4;
/// `DO_EXCLUSIVE`.
pub(crate) const DO_EXCLUSIVE: u32 = 0x8;
/// `DO_DIRECT_IO`.
pub(crate) const DO_DIRECT_IO: u32 = 0x10;
/// `DO_DEVICE_HAS_NAME`.
pub(crate) const DO_DEVICE_HAS_NAME: u32 = 0x40;
/// `DO_DEVICE_INITIALIZING`.
pub(crate) const DO_DEVICE_INITIALIZING: u32 = 0x80;
/// `DO_BUS_ENUMERATED_DEVICE`.
pub(crate) const DO_BUS_ENUMERATED_DEVICE: u32 = 0x1000;
/// `DO_POWER_PAGABLE`.
pub(crate) const DO_POWER_PAGABLE: u32 = 0x2000;

/// `FILE_DEVICE_CONTROLLER`.
pub(crate) const FILE_DEVICE_CONTROLLER: u32 = 0x04;
/// `FILE_DEVICE_DISK`.
pub(crate) const FILE_DEVICE_DISK: u32 = 0x07;
/// `FILE_DEVICE_BUS_EXTENDER`.
pub(crate) const FILE_DEVICE_BUS_EXTENDER: u32 = 0x2A;
/// `FILE_DEVICE_SECURE_OPEN` in Characteristics.
pub(crate) const FILE_DEVICE_SECURE_OPEN: u32 = 0x100;
/// `FILE_AUTOGENERATED_DEVICE_NAME` in Characteristics.
pub(crate) const FILE_AUTOGENERATED_DEVICE_NAME: u32 = 0x80;

/// `FILE_OBJECT`.
#[repr(C)]
pub(crate) struct FileObject {
    pub kind: i16,
    pub size: i16,
    pub device_object: *mut DeviceObject,
    pub vpb: Pvoid,
    pub fs_context: Pvoid,
    pub fs_context2: Pvoid,
    pub section_object_pointer: Pvoid,
    pub private_cache_map: Pvoid,
    pub final_status: NtStatus,
    pub related_file_object: *mut FileObject,
    pub lock_operation: Boolean,
    pub delete_pending: Boolean,
    pub read_access: Boolean,
    pub write_access: Boolean,
    pub delete_access: Boolean,
    pub shared_read: Boolean,
    pub shared_write: Boolean,
    pub shared_delete: Boolean,
    pub flags: u32,
    pub file_name: UnicodeString,
    pub current_byte_offset: i64,
    pub waiters: u32,
    pub busy: u32,
    pub last_lock: Pvoid,
    pub lock: Kevent,
    pub event: Kevent,
    pub completion_context: Pvoid,
}
layout!(FileObject, 0xB8, device_object @ 8, fs_context @ 0x18, flags @ 0x50, file_name @ 0x58, lock @ 0x80, event @ 0x98);

/// `IO_REMOVE_LOCK` as a free build has it: its `Common` block.
#[repr(C)]
pub(crate) struct IoRemoveLock {
    pub removed: Boolean,
    pub reserved: [Boolean; 3],
    pub io_count: i32,
    pub remove_event: Kevent,
}
layout!(IoRemoveLock, 0x20, io_count @ 4, remove_event @ 8);

/// `IO_WORKITEM_ROUTINE`.
pub(crate) type WorkitemRoutine = unsafe extern "win64" fn(device: *mut DeviceObject, context: Pvoid);

/// `WORK_QUEUE_ITEM`.
#[repr(C)]
pub(crate) struct WorkQueueItem {
    pub list: ListEntry,
    pub worker_routine: Option<unsafe extern "win64" fn(parameter: Pvoid)>,
    pub parameter: Pvoid,
}
layout!(WorkQueueItem, 0x20);
