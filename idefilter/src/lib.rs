//! `idefilter.sys`: decides the mode of a boot, owns the guard's state, and hides emulated disk controllers
//! from the PCI bus in a PV boot.
//!
//! A boot-start driver and an upper filter of the classes System, IDE controllers, SCSI adapters and disks.
//! It attaches to PCI root buses and to emulated storage devices only, and only in a PV boot; an emulated
//! boot passes it by. xenpci.sys and xenvbd.sys import [`exports`], so that without this file they do not
//! load. The rules themselves are in the crate `guard`, in files of the same names.
//!
//! Begin with [`entry`] and [`state`]: each other file tells the guard something, or does what it orders.
//!
//! | file | what it does |
//! |---|---|
//! | [`entry`] | DriverEntry and AddDevice |
//! | [`decision`] | gathers the inputs of the decision |
//! | [`parameters`] | the driver's key of parameters |
//! | [`boot_count`] | counts PV boots that did not come up |
//! | [`last_boot`] | keeps a record of the boot for the next one, and says how the last one was stopped |
//! | [`activity`] | keeps the lines that the suite's drivers print, in files and in a crash dump |
//! | [`at_shutdown`] | what is done when the system is shut down |
//! | [`start_override`] | keeps Windows from leaving out the other entry's boot drivers |
//! | [`pv_disks`] | reads xenstore by polling, before interrupts, and tries the domain's quota of nodes |
//! | [`unplug`] | qemu's unplug protocol and log port |
//! | [`pnp`] | PnP requests to the filter's devices |
//! | [`bus_filter`] | the filter device on a PCI root bus |
//! | [`storage_filter`] | the filter device on an emulated controller, channel or disk |
//! | [`storage_number`] | by which the guard tells those apart |
//! | [`relations`] | takes emulated devices out of bus relations |
//! | [`root_bus`] | which devices are PCI root buses |
//! | [`controllers`] | counts controllers in configuration space, without the bus driver |
//! | [`tripwire`] | watches for drivers that serve emulated disks |
//! | [`state`] | the one guard, behind its lock |
//! | [`signals`] | who is called when the guard wants something |
//! | [`news`] | wakes the reporter when the guard's record has something new |
//! | [`reporter`] | tells the event log and the registry what happened |
//! | [`exports`] | what other drivers call |
#![no_std]

extern crate alloc;

mod activity;
mod at_shutdown;
mod boot_count;
mod bus_filter;
mod controllers;
mod decision;
mod device;
mod entry;
pub mod exports;
mod firmware;
mod last_boot;
mod news;
mod parameters;
mod pnp;
mod pv_disks;
mod relations;
mod reporter;
mod root_bus;
mod signals;
mod start_override;
mod state;
mod storage_filter;
mod storage_number;
mod tripwire;
mod unplug;

/// One line of debug output.
macro_rules! log {
    ($($text:tt)+) => { wdm::debug_print!("idefilter", $($text)+) };
}
use log;
