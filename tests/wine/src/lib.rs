//! A bus driver for Wine's PnP manager: the function driver of the root-enumerated `ROOT\TESTBUS`, whose
//! children are an emulated IDE controller and the Xen platform device by their PCI ids.
//!
//! When its bus is started it offers it to the upper filter, as NT's PnP manager does by the class's
//! `UpperFilters`, which Wine's does not read. Then it plays the bus's life: both children come, the platform
//! device goes without a word, and comes back. Bus relations are answered at once the first time and later
//! from another thread the times after. It prints what it is asked for by debug output; `xtask/src/wine.rs`
//! reads that. Where the service is tried, the bus then offers xenpci's channel itself (`stand_in`).
#![no_std]

extern crate alloc;

mod child;
mod filter;
mod stand_in;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;

use wdm::device::Options;
use wdm::pnp::{Minor, RelationsType};
use wdm::thread::Thread;
use wdm::{
    Device, DeviceObject, Disposition, Driver, DriverObject, Irp, NtStatus, Result, pool, relations, time,
};

use crate::child::Child;
use crate::stand_in::StandIn;

/// One line of debug output.
macro_rules! log {
    ($($text:tt)+) => { wdm::debug_print!("testbus", $($text)+) };
}
use log;

/// FILE_DEVICE_BUS_EXTENDER.
const BUS_EXTENDER: u32 = 0x2A;
/// Time that Wine gets for each change of the bus.
const CHANGE: Duration = Duration::from_millis(1500);
/// The same where the service is to see each.
const CHANGE_SEEN: Duration = Duration::from_secs(6);
/// Before an answer that is given from another thread.
const LATE: Duration = Duration::from_millis(50);

struct Testbus;

/// The structure behind a device object of this driver.
enum Extension {
    Bus(Bus),
    Child(Child),
}

/// The bus.
struct Bus {
    children: Vec<Device<Extension>>,
    /// Number of times that its relations were asked for.
    asked: AtomicU32,
    /// The channel's stand-in.
    channel: Box<StandIn>,
}

wdm::driver_entry!(Testbus);

impl Driver for Testbus {
    type Extension = Extension;

    const UNLOADS: bool = true;

    fn entry(_driver: DriverObject, _registry_path: &[u16]) -> Result {
        Ok(())
    }

    fn add_device(driver: DriverObject, pdo: DeviceObject) -> Result {
        let mut children = Vec::new();
        for kind in child::ALL {
            let options = Options { name: None, device_type: 0x22, characteristics: 0, auto_name: true };
            let child = Device::create(driver, options, Extension::Child(Child::new(kind)))?;
            child.finish_initializing();
            children.push(child);
        }
        let options = Options { name: None, device_type: BUS_EXTENDER, characteristics: 0, auto_name: false };
        let bus = Bus { children, asked: AtomicU32::new(0), channel: pool::try_box(StandIn::new())? };
        let device = Device::create(driver, options, Extension::Bus(bus))?;
        device.attach(pdo)?;
        device.finish_initializing();
        Ok(())
    }

    fn pnp(device: Device<Extension>, irp: Irp) -> Disposition {
        match device.extension() {
            Extension::Bus(bus) => bus_pnp(device, bus, irp),
            Extension::Child(child) => child::pnp(device, child, irp),
        }
    }

    fn power(device: Device<Extension>, irp: Irp) -> Disposition {
        match (device.extension(), device.attached_to()) {
            (Extension::Bus(_), Some(lower)) => irp.forward_power(lower),
            _ => irp.complete_power(NtStatus::SUCCESS),
        }
    }

    fn other(device: Device<Extension>, irp: Irp) -> Disposition {
        match (device.extension(), device.attached_to()) {
            (Extension::Bus(bus), Some(lower)) => {
                bus.channel.other(irp).unwrap_or_else(|irp| irp.forward(lower))
            }
            _ => irp.complete_as_is(),
        }
    }

    fn unload(_driver: DriverObject) {
        log!("unload");
    }
}

fn bus_pnp(device: Device<Extension>, bus: &Bus, mut irp: Irp) -> Disposition {
    let Some(lower) = device.attached_to() else { return irp.complete(NtStatus::DELETE_PENDING) };
    match irp.location().pnp() {
        Some(Minor::StartDevice) => {
            let (irp, status) = irp.forward_and_wait(lower);
            if status.is_success() && Thread::spawn(move || life(device)).is_err() {
                log!("no thread for the bus's life");
            }
            irp.complete(status)
        }
        Some(Minor::QueryDeviceRelations) if irp.location().relations_type() == Some(RelationsType::BUS) => {
            if bus.asked.fetch_add(1, Ordering::AcqRel) == 0 {
                let status = answer(bus, &mut irp, "at once");
                return irp.complete(status);
            }
            let (mut irp, disposition) = irp.pend();
            let late = Thread::spawn(move || {
                time::sleep(LATE);
                if let Extension::Bus(bus) = device.extension() {
                    let status = answer(bus, &mut irp, "late");
                    // The disposition was returned when the IRP was pended.
                    let _ = irp.complete(status);
                }
            });
            if late.is_err() {
                log!("no thread for the answer");
            }
            disposition
        }
        Some(Minor::RemoveDevice) => {
            irp.set_status(NtStatus::SUCCESS);
            let disposition = irp.forward(lower);
            log!("bus removed");
            device.detach();
            disposition
        }
        _ => irp.forward(lower),
    }
}

/// Lists the children that are present.
fn answer(bus: &Bus, irp: &mut Irp, when: &str) -> NtStatus {
    let present: Vec<DeviceObject> = bus
        .children
        .iter()
        .filter(|child| matches!(child.extension(), Extension::Child(child) if child.is_present()))
        .map(Device::object)
        .collect();
    log!("relations {when}: {} children", present.len());
    relations::append(irp, &present).into()
}

/// Performs the events of the bus.
fn life(device: Device<Extension>) {
    let Extension::Bus(bus) = device.extension() else { return };
    let platform = bus.children.iter().find_map(|child| match child.extension() {
        Extension::Child(child) if child.is_platform() => Some(child),
        _ => None,
    });
    let Some(platform) = platform else { return };
    filter::offer(device.pdo());
    let service = stand_in::is_wanted();
    let change = if service { CHANGE_SEEN } else { CHANGE };
    for present in [true, false, true, false] {
        log!("the platform device is {}", if present { "there" } else { "gone" });
        platform.set_present(present);
        filter::invalidate(device.pdo());
        time::sleep(change);
    }
    if service {
        bus.channel.play(device.pdo());
    }
    log!("end");
}
