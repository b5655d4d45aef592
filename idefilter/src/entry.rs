//! Where NT enters the driver: DriverEntry, which decides, and AddDevice, which attaches.

use core::fmt::Write;

use guard::decision::{Decision, Mode};
use guard::{Action, Event, Reason, message};
use wdm::debug::Line;
use wdm::event_log::{self, Source};
use wdm::{Device, DeviceObject, Disposition, Driver, DriverObject, Irp, NtStatus, Result};

use crate::{bus_filter, decision, log, root_bus, state, store};

/// The driver.
pub struct Idefilter;

wdm::driver_entry!(Idefilter);

impl Driver for Idefilter {
    type Extension = bus_filter::Extension;

    /// The guard's state must last until reset: an unloaded and reloaded driver would decide a second time.
    const UNLOADS: bool = false;

    fn entry(driver: DriverObject, registry_path: &[u16]) -> Result {
        let (decision, failure) = decision::decide(registry_path);
        state::step(Event::Decided(decision));
        announce(driver, decision, failure.as_ref());
        // Success in every mode: a failed load would take xenpci and xenvbd with it, which must see why.
        Ok(())
    }

    fn add_device(driver: DriverObject, physical: DeviceObject) -> Result {
        // A filter that fails AddDevice keeps its device from starting, so nothing here does: a bus without
        // the filter is a bus without proof, and no PV disk appears.
        if state::is_pv()
            && root_bus::is_pci_root(physical)
            && let Err(status) = bus_filter::attach(driver, physical)
        {
            log!("not attached to a PCI root bus: {status}");
        }
        Ok(())
    }

    fn pnp(device: Device<Self::Extension>, irp: Irp) -> Disposition {
        bus_filter::pnp(device, irp)
    }

    fn power(device: Device<Self::Extension>, irp: Irp) -> Disposition {
        match (device.acquire(), device.attached_to()) {
            (Ok(_hold), Some(lower)) => irp.forward_power(lower),
            _ => irp.complete_power(NtStatus::DELETE_PENDING),
        }
    }

    fn other(device: Device<Self::Extension>, irp: Irp) -> Disposition {
        match (device.acquire(), device.attached_to()) {
            (Ok(_hold), Some(lower)) => irp.forward(lower),
            _ => irp.complete(NtStatus::DELETE_PENDING),
        }
    }
}

/// Says what was decided: one debug line, and a log entry where the admin had asked for PV, which also tells
/// why xenstore could not be read.
fn announce(driver: DriverObject, Decision { mode, reason, .. }: Decision, failure: Option<&store::Failure>) {
    let name = match mode {
        Mode::Pv => "pv",
        Mode::Emulated => "emulated",
    };
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

/// Carries out what the guard answers to the filter's own events, but for [`Action::Unplug`], which only the
/// attach gets.
pub fn obey(action: Action) {
    match action {
        Action::Stop(bugcheck) => state::stop(bugcheck),
        Action::Withhold(reason) | Action::Note(reason) => {
            log!("reason={:#x} {}", reason.code(), reason.text());
        }
        // Starts, tripwire and renewed requests have their own callers.
        Action::Deny(_) | Action::CensusNow | Action::AskAgain => {}
        Action::Nothing | Action::Unplug | Action::Expose => {}
    }
}
