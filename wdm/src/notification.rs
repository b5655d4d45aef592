//! Notification of device interfaces that come and go.
#![expect(unsafe_code, reason = "registers a callback and reads what it is called with")]

use alloc::boxed::Box;
use core::ptr;

use wdk_sys::{
    _IO_NOTIFICATION_EVENT_CATEGORY, DEVICE_INTERFACE_CHANGE_NOTIFICATION, GUID, NTSTATUS,
    PNPNOTIFY_DEVICE_INTERFACE_INCLUDE_EXISTING_INTERFACES, PVOID,
    ntddk::{IoRegisterPlugPlayNotification, IoUnregisterPlugPlayNotification},
};

use crate::{DriverObject, NtStatus, Result, driver::counted, guid::guid, pool, status::check};

/// GUID_DEVICE_INTERFACE_ARRIVAL (wdmguid.h): {CB3A4004-46F0-11D0-B08F-00609713053F}.
const ARRIVAL: GUID = guid(0xCB3A_4004_46F0_11D0_B08F_0060_9713_053F);

/// A change of an interface.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// It arrived; otherwise it went.
    pub arrived: bool,
    /// Its symbolic link.
    pub link: &'a [u16],
}

struct Inner<F>(F, #[expect(dead_code, reason = "gives a routine without captures a size")] usize);

/// A registration for changes of one interface class. Dropping it (PASSIVE_LEVEL, not from the callback)
/// ends it and waits for a running callback.
pub struct Registration<F: Fn(Change<'_>) + Send + Sync + 'static> {
    entry: PVOID,
    // Dropped after `Drop::drop` has unregistered.
    _routine: Box<Inner<F>>,
}

// SAFETY: the entry is the kernel's, and F is Send and Sync.
unsafe impl<F: Fn(Change<'_>) + Send + Sync + 'static> Send for Registration<F> {}
// SAFETY: as above.
unsafe impl<F: Fn(Change<'_>) + Send + Sync + 'static> Sync for Registration<F> {}

impl<F: Fn(Change<'_>) + Send + Sync + 'static> Registration<F> {
    /// Has `routine` called, at PASSIVE_LEVEL in a system thread, for each interface of `class` that comes or
    /// goes, and with `existing` for each that is there already. The kernel keeps `driver` loaded
    /// meanwhile. The routine should be quick and must not wait for PnP. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// What IoRegisterPlugPlayNotification answers.
    pub fn new(driver: DriverObject, class: &GUID, existing: bool, routine: F) -> Result<Self> {
        let routine = pool::try_box(Inner(routine, 0))?;
        let flags = if existing { PNPNOTIFY_DEVICE_INTERFACE_INCLUDE_EXISTING_INTERFACES } else { 0 };
        let mut entry: PVOID = ptr::null_mut();
        // SAFETY: the GUID is copied; the context is the box's content, which lives until the
        // registration is ended.
        check(unsafe {
            IoRegisterPlugPlayNotification(
                _IO_NOTIFICATION_EVENT_CATEGORY::EventCategoryDeviceInterfaceChange,
                flags,
                ptr::from_ref(class).cast_mut().cast(),
                driver.as_ptr(),
                Some(notify::<F>),
                ptr::from_ref(&*routine).cast_mut().cast(),
                &raw mut entry,
            )
        })?;
        Ok(Self { entry, _routine: routine })
    }
}

impl<F: Fn(Change<'_>) + Send + Sync + 'static> Drop for Registration<F> {
    fn drop(&mut self) {
        // SAFETY: this value's own registration.
        let _ = unsafe { IoUnregisterPlugPlayNotification(self.entry) };
    }
}

unsafe extern "C" fn notify<F: Fn(Change<'_>) + Send + Sync + 'static>(
    notification: PVOID,
    context: PVOID,
) -> NTSTATUS {
    // SAFETY: for this category the structure is a DEVICE_INTERFACE_CHANGE_NOTIFICATION, valid during
    // the call; the context is the box of `new`.
    unsafe {
        let change = &*notification.cast::<DEVICE_INTERFACE_CHANGE_NOTIFICATION>();
        let routine = &*context.cast::<Inner<F>>();
        (routine.0)(Change {
            arrived: same(&change.Event, &ARRIVAL),
            link: counted(change.SymbolicLinkName),
        });
    }
    NtStatus::SUCCESS.0
}

/// Returns true if two GUIDs are equal.
#[must_use]
pub fn same(a: &GUID, b: &GUID) -> bool {
    (a.Data1, a.Data2, a.Data3, a.Data4) == (b.Data1, b.Data2, b.Data3, b.Data4)
}
