//! The channel to programs: the version, the guard's status and record, events, and lines of the activity log as they
//! come (`guard::channel`).
//!
//! It is a device interface on the platform device, in every boot, which SYSTEM and Administrators may open (the INF's
//! `Security`). A reader may come late, go at any moment, or not come at all: events are kept in a bounded queue of
//! their own, and a request for an event or a line that is still to come waits, cancel-safe. A program that sends heartbeats
//! follows the toolstack's requests to power off and to reboot ([`crate::suspend`]), as long as its handle is open.
#![expect(unsafe_code, reason = "pends IRPs in a queue that the device keeps at its place")]

use core::sync::atomic::{AtomicBool, Ordering};

use alloc::boxed::Box;

use guard::abi::Signals;
use guard::channel::{
    Event, Events, Follower, GET_EVENT, GET_LINE, GET_RECORD, GET_STATUS, GET_VERSION, HEARTBEAT, INTERFACE,
    Kind, LogLine, Version,
};
use guard::record;
use guard_client::{Receiver, Subscription};
use wdm::dpc::Dpc;
use wdm::interface::Registered;
use wdm::irp_queue::{FileId, IrpQueue};
use wdm::irql::AtDispatch;
use wdm::shared::Shared;
use wdm::spin_lock::SpinLock;
use wdm::{Device, Disposition, Irp, NtStatus, Result, debug_print, pool, time};

use zerocopy::IntoBytes;

use crate::{DRIVER, Extension};

/// The channel. It lies in the function device's extension.
pub(crate) struct Channel {
    events: SpinLock<Events>,
    /// Requests for events that are still to come.
    event_readers: IrpQueue,
    /// Requests for lines of the activity log that are still to come.
    line_readers: IrpQueue,
    /// The way by which new lines are heard of, where there is one.
    new_lines: SpinLock<Option<NewLines>>,
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
            event_readers: IrpQueue::new(),
            line_readers: IrpQueue::new(),
            new_lines: SpinLock::new(None),
            follower: SpinLock::new(Follower::none()),
            interface: SpinLock::new(None),
            open: AtomicBool::new(false),
        }
    }

    /// Offers the channel on its device. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// What registering or enabling the interface answers.
    pub(crate) fn offer(&self, device: Device<Extension>) -> Result {
        let new_lines = NewLines::new(device).inspect_err(|status| {
            debug_print!(DRIVER, "programs can read no lines that are still to come: status {status}");
        });
        // Out of the lock first: what was there before waits for its DPC.
        let before = core::mem::replace(&mut *self.new_lines.lock(), new_lines.ok());
        drop(before);
        let interface = Registered::new(device.pdo(), &wdm::raw::guid(INTERFACE))?;
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
        let new_lines = self.new_lines.lock().take();
        drop(new_lines);
        self.event_readers.drain(NtStatus::DELETE_PENDING);
        self.line_readers.drain(NtStatus::DELETE_PENDING);
    }

    /// Adds an event, answers whoever waits for it, and returns its number. ≤ DISPATCH_LEVEL.
    pub(crate) fn add(&self, kind: Kind, value: u32) -> u64 {
        let number = self.events.lock().add(kind, value, time::system_time());
        self.serve(&self.event_readers, |from| self.event(from));
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
            GET_RECORD => match pool::try_box([0; record::SIZE]) {
                Ok(mut bytes) => {
                    guard_client::record(&mut bytes);
                    Ok(irp.answer(&*bytes))
                }
                Err(status) => Ok(irp.complete(status)),
            },
            GET_EVENT | GET_LINE | HEARTBEAT if control.input_length < 8 => {
                Ok(irp.complete(NtStatus::INVALID_PARAMETER))
            }
            GET_EVENT if control.output_length < Event::BYTES => Ok(irp.complete(NtStatus::BUFFER_TOO_SMALL)),
            GET_LINE if control.output_length < LogLine::BYTES => {
                Ok(irp.complete(NtStatus::BUFFER_TOO_SMALL))
            }
            GET_EVENT | GET_LINE if !self.open.load(Ordering::Acquire) => {
                Ok(irp.complete(NtStatus::DELETE_PENDING))
            }
            GET_EVENT => Ok(self.next(irp, &self.event_readers, |from| self.event(from))),
            GET_LINE => {
                // A request would wait for ever.
                if self.new_lines.lock().is_none() && guard_client::line(irp.input_number()).is_none() {
                    return Ok(irp.complete(NtStatus::NOT_SUPPORTED));
                }
                Ok(self.next(irp, &self.line_readers, guard_client::line))
            }
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
        for readers in [&self.event_readers, &self.line_readers] {
            while let Some(irp) = readers.take_of(file) {
                let _ = irp.complete(NtStatus::CANCELLED);
            }
        }
    }

    /// Returns the bytes of the first event from a number on, if it is there. ≤ DISPATCH_LEVEL.
    fn event(&self, from: u64) -> Option<[u8; Event::BYTES]> {
        self.events.lock().from(from).map(Event::to_bytes)
    }

    /// Answers a request with what `find` has of the number that it asks for, or pends it until that is there. ≤
    /// DISPATCH_LEVEL.
    fn next<A: AsRef<[u8]>>(
        &self,
        mut irp: Irp,
        readers: &IrpQueue,
        find: impl Fn(u64) -> Option<A>,
    ) -> Disposition {
        if let Some(found) = find(irp.input_number()) {
            return irp.answer(found.as_ref());
        }
        // SAFETY: the queue lies in the device's extension, which stays at its place, and the device withdraws the
        // channel when no dispatch routine runs any more and before it is deleted.
        let disposition = unsafe { readers.pend(irp) };
        // It may have come in between.
        self.serve(readers, find);
        disposition
    }

    /// Answers the requests for which `find` has something now, and gives all back where the channel is withdrawn. ≤
    /// DISPATCH_LEVEL.
    fn serve<A: AsRef<[u8]>>(&self, readers: &IrpQueue, find: impl Fn(u64) -> Option<A>) {
        loop {
            let mut found = None;
            let taken = readers.take_where(|irp| {
                found = find(irp.input_number());
                found.is_some() || !self.open.load(Ordering::Acquire)
            });
            let _ = match (taken, found) {
                (Some(irp), Some(found)) => irp.answer(found.as_ref()),
                (Some(irp), None) => irp.complete(NtStatus::DELETE_PENDING),
                (None, _) => return,
            };
        }
    }
}

/// Routine of a DPC.
type Routine = Box<dyn Fn(&AtDispatch) + Send + Sync>;

/// The DPC that answers requests for new lines of the activity log, queued by the guard's signal. Dropping it
/// (PASSIVE_LEVEL) ends that, and waits for the DPC.
struct NewLines {
    // The order of the fields is the order of dropping: no signal, then no DPC.
    _signal: Subscription<Wake>,
    _serve: Shared<Dpc<Routine>>,
}

/// A receiver that queues the DPC.
struct Wake(Shared<Dpc<Routine>>);

impl NewLines {
    /// Serves the channel of this device, which outlives the value. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// No memory, or the guard has no room for another watcher.
    fn new(device: Device<Extension>) -> Result<Self> {
        let serve: Routine = pool::try_box(move |_: &AtDispatch| {
            if let Extension::Fdo(fdo) = device.extension() {
                let channel = fdo.channel();
                channel.serve(&channel.line_readers, guard_client::line);
            }
        })?;
        let serve = Shared::new(Dpc::new(serve)?)?;
        let signal = Subscription::new(pool::try_box(Wake(Shared::clone(&serve)))?)
            .map_err(|_| NtStatus::INSUFFICIENT_RESOURCES)?;
        Ok(Self { _signal: signal, _serve: serve })
    }
}

impl Receiver for Wake {
    fn signalled(&self, signals: Signals) {
        if signals.contains(Signals::LINES) {
            self.0.queue();
        }
    }
}
