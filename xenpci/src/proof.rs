//! Questions that this driver has to the guard, and reports that it makes.

use alloc::boxed::Box;

use guard::abi::Signals;
use guard::{Action, Event};
use guard_client::{Receiver, Subscription};
use wdm::{DeviceObject, pool};

/// Asks whether the storage adapter may be enumerated: `Expose`, or `Withhold` with the reason; `Stop` where
/// the system is to be stopped. ≤ DISPATCH_LEVEL.
pub(crate) fn request_exposure() -> Action {
    guard_client::event(Event::ExposureRequested)
}

/// Says that the guest has come back from a suspend, and may have its emulated disks again. ≤ DISPATCH_LEVEL.
pub(crate) fn resumed() -> Action {
    guard_client::event(Event::Resumed)
}

/// Has the bus relations of a device queried again when a request that came too early would be granted: the
/// proof may become whole after this driver has asked, where PCI root buses follow. Dropping it ends that.
pub(crate) struct AskAgain {
    _subscription: Subscription<Bus>,
}

/// The PDO of the bus.
struct Bus(DeviceObject);

impl AskAgain {
    /// Registers a watcher for the bus with this PDO, which outlives the value. `None` where there is no
    /// memory, or the guard has no room for another watcher. ≤ DISPATCH_LEVEL.
    pub(crate) fn new(pdo: DeviceObject) -> Option<Self> {
        let bus: Box<Bus> = pool::try_box(Bus(pdo)).ok()?;
        Subscription::new(bus).ok().map(|subscription| Self { _subscription: subscription })
    }
}

impl Receiver for Bus {
    fn signalled(&self, signals: Signals) {
        if signals.contains(Signals::ASK_AGAIN) {
            self.0.invalidate_bus_relations();
        }
    }
}
