//! `idefallback.sys`: lets the system boot without `idefilter.sys`.
//!
//! NT does not start a device one of whose class filters cannot be had. Where idefilter's file is missing or
//! damaged, or its service missing or disabled, and the class filters still name it, the PCI root bus would
//! not start, and the boot would end in stop 0x7B. This driver starts before every bus driver (load order
//! group System Reserved), looks whether idefilter is there, and takes its name out of the filters of the
//! four classes if it is not. The boot is emulated then, from whichever entry: xenpci and xenvbd import from
//! idefilter and do not load without it.
//!
//! It imports from nothing but the kernel, makes no device, and does nothing at all where idefilter is there.
//! Whether that is so is decided from what was seen: a key or a list that cannot be read changes nothing.
#![no_std]

extern crate alloc;

use core::fmt::{self, Write};

use guard::absence::Absence;
use guard::filter_list::{self, Left};
use guard::{Reason, message};
use wdm::debug::Line;
use wdm::event_log::{self, Source};
use wdm::registry::{self, Key};
use wdm::{DriverObject, NtStatus, Result, image, utf16};

/// The filter driver: its service, its image, and its name in the lists.
const FILTER: &str = "idefilter";

/// The key of a class.
macro_rules! class {
    ($class:ident) => {
        utf16!(concat!(
            "\\Registry\\Machine\\SYSTEM\\CurrentControlSet\\Control\\Class\\",
            guard::setup_class!($class)
        ))
    };
}

/// The keys of [`guard::setup_class::FILTERED`].
const CLASSES: [&[u16]; guard::setup_class::FILTERED.len()] =
    [class!(System), class!(Hdc), class!(ScsiAdapter), class!(DiskDrive)];

wdm::entry_without_devices!(look);

/// Looks whether idefilter is there, and takes it out of the lists if it is not. PASSIVE_LEVEL, before any
/// device of the four classes has a stack.
fn look(driver: DriverObject) {
    let absence = match absence() {
        Ok(None) => return,
        Ok(Some(absence)) => absence,
        Err(status) => {
            return wdm::debug_print!("idefallback", "cannot tell whether idefilter is there: {status}");
        }
    };
    let (mut changed, mut failure) = (0, None);
    for class in CLASSES {
        match take_out(class) {
            Ok(true) => changed += 1,
            Ok(false) => {}
            Err(status) => failure = Some(status),
        }
    }
    match failure {
        Some(status) => report(driver, Reason::FilterStays, format_args!("{absence}, {status}.")),
        None if changed > 0 => {
            report(driver, Reason::FilterTakenOut, format_args!("{absence}; {changed} classes."));
        }
        // The lists have been without it since an earlier boot, which said so.
        None => {}
    }
}

/// Returns the reason why idefilter cannot be had; `None` if it can.
fn absence() -> Result<Option<Absence>> {
    let start = Key::open(registry::SERVICES)
        .and_then(|services| services.open_below(utf16!("idefilter")))
        .and_then(|service| service.dword(utf16!("Start")));
    let start = match start {
        Ok(start) => Some(start),
        Err(NtStatus::OBJECT_NAME_NOT_FOUND) => None,
        Err(status) => return Err(status),
    };
    Ok(Absence::of(start, image::is_loaded(FILTER)?))
}

/// Takes idefilter out of the upper filters of a class; whether it was among them.
fn take_out(class: &[u16]) -> Result<bool> {
    let filters = utf16!("UpperFilters");
    let value = Key::open_for_write(class).and_then(|key| Ok((key.value(filters)?, key)));
    let (mut value, key) = match value {
        Ok(found) => found,
        Err(NtStatus::OBJECT_NAME_NOT_FOUND) => return Ok(false),
        Err(status) => return Err(status),
    };
    match filter_list::take_out(&mut value.data, FILTER) {
        Left::All => return Ok(false),
        Left::Bytes(length) => key.set(filters, value.kind, &value.data[..length])?,
        Left::Nothing => key.delete(filters)?,
    }
    Ok(true)
}

/// Says what was done: a line of debug output, and an entry in the event log.
fn report(driver: DriverObject, reason: Reason, detail: fmt::Arguments<'_>) {
    let mut line = Line::new();
    // Writing to a Line does not fail.
    let _ = line.write_fmt(detail);
    wdm::debug_print!("idefallback", "reason={:#x} {}: {}", reason.code(), reason.text(), line.as_str());
    let status = NtStatus::SUCCESS;
    // The log may be full; the debug line has it too.
    let _ = event_log::write(
        Source::Driver(driver),
        message::code(reason),
        status,
        &[reason.code()],
        line.as_str(),
    );
}
