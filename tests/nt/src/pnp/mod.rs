//! The Plug and Play manager: device nodes, stacks, starting and removing, interfaces and notifications.
//!
//! Every change of the tree happens at `PASSIVE_LEVEL`, one at a time ([`serialized`]).

mod configure;
pub(crate) mod device_state;
mod eject;
mod enumerate;
mod interface;
mod node;
mod notification;
mod property;
mod remove;
mod resources;
mod root;
mod stack;
mod start;
mod start_override;

use core::cell::UnsafeCell;

pub(crate) use device_state::IoInvalidateDeviceState;
pub(crate) use eject::{IoRequestDeviceEject, IoRequestDeviceEjectEx};
pub(crate) use enumerate::IoInvalidateDeviceRelations;
pub(crate) use interface::enable_again as enable_interface_again;
pub(crate) use interface::enabled as enabled_interfaces;
pub(crate) use interface::{
    IoGetDeviceInterfaces, IoRegisterDeviceInterface, IoSetDeviceInterfaceState, list_no_more,
};
pub(crate) use notification::{
    IoRegisterPlugPlayNotification, IoUnregisterPlugPlayNotification, announce_again,
    lose as lose_notifications, registered_within,
};
pub(crate) use property::{IoGetDeviceProperty, IoOpenDeviceRegistryKey, hide_ids};
pub(crate) use root::{
    add_device as add_root_device, init, remove_device as remove_root_device,
    report_device as report_root_device, requirements_list, resource_list, start_device as start_root_device,
};

pub(crate) use configure::installed_earlier;
pub(crate) use enumerate::install_devices;
pub(crate) use start::{boot_drivers_started, try_waiting};
pub(crate) use start_override::{can_load, is_left_out, leaves_out, mark_unneeded};

use crate::ke::{self, KeInitializeEvent, KeSetEvent, KeWaitForSingleObject};
use crate::nt::*;
use crate::{po, report};

/// A synchronization event in a static.
pub(crate) struct StaticEvent(UnsafeCell<Kevent>);

// SAFETY: the event is only used through the kernel's routines, which hold interrupts off.
unsafe impl Sync for StaticEvent {}

impl StaticEvent {
    /// Returns an event that must be initialized before use.
    pub(crate) const fn new() -> Self {
        Self(UnsafeCell::new(Kevent::unsignaled()))
    }

    /// Initializes it as a synchronization event.
    pub(crate) fn init(&self, signaled: bool) {
        // SAFETY: nobody waits for it yet.
        unsafe { KeInitializeEvent(self.0.get(), u32::from(SYNCHRONIZATION_EVENT), signaled.into()) };
    }

    /// Sets it.
    pub(crate) fn set(&self) {
        // SAFETY: initialized.
        unsafe { KeSetEvent(self.0.get(), 0, FALSE) };
    }

    /// Waits for it. `PASSIVE_LEVEL`.
    pub(crate) fn wait(&self) {
        // SAFETY: initialized.
        unsafe {
            KeWaitForSingleObject(self.0.get().cast(), EXECUTIVE, KERNEL_MODE, FALSE, core::ptr::null())
        };
    }
}

static FREE: StaticEvent = StaticEvent::new();

/// Runs one change of the device tree. `PASSIVE_LEVEL`.
pub(crate) fn serialized<T>(run: impl FnOnce() -> T) -> T {
    FREE.wait();
    let result = run();
    FREE.set();
    result
}

pub(crate) fn init_lock() {
    FREE.init(true);
}

/// Waits until no bus is to be asked again, and nothing has been enumerated or notified for half a second.
/// `PASSIVE_LEVEL`.
pub(crate) fn settle() {
    loop {
        let before = (node::changes(), notification::delivered());
        notification::wait_until_delivered();
        ke::delay(500);
        if !enumerate::is_awaited() && before == (node::changes(), notification::delivered()) {
            return;
        }
    }
}

/// Returns true if a device is started.
pub(crate) fn is_started(pdo: *mut DeviceObject) -> bool {
    node::of(pdo).is_some_and(|node| node.state == node::State::Started)
}

/// Asks every started device whether the system may go to a power state, and sets it to it if none objects. Returns
/// false if one does. `PASSIVE_LEVEL`.
///
/// # Safety
/// As [`set_power`].
pub(crate) unsafe fn try_power(state: u32, action: u32) -> bool {
    // SAFETY: the caller keeps the contract of [`set_power`].
    unsafe {
        po::set_action(action);
        let agreed =
            serialized(|| node::leaves_first().into_iter().all(|pdo| stack::query_power(pdo, state)));
        if agreed {
            set_power(state, action);
        }
        agreed
    }
}

/// Sets every started device to a system power state: children before their parents, or after them when the
/// system begins to work again (WDK, "Handling a System Set-Power IRP in a Bus Driver"). `PASSIVE_LEVEL`.
///
/// # Safety
/// Nothing needs the devices until the system works.
pub(crate) unsafe fn set_power(state: u32, action: u32) {
    po::set_action(action);
    // SAFETY: by this function's contract, nothing needs the devices until the system works.
    unsafe {
        serialized(|| {
            let mut devices = node::leaves_first();
            if state == POWER_SYSTEM_WORKING {
                devices.reverse();
            }
            devices.iter().for_each(|&pdo| stack::set_power(pdo, state));
            devices.iter().for_each(|&pdo| stack::check_power(pdo, state));
            report!("power system={state} devices={}", devices.len());
        });
    }
}

/// Returns the PDOs of a function driver's devices.
pub(crate) fn devices_of(service: &str) -> alloc::vec::Vec<*mut DeviceObject> {
    node::of_service(service)
}

/// Removes every device of a function driver as if it had been pulled out; how many there were.
/// `PASSIVE_LEVEL`.
///
/// # Safety
/// Nothing else uses the devices.
pub(crate) unsafe fn surprise_remove(service: &str) -> usize {
    let devices = node::of_service(service);
    // SAFETY: by this function's contract, nothing else uses the devices.
    unsafe {
        serialized(|| devices.iter().for_each(|&pdo| remove::surprise(pdo)));
    }
    devices.len()
}
