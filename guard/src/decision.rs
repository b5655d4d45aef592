//! The decision: which way this boot goes, from inputs that do not change.

use crate::{options::BootOptions, reason::Reason};

/// The mode of a boot. It is decided once and never changes until reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Disks come from the emulated controller; the suite does nothing to storage.
    Emulated,
    /// Disks come from the PV block driver; emulated controllers are hidden.
    Pv,
}

/// A mode and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The mode.
    pub mode: Mode,
    /// The input that settled it; [`Reason::PvSelected`] exactly where the mode is [`Mode::Pv`].
    pub reason: Reason,
}

/// The state of a driver's service, as its `Start` value tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// `Start` = 0 and the driver's service key is whole.
    BootStart,
    /// Absent, disabled, or of another start type.
    Unavailable,
}

/// What xenstore says of the domain's PV disks before interrupts work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PvDisks {
    /// Xenstore did not answer, or not in a form that can be read.
    Unreadable,
    /// There is no vbd.
    None,
    /// There are vbds, but none stands for the boot disk.
    BootDiskMissing,
    /// A vbd's backend does not exist or is not ready to connect.
    BackendMissing,
    /// So many vbds of type disk, every backend ready.
    Ready(u32),
}

/// Where the decision's inputs come from. [`decide`] asks in the order of these methods and stops at the
/// first that settles it, so that an emulated boot touches neither the hypervisor nor xenstore.
pub trait Inputs {
    /// The boot options; `None` if they could not be read.
    fn options(&mut self) -> Option<BootOptions>;
    /// The kernel's own safe-mode flag (`InitSafeBootMode` ≠ 0).
    fn safe_mode(&mut self) -> bool;
    /// Xen is the hypervisor.
    fn xen(&mut self) -> bool;
    /// `Parameters\HidePolicy` is one that this version carries out.
    fn hide_policy_known(&mut self) -> bool;
    /// The service of xenpci.
    fn xenpci(&mut self) -> Service;
    /// The service of xenvbd.
    fn xenvbd(&mut self) -> Service;
    /// The PV disks.
    fn pv_disks(&mut self) -> PvDisks;
}

/// Decides the mode of this boot. Any doubt means [`Mode::Emulated`].
#[must_use]
pub fn decide(inputs: &mut impl Inputs) -> Decision {
    match first_objection(inputs) {
        Some(reason) => Decision { mode: Mode::Emulated, reason },
        None => Decision { mode: Mode::Pv, reason: Reason::PvSelected },
    }
}

fn first_objection(inputs: &mut impl Inputs) -> Option<Reason> {
    let Some(options) = inputs.options() else {
        return Some(Reason::OptionsUnreadable);
    };
    if options.vetoes_pv() {
        return Some(Reason::Vetoed);
    }
    if !options.selects_pv() {
        return Some(Reason::NotSelected);
    }
    if options.safe_boot() || inputs.safe_mode() {
        return Some(Reason::SafeMode);
    }
    if !inputs.xen() {
        return Some(Reason::NotXen);
    }
    if !inputs.hide_policy_known() {
        return Some(Reason::HidePolicyUnknown);
    }
    if inputs.xenpci() != Service::BootStart {
        return Some(Reason::XenpciDisabled);
    }
    if inputs.xenvbd() != Service::BootStart {
        return Some(Reason::XenvbdDisabled);
    }
    match inputs.pv_disks() {
        PvDisks::Unreadable => Some(Reason::StoreUnreadable),
        PvDisks::None | PvDisks::Ready(0) => Some(Reason::NoVbd),
        PvDisks::BootDiskMissing => Some(Reason::BootDiskWithoutVbd),
        PvDisks::BackendMissing => Some(Reason::BackendMissing),
        PvDisks::Ready(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy)]
    struct Given {
        options: Option<&'static str>,
        safe_mode: bool,
        xen: bool,
        policy: bool,
        xenpci: Service,
        xenvbd: Service,
        disks: PvDisks,
        asked_xen: bool,
        asked_disks: bool,
    }

    const GOOD: Given = Given {
        options: Some(" FASTDETECT GPLPV"),
        safe_mode: false,
        xen: true,
        policy: true,
        xenpci: Service::BootStart,
        xenvbd: Service::BootStart,
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
        fn xen(&mut self) -> bool {
            self.asked_xen = true;
            self.xen
        }
        fn hide_policy_known(&mut self) -> bool {
            self.policy
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
        let mut given = GOOD;
        assert_eq!(decide(&mut given), Decision { mode: Mode::Pv, reason: Reason::PvSelected });
        assert!(given.asked_disks);
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
            (Given { xen: false, ..GOOD }, Reason::NotXen),
            (Given { policy: false, ..GOOD }, Reason::HidePolicyUnknown),
            (Given { xenpci: Service::Unavailable, ..GOOD }, Reason::XenpciDisabled),
            (Given { xenvbd: Service::Unavailable, ..GOOD }, Reason::XenvbdDisabled),
            (Given { disks: PvDisks::Unreadable, ..GOOD }, Reason::StoreUnreadable),
            (Given { disks: PvDisks::None, ..GOOD }, Reason::NoVbd),
            (Given { disks: PvDisks::Ready(0), ..GOOD }, Reason::NoVbd),
            (Given { disks: PvDisks::BootDiskMissing, ..GOOD }, Reason::BootDiskWithoutVbd),
            (Given { disks: PvDisks::BackendMissing, ..GOOD }, Reason::BackendMissing),
        ];
        for (mut given, reason) in cases {
            assert_eq!(decide(&mut given), Decision { mode: Mode::Emulated, reason });
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
