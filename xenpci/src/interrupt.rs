//! The upcall: a PCI interrupt line, its handler and its DPC.
//!
//! Xen raises the device's INTx line while an event is pending for vCPU 0 (HVM_PARAM_CALLBACK_IRQ, type 1) and lowers it
//! when the handler clears "upcall pending". The line is shared: the handler answers `false` where Xen wanted nothing.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;

use wdm::dpc::Dpc;
use wdm::interrupt::Interrupt;
use wdm::irql::AtDispatch;
use wdm::resources::InterruptResource;
use wdm::{debug_print, pci, pool, time};
use xen::hvm::{self, Callback};
use xen::hypercall::{self, HypercallPage};

use crate::DRIVER;
use crate::event_channels::EventChannels;

type Service = Box<dyn Fn() -> bool + Send + Sync>;
type Drain = Box<dyn Fn(&AtDispatch) + Send + Sync>;

/// The connected interrupt. Dropping it stops the upcalls, disconnects, and waits for the DPC (PASSIVE_LEVEL).
pub struct Upcall {
    hypercall: HypercallPage,
    callback: Callback,
    /// Upcalls taken.
    taken: Arc<AtomicU32>,
    // The order of the fields is the order of dropping: no handler, then no DPC.
    _interrupt: Interrupt<Service>,
    _dpc: Arc<Dpc<Drain>>,
}

impl Upcall {
    /// Connects the handler to the device's interrupt. Xen does not raise the line before [`Upcall::enable`].
    /// PASSIVE_LEVEL.
    ///
    /// # Errors
    /// `INSUFFICIENT_RESOURCES`, what IoConnectInterrupt answers; `DEVICE_CONFIGURATION_ERROR` for a device that says it
    /// has no pin.
    pub fn connect(
        hypercall: HypercallPage,
        location: pci::Location,
        resource: InterruptResource,
        channels: &Arc<EventChannels>,
    ) -> wdm::Result<Self> {
        let callback = Callback::Intx {
            domain: 0,
            bus: location.bus,
            devfn: location.device << 3 | location.function,
            pin: pin(location)?,
        };

        let drained = Arc::clone(channels);
        let drain: Drain = pool::try_box(move |at: &AtDispatch| drained.drain(at))?;
        let dpc = Arc::new(Dpc::new(drain)?);

        let taken = Arc::new(AtomicU32::new(0));
        let (acknowledged, queued, counted) = (Arc::clone(channels), Arc::clone(&dpc), Arc::clone(&taken));
        let service: Service = pool::try_box(move || {
            let ours = acknowledged.acknowledge();
            if ours {
                counted.fetch_add(1, Ordering::Relaxed);
                queued.queue();
            }
            ours
        })?;
        let interrupt = Interrupt::connect(resource, service)?;
        Ok(Self { hypercall, callback, taken, _interrupt: interrupt, _dpc: dpc })
    }

    /// Has Xen raise the line from now on: at START, and again after each resume. Any IRQL.
    ///
    /// # Errors
    /// Xen's answer.
    pub fn enable(&self) -> Result<(), hypercall::Error> {
        hvm::set_callback(&self.hypercall, self.callback)
    }

    /// How many upcalls were taken. Any IRQL.
    pub fn taken(&self) -> u32 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Whether the number of upcalls taken differs from `before`, or does so within a second. PASSIVE_LEVEL.
    pub fn more_than(&self, before: u32) -> bool {
        const TRIES: u32 = 100;
        (0..TRIES).any(|_| {
            let more = self.taken() != before;
            if !more {
                time::sleep(Duration::from_millis(10));
            }
            more
        })
    }
}

impl Drop for Upcall {
    fn drop(&mut self) {
        // Nothing can be done about a refusal; the line is then ours until the handler is gone.
        let _ = hvm::set_callback(&self.hypercall, Callback::None);
        debug_print!(DRIVER, "stopped after {} upcalls", self.taken());
    }
}

/// The device's interrupt pin, 0 for INTA: configuration space offset 3Dh (PCI Local Bus 3.0, 6.2.4).
fn pin(location: pci::Location) -> wdm::Result<u8> {
    let mut pin = [0];
    let read = location.read(0x3D, &mut pin);
    match pin[0] {
        1..=4 if read == 1 => Ok(pin[0] - 1),
        _ => Err(wdm::NtStatus::DEVICE_CONFIGURATION_ERROR),
    }
}
