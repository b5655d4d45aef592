//! xenvbd.sys: PV disks as a Storport adapter, and the census that keeps a disk from being seen twice.
//!
//! | module | what it is |
//! |---|---|
//! | [`miniport`] | the top: the routines that Storport calls |
//! | [`adapter`] | the adapter: connects disks, asks for leave to show them |
//! | [`slots`] | the disks by target id |
//! | [`vbd_list`] | vbds that come and go |
//! | [`suspend`] | the adapter's part in a suspend of the guest |
//! | [`target`] | one disk: handshake, properties |
//! | [`cdrom`] | what makes a vbd of type cdrom a drive |
//! | [`channel`] | one queue of a disk with what wakes it |
//! | [`options`] | registry values |
//! | [`dump`] | the copy that writes a crash dump |
//! | [`census`] | every disk of the system against the own list |
//! | [`tripwire`] | the guard's word that a census is to be taken at once |
//! | [`parents`] | what the controllers above a disk are |
//! | [`readers`] | the threads that read other disks' identities |
//! | [`identity`] | what identifies a disk's content |
//! | [`hal`] | xenpci's interface table behind the xen crate's traits |
//! | [`srb`] | the bottom: Storport's SRBs and its handle of the adapter |
//!
//! Begin with [`adapter`], whose text tells the life of the adapter, and go on to [`target`] for one disk or to
//! [`census`] for all.
//!
//! The I/O path of a disk is in the crate `vbd`, the SCSI commands are in `scsi`, the ring is in `xen`, the
//! verdicts are in `guard`; none of them knows of Windows.
#![no_std]

extern crate alloc;

mod adapter;
mod cdrom;
mod census;
mod channel;
mod dump;
mod hal;
mod identity;
mod miniport;
mod options;
mod parents;
mod readers;
mod slots;
mod srb;
mod suspend;
mod target;
mod tripwire;
mod vbd_list;

use wdm::raw::{NTSTATUS, PDRIVER_OBJECT, PUNICODE_STRING};
use wdm::version::{self, Version};

/// Name of the driver in its debug output.
const DRIVER: &str = "xenvbd";

/// Starts the driver: the image's entry point. PASSIVE_LEVEL; HIGH_LEVEL where both arguments are null.
///
/// # Safety
/// Only the I/O manager calls this, once, with the driver object and the service's key, or the writer of a
/// crash dump with neither.
#[expect(unsafe_code, reason = "the entry point the loader calls by name")]
#[unsafe(no_mangle)]
#[unsafe(link_section = "INIT")]
pub unsafe extern "system" fn DriverEntry(
    driver: PDRIVER_OBJECT,
    registry_path: PUNICODE_STRING,
) -> NTSTATUS {
    // NT starts the copy that writes a crash dump without these.
    if driver.is_null() && registry_path.is_null() {
        // SAFETY: by this function's own contract, nothing of this image has run.
        return unsafe { dump::register() };
    }
    wdm::no_execute::look_up();
    wdm::debug::log_to(guard_client::note);
    let nt62 = version::running() >= Version::NT_6_2;
    // SAFETY: by this function's own contract.
    unsafe { miniport::register(driver, registry_path, nt62) }
}
