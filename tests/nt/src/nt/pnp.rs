//! Plug and play: capabilities, interfaces, notifications, device properties (wdm.h).

use super::def::{Guid, Pvoid, UnicodeString};
use super::status::NtStatus;
use crate::layout;

/// `DEVICE_CAPABILITIES`. `bits` are the documented flags from `DeviceD1` (bit 0) on.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct DeviceCapabilities {
    pub size: u16,
    pub version: u16,
    pub bits: u32,
    pub address: u32,
    pub ui_number: u32,
    pub device_state: [u32; 7],
    pub system_wake: u32,
    pub device_wake: u32,
    pub d1_latency: u32,
    pub d2_latency: u32,
    pub d3_latency: u32,
}
layout!(DeviceCapabilities, 0x40, bits @ 4, address @ 8, ui_number @ 0xC, device_state @ 0x10, d3_latency @ 0x3C);

/// `EjectSupported` in [`DeviceCapabilities::bits`].
pub(crate) const CAP_EJECT_SUPPORTED: u32 = 1 << 3;
/// `Removable`.
pub(crate) const CAP_REMOVABLE: u32 = 1 << 4;
/// `UniqueID`.
pub(crate) const CAP_UNIQUE_ID: u32 = 1 << 6;
/// `SilentInstall`.
pub(crate) const CAP_SILENT_INSTALL: u32 = 1 << 7;
/// `RawDeviceOK`.
pub(crate) const CAP_RAW_DEVICE_OK: u32 = 1 << 8;

/// `INTERFACE`: the header of every queried interface.
#[repr(C)]
pub(crate) struct Interface {
    pub size: u16,
    pub version: u16,
    pub context: Pvoid,
    pub interface_reference: Option<unsafe extern "win64" fn(context: Pvoid)>,
    pub interface_dereference: Option<unsafe extern "win64" fn(context: Pvoid)>,
}
layout!(Interface, 0x20, context @ 8);

/// `PNP_BUS_INFORMATION`.
#[repr(C)]
pub(crate) struct PnpBusInformation {
    pub bus_type_guid: Guid,
    pub legacy_bus_type: i32,
    pub bus_number: u32,
}
layout!(PnpBusInformation, 0x18);

/// `DRIVER_NOTIFICATION_CALLBACK_ROUTINE`.
pub(crate) type NotificationCallback =
    unsafe extern "win64" fn(notification: Pvoid, context: Pvoid) -> NtStatus;

/// `EventCategoryDeviceInterfaceChange` as `IO_NOTIFICATION_EVENT_CATEGORY`.
pub(crate) const EVENT_CATEGORY_DEVICE_INTERFACE_CHANGE: u32 = 2;
/// `PNPNOTIFY_DEVICE_INTERFACE_INCLUDE_EXISTING_INTERFACES`.
pub(crate) const PNPNOTIFY_INCLUDE_EXISTING_INTERFACES: u32 = 1;

/// `DEVICE_INTERFACE_CHANGE_NOTIFICATION`.
#[repr(C)]
pub(crate) struct DeviceInterfaceChangeNotification {
    pub version: u16,
    pub size: u16,
    pub event: Guid,
    pub interface_class_guid: Guid,
    pub symbolic_link_name: *mut UnicodeString,
}
layout!(DeviceInterfaceChangeNotification, 0x30, event @ 4, interface_class_guid @ 0x14, symbolic_link_name @ 0x28);

/// `GUID_DEVICE_INTERFACE_ARRIVAL`.
pub(crate) const GUID_DEVICE_INTERFACE_ARRIVAL: Guid = Guid {
    data1: 0xcb3a_4004,
    data2: 0x46f0,
    data3: 0x11d0,
    data4: [0xb0, 0x8f, 0x00, 0x60, 0x97, 0x13, 0x05, 0x3f],
};
/// `GUID_DEVICE_INTERFACE_REMOVAL`.
pub(crate) const GUID_DEVICE_INTERFACE_REMOVAL: Guid = Guid {
    data1: 0xcb3a_4005,
    data2: 0x46f0,
    data3: 0x11d0,
    data4: [0xb0, 0x8f, 0x00, 0x60, 0x97, 0x13, 0x05, 0x3f],
};
/// `GUID_BUS_TYPE_PCI`.
pub(crate) const GUID_BUS_TYPE_PCI: Guid = Guid {
    data1: 0xc8eb_df49,
    data2: 0x2d5a,
    data3: 0x11d1,
    data4: [0x93, 0xe6, 0x00, 0xa0, 0xc9, 0x0d, 0x59, 0xe2],
};
/// `GUID_DEVINTERFACE_DISK`.
pub(crate) const GUID_DEVINTERFACE_DISK: Guid = Guid {
    data1: 0x53f5_6307,
    data2: 0xb6bf,
    data3: 0x11d0,
    data4: [0x94, 0xf2, 0x00, 0xa0, 0xc9, 0x1e, 0xfb, 0x8b],
};
/// `GUID_DEVICE_SYS_BUTTON` (poclass.h).
pub(crate) const GUID_DEVICE_SYS_BUTTON: Guid = Guid {
    data1: 0x4afa_3d53,
    data2: 0x74a7,
    data3: 0x11d0,
    data4: [0xbe, 0x5e, 0x00, 0xa0, 0xc9, 0x06, 0x28, 0x57],
};
/// `GUID_DEVINTERFACE_VOLUME`.
pub(crate) const GUID_DEVINTERFACE_VOLUME: Guid = Guid {
    data1: 0x53f5_630d,
    data2: 0xb6bf,
    data3: 0x11d0,
    data4: [0x94, 0xf2, 0x00, 0xa0, 0xc9, 0x1e, 0xfb, 0x8b],
};

/// `DEVICE_REGISTRY_PROPERTY`.
pub(crate) mod property {
    /// `DevicePropertyDeviceDescription`.
    pub(crate) const DEVICE_DESCRIPTION: u32 = 0;
    /// `DevicePropertyHardwareID`.
    pub(crate) const HARDWARE_ID: u32 = 1;
    /// `DevicePropertyCompatibleIDs`.
    pub(crate) const COMPATIBLE_IDS: u32 = 2;
    /// `DevicePropertyClassGuid`.
    pub(crate) const CLASS_GUID: u32 = 6;
    /// `DevicePropertyLocationInformation`.
    pub(crate) const LOCATION_INFORMATION: u32 = 10;
    /// `DevicePropertyPhysicalDeviceObjectName`.
    pub(crate) const PHYSICAL_DEVICE_OBJECT_NAME: u32 = 11;
    /// `DevicePropertyBusTypeGuid`.
    pub(crate) const BUS_TYPE_GUID: u32 = 12;
    /// `DevicePropertyLegacyBusType`.
    pub(crate) const LEGACY_BUS_TYPE: u32 = 13;
    /// `DevicePropertyBusNumber`.
    pub(crate) const BUS_NUMBER: u32 = 14;
    /// `DevicePropertyEnumeratorName`.
    pub(crate) const ENUMERATOR_NAME: u32 = 15;
    /// `DevicePropertyAddress`.
    pub(crate) const ADDRESS: u32 = 16;
    /// `DevicePropertyUINumber`.
    pub(crate) const UI_NUMBER: u32 = 17;
}

/// `PLUGPLAY_REGKEY_DEVICE`: the device's hardware key.
pub(crate) const PLUGPLAY_REGKEY_DEVICE: u32 = 1;
/// `PLUGPLAY_REGKEY_DRIVER`: the device's software (class instance) key.
pub(crate) const PLUGPLAY_REGKEY_DRIVER: u32 = 2;
/// `DEVICE_INTERFACE_INCLUDE_NONACTIVE` for `IoGetDeviceInterfaces`.
pub(crate) const DEVICE_INTERFACE_INCLUDE_NONACTIVE: u32 = 1;
