//! `idefilter.sys`: decides the mode of a boot, owns the guard's state, and hides emulated disk controllers
//! from the PCI bus in a PV boot.
//!
//! A boot-start driver and an upper filter of the System class. It attaches to PCI root buses only, and only
//! in a PV boot; an emulated boot passes it by. xenpci.sys and xenvbd.sys import [`exports`], so that without
//! this file they do not load.
//!
//! | file | what it does |
//! |---|---|
//! | [`entry`] | DriverEntry and AddDevice |
//! | [`decision`] | gathers the inputs of the decision |
//! | [`store`] | reads xenstore by polling, before interrupts |
//! | [`unplug`] | qemu's unplug protocol and log port |
//! | [`bus_filter`] | the filter device on a PCI root bus |
//! | [`relations`] | takes emulated controllers out of bus relations |
//! | [`controllers`] | counts them in configuration space, without the bus driver |
//! | [`state`] | the one guard, behind its lock |
//! | [`record`] | what happened, in order |
//! | [`exports`] | what other drivers call |
#![no_std]

extern crate alloc;

mod bus_filter;
mod controllers;
mod decision;
mod entry;
pub mod exports;
mod hypercall_page;
mod pci_id;
mod record;
mod relations;
mod root_bus;
mod state;
mod store;
mod unplug;

/// One line of debug output.
macro_rules! log {
    ($($text:tt)+) => { wdm::debug_print!("idefilter", $($text)+) };
}
use log;
