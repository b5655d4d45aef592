//! The decision: which way this boot goes, from inputs that do not change.

use crate::{
    abi_version::ABI_VERSION, boot_count, devnode::Device, options::BootOptions, policy::HidePolicy,
    reason::Reason,
};

/// The mode of a boot. It is decided once and never changes until reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// Disks come from the emulated controller; the suite does nothing to storage. The reason names the input
    /// that objected to PV.
    Emulated(Reason),
    /// Disks come from the PV block driver, and emulated ones are kept away by this policy.
    Pv(HidePolicy),
}

impl Decision {
    /// Returns true for a PV boot.
    #[must_use]
    pub const fn is_pv(self) -> bool {
        matches!(self, Decision::Pv(_))
    }

    /// Returns the input that settled the decision; [`Reason::PvSelected`] where all agreed.
    #[must_use]
    pub const fn reason(self) -> Reason {
        match self {
            Decision::Emulated(reason) => reason,
            Decision::Pv(_) => Reason::PvSelected,
        }
    }
}

/// The hypervisor, as CPUID tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hypervisor {
    /// Xen, wherever its leaves stand.
    Xen,
    /// Xen's signature, but not the leaves that go with it.
    Unusable,
    /// None, or another one.
    Other,
}

/// One of the suite's other drivers, as its service key tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// Started at boot, and built for this version of the guard's interface.
    Ready,
    /// Started at boot, and built for another version.
    OtherVersion,
    /// Started at boot, and another vendor's: drivers with these names exist (see [`crate::other_suites`]).
    Foreign,
    /// Absent, disabled, or of another start type.
    Unavailable,
}

impl Service {
    /// SERVICE_KERNEL_DRIVER, a service's `Type`.
    const KERNEL_DRIVER: u32 = 1;
    /// SERVICE_BOOT_START, a service's `Start`.
    const BOOT_START: u32 = 0;

    /// Returns the state of a service by the values of its key: `Start`, `Type`, and
    /// `Parameters\XenguardInterface`. By the last one the suite's INF files mark its drivers. It is the
    /// [`crate::abi::ABI_VERSION`] that they were built for.
    #[must_use]
    pub const fn of(start: u32, kind: u32, interface: Option<u32>) -> Service {
        if start != Self::BOOT_START || kind != Self::KERNEL_DRIVER {
            return Service::Unavailable;
        }
        match interface {
            Some(ABI_VERSION) => Service::Ready,
            Some(_) => Service::OtherVersion,
            None => Service::Foreign,
        }
    }
}

/// State of the domain's PV disks in xenstore before interrupts work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PvDisks {
    /// Xenstore did not answer, or not in a form that can be read.
    Unreadable,
    /// The host asks for an emulated boot ([`crate::host::vetoes`]).
    Vetoed,
    /// There is no vbd.
    None,
    /// There are vbds, but none stands for the boot disk.
    BootDiskMissing,
    /// A vbd's backend does not exist or is not ready to connect.
    BackendMissing,
    /// A vbd has other logical blocks than the emulated disk that stands for it.
    OtherBlocks,
    /// The domain may make no more nodes of xenstore, and so no vbd could be connected.
    StoreFull,
    /// Two vbds have one backing, one of them may write to it, and an emulated boot has it once ([`crate::sharing`]).
    Shared,
    /// Number of vbds of type disk, every backend ready.
    Ready(u32),
}

/// The source of the decision's inputs. [`decide`] asks in the order of these methods and stops at the first
/// that settles it, so that an emulated boot touches neither the hypervisor nor xenstore.
pub trait Inputs {
    /// Returns the boot options; `None` if they could not be read.
    fn options(&mut self) -> Option<BootOptions>;
    /// Returns the kernel's own safe-mode flag (`InitSafeBootMode` ≠ 0).
    fn safe_mode(&mut self) -> bool;
    /// Returns the hypervisor.
    fn hypervisor(&mut self) -> Hypervisor;
    /// Returns `Parameters\HidePolicy`; `None` if it is not one that this version carries out.
    fn hide_policy(&mut self) -> Option<HidePolicy>;
    /// Returns the service of xenpci.
    fn xenpci(&mut self) -> Service;
    /// Returns the service of xenvbd.
    fn xenvbd(&mut self) -> Service;
    /// Returns the storage adapter, which xenpci's bus reports in every boot; `None` if its keys could not be read.
    fn adapter(&mut self) -> Option<Device>;
    /// Returns true if a driver of another vendor's suite is enabled; `None` if that could not be read.
    fn other_suite(&mut self) -> Option<bool>;
    /// Returns true if fast startup is on; `None` if that could not be read.
    fn fast_startup(&mut self) -> Option<bool>;
    /// Returns the number of PV boots begun since a boot last came up; `None` if that could not be read.
    fn failed_boots(&mut self) -> Option<u32>;
    /// Returns Xen's platform device; `None` if its keys could not be read.
    fn platform_device(&mut self) -> Option<Device>;
    /// Returns true if the machine takes the unplug protocol from this driver, or `Parameters\Unplug` does
    /// not ask for it.
    fn unplug(&mut self) -> bool;
    /// Returns the PV disks.
    fn pv_disks(&mut self) -> PvDisks;
}

/// Decides the mode of this boot. Any doubt means [`Decision::Emulated`].
#[must_use]
pub fn decide(inputs: &mut impl Inputs) -> Decision {
    match all_agree(inputs) {
        Ok(policy) => Decision::Pv(policy),
        Err(reason) => Decision::Emulated(reason),
    }
}

/// Returns the hide policy of a PV boot, or the first objection to one.
fn all_agree(inputs: &mut impl Inputs) -> Result<HidePolicy, Reason> {
    let options = inputs.options().ok_or(Reason::OptionsUnreadable)?;
    if options.vetoes_pv() {
        return Err(Reason::Vetoed);
    }
    if !options.selects_pv() {
        return Err(Reason::NotSelected);
    }
    if options.safe_boot() || inputs.safe_mode() {
        return Err(Reason::SafeMode);
    }
    match inputs.hypervisor() {
        Hypervisor::Xen => {}
        Hypervisor::Unusable => return Err(Reason::XenUnusable),
        Hypervisor::Other => return Err(Reason::NotXen),
    }
    let policy = inputs.hide_policy().ok_or(Reason::HidePolicyUnknown)?;
    ready(inputs.xenpci(), Reason::XenpciDisabled)?;
    ready(inputs.xenvbd(), Reason::XenvbdDisabled)?;
    match inputs.adapter().ok_or(Reason::ParametersUnreadable)? {
        Device::Ready => {}
        Device::Disabled => return Err(Reason::AdapterDisabled),
        Device::NotInstalled | Device::Absent => return Err(Reason::AdapterNotInstalled),
    }
    if inputs.other_suite().ok_or(Reason::ParametersUnreadable)? {
        return Err(Reason::OtherSuite);
    }
    if inputs.fast_startup().ok_or(Reason::ParametersUnreadable)? {
        return Err(Reason::FastStartup);
    }
    if boot_count::is_exhausted(inputs.failed_boots().ok_or(Reason::ParametersUnreadable)?) {
        return Err(Reason::FailedBoots);
    }
    // Before anything is hidden: without the device xenpci never starts, and no disk would be left.
    match inputs.platform_device().ok_or(Reason::ParametersUnreadable)? {
        Device::Ready => {}
        Device::Disabled => return Err(Reason::PlatformDisabled),
        Device::NotInstalled => return Err(Reason::PlatformNotInstalled),
        Device::Absent => return Err(Reason::NoPlatformDevice),
    }
    if !inputs.unplug() {
        return Err(Reason::UnplugRefused);
    }
    match inputs.pv_disks() {
        PvDisks::Unreadable => Err(Reason::StoreUnreadable),
        PvDisks::Vetoed => Err(Reason::HostVetoed),
        PvDisks::None | PvDisks::Ready(0) => Err(Reason::NoVbd),
        PvDisks::BootDiskMissing => Err(Reason::BootDiskWithoutVbd),
        PvDisks::BackendMissing => Err(Reason::BackendMissing),
        PvDisks::OtherBlocks => Err(Reason::BlockSizeDiffers),
        PvDisks::StoreFull => Err(Reason::StoreFull),
        PvDisks::Shared => Err(Reason::BackingShared),
        PvDisks::Ready(_) => Ok(policy),
    }
}

fn ready(service: Service, unavailable: Reason) -> Result<(), Reason> {
    match service {
        Service::Ready => Ok(()),
        Service::OtherVersion => Err(Reason::DriverVersion),
        Service::Foreign => Err(Reason::OtherSuite),
        Service::Unavailable => Err(unavailable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[derive(Clone, Copy)]
    struct Given {
        options: Option<&'static str>,
        safe_mode: bool,
        hypervisor: Hypervisor,
        policy: Option<HidePolicy>,
        xenpci: Service,
        xenvbd: Service,
        adapter: Option<Device>,
        other_suite: Option<bool>,
        fast_startup: Option<bool>,
        failed_boots: Option<u32>,
        platform_device: Option<Device>,
        unplug: bool,
        disks: PvDisks,
        asked_xen: bool,
        asked_disks: bool,
    }

    const GOOD: Given = Given {
        options: Some(" FASTDETECT GPLPV"),
        safe_mode: false,
        hypervisor: Hypervisor::Xen,
        policy: Some(HidePolicy::Controllers),
        xenpci: Service::Ready,
        xenvbd: Service::Ready,
        adapter: Some(Device::Ready),
        other_suite: Some(false),
        fast_startup: Some(false),
        failed_boots: Some(0),
        platform_device: Some(Device::Ready),
        unplug: true,
        disks: PvDisks::Ready(1),
        asked_xen: false,
        asked_disks: false,
    };

    impl Inputs for Given {
        fn options(&mut self) -> Option<BootOptions> {
            self.options.map(|o| BootOptions::parse(o.encode_utf16()))
        }
        fn safe_mode(&mut self) -> bool {
            self.safe_mode
        }
        fn hypervisor(&mut self) -> Hypervisor {
            self.asked_xen = true;
            self.hypervisor
        }
        fn hide_policy(&mut self) -> Option<HidePolicy> {
            self.policy
        }
        fn adapter(&mut self) -> Option<Device> {
            self.adapter
        }
        fn other_suite(&mut self) -> Option<bool> {
            self.other_suite
        }
        fn fast_startup(&mut self) -> Option<bool> {
            self.fast_startup
        }
        fn failed_boots(&mut self) -> Option<u32> {
            self.failed_boots
        }
        fn platform_device(&mut self) -> Option<Device> {
            self.platform_device
        }
        fn unplug(&mut self) -> bool {
            self.unplug
        }
        fn xenpci(&mut self) -> Service {
            self.xenpci
        }
        fn xenvbd(&mut self) -> Service {
            self.xenvbd
        }
        fn pv_disks(&mut self) -> PvDisks {
            self.asked_disks = true;
            self.disks
        }
    }

    #[test]
    fn pv_where_nothing_objects() {
        for policy in [HidePolicy::Controllers, HidePolicy::Disks, HidePolicy::Nothing] {
            let mut given = Given { policy: Some(policy), ..GOOD };
            assert_eq!(decide(&mut given), Decision::Pv(policy));
            assert!(given.asked_disks);
        }
    }

    /// Each input alone turns the boot to emulated, with its own reason.
    #[test]
    fn each_objection_alone() {
        let cases = [
            (Given { options: None, ..GOOD }, Reason::OptionsUnreadable),
            (Given { options: Some(" FASTDETECT"), ..GOOD }, Reason::NotSelected),
            (Given { options: Some("GPLPV NOGPLPV"), ..GOOD }, Reason::Vetoed),
            (Given { options: Some("GPLPV SAFEBOOT:MINIMAL"), ..GOOD }, Reason::SafeMode),
            (Given { safe_mode: true, ..GOOD }, Reason::SafeMode),
            (Given { hypervisor: Hypervisor::Other, ..GOOD }, Reason::NotXen),
            (Given { hypervisor: Hypervisor::Unusable, ..GOOD }, Reason::XenUnusable),
            (Given { policy: None, ..GOOD }, Reason::HidePolicyUnknown),
            (Given { xenpci: Service::Unavailable, ..GOOD }, Reason::XenpciDisabled),
            (Given { xenvbd: Service::Unavailable, ..GOOD }, Reason::XenvbdDisabled),
            (Given { xenpci: Service::OtherVersion, ..GOOD }, Reason::DriverVersion),
            (Given { xenvbd: Service::OtherVersion, ..GOOD }, Reason::DriverVersion),
            (Given { xenpci: Service::Foreign, ..GOOD }, Reason::OtherSuite),
            (Given { xenvbd: Service::Foreign, ..GOOD }, Reason::OtherSuite),
            (Given { adapter: Some(Device::NotInstalled), ..GOOD }, Reason::AdapterNotInstalled),
            (Given { adapter: Some(Device::Absent), ..GOOD }, Reason::AdapterNotInstalled),
            (Given { adapter: Some(Device::Disabled), ..GOOD }, Reason::AdapterDisabled),
            (Given { adapter: None, ..GOOD }, Reason::ParametersUnreadable),
            (Given { other_suite: Some(true), ..GOOD }, Reason::OtherSuite),
            (Given { other_suite: None, ..GOOD }, Reason::ParametersUnreadable),
            (Given { fast_startup: Some(true), ..GOOD }, Reason::FastStartup),
            (Given { fast_startup: None, ..GOOD }, Reason::ParametersUnreadable),
            (Given { failed_boots: Some(2), ..GOOD }, Reason::FailedBoots),
            (Given { failed_boots: None, ..GOOD }, Reason::ParametersUnreadable),
            (Given { platform_device: Some(Device::Absent), ..GOOD }, Reason::NoPlatformDevice),
            (Given { platform_device: Some(Device::Disabled), ..GOOD }, Reason::PlatformDisabled),
            (Given { platform_device: Some(Device::NotInstalled), ..GOOD }, Reason::PlatformNotInstalled),
            (Given { platform_device: None, ..GOOD }, Reason::ParametersUnreadable),
            (Given { unplug: false, ..GOOD }, Reason::UnplugRefused),
            (Given { disks: PvDisks::Unreadable, ..GOOD }, Reason::StoreUnreadable),
            (Given { disks: PvDisks::Vetoed, ..GOOD }, Reason::HostVetoed),
            (Given { disks: PvDisks::None, ..GOOD }, Reason::NoVbd),
            (Given { disks: PvDisks::Ready(0), ..GOOD }, Reason::NoVbd),
            (Given { disks: PvDisks::BootDiskMissing, ..GOOD }, Reason::BootDiskWithoutVbd),
            (Given { disks: PvDisks::BackendMissing, ..GOOD }, Reason::BackendMissing),
            (Given { disks: PvDisks::OtherBlocks, ..GOOD }, Reason::BlockSizeDiffers),
            (Given { disks: PvDisks::StoreFull, ..GOOD }, Reason::StoreFull),
            (Given { disks: PvDisks::Shared, ..GOOD }, Reason::BackingShared),
        ];
        for (mut given, reason) in cases {
            assert_eq!(decide(&mut given), Decision::Emulated(reason));
        }
    }

    #[test]
    fn one_failed_boot_is_not_too_many() {
        let mut given = Given { failed_boots: Some(1), ..GOOD };
        assert!(decide(&mut given).is_pv());
    }

    #[test]
    fn services() {
        let current = Some(crate::abi::ABI_VERSION);
        assert_eq!(Service::of(0, 1, current), Service::Ready);
        assert_eq!(Service::of(0, 1, Some(crate::abi::ABI_VERSION - 1)), Service::OtherVersion);
        assert_eq!(Service::of(0, 1, None), Service::Foreign);
        for (start, kind) in [(1, 1), (4, 1), (0, 2), (0, 0x10)] {
            assert_eq!(Service::of(start, kind, current), Service::Unavailable);
            assert_eq!(
                Service::of(start, kind, None),
                Service::Unavailable,
                "a disabled driver of anybody's"
            );
        }
    }

    /// The INF files mark the drivers with the interface version that this guard takes.
    #[test]
    fn the_inf_files_carry_the_version() {
        for inf in [include_str!("../../inf/xenpci.inf"), include_str!("../../inf/xenvbd.inf")] {
            let marked: Vec<_> = inf
                .lines()
                .filter_map(|line| line.strip_prefix("HKR,Parameters,XenguardInterface,0x00010001,"))
                .collect();
            assert!(!marked.is_empty());
            for version in marked {
                assert_eq!(version.trim().parse(), Ok(crate::abi::ABI_VERSION));
            }
        }
    }

    /// An entry that does not select PV touches neither CPUID nor xenstore.
    #[test]
    fn emulated_entry_touches_nothing() {
        let mut given = Given { options: Some(" FASTDETECT"), ..GOOD };
        let _ = decide(&mut given);
        assert!(!given.asked_xen && !given.asked_disks);
    }
}
