//! The driver's entry points: DriverEntry, which decides, and AddDevice, which attaches.

use core::fmt::Write;

use guard::decision::Decision;
use guard::policy::Emulated;
use guard::{Event, Reason, message, record};
use wdm::bugcheck::DumpData;
use wdm::debug::Line;
use wdm::event_log::{self, Source};
use wdm::{Device, DeviceObject, Disposition, Driver, DriverObject, Irp, NtStatus, Result};

use crate::device::Extension;
use crate::storage_filter::Kind;
use crate::{
    activity, at_shutdown, boot_count, bus_filter, decision, last_boot, log, pnp, pv_disks, reporter,
    start_override, state, storage_filter, tripwire,
};

/// The record of events in a crash dump.
static RECORD: DumpData = DumpData::new(c"idefilter", record::EVENTS_DUMP, state::record_at_stop);

/// The driver.
pub(crate) struct Idefilter;

wdm::driver_entry!(Idefilter);

impl Driver for Idefilter {
    type Extension = Extension;

    /// The guard's state must last until reset: an unloaded and reloaded driver would decide a second time.
    const UNLOADS: bool = false;

    fn entry(driver: DriverObject, _: &[u16]) -> Result {
        wdm::debug::log_to(activity::add);
        let (decision, failure) = decision::decide();
        state::set_unplug_wanted(decision::unplug_wanted());
        state::tell(Event::Decided(decision));
        boot_count::begin(decision);
        start_override::begin();
        last_boot::begin(driver);
        at_shutdown::begin(driver);
        activity::begin();
        announce(driver, decision, failure.as_ref());
        if decision.is_pv() {
            start_pv_services(driver);
        } else {
            // Nothing more will happen. The debug line has it too, where the registry does not take it.
            let _ = reporter::publish(&state::status());
        }
        // Success in every mode: a failed load would take xenpci and xenvbd with it, which must see why.
        Ok(())
    }

    fn add_device(driver: DriverObject, pdo: DeviceObject) -> Result {
        if !state::is_pv() {
            return Ok(());
        }
        match storage_filter::kind_of(pdo) {
            Kind::Emulated(kind) => storage_filter::attach(driver, pdo, kind),
            // As the strictest kind, which no policy lets start.
            Kind::Unknown => storage_filter::attach(driver, pdo, Emulated::Disk),
            Kind::PciRoot => bus_filter::attach(driver, pdo),
            Kind::UnknownSystem => bus_filter::missed(),
            Kind::Other => {}
        }
        Ok(())
    }

    fn pnp(device: Device<Self::Extension>, irp: Irp) -> Disposition {
        pnp::dispatch(device, irp)
    }

    fn power(device: Device<Self::Extension>, irp: Irp) -> Disposition {
        match (device.acquire(), device.attached_to()) {
            (Ok(_hold), Some(lower)) => irp.forward_power(lower),
            _ => irp.complete_power(NtStatus::DELETE_PENDING),
        }
    }

    fn other(device: Device<Self::Extension>, irp: Irp) -> Disposition {
        if matches!(device.extension(), Extension::Shutdown) {
            return at_shutdown::request(irp);
        }
        match (device.acquire(), device.attached_to()) {
            (Ok(_hold), Some(lower)) => irp.forward(lower),
            _ => irp.complete(NtStatus::DELETE_PENDING),
        }
    }
}

/// Starts the services that a PV boot has beside the filters. Each part that cannot be had leaves the others as they are:
/// none of them is part of the proof.
fn start_pv_services(driver: DriverObject) {
    storage_filter::reserve(driver);
    if let Err(status) = reporter::start(driver) {
        log!("no worker for log entries: {status}");
    }
    if let Err(status) = tripwire::set() {
        log!("the loading of drivers is not noticed: {status}");
    }
    if !RECORD.register() {
        log!("the record will not be in a crash dump");
    }
    activity::put_into_dump();
}

/// Says what was decided: one debug line, and a log entry where the admin had asked for PV, which also tells
/// why xenstore could not be read.
fn announce(driver: DriverObject, decision: Decision, failure: Option<&pv_disks::Failure>) {
    let name = if decision.is_pv() { "pv" } else { "emulated" };
    let reason = decision.reason();
    log!("mode={name} reason={:#x} {}", reason.code(), reason.text());
    if !matches!(reason, Reason::NotSelected | Reason::Vetoed) {
        let mut detail = Line::new();
        if let Some(failure) = failure {
            // Writing to a Line does not fail.
            let _ = write!(detail, "{failure}");
        }
        // The log may be full; the debug line and the record have the decision too.
        let _ = event_log::write(
            Source::Driver(driver),
            message::code(reason),
            NtStatus::SUCCESS,
            &[reason.code()],
            detail.as_str(),
        );
    }
}
