//! One driver's part of an IRP: what is asked, and with what parameters.
#![expect(unsafe_code, reason = "reads the parameter union that the major and minor function select")]

use core::marker::PhantomData;

use wdk_sys::{
    _POWER_STATE_TYPE, IO_RESOURCE_REQUIREMENTS_LIST, IO_STACK_LOCATION, IRP_MJ_DEVICE_CONTROL,
    IRP_MJ_INTERNAL_DEVICE_CONTROL, IRP_MJ_PNP, IRP_MJ_POWER, IRP_MN_QUERY_POWER, IRP_MN_SET_POWER,
};

use crate::irp_queue::FileId;
use crate::pnp::{Capabilities, IdType, Minor, RelationsType, TextType, Usage};
use crate::resources::Resources;

/// A stack location of an IRP that this driver owns. A getter answers `None` for an IRP that has no
/// such parameter.
#[derive(Clone, Copy)]
pub struct StackLocation<'a> {
    raw: *const IO_STACK_LOCATION,
    irp: PhantomData<&'a IO_STACK_LOCATION>,
}

/// The parameters of IRP_MJ_DEVICE_CONTROL.
#[derive(Clone, Copy, Debug)]
pub struct DeviceControl {
    /// IoControlCode.
    pub code: u32,
    /// Bytes of input.
    pub input_length: usize,
    /// Bytes of output the caller has room for.
    pub output_length: usize,
}

/// The state a power IRP is about: numbers as in SYSTEM_POWER_STATE and DEVICE_POWER_STATE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PowerState {
    /// S-state plus one: 1 is working, 6 is shutdown.
    System(u32),
    /// D-state plus one: 1 is D0, 4 is D3.
    Device(u32),
}

impl<'a> StackLocation<'a> {
    /// # Safety
    /// `raw` is a stack location that is valid for `'a`.
    pub(crate) const unsafe fn from_raw(raw: *const IO_STACK_LOCATION) -> Self {
        Self { raw, irp: PhantomData }
    }

    const fn get(&self) -> &'a IO_STACK_LOCATION {
        // SAFETY: valid for 'a by `from_raw`'s contract.
        unsafe { &*self.raw }
    }

    /// Returns the major function.
    #[must_use]
    pub const fn major(&self) -> u8 {
        self.get().MajorFunction
    }

    /// Returns the minor function.
    #[must_use]
    pub const fn minor(&self) -> u8 {
        self.get().MinorFunction
    }

    /// Returns the file that the request was sent through; `None` for a request of a driver's own.
    #[must_use]
    pub const fn file(&self) -> Option<FileId> {
        FileId::new(self.get().FileObject)
    }

    /// Returns the minor function of a PnP IRP.
    #[must_use]
    pub fn pnp(&self) -> Option<Minor> {
        (u32::from(self.major()) == IRP_MJ_PNP).then(|| Minor::from_number(self.minor()))
    }

    fn is(&self, minor: Minor) -> bool {
        self.pnp() == Some(minor)
    }

    /// Returns which relations IRP_MN_QUERY_DEVICE_RELATIONS asks for.
    #[must_use]
    pub fn relations_type(&self) -> Option<RelationsType> {
        // SAFETY: the live member of the union for this minor function.
        self.is(Minor::QueryDeviceRelations)
            .then(|| RelationsType(unsafe { self.get().Parameters.QueryDeviceRelations.Type }))
    }

    /// Returns which identification IRP_MN_QUERY_ID asks for.
    #[must_use]
    pub fn id_type(&self) -> Option<IdType> {
        // SAFETY: the live member of the union for this minor function.
        self.is(Minor::QueryId).then(|| IdType(unsafe { self.get().Parameters.QueryId.IdType }))
    }

    /// Returns which text IRP_MN_QUERY_DEVICE_TEXT asks for.
    #[must_use]
    pub fn text_type(&self) -> Option<TextType> {
        // SAFETY: the live member of the union for this minor function.
        self.is(Minor::QueryDeviceText)
            .then(|| TextType(unsafe { self.get().Parameters.QueryDeviceText.DeviceTextType }))
    }

    /// Returns the special file of IRP_MN_DEVICE_USAGE_NOTIFICATION, and true if it comes.
    #[must_use]
    pub fn usage(&self) -> Option<(Usage, bool)> {
        self.is(Minor::DeviceUsageNotification).then(|| {
            // SAFETY: the live member of the union for this minor function.
            let usage = unsafe { self.get().Parameters.UsageNotification };
            (Usage(usage.Type), usage.InPath != 0)
        })
    }

    /// Returns the resources of IRP_MN_START_DEVICE as the bus sees them.
    #[must_use]
    pub fn raw_resources(&self) -> Option<Resources<'a>> {
        // SAFETY: the live member of the union; the list is valid while the IRP is handled.
        self.is(Minor::StartDevice)
            .then(|| unsafe { Resources::from_raw(self.get().Parameters.StartDevice.AllocatedResources) })
    }

    /// Returns the resources of IRP_MN_START_DEVICE as the processor sees them.
    #[must_use]
    pub fn translated_resources(&self) -> Option<Resources<'a>> {
        // SAFETY: as above.
        self.is(Minor::StartDevice).then(|| unsafe {
            Resources::from_raw(self.get().Parameters.StartDevice.AllocatedResourcesTranslated)
        })
    }

    /// Returns the list of IRP_MN_FILTER_RESOURCE_REQUIREMENTS as the bus driver made it, or null.
    pub(crate) fn requirements(&self) -> *const IO_RESOURCE_REQUIREMENTS_LIST {
        if !self.is(Minor::FilterResourceRequirements) {
            return core::ptr::null();
        }
        // SAFETY: the live member of the union for this minor function.
        unsafe { self.get().Parameters.FilterResourceRequirements.IoResourceRequirementList }
    }

    /// Returns the structure to fill for IRP_MN_QUERY_CAPABILITIES. `None` also for a version other than 1.
    #[must_use]
    pub fn capabilities(&self) -> Option<Capabilities<'a>> {
        if !self.is(Minor::QueryCapabilities) {
            return None;
        }
        // SAFETY: the live member of the union; the structure is the sender's, valid while the IRP is
        // handled, and only the driver that owns the IRP touches it.
        unsafe { Capabilities::from_raw(self.get().Parameters.DeviceCapabilities.Capabilities) }
    }

    /// Returns the code and the lengths of IRP_MJ_DEVICE_CONTROL or IRP_MJ_INTERNAL_DEVICE_CONTROL.
    #[must_use]
    pub fn device_control(&self) -> Option<DeviceControl> {
        if !matches!(u32::from(self.major()), IRP_MJ_DEVICE_CONTROL | IRP_MJ_INTERNAL_DEVICE_CONTROL) {
            return None;
        }
        // SAFETY: the live member of the union for these functions.
        let control = unsafe { self.get().Parameters.DeviceIoControl };
        Some(DeviceControl {
            code: control.IoControlCode,
            input_length: control.InputBufferLength as usize,
            output_length: control.OutputBufferLength as usize,
        })
    }

    /// Returns the state of IRP_MN_SET_POWER or IRP_MN_QUERY_POWER.
    #[must_use]
    pub fn power_state(&self) -> Option<PowerState> {
        let asks_state = matches!(u32::from(self.minor()), IRP_MN_SET_POWER | IRP_MN_QUERY_POWER);
        if u32::from(self.major()) != IRP_MJ_POWER || !asks_state {
            return None;
        }
        // SAFETY: the live member of the union for these functions; both states are integers.
        unsafe {
            let power = self.get().Parameters.Power;
            Some(if power.Type == _POWER_STATE_TYPE::SystemPowerState {
                PowerState::System(power.State.SystemState)
            } else {
                PowerState::Device(power.State.DeviceState)
            })
        }
    }

    /// Returns true if a power IRP sets the state (IRP_MN_SET_POWER) rather than asks about it.
    #[must_use]
    pub fn sets_power(&self) -> bool {
        u32::from(self.major()) == IRP_MJ_POWER && u32::from(self.minor()) == IRP_MN_SET_POWER
    }
}
