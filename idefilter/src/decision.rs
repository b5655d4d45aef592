//! Gathers the inputs of the decision, in the order and only as far as the guard asks for them.

use guard::decision::{Decision, Inputs, PvDisks, Service};
use guard::options::BootOptions;
use wdm::registry::{self, Key};
use wdm::{NtStatus, boot, unicode, utf16};
use xen::cpuid::{self, Native, Xen};

use crate::store;

/// SERVICE_BOOT_START.
const BOOT_START: u32 = 0;
/// SERVICE_KERNEL_DRIVER.
const KERNEL_DRIVER: u32 = 1;

/// Decides the mode of this boot. `service` is the path of this driver's own service key. PASSIVE_LEVEL.
/// Also answers why xenstore could not be read, where that was it.
pub fn decide(service: &[u16]) -> (Decision, Option<store::Failure>) {
    let mut system = System { service, xen: None, failure: None };
    (guard::decision::decide(&mut system), system.failure)
}

/// The inputs, read from the running system.
struct System<'a> {
    service: &'a [u16],
    xen: Option<Xen>,
    failure: Option<store::Failure>,
}

impl Inputs for System<'_> {
    fn options(&mut self) -> Option<BootOptions> {
        boot::start_options().ok().map(BootOptions::parse)
    }

    fn safe_mode(&mut self) -> bool {
        boot::is_safe_mode()
    }

    fn xen(&mut self) -> bool {
        self.xen = cpuid::detect(&Native);
        self.xen.is_some()
    }

    fn hide_policy_known(&mut self) -> bool {
        let policy = parameters(self.service).and_then(|key| key.string(utf16!("HidePolicy")));
        match policy {
            Ok(policy) => unicode::eq_ignore_case(&policy, utf16!("controller")),
            // Absent means the default, which is `controller`. Anything else is not understood.
            Err(status) => status == NtStatus::OBJECT_NAME_NOT_FOUND,
        }
    }

    fn xenpci(&mut self) -> Service {
        service(utf16!("xenpci"))
    }

    fn xenvbd(&mut self) -> Service {
        service(utf16!("xenvbd"))
    }

    fn pv_disks(&mut self) -> PvDisks {
        let disks = self.xen.as_ref().map(store::pv_disks).unwrap_or(Err(store::Failure::NoStore));
        disks.unwrap_or_else(|failure| {
            self.failure = Some(failure);
            PvDisks::Unreadable
        })
    }
}

/// The key `Parameters` below this driver's service key.
///
/// # Errors
/// `OBJECT_NAME_NOT_FOUND` where there is none.
fn parameters(service: &[u16]) -> wdm::Result<Key> {
    Key::open(service)?.open_below(utf16!("Parameters"))
}

/// Whether unplug is to be asked for: `Parameters\Unplug` is anything but 0. PASSIVE_LEVEL.
pub fn unplug_wanted() -> bool {
    let value = Key::open(registry::SERVICES)
        .and_then(|services| services.open_below(utf16!("idefilter\\Parameters")))
        .and_then(|parameters| parameters.dword(utf16!("Unplug")));
    value != Ok(0)
}

/// Whether another driver of the suite is started at boot.
fn service(name: &[u16]) -> Service {
    let of = |key: Key| Ok((key.dword(utf16!("Start"))?, key.dword(utf16!("Type"))?));
    let values = Key::open(registry::SERVICES).and_then(|services| services.open_below(name)).and_then(of);
    match values {
        Ok((BOOT_START, KERNEL_DRIVER)) => Service::BootStart,
        _ => Service::Unavailable,
    }
}
