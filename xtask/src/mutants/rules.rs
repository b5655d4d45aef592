//! Every rule of the guard's machine, its proof and its decision, broken once. The host tests of guard must catch each.

use super::{Catch, Mutant};

const fn rule(what: &'static str, file: &'static str, from: &'static str, to: &'static str) -> Mutant {
    Mutant { what, file, from, to, caught_by: &[Catch::Rule] }
}

const MACHINE: &str = "guard/src/machine.rs";
const PROOF: &str = "guard/src/machine/proof.rs";
const STORAGE: &str = "guard/src/machine/storage.rs";
const DECISION: &str = "guard/src/decision.rs";

/// The mutants, by file.
pub(super) const MUTANTS: &[Mutant] = &[
    rule(
        "a stop is not final",
        MACHINE,
        "return Action::Stop(bugcheck);\n        }\n        let action",
        "let _ = bugcheck;\n        }\n        let action",
    ),
    rule("the guard is sealed a second time", MACHINE, "if self.phase != Phase::Unsealed {", "if false {"),
    rule(
        "an emulated decision hides",
        MACHINE,
        "Mode::Emulated => Phase::Emulated(reason),",
        "Mode::Emulated => { let _ = reason; Phase::Hiding }",
    ),
    rule("the policy is forgotten", MACHINE, "self.policy = policy;", "let _ = policy;"),
    rule(
        "the unplug is ordered in any boot",
        MACHINE,
        "if self.phase == Phase::Hiding && self.unplug.is_none()",
        "if self.unplug.is_none()",
    ),
    rule(
        "a bus too many is no doubt",
        MACHINE,
        "None => self.too_many_buses = true,\n        }\n        if self.phase",
        "None => {}\n        }\n        if self.phase",
    ),
    rule("a device too many is no doubt", MACHINE, "None => self.too_many_devices = true,", "None => {}"),
    rule("a controller that was not taken out is overlooked", MACHINE, "if hidden < seen {", "if false {"),
    rule(
        "a disk that was not taken out is overlooked",
        MACHINE,
        "self.policy == HidePolicy::Disks && children.slipped()",
        "false && children.slipped()",
    ),
    rule(
        "what returns after exposure does not stop",
        MACHINE,
        "Phase::Exposed => self.stop(BugCheck { reason: breach, own: 0, enumerated: seen }),",
        "Phase::Exposed => { let _ = (breach, seen); Action::Nothing }",
    ),
    rule(
        "a device that the policy lets start is refused",
        MACHINE,
        "policy.lets_start(known.kind)",
        "!policy.lets_start(known.kind)",
    ),
    rule(
        "a failed hiding does not withhold",
        MACHINE,
        "Phase::Hiding if policy != HidePolicy::Nothing => self.withhold(Reason::AliasStarted),",
        "Phase::Hiding if policy != HidePolicy::Nothing => Action::Nothing,",
    ),
    rule(
        "an emulated device starts beside PV disks",
        MACHINE,
        "Phase::Hiding | Phase::Granted | Phase::Exposed => {\n                if let Some(known)",
        "Phase::Hiding | Phase::Granted => {\n                if let Some(known)",
    ),
    rule("a refusal is not counted", MACHINE, "known.denied = true;", "let _ = known;"),
    rule(
        "nothing is unplugged anew after a resume",
        MACHINE,
        "self.unplug = None;\n                Action::Unplug",
        "Action::Nothing",
    ),
    rule(
        "the tripwire asks for no census",
        MACHINE,
        "if self.phase == Phase::Exposed { Action::CensusNow }",
        "if false { Action::CensusNow }",
    ),
    rule("an early question is forgotten", MACHINE, "self.asked_early = true;", ""),
    rule("a granted exposure leaves no trace", MACHINE, "self.phase = Phase::Granted;", ""),
    rule(
        "an emulated boot exposes",
        MACHINE,
        "Phase::Emulated(_) => Action::Withhold(Reason::EmulatedBoot),",
        "Phase::Emulated(_) => Action::Expose,",
    ),
    rule(
        "an unsealed guard exposes",
        MACHINE,
        "Phase::Unsealed => Action::Withhold(Reason::Unsealed),",
        "Phase::Unsealed => Action::Expose,",
    ),
    rule(
        "a withheld boot exposes",
        MACHINE,
        "Phase::Withheld(reason) => Action::Withhold(reason),\n            Phase::Stopped",
        "Phase::Withheld(_) => Action::Expose,\n            Phase::Stopped",
    ),
    rule(
        "exposure without a grant is no breach",
        MACHINE,
        "_ => self.stop(BugCheck { reason: Reason::ExposedWithoutProof, own: 0, enumerated: 0 }),",
        "_ => Action::Nothing,",
    ),
    rule(
        "an unknown disk of ours is no breach",
        MACHINE,
        "Phase::Exposed if counts.ours > counts.own_list =>",
        "Phase::Exposed if false =>",
    ),
    rule(
        "a missing disk is never told",
        MACHINE,
        "Phase::Exposed if settled && counts.ours < counts.own_list =>",
        "Phase::Exposed if false && settled =>",
    ),
    rule(
        "Strict is ignored",
        MACHINE,
        "if strict { self.stop(bugcheck(reason)) }",
        "if false && strict { self.stop(bugcheck(reason)) }",
    ),
    rule(
        "a clone is not told",
        MACHINE,
        "Phase::Exposed if counts.clones > 0 =>",
        "Phase::Exposed if false =>",
    ),
    rule("a PV disk in an emulated boot is no breach", MACHINE, "_ if counts.ours > 0 =>", "_ if false =>"),
    rule(
        "the first census does not withhold",
        MACHINE,
        "Phase::Granted if counts.alias > 0 =>",
        "Phase::Granted if false =>",
    ),
    rule(
        "a census that fails does not stop",
        MACHINE,
        "Phase::Exposed => self.stop(BugCheck { reason, own: 0, enumerated: 0 }),",
        "Phase::Exposed => Action::Nothing,",
    ),
    rule(
        "a census that fails does not withhold",
        MACHINE,
        "Phase::Granted => self.withhold(reason),\n            _ => Action::Nothing,\n        }\n    }\n\n    fn bus(",
        "_ => Action::Nothing,\n        }\n    }\n\n    fn bus(",
    ),
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
    rule("the veto does not win", DECISION, "if options.vetoes_pv() {", "if false {"),
    rule(
        "an unusable Xen is used",
        DECISION,
        "Hypervisor::Unusable => return Err(Reason::XenUnusable),",
        "Hypervisor::Unusable => {}",
    ),
    rule(
        "another suite does not object",
        DECISION,
        "if inputs.other_suite().ok_or(Reason::ParametersUnreadable)? {",
        "if inputs.other_suite().ok_or(Reason::ParametersUnreadable)? && false {",
    ),
    rule(
        "fast startup does not object",
        DECISION,
        "if inputs.fast_startup().ok_or(Reason::ParametersUnreadable)? {",
        "if inputs.fast_startup().ok_or(Reason::ParametersUnreadable)? && false {",
    ),
    rule(
        "a driver of another version does not object",
        DECISION,
        "Service::OtherVersion => Err(Reason::DriverVersion),",
        "Service::OtherVersion => Ok(()),",
    ),
    rule(
        "failed boots are not limited",
        "guard/src/boot_count.rs",
        "failed >= LIMIT",
        "failed > u32::MAX - 1",
    ),
    rule(
        "an identity is a size alone",
        "guard/src/census.rs",
        "identity.is_some_and(|identity| own.contains(&identity))",
        "identity.is_some_and(|identity| own.iter().any(|o| o.sectors == identity.sectors))",
    ),
    rule(
        "a stranger with our identity is foreign",
        "guard/src/census.rs",
        "Origin::Unknown if same => Class::Alias,",
        "",
    ),
];
