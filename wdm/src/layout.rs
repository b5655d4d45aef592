//! Compile-time checks of every structure whose fields this crate touches, so that a build with
//! headers that lay them out differently fails instead of corrupting memory. Values: x64.

use core::mem::{offset_of, size_of};

use wdk_sys::*;

const _: () = {
    assert!(size_of::<IRP>() == 0xD0);
    assert!(offset_of!(IRP, AssociatedIrp) == 0x18);
    assert!(offset_of!(IRP, IoStatus) == 0x30);
    assert!(offset_of!(IRP, PendingReturned) == 0x41);
    assert!(offset_of!(IRP, CurrentLocation) == 0x43);
    assert!(offset_of!(IRP, Tail) == 0x78);
    assert!(offset_of!(IRP, Tail.Overlay.__bindgen_anon_2.__bindgen_anon_1.CurrentStackLocation) == 0xB8);

    assert!(size_of::<IO_STACK_LOCATION>() == 0x48);
    assert!(offset_of!(IO_STACK_LOCATION, Parameters) == 0x08);
    assert!(offset_of!(IO_STACK_LOCATION, DeviceObject) == 0x28);
    assert!(offset_of!(IO_STACK_LOCATION, FileObject) == 0x30);
    assert!(offset_of!(IO_STACK_LOCATION, CompletionRoutine) == 0x38);
    assert!(offset_of!(IO_STACK_LOCATION, Context) == 0x40);
    assert!(offset_of!(IO_STACK_LOCATION, Parameters.DeviceIoControl.InputBufferLength) == 0x10);
    assert!(offset_of!(IO_STACK_LOCATION, Parameters.DeviceIoControl.IoControlCode) == 0x18);
    assert!(offset_of!(IO_STACK_LOCATION, Parameters.QueryInterface.Interface) == 0x18);
    assert!(offset_of!(IO_STACK_LOCATION, Parameters.UsageNotification.Type) == 0x10);
    assert!(offset_of!(IO_STACK_LOCATION, Parameters.Power.Type) == 0x10);
    assert!(offset_of!(IO_STACK_LOCATION, Parameters.Power.State) == 0x18);
    assert!(offset_of!(IO_STACK_LOCATION, Parameters.StartDevice.AllocatedResourcesTranslated) == 0x10);

    assert!(size_of::<DRIVER_OBJECT>() == 0x150);
    assert!(offset_of!(DRIVER_OBJECT, DriverStart) == 0x18);
    assert!(offset_of!(DRIVER_OBJECT, DriverExtension) == 0x30);
    assert!(offset_of!(DRIVER_OBJECT, DriverName) == 0x38);
    assert!(offset_of!(DRIVER_OBJECT, DriverUnload) == 0x68);
    assert!(offset_of!(DRIVER_OBJECT, MajorFunction) == 0x70);
    assert!(offset_of!(DRIVER_EXTENSION, AddDevice) == 0x08);

    assert!(offset_of!(DEVICE_OBJECT, DriverObject) == 0x08);
    assert!(offset_of!(DEVICE_OBJECT, AttachedDevice) == 0x18);
    assert!(offset_of!(DEVICE_OBJECT, Flags) == 0x30);
    assert!(offset_of!(DEVICE_OBJECT, Characteristics) == 0x34);
    assert!(offset_of!(DEVICE_OBJECT, DeviceExtension) == 0x40);
    assert!(offset_of!(DEVICE_OBJECT, DeviceType) == 0x48);
    assert!(offset_of!(DEVICE_OBJECT, StackSize) == 0x4C);

    assert!(offset_of!(DEVICE_RELATIONS, Objects) == 0x08);
    assert!(size_of::<DEVICE_CAPABILITIES>() == 0x40);
    assert!(offset_of!(DEVICE_CAPABILITIES, Address) == 0x08);
    assert!(offset_of!(DEVICE_CAPABILITIES, DeviceState) == 0x10);
    assert!(size_of::<CM_PARTIAL_RESOURCE_DESCRIPTOR>() == 20);
    assert!(offset_of!(CM_RESOURCE_LIST, List) == 4);
    assert!(offset_of!(CM_FULL_RESOURCE_DESCRIPTOR, PartialResourceList) == 8);
    assert!(offset_of!(CM_PARTIAL_RESOURCE_LIST, PartialDescriptors) == 8);

    assert!(size_of::<KEVENT>() == 0x18);
    assert!(size_of::<KDPC>() == 0x40);
    assert!(size_of::<KTIMER>() == 0x40);
    assert!(size_of::<KSPIN_LOCK>() == 8);
    assert!(size_of::<IO_REMOVE_LOCK>() == 0x20);
    assert!(size_of::<UNICODE_STRING>() == 0x10);
    assert!(size_of::<OBJECT_ATTRIBUTES>() == 0x30);
    assert!(size_of::<OSVERSIONINFOW>() == 0x114);
    assert!(offset_of!(KEY_VALUE_PARTIAL_INFORMATION, Data) == 12);
    assert!(offset_of!(KEY_BASIC_INFORMATION, Name) == 16);
    assert!(offset_of!(FILE_OBJECT, DeviceObject) == 8);
    assert!(offset_of!(SE_EXPORTS, SeLocalSystemSid) == 0x108);
    assert!(offset_of!(SE_EXPORTS, SeAliasAdminsSid) == 0x110);
    assert!(size_of::<SECURITY_DESCRIPTOR>() == 0x28);
    assert!(offset_of!(IO_ERROR_LOG_PACKET, StringOffset) == 6);
    assert!(offset_of!(IO_ERROR_LOG_PACKET, ErrorCode) == 0x0C);
    assert!(offset_of!(IO_ERROR_LOG_PACKET, DumpData) == 0x28);
    assert!(size_of::<KBUGCHECK_REASON_CALLBACK_RECORD>() == 0x30);
    assert!(size_of::<KBUGCHECK_CALLBACK_RECORD>() == 0x40);
    assert!(offset_of!(DEVICE_INTERFACE_CHANGE_NOTIFICATION, SymbolicLinkName) == 0x28);
};
