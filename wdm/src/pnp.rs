//! Types for IRP_MJ_PNP requests.
#![expect(unsafe_code, reason = "fills the sender's DEVICE_CAPABILITIES")]

use wdk_sys::{
    _BUS_QUERY_ID_TYPE, _DEVICE_POWER_STATE, _DEVICE_RELATION_TYPE, _DEVICE_TEXT_TYPE,
    _DEVICE_USAGE_NOTIFICATION_TYPE, DEVICE_CAPABILITIES, PDEVICE_CAPABILITIES,
};

macro_rules! minors {
    ($($(#[$doc:meta])* $name:ident = $number:literal,)*) => {
        /// The minor functions of IRP_MJ_PNP (wdm.h, IRP_MN_xxx).
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Minor {
            $($(#[$doc])* $name,)*
            /// A function this crate has no name for.
            Other(u8),
        }

        impl Minor {
            /// Returns the function with this number.
            #[must_use]
            pub const fn from_number(number: u8) -> Self {
                match number { $($number => Self::$name,)* other => Self::Other(other) }
            }

            /// Returns the function's number.
            #[must_use]
            pub const fn number(self) -> u8 {
                match self { $(Self::$name => $number,)* Self::Other(other) => other }
            }
        }
    };
}

minors! {
    /// Start with the given resources.
    StartDevice = 0x00,
    /// May the device be removed?
    QueryRemoveDevice = 0x01,
    /// The device is removed: the last request.
    RemoveDevice = 0x02,
    /// It is not removed after all.
    CancelRemoveDevice = 0x03,
    /// Stop, to be started again with other resources.
    StopDevice = 0x04,
    /// May the device be stopped?
    QueryStopDevice = 0x05,
    /// It is not stopped after all.
    CancelStopDevice = 0x06,
    /// Children and other relations.
    QueryDeviceRelations = 0x07,
    /// A direct-call interface.
    QueryInterface = 0x08,
    /// Capabilities.
    QueryCapabilities = 0x09,
    /// Resources in use at boot.
    QueryResources = 0x0A,
    /// Resources that are needed.
    QueryResourceRequirements = 0x0B,
    /// Description or location.
    QueryDeviceText = 0x0C,
    /// Change the resource requirements.
    FilterResourceRequirements = 0x0D,
    /// Read configuration space.
    ReadConfig = 0x0F,
    /// Write configuration space.
    WriteConfig = 0x10,
    /// Eject.
    Eject = 0x11,
    /// Lock or unlock.
    SetLock = 0x12,
    /// Identification strings.
    QueryId = 0x13,
    /// Disabled, removed, failed, …
    QueryPnpDeviceState = 0x14,
    /// The bus's type and number.
    QueryBusInformation = 0x15,
    /// A paging, dump or hibernation file comes or goes.
    DeviceUsageNotification = 0x16,
    /// The device is gone without warning.
    SurpriseRemoval = 0x17,
    /// The device is enumerated (NT 6.1 and later).
    DeviceEnumerated = 0x19,
}

macro_rules! numbers {
    ($(#[$type_doc:meta])* $type:ident: $repr:ty { $($(#[$doc:meta])* $name:ident = $value:expr,)* }) => {
        $(#[$type_doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub struct $type(pub $repr);
        impl $type { $($(#[$doc])* pub const $name: Self = Self($value);)* }
    };
}

numbers! {
    /// DEVICE_RELATION_TYPE.
    RelationsType: wdk_sys::DEVICE_RELATION_TYPE {
        /// The children of a bus.
        BUS = _DEVICE_RELATION_TYPE::BusRelations,
        /// The devices that leave with the device when it is ejected.
        EJECTION = _DEVICE_RELATION_TYPE::EjectionRelations,
        /// The devices that leave with the device when it is removed.
        REMOVAL = _DEVICE_RELATION_TYPE::RemovalRelations,
        /// The PDO of the stack.
        TARGET = _DEVICE_RELATION_TYPE::TargetDeviceRelation,
    }
}

numbers! {
    /// BUS_QUERY_ID_TYPE.
    IdType: wdk_sys::BUS_QUERY_ID_TYPE {
        /// One string.
        DEVICE = _BUS_QUERY_ID_TYPE::BusQueryDeviceID,
        /// A list, best first.
        HARDWARE = _BUS_QUERY_ID_TYPE::BusQueryHardwareIDs,
        /// A list, best first.
        COMPATIBLE = _BUS_QUERY_ID_TYPE::BusQueryCompatibleIDs,
        /// One string, unique on the bus.
        INSTANCE = _BUS_QUERY_ID_TYPE::BusQueryInstanceID,
    }
}

numbers! {
    /// DEVICE_TEXT_TYPE.
    TextType: wdk_sys::DEVICE_TEXT_TYPE {
        /// A description of the device, for the user.
        DESCRIPTION = _DEVICE_TEXT_TYPE::DeviceTextDescription,
        /// The device's location.
        LOCATION = _DEVICE_TEXT_TYPE::DeviceTextLocationInformation,
    }
}

/// PNP_DEVICE_NOT_DISABLEABLE, a bit of the answer to IRP_MN_QUERY_PNP_DEVICE_STATE.
pub const NOT_DISABLEABLE: usize = 0x20;

numbers! {
    /// DEVICE_USAGE_NOTIFICATION_TYPE.
    Usage: wdk_sys::DEVICE_USAGE_NOTIFICATION_TYPE {
        /// A paging file.
        PAGING = _DEVICE_USAGE_NOTIFICATION_TYPE::DeviceUsageTypePaging,
        /// The hibernation file.
        HIBERNATION = _DEVICE_USAGE_NOTIFICATION_TYPE::DeviceUsageTypeHibernation,
        /// The crash dump file.
        DUMP = _DEVICE_USAGE_NOTIFICATION_TYPE::DeviceUsageTypeDumpFile,
    }
}

/// The sender's DEVICE_CAPABILITIES, to be filled by a bus driver for its PDO.
pub struct Capabilities<'a>(&'a mut DEVICE_CAPABILITIES);

/// Numbers of SYSTEM_POWER_STATE.
const SYSTEM_STATES: usize = wdk_sys::_SYSTEM_POWER_STATE::PowerSystemMaximum as usize;

/// The DeviceState capability: a DEVICE_POWER_STATE for each SYSTEM_POWER_STATE.
#[derive(Clone, Copy, Debug)]
pub struct DeviceStates([wdk_sys::DEVICE_POWER_STATE; SYSTEM_STATES]);

impl DeviceStates {
    /// D0 while the system works, and D3 in every other state.
    pub const WORKING_OR_OFF: Self = {
        let mut states = [_DEVICE_POWER_STATE::PowerDeviceD3; SYSTEM_STATES];
        states[wdk_sys::_SYSTEM_POWER_STATE::PowerSystemWorking as usize] =
            _DEVICE_POWER_STATE::PowerDeviceD0;
        Self(states)
    };

    /// Returns the device power state that belongs to a system power state; D3 where the bus driver names none.
    #[must_use]
    pub fn of(&self, system: u32) -> u32 {
        let named = self.0.get(system as usize).copied();
        named.filter(|&state| state != 0).unwrap_or(_DEVICE_POWER_STATE::PowerDeviceD3)
    }
}

impl Capabilities<'_> {
    /// # Safety
    /// `raw` is null or a structure that is valid, and only this driver's to touch, for the lifetime.
    pub(crate) unsafe fn from_raw(raw: PDEVICE_CAPABILITIES) -> Option<Self> {
        // SAFETY: by contract.
        let capabilities = unsafe { raw.as_mut()? };
        let fits =
            capabilities.Version == 1 && usize::from(capabilities.Size) >= size_of::<DEVICE_CAPABILITIES>();
        fits.then_some(Self(capabilities))
    }

    /// Fills what a fixed child of a virtual bus has: `address`, globally unique instance ids or not,
    /// installed without questions, not removable, D0 while the system works and D3 otherwise.
    pub fn fill_fixed_child(&mut self, address: u32, unique_id: bool) {
        let capabilities = &mut *self.0;
        capabilities.set_UniqueID(unique_id.into());
        capabilities.set_SilentInstall(1);
        capabilities.set_RawDeviceOK(0);
        capabilities.set_Removable(0);
        capabilities.set_EjectSupported(0);
        capabilities.set_SurpriseRemovalOK(0);
        capabilities.Address = address;
        capabilities.DeviceState = DeviceStates::WORKING_OR_OFF.0;
    }

    /// Returns the device power state (1 is D0, 4 is D3) that belongs to each system power state, by its number.
    #[must_use]
    pub const fn device_states(&self) -> DeviceStates {
        DeviceStates(self.0.DeviceState)
    }

    /// Returns the Address capability: for a PCI function device << 16 | function.
    #[must_use]
    pub const fn address(&self) -> u32 {
        self.0.Address
    }
}
