//! Asking the guard, which lives in idefilter.sys. That this driver imports from it is itself a part of the guard:
//! without idefilter it does not load.
#![allow(unsafe_code, reason = "calls another driver's exports")]

use guard::abi::{RawEvent, Status, unpack_action};
use guard::{Action, Event, Reason};

#[link(name = "idefilter", kind = "static", modifiers = "-bundle")]
unsafe extern "system" {
    fn XenguardEvent(event: *const RawEvent) -> u64;
    fn XenguardStatus(status: *mut Status);
}

/// Asks whether the storage adapter may be enumerated: `Expose`, or `Withhold` with the reason; `Stop` where the system
/// is to be stopped. ≤ DISPATCH_LEVEL.
pub fn request_exposure() -> Action {
    let Some(event) = RawEvent::pack(Event::ExposureRequested) else {
        return Action::Withhold(Reason::EventRefused);
    };
    // SAFETY: the event lives across the call; the import is what the loader bound.
    unpack_action(unsafe { XenguardEvent(&raw const event) })
}

/// Whether this boot may come to use PV disks, that is whether there is a reason to touch Xen. ≤ DISPATCH_LEVEL.
pub fn pv_boot() -> bool {
    /// Hiding, granted, exposed: see [`Status::phase`].
    const PV: core::ops::RangeInclusive<u32> = 2..=4;
    let mut status = Status::default();
    // SAFETY: the status lives across the call; the import is what the loader bound.
    unsafe { XenguardStatus(&raw mut status) };
    status.abi == guard::abi::ABI_VERSION && PV.contains(&status.phase)
}
