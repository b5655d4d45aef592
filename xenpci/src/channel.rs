//! The channel to programs: the version, the guard's status, and events as they come (`guard::channel`).
//!
//! It is a device interface on the platform device, in every boot, which SYSTEM and Administrators may open (the INF's
//! `Security`). A reader may come late, go at any moment, or not come at all: events are kept in a bounded queue of
//! their own, and a request for an event that is still to come waits, cancel-safe. A program that sends heartbeats
//! follows the toolstack's requests to power off and to reboot ([`crate::suspend`]), as long as its handle is open.
#![expect(unsafe_code, reason = "pends IRPs in a queue that the device keeps at its place")]

use core::sync::atomic::{AtomicBool, Ordering};

use guard::channel::{
    Event, Events, Follower, GET_EVENT, GET_STATUS, GET_VERSION, HEARTBEAT, INTERFACE, Kind, Version,
};
use wdm::interface::Registered;
use wdm::irp_queue::{FileId, IrpQueue};
use wdm::spin_lock::SpinLock;
use wdm::{DeviceObject, Disposition, Irp, NtStatus, Result, time};

use zerocopy::IntoBytes;

/// The channel. It lies in the function device's extension.
pub(crate) struct Channel {
    events: SpinLock<Events>,
    /// Requests for events that are still to come.
    readers: IrpQueue,
    /// The program that follows the toolstack's requests.
    follower: SpinLock<Follower<FileId>>,
    interface: SpinLock<Option<Registered>>,
    /// The device takes requests.
    open: AtomicBool,
}

impl Channel {
    /// Makes a channel that nobody can open yet.
    pub(crate) const fn new() -> Self {
        Self {
            events: SpinLock::new(Events::new()),
            readers: IrpQueue::new(),
            follower: SpinLock::new(Follower::none()),
            interface: SpinLock::new(None),
            open: AtomicBool::new(false),
        }
    }

    /// Offers the channel on the device with this PDO. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// What registering or enabling the interface answers.
    pub(crate) fn offer(&self, pdo: DeviceObject) -> Result {
        let interface = Registered::new(pdo, &wdm::raw::guid(INTERFACE))?;
        self.open.store(true, Ordering::Release);
        interface.enable(true)?;
        let before = self.interface.lock().replace(interface);
        drop(before);
        Ok(())
    }

    /// Takes the channel away: no request stays with the driver. PASSIVE_LEVEL.
    pub(crate) fn withdraw(&self) {
        self.open.store(false, Ordering::Release);
        let interface = self.interface.lock().take();
        if let Some(interface) = interface {
            // PnP has disabled it where the device has gone already.
            let _ = interface.enable(false);
        }
        self.readers.drain(NtStatus::DELETE_PENDING);
    }

    /// Adds an event, answers whoever waits for it, and returns its number. ≤ DISPATCH_LEVEL.
    pub(crate) fn add(&self, kind: Kind, value: u32) -> u64 {
        let number = self.events.lock().add(kind, value, time::system_time());
        self.serve();
        number
    }

    /// Returns the state of the program that follows the toolstack's requests. ≤ DISPATCH_LEVEL.
    pub(crate) fn follower(&self) -> Follower<FileId> {
        *self.follower.lock()
    }

    /// Answers a device control request of the channel's, or gives it back. PASSIVE_LEVEL.
    pub(crate) fn control(&self, mut irp: Irp) -> core::result::Result<Disposition, Irp> {
        let Some(control) = irp.location().device_control() else { return Err(irp) };
        match control.code {
            GET_VERSION => Ok(irp.answer(&Version::bytes())),
            GET_STATUS => match guard_client::status() {
                Some(status) => Ok(irp.answer(status.as_bytes())),
                None => Ok(irp.complete(NtStatus::REVISION_MISMATCH)),
            },
            GET_EVENT if control.input_length < 8 => Ok(irp.complete(NtStatus::INVALID_PARAMETER)),
            GET_EVENT if control.output_length < Event::BYTES => Ok(irp.complete(NtStatus::BUFFER_TOO_SMALL)),
            GET_EVENT if !self.open.load(Ordering::Acquire) => Ok(irp.complete(NtStatus::DELETE_PENDING)),
            GET_EVENT => match self.event_for(&mut irp) {
                Some(event) => Ok(irp.answer(&event.to_bytes())),
                None => {
                    // SAFETY: the queue lies in the device's extension, which stays at its place, and the device
                    // withdraws the channel when no dispatch routine runs any more and before it is deleted.
                    let disposition = unsafe { self.readers.pend(irp) };
                    // The event may have come in between.
                    self.serve();
                    Ok(disposition)
                }
            },
            HEARTBEAT if control.input_length < 8 => Ok(irp.complete(NtStatus::INVALID_PARAMETER)),
            HEARTBEAT if control.output_length < 8 => Ok(irp.complete(NtStatus::BUFFER_TOO_SMALL)),
            HEARTBEAT => match irp.location().file() {
                Some(file) => {
                    let carried = irp.input_number();
                    let next = self.events.lock().next();
                    self.follower.lock().beats(file, carried, next, time::system_time());
                    Ok(irp.answer(&next.to_le_bytes()))
                }
                None => Ok(irp.complete(NtStatus::INVALID_PARAMETER)),
            },
            _ => Err(irp),
        }
    }

    /// Gives the requests of a handle back that goes; where it is that of the program that follows, nobody follows any
    /// more. PASSIVE_LEVEL.
    pub(crate) fn cleanup(&self, file: FileId) {
        self.follower.lock().closed(file);
        while let Some(irp) = self.readers.take_of(file) {
            let _ = irp.complete(NtStatus::CANCELLED);
        }
    }

    /// Returns the event that a request asks for, if it is there.
    fn event_for(&self, irp: &mut Irp) -> Option<Event> {
        let from = irp.input_number();
        self.events.lock().from(from)
    }

    /// Answers the requests whose events are there. ≤ DISPATCH_LEVEL.
    fn serve(&self) {
        // Each request that is there now once: those that go on waiting are put back behind the others.
        for _ in 0..self.readers.len() {
            let Some(mut irp) = self.readers.take() else { return };
            let _ = match self.event_for(&mut irp) {
                Some(event) => irp.answer(&event.to_bytes()),
                None if !self.open.load(Ordering::Acquire) => irp.complete(NtStatus::DELETE_PENDING),
                // SAFETY: as in `control`; whoever adds events is a thread or a request of the device's.
                None => unsafe { self.readers.pend(irp) },
            };
        }
    }
}
