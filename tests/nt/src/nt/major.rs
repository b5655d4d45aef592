//! `IRP_MJ_` and `IRP_MN_` codes (wdm.h).

macro_rules! codes {
    ($($name:ident = $value:literal;)*) => {$(
        #[doc = concat!("`", stringify!($name), "`.")]
        pub(crate) const $name: u8 = $value;
    )*};
}

codes! {
    IRP_MJ_CREATE = 0x00;
    IRP_MJ_CLOSE = 0x02;
    IRP_MJ_READ = 0x03;
    IRP_MJ_WRITE = 0x04;
    IRP_MJ_FLUSH_BUFFERS = 0x09;
    IRP_MJ_DEVICE_CONTROL = 0x0E;
    IRP_MJ_INTERNAL_DEVICE_CONTROL = 0x0F;
    IRP_MJ_SCSI = 0x0F;
    IRP_MJ_SHUTDOWN = 0x10;
    IRP_MJ_CLEANUP = 0x12;
    IRP_MJ_POWER = 0x16;
    IRP_MJ_SYSTEM_CONTROL = 0x17;
    IRP_MJ_PNP = 0x1B;

    IRP_MN_START_DEVICE = 0x00;
    IRP_MN_QUERY_REMOVE_DEVICE = 0x01;
    IRP_MN_REMOVE_DEVICE = 0x02;
    IRP_MN_CANCEL_REMOVE_DEVICE = 0x03;
    IRP_MN_STOP_DEVICE = 0x04;
    IRP_MN_QUERY_STOP_DEVICE = 0x05;
    IRP_MN_CANCEL_STOP_DEVICE = 0x06;
    IRP_MN_QUERY_DEVICE_RELATIONS = 0x07;
    IRP_MN_QUERY_CAPABILITIES = 0x09;
    IRP_MN_QUERY_RESOURCES = 0x0A;
    IRP_MN_QUERY_RESOURCE_REQUIREMENTS = 0x0B;
    IRP_MN_QUERY_DEVICE_TEXT = 0x0C;
    IRP_MN_FILTER_RESOURCE_REQUIREMENTS = 0x0D;
    IRP_MN_READ_CONFIG = 0x0F;
    IRP_MN_EJECT = 0x11;
    IRP_MN_QUERY_ID = 0x13;
    IRP_MN_QUERY_PNP_DEVICE_STATE = 0x14;
    IRP_MN_QUERY_BUS_INFORMATION = 0x15;
    IRP_MN_DEVICE_USAGE_NOTIFICATION = 0x16;
    IRP_MN_SURPRISE_REMOVAL = 0x17;

    IRP_MN_SET_POWER = 0x02;
    IRP_MN_QUERY_POWER = 0x03;
}

/// `BusRelations`.
pub(crate) const BUS_RELATIONS: u32 = 0;
/// `TargetDeviceRelation`.
pub(crate) const TARGET_DEVICE_RELATION: u32 = 4;

/// `BusQueryDeviceID`.
pub(crate) const BUS_QUERY_DEVICE_ID: u32 = 0;
/// `BusQueryHardwareIDs`.
pub(crate) const BUS_QUERY_HARDWARE_IDS: u32 = 1;
/// `BusQueryCompatibleIDs`.
pub(crate) const BUS_QUERY_COMPATIBLE_IDS: u32 = 2;
/// `BusQueryInstanceID`.
pub(crate) const BUS_QUERY_INSTANCE_ID: u32 = 3;

/// `DeviceTextDescription`.
pub(crate) const DEVICE_TEXT_DESCRIPTION: u32 = 0;
/// `DeviceTextLocationInformation`.
pub(crate) const DEVICE_TEXT_LOCATION_INFORMATION: u32 = 1;

/// `SystemPowerState` as `POWER_STATE_TYPE`.
pub(crate) const SYSTEM_POWER_STATE: u32 = 0;
/// `DevicePowerState` as `POWER_STATE_TYPE`.
pub(crate) const DEVICE_POWER_STATE: u32 = 1;
/// `PowerSystemShutdown`.
pub(crate) const POWER_SYSTEM_SHUTDOWN: u32 = 6;
/// `PowerSystemHibernate`.
pub(crate) const POWER_SYSTEM_HIBERNATE: u32 = 5;
/// `PowerSystemWorking`.
pub(crate) const POWER_SYSTEM_WORKING: u32 = 1;
/// `PowerSystemSleeping3`.
pub(crate) const POWER_SYSTEM_SLEEPING3: u32 = 4;
/// `PowerDeviceD0`.
pub(crate) const POWER_DEVICE_D0: u32 = 1;
/// `PowerDeviceD3`.
pub(crate) const POWER_DEVICE_D3: u32 = 4;
/// `PowerActionSleep`.
pub(crate) const POWER_ACTION_SLEEP: u32 = 2;
/// `PowerActionHibernate`.
pub(crate) const POWER_ACTION_HIBERNATE: u32 = 3;
/// `PowerActionShutdownOff`.
pub(crate) const POWER_ACTION_SHUTDOWN_OFF: u32 = 6;
