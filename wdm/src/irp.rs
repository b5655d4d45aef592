//! I/O request packets. An [`Irp`] is owned: whoever has it must complete it, pass it on or pend it,
//! and gets the [`Disposition`] that a dispatch routine has to return.
#![expect(unsafe_code, reason = "reaches into IRPs, whose ownership the types here track")]

use core::ptr::NonNull;

use wdk_sys::{
    _EVENT_TYPE, IO_STACK_LOCATION, IRP, KEVENT, NTSTATUS, PDEVICE_OBJECT, PIO_STACK_LOCATION, PIRP, PVOID,
    SL_PENDING_RETURNED,
    ntddk::{
        IofCallDriver, IofCompleteRequest, KeInitializeEvent, KeSetEvent, PoCallDriver, PoStartNextPowerIrp,
    },
};

use crate::resources::Resources;
use crate::{DeviceObject, NtStatus, StackLocation, event};

/// Major functions beside those that [`Driver`](crate::Driver) has a routine for.
pub mod major {
    /// IRP_MJ_CREATE: a file is opened.
    pub const CREATE: u8 = 0;
    /// IRP_MJ_CLOSE: the last reference to a file has gone.
    pub const CLOSE: u8 = 2;
    /// IRP_MJ_DEVICE_CONTROL.
    pub const DEVICE_CONTROL: u8 = 0xE;
    /// IRP_MJ_CLEANUP: the last handle of a file has gone.
    pub const CLEANUP: u8 = 0x12;
}

/// SL_INVOKE_ON_CANCEL | SL_INVOKE_ON_SUCCESS | SL_INVOKE_ON_ERROR.
const INVOKE_ALWAYS: u8 = 0x20 | 0x40 | 0x80;

/// The result of a dispatch routine for its IRP. Only using up an [`Irp`] makes one.
#[must_use = "a dispatch routine returns what became of its IRP"]
#[derive(Debug)]
pub struct Disposition(NtStatus);

impl Disposition {
    /// Returns the status to return.
    #[must_use]
    pub const fn status(&self) -> NtStatus {
        self.0
    }
}

/// An IRP that this driver owns at the moment.
#[must_use = "an IRP has to be completed, passed on or pended"]
#[derive(Debug)]
pub struct Irp(NonNull<IRP>);

// SAFETY: an IRP may be handled in any thread; ownership moves with the value.
unsafe impl Send for Irp {}

impl Irp {
    /// Returns the IRP at `irp`.
    ///
    /// # Safety
    /// `irp` is an IRP that is the caller's to complete or pass on, with this driver's stack location
    /// current, and no other `Irp` for it exists.
    pub const unsafe fn from_raw(irp: PIRP) -> Self {
        // SAFETY: an IRP is never at address zero.
        Self(unsafe { NonNull::new_unchecked(irp) })
    }

    /// Returns its address; it stays this value's.
    #[must_use]
    pub const fn as_ptr(&self) -> PIRP {
        self.0.as_ptr()
    }

    /// Gives the IRP up to whoever makes an [`Irp`] of the address again.
    pub(crate) const fn into_raw(self) -> PIRP {
        self.as_ptr()
    }

    /// Returns this driver's stack location (IoGetCurrentIrpStackLocation).
    #[must_use]
    pub fn location(&self) -> StackLocation<'_> {
        // SAFETY: the current stack location is this driver's while it owns the IRP.
        unsafe { StackLocation::from_raw(self.current()) }
    }

    /// Returns the major function, IRP_MJ_xxx.
    #[must_use]
    pub fn major(&self) -> u8 {
        self.location().major()
    }

    /// Returns the minor function, IRP_MN_xxx.
    #[must_use]
    pub fn minor(&self) -> u8 {
        self.location().minor()
    }

    /// Returns IoStatus.Status.
    #[must_use]
    pub fn status(&self) -> NtStatus {
        // SAFETY: the driver owns the IRP; Status is the live member of the union.
        NtStatus(unsafe { (*self.as_ptr()).IoStatus.__bindgen_anon_1.Status })
    }

    /// Sets IoStatus.Status, for a lower driver or the completion to find.
    pub fn set_status(&mut self, status: NtStatus) {
        // SAFETY: the driver owns the IRP.
        unsafe { (*self.as_ptr()).IoStatus.__bindgen_anon_1.Status = status.0 };
    }

    /// Returns IoStatus.Information: a count of bytes, or a pointer, as the function has it.
    #[must_use]
    pub fn information(&self) -> usize {
        // SAFETY: the driver owns the IRP.
        unsafe { (*self.as_ptr()).IoStatus.Information as usize }
    }

    /// Sets IoStatus.Information.
    pub fn set_information(&mut self, information: usize) {
        // SAFETY: the driver owns the IRP.
        unsafe { (*self.as_ptr()).IoStatus.Information = information as u64 };
    }

    /// Returns the buffer of a METHOD_BUFFERED device control request: input on entry, output at completion;
    /// as long as the longer of the two. Empty for other requests.
    pub fn system_buffer(&mut self) -> &mut [u8] {
        let Some(control) = self.location().device_control() else { return &mut [] };
        if control.code & 3 != 0 {
            return &mut [];
        }
        let length = control.input_length.max(control.output_length);
        // SAFETY: METHOD_BUFFERED: the I/O manager allocated a system buffer of that length.
        unsafe {
            let buffer = (*self.as_ptr()).AssociatedIrp.SystemBuffer.cast::<u8>();
            if buffer.is_null() { &mut [] } else { core::slice::from_raw_parts_mut(buffer, length) }
        }
    }

    /// Returns the number, 8 bytes in little endian, that a METHOD_BUFFERED device control request brings along; 0 where it
    /// brings fewer bytes.
    pub fn input_number(&mut self) -> u64 {
        self.system_buffer().first_chunk().map_or(0, |number| u64::from_le_bytes(*number))
    }

    /// Completes a METHOD_BUFFERED device control request with these bytes, or with BUFFER_TOO_SMALL. IRQL ≤
    /// DISPATCH_LEVEL.
    pub fn answer(mut self, bytes: &[u8]) -> Disposition {
        let room = self.location().device_control().map_or(0, |control| control.output_length);
        match self.system_buffer().get_mut(..bytes.len()) {
            Some(place) if bytes.len() <= room => place.copy_from_slice(bytes),
            _ => return self.complete(NtStatus::BUFFER_TOO_SMALL),
        }
        self.set_information(bytes.len());
        self.complete(NtStatus::SUCCESS)
    }

    /// Completes the IRP with `status`. IRQL ≤ DISPATCH_LEVEL.
    pub fn complete(mut self, status: NtStatus) -> Disposition {
        self.set_status(status);
        self.complete_as_is()
    }

    /// Completes the IRP with the status that is in it (how a PDO answers PnP requests it does not
    /// handle, and a driver that a lower one already answered). IRQL ≤ DISPATCH_LEVEL.
    pub fn complete_as_is(self) -> Disposition {
        let status = self.status();
        // SAFETY: the driver owns the IRP and gives it up here; no priority boost.
        unsafe { IofCompleteRequest(self.as_ptr(), 0) };
        Disposition(status)
    }

    /// Passes the IRP to `lower` with this driver's stack location skipped. IRQL: the request's.
    pub fn forward(self, lower: DeviceObject) -> Disposition {
        self.skip();
        // SAFETY: the IRP is given up to the lower driver, whose stack location is now next.
        Disposition(NtStatus(unsafe { IofCallDriver(lower.as_ptr(), self.as_ptr()) }))
    }

    /// Passes a power IRP to `lower`: PoStartNextPowerIrp, skip, PoCallDriver (what every NT before 6
    /// needs and later ones accept). IRQL ≤ DISPATCH_LEVEL.
    pub fn forward_power(self, lower: DeviceObject) -> Disposition {
        // SAFETY: the IRP is this driver's power IRP, then given up to the lower driver.
        unsafe { PoStartNextPowerIrp(self.as_ptr()) };
        self.skip();
        // SAFETY: as for `forward`.
        Disposition(NtStatus(unsafe { PoCallDriver(lower.as_ptr(), self.as_ptr()) }))
    }

    /// Completes a power IRP: PoStartNextPowerIrp, then [`complete`](Self::complete).
    /// IRQL ≤ DISPATCH_LEVEL.
    pub fn complete_power(self, status: NtStatus) -> Disposition {
        // SAFETY: the IRP is this driver's power IRP.
        unsafe { PoStartNextPowerIrp(self.as_ptr()) };
        self.complete(status)
    }

    /// Passes the IRP to `lower`, waits until the lower drivers have completed it, and has it back,
    /// with their final status. The completion routine only signals an event, so whatever follows
    /// runs here, at PASSIVE_LEVEL, and the IRP must then be completed. PASSIVE_LEVEL only.
    pub fn forward_and_wait(self, lower: DeviceObject) -> (Self, NtStatus) {
        self.forward_with_and_wait(lower, |_| ())
    }

    /// Does the same as [`forward_and_wait`](Self::forward_and_wait), with the lower driver's stack location,
    /// a copy of this driver's, changed by `change`.
    fn forward_with_and_wait(
        self,
        lower: DeviceObject,
        change: impl FnOnce(&mut IO_STACK_LOCATION),
    ) -> (Self, NtStatus) {
        let mut done = KEVENT::default();
        // SAFETY: the event is on this thread's kernel stack, which stays resident during a
        // kernel-mode wait, and this function does not return before the event is signalled.
        unsafe {
            KeInitializeEvent(&raw mut done, _EVENT_TYPE::NotificationEvent, 0);
            self.copy_to_next();
            change(&mut *self.current().sub(1));
            self.set_completion(signal, (&raw mut done).cast());
            let status = IofCallDriver(lower.as_ptr(), self.as_ptr());
            if status == NtStatus::PENDING.0 {
                event::wait_for((&raw mut done).cast(), None);
            }
        }
        let status = self.status();
        (self, status)
    }

    /// Passes an IRP_MN_START_DEVICE to `lower` as [`forward_and_wait`](Self::forward_and_wait) does, with the
    /// interrupt messages in both of its lists made private to this driver: messages that a function driver
    /// required besides what its bus driver had reported are none of the bus driver's (WDK,
    /// IRP_MN_FILTER_RESOURCE_REQUIREMENTS). The lists of this driver's own stack location stay as they are.
    /// PASSIVE_LEVEL only.
    pub fn forward_start_and_wait(self, lower: DeviceObject) -> (Self, NtStatus) {
        let location = self.location();
        let copy = |list: Option<Resources<'_>>| {
            list.map_or(Ok(None), |resources| resources.with_private_messages())
        };
        let copies =
            copy(location.raw_resources()).and_then(|raw| Ok((raw, copy(location.translated_resources())?)));
        let (raw, translated) = match copies {
            Ok(copies) => copies,
            Err(status) => return (self, status),
        };
        self.forward_with_and_wait(lower, |next| {
            // SAFETY: the live member of the union for this minor function. The lists live until the lower
            // drivers have completed the IRP, for which `forward_with_and_wait` waits.
            let start = unsafe { &mut next.Parameters.StartDevice };
            if let Some(raw) = &raw {
                start.AllocatedResources = raw.as_ptr().cast_mut().cast();
            }
            if let Some(translated) = &translated {
                start.AllocatedResourcesTranslated = translated.as_ptr().cast_mut().cast();
            }
        })
    }

    /// Marks the IRP pending: the dispatch routine returns the disposition, somebody else completes
    /// the IRP later. IRQL ≤ DISPATCH_LEVEL.
    pub fn pend(self) -> (Self, Disposition) {
        self.mark_pending();
        (self, Disposition(NtStatus::PENDING))
    }

    pub(crate) fn mark_pending(&self) {
        // SAFETY: the current stack location is this driver's.
        unsafe { (*self.current()).Control |= SL_PENDING_RETURNED as u8 };
    }

    /// Returns the device object that the IRP was sent to, which is this driver's.
    pub(crate) fn device(&self) -> Option<DeviceObject> {
        // SAFETY: the current stack location is this driver's; its device object stays while the IRP is handled.
        unsafe { DeviceObject::from_raw((*self.current()).DeviceObject) }
    }

    fn current(&self) -> PIO_STACK_LOCATION {
        // SAFETY: the driver owns the IRP, whose Tail is an Overlay with a current stack location.
        unsafe { (*self.as_ptr()).Tail.Overlay.__bindgen_anon_2.__bindgen_anon_1.CurrentStackLocation }
    }

    /// Does the work of IoSkipCurrentIrpStackLocation.
    fn skip(&self) {
        // SAFETY: stack locations are an array that is used from its end; the current one is this
        // driver's, so one behind it exists (or is the end, as IofCallDriver expects).
        unsafe {
            let irp = self.as_ptr();
            (*irp).CurrentLocation += 1;
            let current = &raw mut (*irp).Tail.Overlay.__bindgen_anon_2.__bindgen_anon_1.CurrentStackLocation;
            *current = (*current).add(1);
        }
    }

    /// Does the work of IoCopyCurrentIrpStackLocationToNext: copies everything up to the completion routine;
    /// Control is cleared.
    pub(crate) fn copy_to_next(&self) {
        // SAFETY: the IRP has a location for each lower driver, so there is one before this one.
        unsafe {
            let current = self.current();
            let next = current.sub(1);
            let bytes = core::mem::offset_of!(IO_STACK_LOCATION, CompletionRoutine);
            core::ptr::copy_nonoverlapping(current.cast::<u8>(), next.cast::<u8>(), bytes);
            (*next).Control = 0;
        }
    }

    /// Does the work of IoSetCompletionRoutine for success, error and cancellation.
    ///
    /// # Safety
    /// The next stack location is filled; `context` is what `routine` expects when it is called.
    pub(crate) unsafe fn set_completion(
        &self,
        routine: unsafe extern "C" fn(PDEVICE_OBJECT, PIRP, PVOID) -> NTSTATUS,
        context: PVOID,
    ) {
        // SAFETY: the next location exists, as in `copy_to_next`.
        unsafe {
            let next = self.current().sub(1);
            (*next).CompletionRoutine = Some(routine);
            (*next).Context = context;
            (*next).Control = INVOKE_ALWAYS;
        }
    }
}

/// Completes [`Irp::forward_and_wait`]: signals, and keeps the IRP for the dispatch routine.
unsafe extern "C" fn signal(_: PDEVICE_OBJECT, _: PIRP, done: PVOID) -> NTSTATUS {
    // SAFETY: `done` is the event on the dispatch routine's stack. That routine is still inside
    // IofCallDriver, or waits because that returned STATUS_PENDING: either way the event lives.
    unsafe { KeSetEvent(done.cast(), 0, 0) };
    NtStatus::MORE_PROCESSING_REQUIRED.0
}
