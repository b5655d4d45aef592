//! Gathers the inputs of the decision, in the order and only as far as the guard asks for them.

use guard::decision::{Decision, Hypervisor, Inputs, PvDisks, Service};
use guard::devnode::{self, Device, Instances};
use guard::options::BootOptions;
use guard::other_suites;
use guard::policy::HidePolicy;
use wdm::registry::{self, Key};
use wdm::version::{self, Version};
use wdm::{NtStatus, boot, image, unicode, utf16};
use xen::cpuid::{self, Native, Xen};

use crate::{boot_count, controllers, parameters, pv_disks, unplug};

/// Decides the mode of this boot. PASSIVE_LEVEL. Also answers what was found where xenstore did not show
/// usable disks.
pub(crate) fn decide() -> (Decision, Option<pv_disks::Failure>) {
    let mut system = System { xen: None, failure: None };
    (guard::decision::decide(&mut system), system.failure)
}

/// The key of PnP's instances of the storage adapter, below [`registry::ENUM`].
const ADAPTER: &[u16] = utf16!("XENGUARD\\VBD");

/// The key of the current hardware profile's part of [`registry::ENUM`].
const PROFILE: &[u16] = utf16!(
    "\\Registry\\Machine\\SYSTEM\\CurrentControlSet\\Hardware Profiles\\Current\\System\\CurrentControlSet\\Enum"
);

/// The inputs, read from the running system.
struct System {
    xen: Option<Xen>,
    failure: Option<pv_disks::Failure>,
}

impl Inputs for System {
    fn options(&mut self) -> Option<BootOptions> {
        boot::start_options().ok().map(BootOptions::parse)
    }

    fn safe_mode(&mut self) -> bool {
        boot::is_safe_mode()
    }

    fn hypervisor(&mut self) -> Hypervisor {
        self.xen = cpuid::detect(&Native);
        match self.xen {
            Some(_) => Hypervisor::Xen,
            None if cpuid::announced(&Native) => Hypervisor::Unusable,
            None => Hypervisor::Other,
        }
    }

    fn hide_policy(&mut self) -> Option<HidePolicy> {
        let policy = parameters::open().and_then(|key| key.string(utf16!("HidePolicy")));
        match present(policy)? {
            Some(policy) => HidePolicy::parse(&policy),
            None => Some(HidePolicy::default()),
        }
    }

    fn xenpci(&mut self) -> Service {
        service("xenpci", utf16!("xenpci"))
    }

    fn xenvbd(&mut self) -> Service {
        service("xenvbd", utf16!("xenvbd"))
    }

    fn adapter(&mut self) -> Option<Device> {
        let mut instances = Instances::new(must_be_installed());
        // Each instance that xenpci's bus has ever reported; it reports one, of one name.
        add_instances(&mut instances, ADAPTER, utf16!("xenvbd"), |_| true)?;
        Some(instances.device())
    }

    fn other_suite(&mut self) -> Option<bool> {
        for name in other_suites::SERVICES {
            let start = open_service(Name::of(name).as_units()).and_then(|key| key.dword(utf16!("Start")));
            if present(start)?.is_some_and(other_suites::is_enabled) {
                return Some(true);
            }
        }
        Some(false)
    }

    fn fast_startup(&mut self) -> Option<bool> {
        let value = Key::open(registry::CONTROL)
            .and_then(|control| control.open_below(utf16!("Session Manager\\Power")))
            .and_then(|power| power.dword(utf16!("HiberbootEnabled")));
        Some(present(value)?.is_some_and(|enabled| enabled != 0))
    }

    fn failed_boots(&mut self) -> Option<u32> {
        Some(present(boot_count::read())?.unwrap_or(0))
    }

    fn platform_device(&mut self) -> Option<Device> {
        let mut instances = Instances::new(must_be_installed());
        let (mut is_there, mut added) = (false, Some(()));
        controllers::platform_devices(|platform| {
            is_there = true;
            added = added.and_then(|()| {
                add_instances(&mut instances, &platform.id(), utf16!("xenpci"), |name| platform.may_be(name))
            });
        });
        added.map(|()| if is_there { instances.device() } else { Device::Absent })
    }

    fn unplug(&mut self) -> bool {
        !unplug_wanted() || unplug::is_taken()
    }

    fn pv_disks(&mut self) -> PvDisks {
        let disks = self.xen.as_ref().map(pv_disks::read).unwrap_or(Err(pv_disks::Failure::NoStore));
        disks.unwrap_or_else(|failure| {
            let answer = match failure {
                pv_disks::Failure::Survey(survey::Failure::Backend { .. }) => PvDisks::BackendMissing,
                pv_disks::Failure::Survey(survey::Failure::Shared { .. }) => PvDisks::Shared,
                pv_disks::Failure::Survey(survey::Failure::Blocks { .. }) => PvDisks::OtherBlocks,
                pv_disks::Failure::Survey(survey::Failure::Full) => PvDisks::StoreFull,
                _ => PvDisks::Unreadable,
            };
            self.failure = Some(failure);
            answer
        })
    }
}

/// Returns true if this NT finds in boot a driver only for devices that an earlier boot has installed. PASSIVE_LEVEL.
fn must_be_installed() -> bool {
    version::running() >= Version::NT_6_2
}

/// Adds the instances of a device that `may_be` there. `id` is the path of their key below [`registry::ENUM`]. PnP keeps
/// in an instance's key the `Service` that drives it. Returns `None` if something is there and cannot be read.
fn add_instances(
    instances: &mut Instances,
    id: &[u16],
    service: &[u16],
    may_be: impl Fn(&[u16]) -> bool,
) -> Option<()> {
    let Some(device) = present(Key::open(registry::ENUM).and_then(|key| key.open_below(id)))? else {
        return Some(());
    };
    // Most devices have no key there, and a profile that cannot be opened disables none.
    let profile = Key::open(PROFILE).and_then(|key| key.open_below(id)).ok();
    for n in 0.. {
        let name = match device.subkey(n) {
            Ok(name) => name,
            Err(NtStatus::NO_MORE_ENTRIES) => break,
            Err(_) => return None,
        };
        if !may_be(&name) {
            continue;
        }
        let key = device.open_below(&name).ok()?;
        let flags = present(key.dword(utf16!("ConfigFlags")))?.unwrap_or(0);
        let profile_flags = match profile.as_ref().map(|profile| profile.open_below(&name)) {
            Some(Ok(key)) => present(key.dword(utf16!("CSConfigFlags")))?.unwrap_or(0),
            Some(Err(_)) | None => 0,
        };
        let driver = present(key.string(utf16!("Service")))?;
        let installed = driver.is_some_and(|driver| unicode::eq_ignore_case(&driver, service));
        instances.add(devnode::is_disabled(flags, profile_flags), installed);
    }
    Some(())
}

/// Returns true if unplug is to be asked for: `Parameters\Unplug` is anything but 0. PASSIVE_LEVEL.
pub(crate) fn unplug_wanted() -> bool {
    parameters::open().and_then(|key| key.dword(utf16!("Unplug"))) != Ok(0)
}

/// Returns the state of another driver of the suite; both names are the same.
fn service(name: &str, key: &[u16]) -> Service {
    let read = |key: Key| {
        let interface = key
            .open_below(utf16!("Parameters"))
            .and_then(|parameters| parameters.dword(utf16!("XenguardInterface")));
        Ok(Service::of(key.dword(utf16!("Start"))?, key.dword(utf16!("Type"))?, interface.ok()))
    };
    match open_service(key).and_then(read).unwrap_or(Service::Unavailable) {
        // Its file may be missing or damaged, and then the loader has not brought it. A list that cannot be
        // read is a doubt.
        Service::Ready if image::is_loaded(name) != Ok(true) => Service::Unavailable,
        service => service,
    }
}

fn open_service(name: &[u16]) -> wdm::Result<Key> {
    Key::open(registry::SERVICES)?.open_below(name)
}

/// A service's name as the registry takes it.
pub(crate) struct Name {
    units: [u16; 32],
    length: usize,
}

impl Name {
    /// Makes a name of an ASCII name; what is beyond 32 characters is cut off.
    pub(crate) fn of(name: &str) -> Self {
        let mut units = [0; 32];
        units.iter_mut().zip(name.bytes()).for_each(|(unit, byte)| *unit = byte.into());
        Self { units, length: name.len().min(32) }
    }

    /// Returns the name.
    pub(crate) fn as_units(&self) -> &[u16] {
        &self.units[..self.length]
    }
}

/// Returns the value that was read: `Some(None)` if there is nothing to read, `None` if reading failed.
fn present<T>(read: wdm::Result<T>) -> Option<Option<T>> {
    match read {
        Ok(value) => Some(Some(value)),
        Err(NtStatus::OBJECT_NAME_NOT_FOUND) => Some(None),
        Err(_) => None,
    }
}
