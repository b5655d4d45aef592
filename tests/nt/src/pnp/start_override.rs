//! StartOverride (NT 6.2 and later): a boot-start driver without a device is left out by the next boot's loader.
//!
//! NT waits for some boots; here one is enough. Neither the key nor when it is written is documented: it is
//! written when the system is up, and once more when it goes down, before anybody is told.

use alloc::string::String;
use alloc::vec::Vec;

use osloader::drivers;

use super::node::{self, State};
use crate::boot;
use crate::cm::{self, Value};
use crate::io::driver;
use crate::ke::Lock;

/// The services that the loader has left out, while nothing can be loaded from a disk.
static LEFT_OUT: Lock<Vec<String>> = Lock::new(Vec::new());

/// Does the loader's part. Returns true if it leaves a boot-start driver out, which stands until
/// [`can_load`].
pub(crate) fn leaves_out(service: &str) -> bool {
    let left_out = boot::options().nt.is_nt62() && drivers::is_left_out(&cm::ControlSet, service);
    if left_out {
        crate::log!("loader: {service} is left out, StartOverride");
        LEFT_OUT.lock().push(String::from(service));
    }
    left_out
}

/// Returns true if a driver was left out: its file is not in memory, and there is no disk to load it from.
pub(crate) fn is_left_out(service: &str) -> bool {
    LEFT_OUT.lock().iter().any(|name| name.eq_ignore_ascii_case(service))
}

/// Notes that the system has its disk: from now on a driver that was left out can be loaded on demand.
pub(crate) fn can_load() {
    LEFT_OUT.lock().clear();
}

/// Marks the boot-start drivers among `services` that serve no device.
///
/// # Safety
/// IRQL `PASSIVE_LEVEL`.
pub(crate) unsafe fn mark_unneeded(services: impl Iterator<Item = String>) {
    if !boot::options().nt.is_nt62() {
        return;
    }
    // SAFETY: the caller is at IRQL `PASSIVE_LEVEL`.
    unsafe {
        for service in services {
            let serves = node::of_service(&service)
                .into_iter()
                .any(|pdo| node::of(pdo).is_some_and(|node| node.state == State::Started));
            if !serves && !filters_something(&service) {
                cm::set(&cm::start_override(&service), "0", Value::dword(drivers::DEMAND_START));
            }
        }
    }
}

/// Returns true if a device of the driver's stands in a stack.
unsafe fn filters_something(service: &str) -> bool {
    let Some(driver) = driver::find(service) else { return false };
    // SAFETY: a loaded driver's objects stay until it is unloaded, which nothing does here.
    unsafe {
        let mut device = (*driver).device_object;
        while !device.is_null() {
            if !(*(*device).device_object_extension).attached_to.is_null() {
                return true;
            }
            device = (*device).next_device;
        }
        false
    }
}
