//! The hide policy: which emulated devices are kept away in a PV boot, and how.

use crate::controllers::Controller;

/// `Parameters\HidePolicy`, a string: what is kept away from the system in a PV boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HidePolicy {
    /// `controller`, the default: every emulated disk controller is taken out of its bus's relations, and
    /// with it all that hangs on it, an emulated CD-ROM among them.
    #[default]
    Controllers,
    /// `disks`: a controller that can carry a CD-ROM stays, and its hard disks are taken out of its own
    /// relations (of its channels' relations, for IDE); other controllers are taken out as with
    /// `controller`.
    Disks,
    /// `none`: nothing is taken out. Emulated controllers are refused their start instead; the proof counts
    /// the refusals. It is there to show that refusing holds alone.
    Nothing,
}

impl HidePolicy {
    /// Returns the policy that a value names, given as UTF-16 units without terminator; ASCII case does not
    /// matter.
    #[must_use]
    pub fn parse(units: &[u16]) -> Option<HidePolicy> {
        let is = |name: &str| {
            units.len() == name.len()
                && units.iter().zip(name.bytes()).all(|(&unit, byte)| {
                    u8::try_from(unit).is_ok_and(|unit| unit.eq_ignore_ascii_case(&byte))
                })
        };
        if is("controller") {
            Some(HidePolicy::Controllers)
        } else if is("disks") {
            Some(HidePolicy::Disks)
        } else if is("none") {
            Some(HidePolicy::Nothing)
        } else {
            None
        }
    }

    /// Returns true if this controller is to be taken out of its bus's relations.
    #[must_use]
    pub const fn hides(self, controller: Controller) -> bool {
        match self {
            HidePolicy::Controllers => true,
            HidePolicy::Disks => !controller.may_carry_cdrom(),
            HidePolicy::Nothing => false,
        }
    }

    /// Returns true if a device of this kind may start in a PV boot.
    #[must_use]
    pub const fn lets_start(self, device: Emulated) -> bool {
        match (self, device) {
            (HidePolicy::Disks, Emulated::Controller(controller)) => controller.may_carry_cdrom(),
            (HidePolicy::Disks, Emulated::Channel) => true,
            _ => false,
        }
    }
}

/// An emulated storage device that the filter of storage devices is attached to. A CD-ROM is none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Emulated {
    /// A controller of the table.
    Controller(Controller),
    /// A channel of an emulated IDE controller: a bus of its own.
    Channel,
    /// A hard disk.
    Disk,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn names() {
        let parse = |name: &str| HidePolicy::parse(&name.encode_utf16().collect::<Vec<_>>());
        assert_eq!(parse("controller"), Some(HidePolicy::Controllers));
        assert_eq!(parse("DISKS"), Some(HidePolicy::Disks));
        assert_eq!(parse("None"), Some(HidePolicy::Nothing));
        for unknown in ["", "controllers", "disk", "disks ", "\u{164}isks", "no"] {
            assert_eq!(parse(unknown), None, "{unknown:?}");
        }
        assert_eq!(HidePolicy::default(), HidePolicy::Controllers);
    }

    #[test]
    fn what_is_hidden_and_what_may_start() {
        for controller in Controller::ALL {
            let cdrom = matches!(controller, Controller::Ide | Controller::Ahci);
            let device = Emulated::Controller(controller);
            assert!(HidePolicy::Controllers.hides(controller) && !HidePolicy::Nothing.hides(controller));
            assert_eq!(HidePolicy::Disks.hides(controller), !cdrom);
            assert_eq!(HidePolicy::Disks.lets_start(device), cdrom);
            assert!(!HidePolicy::Controllers.lets_start(device) && !HidePolicy::Nothing.lets_start(device));
        }
        for policy in [HidePolicy::Controllers, HidePolicy::Disks, HidePolicy::Nothing] {
            assert!(!policy.lets_start(Emulated::Disk));
            assert_eq!(policy.lets_start(Emulated::Channel), policy == HidePolicy::Disks);
        }
    }
}
