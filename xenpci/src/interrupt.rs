//! The upcall: how Xen interrupts a processor that it has events for.
//!
//! *The line.* Xen raises the device's INTx line while an event is pending for vCPU 0
//! (HVM_PARAM_CALLBACK_IRQ, type 1) and lowers it when the handler clears "upcall pending". The line is
//! shared: the handler answers `false` where Xen wanted nothing.
//!
//! *Messages.* For each processor for which the PnP manager has assigned an interrupt message, Xen is told
//! the message's vector (HVMOP_set_evtchn_upcall_vector) and interrupts that processor by it, as by an edge
//! of its local APIC. The device has no MSI capability: nothing but the vector is taken of the message. Such
//! a processor serves its own ports; those of any other are served by the first processor, by its message or
//! by the line.
//!
//! The line's callback stays set in either case: from it the toolstack knows that this guest goes along with
//! a suspend.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};
use wdm::Shared;

use wdm::dpc::Dpc;
use wdm::interrupt::Interrupt;
use wdm::irql::AtDispatch;
use wdm::resources::InterruptResource;
use wdm::{DeviceObject, debug_print, pci, pool, time};
use xen::hvm::{self, Callback};
use xen::hypercall::{self, VmCall};

use crate::DRIVER;
use crate::event_channels::EventChannels;

type Service = Box<dyn Fn() -> bool + Send + Sync>;
type Drain = Box<dyn Fn(&AtDispatch) + Send + Sync>;

/// A connected interrupt and its DPC. Dropping it disconnects, and waits for the DPC (PASSIVE_LEVEL).
struct Connected {
    /// Upcalls taken.
    taken: Shared<AtomicU32>,
    // The order of the fields is the order of dropping: no handler, then no DPC.
    _interrupt: Interrupt<Service>,
    dpc: Shared<Dpc<Drain>>,
}

impl Connected {
    /// Has `resource` serve the ports of `processor`.
    fn new(
        pdo: DeviceObject,
        resource: InterruptResource,
        channels: &Shared<EventChannels>,
        processor: usize,
    ) -> wdm::Result<Self> {
        let drained = Shared::clone(channels);
        let drain: Drain = pool::try_box(move |at: &AtDispatch| drained.drain(processor, at))?;
        let dpc = Shared::new(Dpc::new(drain)?)?;

        let taken = Shared::new(AtomicU32::new(0))?;
        let (acknowledged, queued, counted) =
            (Shared::clone(channels), Shared::clone(&dpc), Shared::clone(&taken));
        let service: Service = pool::try_box(move || {
            let ours = acknowledged.acknowledge(processor);
            if ours {
                counted.fetch_add(1, Ordering::Relaxed);
                // On the processor that is interrupted.
                queued.queue();
            }
            ours
        })?;
        let interrupt = Interrupt::connect(pdo, resource, service)?;
        Ok(Self { taken, _interrupt: interrupt, dpc })
    }

    fn taken(&self) -> u32 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Has the ports looked through, interrupt or not. Any IRQL.
    fn look(&self) {
        self.dpc.queue();
    }
}

/// An interrupt of one processor's own.
struct Message {
    processor: usize,
    vector: u8,
    connected: Connected,
}

/// The connected interrupts. Dropping it stops the upcalls, disconnects, and waits for the DPCs
/// (PASSIVE_LEVEL).
pub(crate) struct Upcall {
    hypercall: VmCall,
    channels: Shared<EventChannels>,
    callback: Callback,
    line: Connected,
    messages: Vec<Message>,
}

impl Upcall {
    /// Connects handlers to the device's line, and to those of `messages` that interrupt one processor each.
    /// Xen does not raise anything before [`Upcall::enable`]. A message that cannot be connected is left
    /// out. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// `INSUFFICIENT_RESOURCES`, what IoConnectInterrupt answers; `DEVICE_CONFIGURATION_ERROR` for a device
    /// that says it has no pin.
    pub(crate) fn connect(
        hypercall: VmCall,
        pdo: DeviceObject,
        location: pci::Location,
        line: InterruptResource,
        messages: impl Iterator<Item = InterruptResource>,
        channels: &Shared<EventChannels>,
    ) -> wdm::Result<Self> {
        let callback = Callback::Intx {
            domain: 0,
            bus: location.bus,
            devfn: location.device << 3 | location.function,
            pin: pin(location)?,
        };
        let line = Connected::new(pdo, line, channels, 0)?;
        let mut connected: Vec<Message> = Vec::new();
        for message in messages {
            let processor = message.affinity.trailing_zeros() as usize;
            let one = message.affinity.is_power_of_two() && processor < channels.processors();
            let known = connected.iter().any(|known| known.processor == processor);
            let (true, false, Ok(vector)) = (one, known, u8::try_from(message.vector)) else { continue };
            connected.try_reserve(1).map_err(|_| wdm::NtStatus::INSUFFICIENT_RESOURCES)?;
            match Connected::new(pdo, message, channels, processor) {
                Ok(own) => connected.push(Message { processor, vector, connected: own }),
                Err(status) => debug_print!(DRIVER, "processor {processor}: no interrupt, status {status}"),
            }
        }
        Ok(Self { hypercall, channels: Shared::clone(channels), callback, line, messages: connected })
    }

    /// Has Xen interrupt from now on: at START, and again after each resume, by which it has forgotten the
    /// vectors. A processor whose vector it refuses goes without. Any IRQL.
    ///
    /// # Errors
    /// Xen's answer for the line.
    pub(crate) fn enable(&self) -> Result<(), hypercall::Error> {
        hvm::set_callback(&self.hypercall, self.callback)?;
        for message in &self.messages {
            let Some(vcpu) = self.channels.vcpu(message.processor) else { continue };
            match hvm::set_upcall_vector(&self.hypercall, vcpu, message.vector) {
                Ok(()) => self.channels.set_own_vector(message.processor, true),
                Err(error) => {
                    debug_print!(DRIVER, "processor {} has no vector: {error}", message.processor);
                }
            }
        }
        Ok(())
    }

    /// Raises an event for each processor that has a vector: one that does not take it serves no ports, but
    /// for the first, which has the line. How many took it. PASSIVE_LEVEL.
    pub(crate) fn prove(&self) -> usize {
        let works = |message: &Message| {
            if !self.channels.has_own_vector(message.processor) {
                return false;
            }
            if self.takes(message) {
                return true;
            }
            // Xen raises nothing as long as an upcall is pending whose interrupt is lost.
            let lost = self.channels.acknowledge(message.processor);
            debug_print!(
                DRIVER,
                "processor {}: an event brings no interrupt (an upcall is pending: {lost}), once more",
                message.processor
            );
            self.look();
            self.takes(message)
        };
        let mut working = 0;
        for message in &self.messages {
            if works(message) {
                working += 1;
            } else {
                debug_print!(DRIVER, "processor {}: its interrupt does not arrive", message.processor);
                self.channels.set_own_vector(message.processor, false);
            }
        }
        working
    }

    /// Raises an event for a message's processor. Returns true if the message's interrupt is taken within a second. PASSIVE_LEVEL.
    fn takes(&self, message: &Message) -> bool {
        let before = message.connected.taken();
        let taken = self.channels.reaches(message.processor, || message.connected.taken() != before);
        taken.unwrap_or_else(|error| {
            debug_print!(DRIVER, "processor {}: no event can be raised for it: {error}", message.processor);
            false
        })
    }

    /// Acknowledges what Xen has raised for any processor, and has the ports of each looked through. ≤ DISPATCH_LEVEL.
    pub(crate) fn look(&self) {
        (0..self.channels.processors()).for_each(|processor| {
            self.channels.acknowledge(processor);
        });
        self.line.look();
        self.messages.iter().for_each(|message| message.connected.look());
    }

    /// Returns the number of upcalls that the first processor has taken. Any IRQL.
    pub(crate) fn taken(&self) -> u32 {
        let own = self.messages.iter().find(|message| message.processor == 0);
        self.line.taken().wrapping_add(own.map_or(0, |message| message.connected.taken()))
    }

    /// Returns true if the number of upcalls taken differs from `before`, or does so within a second.
    /// PASSIVE_LEVEL.
    pub(crate) fn more_than(&self, before: u32) -> bool {
        time::within_a_second(|| self.taken() != before)
    }
}

impl Drop for Upcall {
    fn drop(&mut self) {
        // Nothing can be done about a refusal; the line is then ours until the handler is gone. A vector
        // cannot be taken back: every port is masked by now, so nothing is raised by it.
        let _ = hvm::set_callback(&self.hypercall, Callback::None);
        debug_print!(DRIVER, "stopped after {} upcalls by the line", self.line.taken());
        for message in &self.messages {
            let (processor, taken) = (message.processor, message.connected.taken());
            debug_print!(DRIVER, "processor {processor}: {taken} upcalls by vector {:#x}", message.vector);
        }
    }
}

/// Returns the device's interrupt pin, 0 for INTA: configuration space offset 3Dh (PCI Local Bus 3.0, 6.2.4).
fn pin(location: pci::Location) -> wdm::Result<u8> {
    let mut pin = [0];
    let read = location.read(0x3D, &mut pin);
    match pin[0] {
        1..=4 if read == 1 => Ok(pin[0] - 1),
        _ => Err(wdm::NtStatus::DEVICE_CONFIGURATION_ERROR),
    }
}
