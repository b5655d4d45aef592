//! Asking the guard, which lives in idefilter.sys. That this driver imports from it is itself a part of the
//! guard: without idefilter it does not load.
#![allow(unsafe_code, reason = "calls another driver's exports")]

use core::ffi::c_void;

use guard::abi::{ASK_AGAIN, CHANGED, RawEvent, Status, Watcher, unpack_action};
use guard::{Action, Event, Reason};
use wdm::DeviceObject;

#[link(name = "idefilter", kind = "static", modifiers = "-bundle")]
unsafe extern "system" {
    fn XenguardEvent(event: *const RawEvent) -> u64;
    fn XenguardStatus(status: *mut Status);
    fn XenguardWatch(watcher: Option<Watcher>, context: *mut c_void) -> u32;
    fn XenguardUnwatch(number: u32);
}

/// Asks whether the storage adapter may be enumerated: `Expose`, or `Withhold` with the reason; `Stop` where
/// the system is to be stopped. ≤ DISPATCH_LEVEL.
pub fn request_exposure() -> Action {
    let Some(event) = RawEvent::pack(Event::ExposureRequested) else {
        return Action::Withhold(Reason::EventRefused);
    };
    // SAFETY: the event lives across the call; the import is what the loader bound.
    unpack_action(unsafe { XenguardEvent(&raw const event) })
}

/// Says that the guest has come back from a suspend, and may have its emulated disks again. ≤ DISPATCH_LEVEL.
pub fn resumed() -> Action {
    let Some(event) = RawEvent::pack(Event::Resumed) else {
        return Action::Withhold(Reason::EventRefused);
    };
    // SAFETY: as above.
    unpack_action(unsafe { XenguardEvent(&raw const event) })
}

/// Whether this boot may come to use PV disks, that is whether there is a reason to touch Xen. ≤
/// DISPATCH_LEVEL.
pub fn pv_boot() -> bool {
    /// Hiding, granted, exposed: see [`Status::phase`].
    const PV: core::ops::RangeInclusive<u32> = 2..=4;
    status().is_some_and(|status| PV.contains(&status.phase))
}

/// The state of the boot; `None` from a guard of another version. ≤ DISPATCH_LEVEL.
pub fn status() -> Option<Status> {
    let mut status = Status::default();
    // SAFETY: the status lives across the call; the import is what the loader bound.
    unsafe { XenguardStatus(&raw mut status) };
    (status.abi == guard::abi::ABI_VERSION).then_some(status)
}

/// Sets an event at each change of the status. Dropping it ends that.
pub struct Changes(u32);

impl Changes {
    /// For the event behind the address. `None` where the guard has no room for another watcher. ≤
    /// DISPATCH_LEVEL.
    ///
    /// # Safety
    /// The event lives until the value is dropped.
    pub unsafe fn new(event: *const wdm::event::Event) -> Option<Self> {
        // SAFETY: the watcher is called with the event until the value is dropped.
        let number = unsafe { XenguardWatch(Some(changed), event.cast_mut().cast()) };
        (number != 0).then_some(Self(number))
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        // SAFETY: the number is this value's.
        unsafe { XenguardUnwatch(self.0) };
    }
}

/// DISPATCH_LEVEL.
unsafe extern "system" fn changed(event: *mut c_void, signals: u32) {
    if signals & CHANGED != 0 {
        // SAFETY: the event of `Changes::new`.
        unsafe { &*event.cast::<wdm::event::Event>() }.set();
    }
}

/// Has the bus relations of a device queried again when a request that came too early would be granted: the
/// proof may become whole after this driver has asked, where PCI root buses follow. Dropping it ends that.
pub struct AskAgain(u32);

impl AskAgain {
    /// For the bus with this PDO, which outlives the value. `None` where the guard has no room for another
    /// watcher. ≤ DISPATCH_LEVEL.
    pub fn new(physical: DeviceObject) -> Option<Self> {
        // SAFETY: the watcher is called with the PDO until the value is dropped.
        let number = unsafe { XenguardWatch(Some(ask_again), physical.as_ptr().cast()) };
        (number != 0).then_some(Self(number))
    }
}

impl Drop for AskAgain {
    fn drop(&mut self) {
        // SAFETY: the number is this value's.
        unsafe { XenguardUnwatch(self.0) };
    }
}

/// DISPATCH_LEVEL.
unsafe extern "system" fn ask_again(physical: *mut c_void, signals: u32) {
    if signals & ASK_AGAIN != 0 {
        // SAFETY: the PDO that `AskAgain::new` was given.
        if let Some(physical) = unsafe { DeviceObject::from_raw(physical.cast()) } {
            physical.invalidate_bus_relations();
        }
    }
}
