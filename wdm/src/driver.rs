//! The driver object, and the routines the I/O manager calls.
#![expect(unsafe_code, reason = "fills the dispatch table and is called through it")]

use wdk_sys::{
    DRIVER_OBJECT, IRP_MJ_PNP, IRP_MJ_POWER, IRP_MJ_SYSTEM_CONTROL, NTSTATUS, PDEVICE_OBJECT, PDRIVER_OBJECT,
    PIRP, PUNICODE_STRING, PVOID, ULONG,
    ntddk::{
        IoEnumerateDeviceObjectList, IoRegisterBootDriverReinitialization, IoRegisterDriverReinitialization,
    },
};

use alloc::vec::Vec;

use crate::{Device, DeviceObject, DeviceReference, Disposition, Irp, NtStatus, Result, no_execute, pool};

/// A driver object. It stays valid until the driver is unloaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DriverObject(PDRIVER_OBJECT);

// SAFETY: a driver object may be used from any thread.
unsafe impl Send for DriverObject {}
// SAFETY: as above.
unsafe impl Sync for DriverObject {}

impl DriverObject {
    /// Returns the driver object at `driver`.
    ///
    /// # Safety
    /// `driver` is a driver object that stays loaded while the handle is used.
    #[must_use]
    pub const unsafe fn from_raw(driver: PDRIVER_OBJECT) -> Self {
        Self(driver)
    }

    /// Returns its address.
    #[must_use]
    pub const fn as_ptr(self) -> PDRIVER_OBJECT {
        self.0
    }

    /// Returns its name, `\Driver\xenvbd`, as long as the driver object lives.
    #[must_use]
    pub fn name(&self) -> &[u16] {
        // SAFETY: DriverName is set when the driver object is made and never changes.
        unsafe { counted(&raw const (*self.0).DriverName) }
    }

    /// Returns the first byte of its image and the image's size.
    #[must_use]
    pub fn image(self) -> (*const u8, usize) {
        // SAFETY: both fields are set before DriverEntry is called and never change.
        unsafe { ((*self.0).DriverStart.cast_const().cast(), (*self.0).DriverSize as usize) }
    }

    /// Returns its device objects, referenced. IRQL ≤ DISPATCH_LEVEL.
    ///
    /// # Errors
    /// `INSUFFICIENT_RESOURCES`.
    pub fn devices(self) -> Result<Vec<DeviceReference>> {
        let mut room = 8;
        loop {
            let mut list = pool::try_vec::<usize>(room)?;
            let mut devices = Vec::new();
            devices.try_reserve_exact(room).map_err(|_| NtStatus::INSUFFICIENT_RESOURCES)?;
            let (bytes, mut count) = (size_of_val(&list[..]) as ULONG, 0);
            // SAFETY: a driver object, and room for as many addresses as is said.
            let status = NtStatus(unsafe {
                IoEnumerateDeviceObjectList(self.0, list.as_mut_ptr().cast(), bytes, &raw mut count)
            });
            // What fits is there in either case, each with a reference to give back.
            for &device in &list {
                // SAFETY: null, or a device object that the routine has referenced for us.
                let owned = unsafe {
                    DeviceObject::from_raw(device as PDEVICE_OBJECT)
                        .map(|device| DeviceReference::from_owned(device))
                };
                devices.extend(owned);
            }
            if status != NtStatus::BUFFER_TOO_SMALL {
                return status.to_result().map(|()| devices);
            }
            room = room.max(count as usize) + 8;
        }
    }

    /// Has `routine` called once, when all boot drivers are started (IoRegisterBootDriverReinitialization)
    /// or all system drivers too (`late`, IoRegisterDriverReinitialization), at PASSIVE_LEVEL in a
    /// system thread. Callable from DriverEntry only.
    pub fn reinitialize(self, late: bool, routine: fn(DriverObject)) {
        let context = routine as PVOID;
        // SAFETY: the thunk matches PDRIVER_REINITIALIZE, and its context is the routine.
        unsafe {
            if late {
                IoRegisterDriverReinitialization(self.0, Some(reinitialize), context);
            } else {
                IoRegisterBootDriverReinitialization(self.0, Some(reinitialize), context);
            }
        }
    }
}

unsafe extern "C" fn reinitialize(driver: PDRIVER_OBJECT, context: PVOID, _: ULONG) {
    // SAFETY: the context is the function that `DriverObject::reinitialize` was given; the driver object
    // is the registering driver's.
    let (routine, driver) =
        unsafe { (core::mem::transmute::<PVOID, fn(DriverObject)>(context), DriverObject::from_raw(driver)) };
    routine(driver);
}

/// Returns the units of a UNICODE_STRING.
///
/// # Safety
/// `text` is null or points at a string that stays valid for `'a`.
pub(crate) unsafe fn counted<'a>(text: *const wdk_sys::UNICODE_STRING) -> &'a [u16] {
    // SAFETY: by contract; Length counts bytes.
    unsafe {
        match text.as_ref() {
            Some(text) if !text.Buffer.is_null() => {
                core::slice::from_raw_parts(text.Buffer, usize::from(text.Length) / 2)
            }
            _ => &[],
        }
    }
}

/// A WDM driver. Name the type in [`driver_entry!`](crate::driver_entry).
pub trait Driver: Sized + 'static {
    /// The extension of every device object of this driver: an enum where there are several kinds.
    type Extension: Send + Sync + 'static;

    /// True if the driver may be unloaded.
    const UNLOADS: bool;

    /// Carries out DriverEntry. `registry_path` is the service's key. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// A failure keeps the driver from loading.
    fn entry(driver: DriverObject, registry_path: &[u16]) -> Result;

    /// Carries out AddDevice: `pdo` is the PDO of a device that this driver is to serve or filter.
    /// PASSIVE_LEVEL.
    ///
    /// # Errors
    /// A function driver's failure keeps the device from starting. A filter's does not: NT builds the stack
    /// without it, so a filter acts on its failure itself.
    fn add_device(driver: DriverObject, pdo: DeviceObject) -> Result;

    /// Handles IRP_MJ_PNP. PASSIVE_LEVEL.
    fn pnp(device: Device<Self::Extension>, irp: Irp) -> Disposition;

    /// Handles IRP_MJ_POWER. IRQL ≤ DISPATCH_LEVEL where a device of the stack has no DO_POWER_PAGABLE.
    fn power(device: Device<Self::Extension>, irp: Irp) -> Disposition;

    /// Handles IRP_MJ_SYSTEM_CONTROL (WMI). PASSIVE_LEVEL.
    fn system_control(device: Device<Self::Extension>, irp: Irp) -> Disposition {
        Self::other(device, irp)
    }

    /// Handles every other major function: a filter forwards it, a PDO refuses it.
    fn other(device: Device<Self::Extension>, irp: Irp) -> Disposition;

    /// Carries out DriverUnload, if [`UNLOADS`](Self::UNLOADS). PASSIVE_LEVEL; no device is left.
    fn unload(_driver: DriverObject) {}
}

/// Fills the dispatch table and calls [`Driver::entry`]; [`driver_entry!`](crate::driver_entry) calls it.
///
/// # Safety
/// Only DriverEntry calls this, with what it was given.
#[must_use]
pub unsafe fn enter<D: Driver>(driver: PDRIVER_OBJECT, registry_path: PUNICODE_STRING) -> NTSTATUS {
    // SAFETY: DriverEntry's arguments are a driver object and a counted string; nobody else looks at
    // the driver object before DriverEntry returns.
    let (object, path) = unsafe {
        let table: &mut DRIVER_OBJECT = &mut *driver;
        table.MajorFunction.fill(Some(dispatch::<D>));
        (*table.DriverExtension).AddDevice = Some(add_device::<D>);
        if D::UNLOADS {
            table.DriverUnload = Some(unload::<D>);
        }
        (DriverObject::from_raw(driver), counted(registry_path))
    };
    no_execute::look_up();
    NtStatus::from(D::entry(object, path)).0
}

unsafe extern "C" fn add_device<D: Driver>(driver: PDRIVER_OBJECT, pdo: PDEVICE_OBJECT) -> NTSTATUS {
    // SAFETY: PnP calls with this driver's object and a PDO, both valid across the call and, for the
    // PDO, as long as this driver's device is attached to it.
    let (driver, pdo) = unsafe { (DriverObject::from_raw(driver), DeviceObject::from_raw(pdo)) };
    match pdo {
        Some(pdo) => NtStatus::from(D::add_device(driver, pdo)).0,
        None => NtStatus::NO_SUCH_DEVICE.0,
    }
}

unsafe extern "C" fn dispatch<D: Driver>(device: PDEVICE_OBJECT, irp: PIRP) -> NTSTATUS {
    // SAFETY: the I/O manager calls with a device object of this driver, which `Device::create` made
    // with D's extension, and with an IRP that is this driver's until it passes it on.
    let (device, irp) = unsafe {
        let Some(object) = DeviceObject::from_raw(device) else { return NtStatus::NO_SUCH_DEVICE.0 };
        (Device::<D::Extension>::from_object(object), Irp::from_raw(irp))
    };
    let disposition = match u32::from(irp.major()) {
        IRP_MJ_PNP => D::pnp(device, irp),
        IRP_MJ_POWER => D::power(device, irp),
        IRP_MJ_SYSTEM_CONTROL => D::system_control(device, irp),
        _ => D::other(device, irp),
    };
    disposition.status().0
}

unsafe extern "C" fn unload<D: Driver>(driver: PDRIVER_OBJECT) {
    // SAFETY: the driver object being unloaded is valid across the call.
    D::unload(unsafe { DriverObject::from_raw(driver) });
}

/// Calls the entry of a driver that has no devices; [`entry_without_devices!`](crate::entry_without_devices)
/// calls it.
///
/// # Safety
/// Only DriverEntry calls this, with what it was given.
#[must_use]
pub unsafe fn enter_alone(driver: PDRIVER_OBJECT, entry: fn(DriverObject)) -> NTSTATUS {
    // SAFETY: DriverEntry's argument is a driver object, which nobody else looks at before DriverEntry
    // returns.
    let object = unsafe {
        (*driver).DriverUnload = Some(unload_alone);
        DriverObject::from_raw(driver)
    };
    no_execute::look_up();
    entry(object);
    NtStatus::SUCCESS.0
}

unsafe extern "C" fn unload_alone(_: PDRIVER_OBJECT) {}

/// Defines `DriverEntry` of a driver that does its work there, makes no device and serves none:
/// `wdm::entry_without_devices!(look);`. It stays loaded, since a boot driver that fails is an error to the
/// service control manager, and may be unloaded. The routine lies in the discardable INIT section.
#[macro_export]
macro_rules! entry_without_devices {
    ($entry:path) => {
        /// Starts the driver: the image's entry point.
        ///
        /// # Safety
        /// Only the I/O manager calls it, once, with the driver object and the path of the service's key.
        #[expect(unsafe_code, reason = "the entry point the loader calls by name")]
        #[unsafe(no_mangle)]
        #[unsafe(link_section = "INIT")]
        pub unsafe extern "system" fn DriverEntry(
            driver: $crate::raw::PDRIVER_OBJECT,
            _: $crate::raw::PUNICODE_STRING,
        ) -> $crate::raw::NTSTATUS {
            // SAFETY: by contract.
            unsafe { $crate::driver::enter_alone(driver, $entry) }
        }
    };
}

/// Defines `DriverEntry` for a [`Driver`]: `wdm::driver_entry!(Idefilter);`. The routine lies in the
/// discardable INIT section.
#[macro_export]
macro_rules! driver_entry {
    ($driver:ty) => {
        /// Starts the driver: the image's entry point.
        ///
        /// # Safety
        /// Only the I/O manager calls it, once, with the driver object and the path of the service's key.
        #[expect(unsafe_code, reason = "the entry point the loader calls by name")]
        #[unsafe(no_mangle)]
        #[unsafe(link_section = "INIT")]
        pub unsafe extern "system" fn DriverEntry(
            driver: $crate::raw::PDRIVER_OBJECT,
            registry_path: $crate::raw::PUNICODE_STRING,
        ) -> $crate::raw::NTSTATUS {
            // SAFETY: by contract.
            unsafe { $crate::driver::enter::<$driver>(driver, registry_path) }
        }
    };
}
