//! xenpci.sys: function driver of the Xen platform device (PCI 5853:0001 and :0002), and bus driver of the PV
//! storage adapter.
//!
//! It enumerates the storage adapter ([`pdo`]) in every boot, so that Windows has it installed before a boot
//! depends on it. In a PV boot it sets up hypercalls, grants, event channels and xenstore ([`platform`]), and
//! gives them to the adapter's driver through one table ([`interface`]) once the guard in idefilter.sys says
//! that every emulated alias is gone ([`proof`]). It serves what the toolstack asks ([`control`]) and tells it
//! how the guest is guarded ([`state`]). In an emulated boot it gives nothing out, and leaves Xen alone but for
//! one conversation with xenstore ([`emulated`]).
//!
//! Begin with [`fdo`]: START_DEVICE there sets everything up, in the order in which one part needs the other.
//!
//! | module | what it is |
//! |---|---|
//! | [`fdo`], [`pdo`] | the platform device's own object, and that of the storage adapter below it |
//! | [`platform`] | everything that Xen keeps for the guest, set up and, after a suspend, anew |
//! | [`window`] | the device's memory, where Xen's pages are mapped |
//! | [`event_channels`], [`interrupt`] | ports and their handlers; the line and the vectors by which events arrive |
//! | [`grant`] | the grant table |
//! | [`store`] | xenstore for many callers |
//! | [`interface`] | the table of services for xenvbd |
//! | [`proof`] | asks the guard whether they may be given out |
//! | [`suspend`], [`control`], [`button`] | what the toolstack asks: suspend, power off, reboot |
//! | [`state`], [`emulated`] | tells the host how the guest is guarded, in a PV boot and in an emulated one |
//! | [`last_word`] | what the host reads of a guest that has ended: told at the shutdown, and at a stop |
//! | [`channel`] | a file that programs read the guard's events from |
//! | [`special_files`] | page, dump and hibernation files on the disks below |
#![no_std]

extern crate alloc;

mod button;
mod channel;
mod clients;
mod control;
mod emulated;
mod event_channels;
mod fdo;
mod grant;
mod interface;
mod interrupt;
mod last_word;
mod pdo;
mod platform;
mod proof;
mod special_files;
mod state;
mod store;
mod suspend;
mod window;

use wdm::pnp::DeviceStates;
use wdm::power::PolicyOwner;
use wdm::{Device, DeviceObject, Disposition, Driver, DriverObject, Irp, Result};

use crate::fdo::Fdo;
use crate::pdo::Pdo;

/// This driver's name in debug output.
const DRIVER: &str = "xenpci";

/// The driver.
struct Xenpci;

/// The extension of a device object of this driver.
#[expect(
    clippy::large_enum_variant,
    reason = "it lies in the device object's extension, and there is one child: a box would be an allocation that can fail"
)]
enum Extension {
    /// The platform device's function driver.
    Fdo(Fdo),
    /// The storage adapter on its bus.
    Pdo(Pdo),
}

impl Driver for Xenpci {
    type Extension = Extension;

    const UNLOADS: bool = true;

    fn entry(_driver: DriverObject, _registry_path: &[u16]) -> Result {
        wdm::debug::log_to(guard_client::note);
        Ok(())
    }

    fn add_device(driver: DriverObject, pdo: DeviceObject) -> Result {
        fdo::add(driver, pdo)
    }

    fn pnp(device: Device<Extension>, irp: Irp) -> Disposition {
        match device.extension() {
            Extension::Fdo(fdo) => fdo::pnp(device, fdo, irp),
            Extension::Pdo(pdo) => pdo::pnp(device, pdo, irp),
        }
    }

    fn power(device: Device<Extension>, irp: Irp) -> Disposition {
        match device.extension() {
            Extension::Fdo(fdo) => fdo::power(device, fdo, irp),
            Extension::Pdo(_) => pdo::power(device, irp),
        }
    }

    fn system_control(device: Device<Extension>, irp: Irp) -> Disposition {
        match device.extension() {
            Extension::Fdo(_) => fdo::forward(device, irp),
            Extension::Pdo(_) => irp.complete_as_is(),
        }
    }

    fn other(device: Device<Extension>, irp: Irp) -> Disposition {
        match device.extension() {
            Extension::Fdo(fdo) => fdo::other(device, fdo, irp),
            // What the adapter offers goes through PnP and the interface table.
            Extension::Pdo(_) => irp.complete(wdm::NtStatus::INVALID_DEVICE_REQUEST),
        }
    }
}

impl PolicyOwner for Extension {
    fn device_state(&self, system: u32) -> u32 {
        match self {
            Self::Fdo(fdo) => fdo.device_state(system),
            // Its function driver owns the adapter's policy.
            Self::Pdo(_) => DeviceStates::WORKING_OR_OFF.of(system),
        }
    }

    fn rest(&self) {
        if let Self::Fdo(fdo) = self {
            fdo.rest();
        }
    }

    fn work(&self) {
        if let Self::Fdo(fdo) = self {
            fdo.work();
        }
    }
}

wdm::driver_entry!(Xenpci);
