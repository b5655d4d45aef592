//! Device objects and their stacks.
#![expect(unsafe_code, reason = "reaches into device objects and their extensions")]

use core::marker::PhantomData;
use core::ops::Deref;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, Ordering};

use wdk_sys::{
    _DEVICE_RELATION_TYPE, DEVICE_OBJECT, DO_BUFFERED_IO, DO_BUS_ENUMERATED_DEVICE, DO_DEVICE_INITIALIZING,
    DO_DIRECT_IO, DO_POWER_INRUSH, DO_POWER_PAGABLE, FILE_DEVICE_SECURE_OPEN, PDEVICE_OBJECT, ULONG,
    UNICODE_STRING,
    ntddk::{
        IoAttachDeviceToDeviceStack, IoCreateDevice, IoDeleteDevice, IoDetachDevice,
        IoGetAttachedDeviceReference, IoGetDeviceAttachmentBaseRef, IoGetLowerDeviceObject,
        IoInvalidateDeviceRelations, IoInvalidateDeviceState, ObfDereferenceObject, ObfReferenceObject,
    },
};

use crate::{
    DriverObject, NtStatus, Result,
    remove_lock::{RemoveGuard, RemoveLock},
    security, shutdown,
    status::check,
    unicode,
    work_item::Reserved,
};

/// A device object, by address: a plain handle that keeps nothing alive. Whoever holds one knows
/// why it stays valid (it is below in the own stack, or in an IRP being handled, or a
/// [`DeviceReference`] is held).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeviceObject(NonNull<DEVICE_OBJECT>);

// SAFETY: a device object may be used from any thread; the I/O manager synchronizes.
unsafe impl Send for DeviceObject {}
// SAFETY: as above.
unsafe impl Sync for DeviceObject {}

impl DeviceObject {
    /// Returns the device object at `device`; `None` for null.
    ///
    /// # Safety
    /// `device` is null or a device object that stays valid while the handle is used.
    #[must_use]
    pub unsafe fn from_raw(device: PDEVICE_OBJECT) -> Option<Self> {
        NonNull::new(device).map(Self)
    }

    /// Returns its address.
    #[must_use]
    pub const fn as_ptr(self) -> PDEVICE_OBJECT {
        self.0.as_ptr()
    }

    /// Takes a counted reference. IRQL ≤ DISPATCH_LEVEL.
    #[must_use]
    pub fn reference(self) -> DeviceReference {
        // SAFETY: a valid object by the handle's contract; the new value owns the count.
        unsafe { ObfReferenceObject(self.as_ptr().cast()) };
        DeviceReference(self)
    }

    /// Returns the driver that owns this device object.
    #[must_use]
    pub fn driver(self) -> DriverObject {
        // SAFETY: DriverObject is set at creation and never changes; it outlives its devices.
        unsafe { DriverObject::from_raw((*self.as_ptr()).DriverObject) }
    }

    /// Returns the top of the stack this device is in, referenced. IRQL ≤ DISPATCH_LEVEL.
    #[must_use]
    pub fn top(self) -> DeviceReference {
        // SAFETY: a valid device object; the routine never returns null and references the result.
        unsafe { DeviceReference(Self(NonNull::new_unchecked(IoGetAttachedDeviceReference(self.as_ptr())))) }
    }

    /// Returns the bottom of the stack this device is in (the PDO), referenced. IRQL ≤ DISPATCH_LEVEL.
    #[must_use]
    pub fn base(self) -> DeviceReference {
        // SAFETY: a valid device object; the routine never returns null and references the result.
        unsafe { DeviceReference(Self(NonNull::new_unchecked(IoGetDeviceAttachmentBaseRef(self.as_ptr())))) }
    }

    /// Returns the next-lower device of the stack, referenced; `None` at the bottom. IRQL ≤ DISPATCH_LEVEL.
    #[must_use]
    pub fn lower(self) -> Option<DeviceReference> {
        // SAFETY: a valid device object; a result that is not null is referenced.
        unsafe { Self::from_raw(IoGetLowerDeviceObject(self.as_ptr())).map(DeviceReference) }
    }

    /// Has PnP query the device's bus relations again, later. The device is a PDO with a device node. IRQL ≤
    /// DISPATCH_LEVEL.
    pub fn invalidate_bus_relations(self) {
        // SAFETY: a PDO by this function's contract.
        unsafe { IoInvalidateDeviceRelations(self.as_ptr(), _DEVICE_RELATION_TYPE::BusRelations) };
    }

    /// Has PnP query the device's state again, later. The device is a PDO with a device node. IRQL ≤ DISPATCH_LEVEL.
    pub fn invalidate_state(self) {
        // SAFETY: a PDO by this function's contract.
        unsafe { IoInvalidateDeviceState(self.as_ptr()) };
    }

    /// Returns DEVICE_OBJECT.DeviceType (FILE_DEVICE_xxx).
    #[must_use]
    pub fn device_type(self) -> u32 {
        // SAFETY: a valid device object by the handle's contract.
        unsafe { (*self.as_ptr()).DeviceType }
    }

    /// Returns DEVICE_OBJECT.Characteristics.
    #[must_use]
    pub fn characteristics(self) -> u32 {
        // SAFETY: a valid device object by the handle's contract.
        unsafe { (*self.as_ptr()).Characteristics }
    }

    /// Returns DEVICE_OBJECT.Flags (DO_xxx).
    #[must_use]
    pub fn flags(self) -> u32 {
        // SAFETY: a valid device object; the word may change under us, hence the volatile read.
        unsafe { (&raw const (*self.as_ptr()).Flags).read_volatile() }
    }

    /// Returns true if a bus has reported it: a PDO that PnP knows.
    #[must_use]
    pub fn is_enumerated(self) -> bool {
        self.flags() & DO_BUS_ENUMERATED_DEVICE != 0
    }

    /// Sets and clears flags of a device object of one's own.
    fn change_flags(self, set: u32, clear: u32) {
        // SAFETY: only a device's own driver gets here, during AddDevice or a PnP IRP, which PnP
        // serializes.
        unsafe {
            let flags = &raw mut (*self.as_ptr()).Flags;
            flags.write_volatile(flags.read_volatile() & !clear | set);
        }
    }
}

/// A counted reference to a device object; dropping it dereferences (IRQL ≤ DISPATCH_LEVEL).
#[derive(Debug)]
pub struct DeviceReference(DeviceObject);

impl DeviceReference {
    /// Takes over a reference that somebody else counted.
    ///
    /// # Safety
    /// The caller owns one reference of `device` and gives it up.
    #[must_use]
    pub const unsafe fn from_owned(device: DeviceObject) -> Self {
        Self(device)
    }

    /// Gives the reference away uncounted: somebody else dereferences.
    #[must_use]
    pub fn into_owned(self) -> DeviceObject {
        let device = self.0;
        core::mem::forget(self);
        device
    }
}

impl Deref for DeviceReference {
    type Target = DeviceObject;
    fn deref(&self) -> &DeviceObject {
        &self.0
    }
}

impl Drop for DeviceReference {
    fn drop(&mut self) {
        // SAFETY: this value owns one reference.
        unsafe { ObfDereferenceObject(self.0.as_ptr().cast()) };
    }
}

/// Arguments of [`Device::create`].
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// The object's name, or none. A PDO passes [`auto_name`](Self::auto_name) instead.
    pub name: Option<&'a [u16]>,
    /// FILE_DEVICE_xxx.
    pub device_type: u32,
    /// FILE_xxx characteristics; FILE_DEVICE_SECURE_OPEN is always added.
    pub characteristics: u32,
    /// A PDO: the system gives it a name (FILE_AUTOGENERATED_DEVICE_NAME). DO_BUS_ENUMERATED_DEVICE is the
    /// system's to set, when the PDO is reported.
    pub auto_name: bool,
}

/// Data of this crate before the driver's own extension in a device.
#[repr(C)]
struct Extension<E> {
    remove_lock: RemoveLock,
    lower: AtomicPtr<DEVICE_OBJECT>,
    pdo: AtomicPtr<DEVICE_OBJECT>,
    /// Tells the power manager of a state, where the device has that to do.
    power_work: Option<Reserved>,
    own: E,
}

/// A device object of this driver, whose extension is an `E`, with a remove lock and what it is
/// attached to. A handle like [`DeviceObject`]: valid until [`delete`](Self::delete).
pub struct Device<E> {
    object: DeviceObject,
    extension: PhantomData<fn() -> E>,
}

impl<E> Clone for Device<E> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<E> Copy for Device<E> {}

impl<E: Send + Sync + 'static> Device<E> {
    /// Creates a device object. It still has DO_DEVICE_INITIALIZING set: see
    /// [`finish_initializing`](Self::finish_initializing). PASSIVE_LEVEL.
    ///
    /// # Errors
    /// What IoCreateDevice answers.
    pub fn create(driver: DriverObject, options: Options<'_>, own: E) -> Result<Self> {
        const { assert!(align_of::<E>() <= 16) }
        let mut name: UNICODE_STRING = unicode::counted(options.name.unwrap_or_default())?;
        let name = if options.name.is_some() { &raw mut name } else { ptr::null_mut() };
        let mut characteristics = options.characteristics | FILE_DEVICE_SECURE_OPEN;
        if options.auto_name {
            characteristics |= wdk_sys::FILE_AUTOGENERATED_DEVICE_NAME;
        }
        let mut device: PDEVICE_OBJECT = ptr::null_mut();
        // SAFETY: a driver object of this driver, a counted name or none, and a place for the result.
        check(unsafe {
            IoCreateDevice(
                driver.as_ptr(),
                size_of::<Extension<E>>() as ULONG,
                name,
                options.device_type,
                characteristics,
                0,
                &raw mut device,
            )
        })?;
        let object = DeviceObject(NonNull::new(device).ok_or(NtStatus::UNSUCCESSFUL)?);
        let this = Self { object, extension: PhantomData };
        let extension = this.extension_ptr();
        // SAFETY: the extension has the size asked for, is resident, aligned to 16 bytes and not yet
        // seen by anybody else.
        unsafe {
            RemoveLock::initialize(&raw mut (*extension).remove_lock);
            (&raw mut (*extension).lower).write(AtomicPtr::new(ptr::null_mut()));
            (&raw mut (*extension).pdo).write(AtomicPtr::new(ptr::null_mut()));
            (&raw mut (*extension).power_work).write(None);
            (&raw mut (*extension).own).write(own);
        }
        Ok(this)
    }

    /// Creates a device object that only SYSTEM and Administrators may open. It still has DO_DEVICE_INITIALIZING
    /// set. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// The status of IoCreateDevice, or of setting who may open it; there is then no device.
    pub fn create_restricted(driver: DriverObject, options: Options<'_>, own: E) -> Result<Self> {
        Self::create(driver, options, own)?
            .or_delete(|device| security::restrict_to_administrators(device.object))
    }

    /// Creates a device object as [`create_restricted`](Self::create_restricted) does, for a PDO, with all that its power
    /// IRPs need. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// Status of [`create_restricted`](Self::create_restricted), or `INSUFFICIENT_RESOURCES`; there is then no device.
    pub fn create_child(driver: DriverObject, options: Options<'_>, own: E) -> Result<Self> {
        Self::create_restricted(driver, options, own)?.or_delete(Self::reserve_power_work)
    }

    /// Does what AddDevice of a function driver does: creates a device object that only SYSTEM and Administrators
    /// may open, with all that its power IRPs need, attaches it to `pdo`'s stack, and finishes it. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// Status of [`create_child`](Self::create_child) or [`attach`](Self::attach); there is then no device.
    pub fn add(driver: DriverObject, options: Options<'_>, own: E, pdo: DeviceObject) -> Result<Self> {
        Self::finished(driver, options, own, |device| {
            device.reserve_power_work()?;
            device.attach(pdo).map(|_lower| ())
        })
    }

    fn reserve_power_work(&self) -> Result {
        let work = Reserved::new(self.object)?;
        // SAFETY: the device is being made: nobody else looks at its extension.
        unsafe { (*self.extension_ptr()).power_work = Some(work) };
        Ok(())
    }

    /// Returns the work item for the device's power IRPs, which [`add`](Self::add) and
    /// [`create_child`](Self::create_child) reserve.
    pub(crate) fn power_work(&self) -> Option<&Reserved> {
        self.extension_ref().power_work.as_ref()
    }

    /// Does what AddDevice of a filter does: as [`add`](Self::add), by [`attach_filter`](Self::attach_filter).
    /// PASSIVE_LEVEL.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn add_filter(driver: DriverObject, options: Options<'_>, own: E, pdo: DeviceObject) -> Result<Self> {
        Self::finished(driver, options, own, |device| device.attach_filter(pdo).map(|_lower| ()))
    }

    /// Creates a device that stands in no stack, and that the system tells of its shutdown
    /// ([`shutdown::MAJOR`]): at PASSIVE_LEVEL, while the registry and the disks can still be written, and once.
    /// PASSIVE_LEVEL.
    ///
    /// # Errors
    /// Status of [`create_restricted`](Self::create_restricted), or `INSUFFICIENT_RESOURCES`; there is no device then.
    pub fn add_for_shutdown(driver: DriverObject, own: E) -> Result<Self> {
        /// FILE_DEVICE_UNKNOWN.
        const UNKNOWN: u32 = 0x22;
        let options = Options { name: None, device_type: UNKNOWN, characteristics: 0, auto_name: false };
        Self::finished(driver, options, own, |device| shutdown::register(device.object))
    }

    /// Has the system tell the device of its shutdown once file systems are gone ([`shutdown::MAJOR`]): at
    /// PASSIVE_LEVEL, where no file, no registry and no pageable memory can be used, and once. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// `INSUFFICIENT_RESOURCES`.
    pub fn hear_of_last_chance(&self) -> Result {
        shutdown::register_last_chance(self.object)
    }

    /// Ends [`hear_of_last_chance`](Self::hear_of_last_chance). PASSIVE_LEVEL.
    pub fn unhear_last_chance(&self) {
        shutdown::unregister(self.object);
    }

    /// Creates a restricted device, does `step` with it, and finishes it. There is no device where the step fails.
    fn finished(
        driver: DriverObject,
        options: Options<'_>,
        own: E,
        step: impl FnOnce(&Self) -> Result,
    ) -> Result<Self> {
        let device = Self::create_restricted(driver, options, own)?.or_delete(step)?;
        device.finish_initializing();
        Ok(device)
    }

    /// Does a step with a device that nobody has seen yet, and deletes it where the step fails. A step that fails
    /// has shown it to nobody.
    fn or_delete(self, step: impl FnOnce(&Self) -> Result) -> Result<Self> {
        match step(&self) {
            Ok(()) => Ok(self),
            Err(status) => {
                // SAFETY: by contract nobody has seen it: the steps above that fail have neither attached nor
                // registered it.
                unsafe { self.delete() };
                Err(status)
            }
        }
    }

    /// Attaches on top of `pdo`'s stack, takes over the lower device's I/O and power flags, and
    /// remembers both. On failure the device is not deleted. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// `NO_SUCH_DEVICE` when the stack is being torn down.
    pub fn attach(&self, pdo: DeviceObject) -> Result<DeviceObject> {
        // SAFETY: both are valid device objects; AddDevice gave `pdo`.
        let lower = unsafe { IoAttachDeviceToDeviceStack(self.object.as_ptr(), pdo.as_ptr()) };
        let lower = DeviceObject(NonNull::new(lower).ok_or(NtStatus::NO_SUCH_DEVICE)?);
        self.extension_ref().lower.store(lower.as_ptr(), Ordering::Release);
        self.extension_ref().pdo.store(pdo.as_ptr(), Ordering::Release);
        self.copy_flags();
        Ok(lower)
    }

    /// Attaches a filter: as [`attach`](Self::attach), and takes over the lower device's type and characteristics,
    /// since some of NT's routines look at the top of a stack for them. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// As [`attach`](Self::attach).
    pub fn attach_filter(&self, pdo: DeviceObject) -> Result<DeviceObject> {
        let lower = self.attach(pdo)?;
        // SAFETY: this driver's own device, still initializing, so that nobody else looks at the two fields.
        unsafe {
            (*self.object.as_ptr()).DeviceType = lower.device_type();
            (*self.object.as_ptr()).Characteristics |= lower.characteristics();
        }
        Ok(lower)
    }

    /// Takes over the lower device's DO_BUFFERED_IO, DO_DIRECT_IO, DO_POWER_PAGABLE and
    /// DO_POWER_INRUSH.
    fn copy_flags(&self) {
        const INHERITED: u32 = DO_BUFFERED_IO | DO_DIRECT_IO | DO_POWER_PAGABLE | DO_POWER_INRUSH;
        if let Some(lower) = self.attached_to() {
            self.object.change_flags(lower.flags() & INHERITED, INHERITED);
        }
    }

    /// Carries out the flags' part of an IRP_MN_DEVICE_USAGE_NOTIFICATION in a filter, before it is passed
    /// down. The device becomes pagable again where nothing above it objects (it may be undone on the way
    /// up).
    pub fn before_usage_notification(&self) {
        // SAFETY: a device above stays attached while it has a PnP request outstanding to this one.
        let above = unsafe { DeviceObject::from_raw((*self.object.as_ptr()).AttachedDevice) };
        if above.is_none_or(|above| above.flags() & DO_POWER_PAGABLE != 0) {
            self.object.change_flags(DO_POWER_PAGABLE, 0);
        }
    }

    /// Does the same after the lower devices have completed it: not pagable where the lower one is not.
    pub fn after_usage_notification(&self) {
        if self.attached_to().is_some_and(|lower| lower.flags() & DO_POWER_PAGABLE == 0) {
            self.object.change_flags(0, DO_POWER_PAGABLE);
        }
    }

    /// Sets DO_POWER_PAGABLE (for a device that sits on no other and that no paging file needs).
    pub fn set_power_pagable(&self) {
        self.object.change_flags(DO_POWER_PAGABLE, 0);
    }

    /// Clears DO_POWER_PAGABLE (for a device that a paging file depends on).
    pub fn clear_power_pagable(&self) {
        self.object.change_flags(0, DO_POWER_PAGABLE);
    }

    /// Clears DO_DEVICE_INITIALIZING: the last step of AddDevice, or of making a PDO.
    pub fn finish_initializing(&self) {
        self.object.change_flags(0, DO_DEVICE_INITIALIZING);
    }

    /// Returns the driver's extension.
    #[must_use]
    pub fn extension(&self) -> &E {
        &self.extension_ref().own
    }

    /// Returns the device this one is attached to; `None` for a PDO.
    #[must_use]
    pub fn attached_to(&self) -> Option<DeviceObject> {
        NonNull::new(self.extension_ref().lower.load(Ordering::Acquire)).map(DeviceObject)
    }

    /// Returns the PDO of the stack it was attached to; its own object for a PDO.
    #[must_use]
    pub fn pdo(&self) -> DeviceObject {
        NonNull::new(self.extension_ref().pdo.load(Ordering::Acquire)).map_or(self.object, DeviceObject)
    }

    /// Takes the remove lock. IRQL ≤ DISPATCH_LEVEL.
    ///
    /// # Errors
    /// `DELETE_PENDING` once removal has begun.
    pub fn acquire(&self) -> Result<RemoveGuard<'_>> {
        self.extension_ref().remove_lock.acquire()
    }

    /// Releases a hold of the remove lock that was kept.
    ///
    /// # Safety
    /// As [`RemoveLock::release`].
    pub(crate) unsafe fn release(&self) {
        // SAFETY: the caller's promise.
        unsafe { self.extension_ref().remove_lock.release() };
    }

    /// Returns the device object.
    #[must_use]
    pub const fn object(&self) -> DeviceObject {
        self.object
    }

    /// Detaches from the stack. PASSIVE_LEVEL.
    pub fn detach(&self) {
        let lower = self.extension_ref().lower.swap(ptr::null_mut(), Ordering::AcqRel);
        if !lower.is_null() {
            // SAFETY: `lower` is what this device was attached to, and is so no longer after this.
            unsafe { IoDetachDevice(lower) };
        }
    }

    /// Drops the extension and deletes the device object. PASSIVE_LEVEL.
    ///
    /// # Safety
    /// It is detached, its remove lock was released with wait (or it was never visible to anybody),
    /// and no copy of this handle is used afterwards.
    pub unsafe fn delete(self) {
        // SAFETY: by contract nobody uses the extension any more; IoDeleteDevice frees its memory.
        unsafe {
            ptr::drop_in_place(&raw mut (*self.extension_ptr()).own);
            ptr::drop_in_place(&raw mut (*self.extension_ptr()).power_work);
            IoDeleteDevice(self.object.as_ptr());
        }
    }

    /// Returns the device at `object`.
    ///
    /// # Safety
    /// [`Device::create`] made it with this `E`, and it is not deleted while the handle is used.
    #[must_use]
    pub const unsafe fn from_object(object: DeviceObject) -> Self {
        Self { object, extension: PhantomData }
    }

    fn extension_ptr(&self) -> *mut Extension<E> {
        // SAFETY: a valid device object by the handle's contract.
        unsafe { (*self.object.as_ptr()).DeviceExtension.cast() }
    }

    fn extension_ref(&self) -> &Extension<E> {
        // SAFETY: `create` initialized the extension, and it lives until `delete`.
        unsafe { &*self.extension_ptr() }
    }
}
