//! A power button of NT's, pressed by the toolstack.
//!
//! The device interface of system buttons (poclass.h, `GUID_DEVICE_SYS_BUTTON`) is what ACPI's own buttons and
//! keyboards' power keys have. NT's power manager opens each, asks for its capabilities, and keeps a request for
//! the next event with its driver; what an event leads to is the power policy's to say. So a guest shuts down in
//! order without any part of this suite in user mode.
#![expect(unsafe_code, reason = "pends IRPs in a queue that the device keeps at its place")]

use core::sync::atomic::{AtomicBool, Ordering};

use wdm::interface::Registered;
use wdm::irp_queue::{FileId, IrpQueue};
use wdm::spin_lock::SpinLock;
use wdm::{DeviceObject, Disposition, Irp, NtStatus, Result};

/// GUID_DEVICE_SYS_BUTTON (poclass.h): {4AFA3D53-74A7-11D0-BE5E-00A0C9062857}.
const SYS_BUTTON: wdm::raw::GUID = wdm::raw::guid(0x4AFA_3D53_74A7_11D0_BE5E_00A0_C906_2857);

/// IOCTL_GET_SYS_BUTTON_CAPS: FILE_DEVICE_BATTERY, 0x50, METHOD_BUFFERED, FILE_READ_ACCESS.
pub(crate) const GET_CAPS: u32 = 0x0029_4140;
/// IOCTL_GET_SYS_BUTTON_EVENT: the same with 0x51.
pub(crate) const GET_EVENT: u32 = 0x0029_4144;

/// SYS_BUTTON_POWER.
const POWER: u32 = 1;

/// The button. It lies in the function device's extension.
pub(crate) struct Button {
    /// Requests for the next event.
    events: IrpQueue,
    /// The interface, from START to the device's end, in a boot in which xenstore is served.
    interface: SpinLock<Option<Registered>>,
    /// The device takes requests.
    open: AtomicBool,
    /// NT has asked for events and goes on doing so.
    watched: AtomicBool,
}

impl Button {
    /// Makes a button that nobody can open yet.
    pub(crate) const fn new() -> Self {
        Self {
            events: IrpQueue::new(),
            interface: SpinLock::new(None),
            open: AtomicBool::new(false),
            watched: AtomicBool::new(false),
        }
    }

    /// Offers the button on the device with this PDO. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// What registering or enabling the interface answers.
    pub(crate) fn offer(&self, pdo: DeviceObject) -> Result {
        let interface = Registered::new(pdo, &SYS_BUTTON)?;
        self.open.store(true, Ordering::Release);
        interface.enable(true)?;
        // Dropped out of the lock, at PASSIVE_LEVEL.
        let before = self.interface.lock().replace(interface);
        drop(before);
        Ok(())
    }

    /// Takes the button away: no request stays with the driver. PASSIVE_LEVEL.
    pub(crate) fn withdraw(&self) {
        self.open.store(false, Ordering::Release);
        let interface = self.interface.lock().take();
        if let Some(interface) = interface {
            // PnP has disabled it where the device has gone already.
            let _ = interface.enable(false);
        }
        self.watched.store(false, Ordering::Release);
        self.events.drain(NtStatus::DELETE_PENDING);
    }

    /// Answers a device control request for the button, or gives it back. PASSIVE_LEVEL.
    pub(crate) fn control(&self, mut irp: Irp) -> core::result::Result<Disposition, Irp> {
        let Some(control) = irp.location().device_control() else { return Err(irp) };
        let fits = control.output_length >= size_of::<u32>();
        match control.code {
            GET_CAPS | GET_EVENT if !fits => Ok(irp.complete(NtStatus::BUFFER_TOO_SMALL)),
            GET_CAPS => {
                fill(&mut irp, POWER);
                Ok(irp.complete(NtStatus::SUCCESS))
            }
            GET_EVENT if !self.open.load(Ordering::Acquire) => Ok(irp.complete(NtStatus::DELETE_PENDING)),
            GET_EVENT => {
                self.watched.store(true, Ordering::Release);
                // SAFETY: the queue lies in the device's extension, which stays at its place, and the device
                // withdraws the button when no dispatch routine runs any more and before it is deleted.
                Ok(unsafe { self.events.pend(irp) })
            }
            _ => Err(irp),
        }
    }

    /// Gives the requests of a handle back that goes. PASSIVE_LEVEL.
    pub(crate) fn cleanup(&self, file: FileId) {
        while let Some(irp) = self.events.take_of(file) {
            let _ = irp.complete(NtStatus::CANCELLED);
        }
    }

    /// Notes that a file was closed: nobody watches the button any more where no request is left.
    /// PASSIVE_LEVEL.
    pub(crate) fn closed(&self) {
        if self.events.is_empty() {
            self.watched.store(false, Ordering::Release);
        }
    }

    /// Returns true if NT watches the button. Any IRQL.
    pub(crate) fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Acquire)
    }

    /// Presses the button, if NT watches it and `agree` says so at the last moment; whether it was pressed.
    /// PASSIVE_LEVEL.
    pub(crate) fn press(&self, agree: impl FnOnce() -> bool) -> bool {
        let Some(mut irp) = self.events.take() else {
            // Taken back by whoever asked, and not asked again since.
            self.watched.store(false, Ordering::Release);
            return false;
        };
        if !agree() {
            let _ = if self.open.load(Ordering::Acquire) {
                // SAFETY: as in `control`; the caller is a thread of the device's, which ends before the device
                // withdraws the button for good.
                unsafe { self.events.pend(irp) }
            } else {
                irp.complete(NtStatus::DELETE_PENDING)
            };
            return false;
        }
        fill(&mut irp, POWER);
        let _ = irp.complete(NtStatus::SUCCESS);
        true
    }
}

/// Puts a number into the request's output, whose length was looked at when the request came.
fn fill(irp: &mut Irp, value: u32) {
    if let Some(place) = irp.system_buffer().first_chunk_mut() {
        *place = value.to_le_bytes();
        irp.set_information(size_of::<u32>());
    }
}
