//! The proof, and what is kept of storage devices.

use super::rule;
use crate::mutants::Mutant;

const PROOF: &str = "guard/src/machine/proof.rs";
const STORAGE: &str = "guard/src/machine/storage.rs";

pub(super) const MUTANTS: &[Mutant] = &[
    rule("the unplug need not end", PROOF, "if self.unplug.is_none() {", "if false {"),
    rule(
        "a bus need not have been filtered",
        PROOF,
        "if self.buses.iter().any(|bus| matches!(bus, Bus::Attached)) {",
        "if false {",
    ),
    rule(
        "a slip before the decision is forgotten",
        PROOF,
        "matches!(bus, Bus::Filtered { seen, hidden } if hidden < seen)",
        "matches!(bus, Bus::Filtered { seen, hidden } if hidden > seen)",
    ),
    rule("nothing hidden is proof", PROOF, "if present.total() == 0 {", "if false {"),
    rule("fewer hidden than counted is proof", PROOF, "(self.hidden() != count)", "(self.hidden() > count)"),
    rule("more hidden than counted is proof", PROOF, "(self.hidden() != count)", "(self.hidden() < count)"),
    rule(
        "refusals are not asked for",
        PROOF,
        "(self.denied() != present.total())",
        "(false && self.denied() != present.total())",
    ),
    rule("a disk that slipped is forgotten", PROOF, "if self.devices.any_slipped() {", "if false {"),
    rule(
        "a controller without the filter is proof",
        PROOF,
        "self.devices.filtered_controllers() != present.with_cdrom ||",
        "",
    ),
    rule("a channel that has not reported is proof", PROOF, "|| !self.devices.all_seen()", ""),
    rule("no disk seen is proof without an unplug", PROOF, "&& !evidence)", "&& false && !evidence)"),
    rule(
        "the question is put again for no reason",
        PROOF,
        "self.asked_early && self.phase == Phase::Hiding",
        "self.phase == Phase::Hiding",
    ),
    rule("a bus too many is proof", PROOF, "if self.too_many_buses {", "if false {"),
    rule("a device too many is proof", PROOF, "if self.too_many_devices {", "if false {"),
    rule(
        "no bus need have the filter",
        PROOF,
        "if self.buses.iter().all(|bus| matches!(bus, Bus::Absent)) {",
        "if false {",
    ),
    rule(
        "an early question is put again before the proof is whole",
        PROOF,
        "&& self.missing_proof().is_none()",
        "",
    ),
    rule(
        "disks-only controllers need not be hidden under disks",
        PROOF,
        "self.hidden_differs_from(present.disks_only).or_else(|| self.disks_not_hidden(present))",
        "self.disks_not_hidden(present)",
    ),
    rule(
        "what stays is not looked at under disks",
        PROOF,
        "self.hidden_differs_from(present.disks_only).or_else(|| self.disks_not_hidden(present))",
        "self.hidden_differs_from(present.disks_only)",
    ),
    rule(
        "a hidden disk is no evidence",
        PROOF,
        "self.hidden_disks() > 0 || self.hidden() > 0",
        "self.hidden() > 0",
    ),
    rule(
        "a hidden controller is no evidence",
        PROOF,
        "self.hidden_disks() > 0 || self.hidden() > 0",
        "self.hidden_disks() > 0",
    ),
    rule(
        "an acknowledged unplug is no evidence",
        PROOF,
        "(self.unplug != Some(Unplug::Acknowledged) && !evidence)",
        "(!evidence)",
    ),
    rule(
        "a refusal goes with its device",
        STORAGE,
        "=> device.gone = true,",
        "=> { let _ = device; *place = None; }",
    ),
    rule(
        "channels are not counted",
        STORAGE,
        "&& reported == self.count(|kind| kind == Emulated::Channel)",
        "",
    ),
    rule(
        "one disk left of two is no slip",
        STORAGE,
        "self.hidden < self.disks",
        "self.hidden == 0 && self.disks > 0",
    ),
    rule(
        "a device that is gone reports",
        STORAGE,
        "self.place(number)?.as_mut().filter(|device| !device.gone)",
        "self.place(number)?.as_mut()",
    ),
    rule(
        "a device that is gone is removed again",
        STORAGE,
        "Some(device) if device.gone => return false,",
        "",
    ),
    rule(
        "a device that is gone still counts",
        STORAGE,
        "self.0.iter().flatten().filter(|device| !device.gone) } pub(super) fn hidden_disks(",
        "self.0.iter().flatten() } pub(super) fn hidden_disks(",
    ),
    rule(
        "a disks-only controller counts as one that stays",
        STORAGE,
        "if c.may_carry_cdrom()",
        "if c.may_carry_cdrom() || true",
    ),
    rule(
        "a refused disk counts as a refused controller",
        STORAGE,
        "d.denied && matches!(d.kind, Emulated::Controller(_))",
        "d.denied",
    ),
    rule(
        "a disk must report children",
        STORAGE,
        "device.kind == Emulated::Disk || device.children.is_some()",
        "device.children.is_some()",
    ),
    rule(
        "a refusal goes with its controller",
        STORAGE,
        "kind: Emulated::Controller(_), denied: true, ..",
        "kind: Emulated::Channel, denied: true, ..",
    ),
];
