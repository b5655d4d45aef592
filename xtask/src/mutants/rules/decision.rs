//! The decision, and what it reads: options, policy, the count of failed boots, other vendors' suites.

use super::rule;
use crate::mutants::Mutant;

const DECISION: &str = "guard/src/decision.rs";
const OPTIONS: &str = "guard/src/options.rs";
const POLICY: &str = "guard/src/policy.rs";
const BOOT_COUNT: &str = "guard/src/boot_count.rs";
const SUITES: &str = "guard/src/other_suites.rs";

pub(super) const MUTANTS: &[Mutant] = &[
    rule(
        "two vbds on one backing are no objection",
        DECISION,
        "PvDisks::Shared => Err(Reason::BackingShared),",
        "PvDisks::Shared => Ok(policy),",
    ),
    rule(
        "a store without room for a disk's nodes is no objection",
        DECISION,
        "PvDisks::StoreFull => Err(Reason::StoreFull),",
        "PvDisks::StoreFull => Ok(policy),",
    ),
    rule(
        "a machine without the platform device is no objection",
        DECISION,
        "if !inputs.platform_device() {",
        "if !inputs.platform_device() && false {",
    ),
    rule(
        "a refused unplug is no objection",
        DECISION,
        "if !inputs.unplug() {",
        "if !inputs.unplug() && false {",
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
        "options that cannot be read select nothing special",
        DECISION,
        "inputs.options().ok_or(Reason::OptionsUnreadable)?",
        "inputs.options().unwrap_or_default()",
    ),
    rule("no option is needed", DECISION, "if !options.selects_pv() {", "if false {"),
    rule(
        "safe mode is taken from the options alone",
        DECISION,
        "options.safe_boot() || inputs.safe_mode()",
        "options.safe_boot()",
    ),
    rule(
        "safe mode is taken from the kernel alone",
        DECISION,
        "options.safe_boot() || inputs.safe_mode()",
        "inputs.safe_mode()",
    ),
    rule(
        "another hypervisor does not object",
        DECISION,
        "Hypervisor::Other => return Err(Reason::NotXen),",
        "Hypervisor::Other => {}",
    ),
    rule(
        "an unknown policy is the default",
        DECISION,
        "inputs.hide_policy().ok_or(Reason::HidePolicyUnknown)?",
        "inputs.hide_policy().unwrap_or_default()",
    ),
    rule(
        "a disabled xenpci does not object",
        DECISION,
        "ready(inputs.xenpci(), Reason::XenpciDisabled)?;",
        "let _ = ready(inputs.xenpci(), Reason::XenpciDisabled);",
    ),
    rule(
        "an unreadable list of suites is an empty one",
        DECISION,
        "inputs.other_suite().ok_or(Reason::ParametersUnreadable)?",
        "inputs.other_suite().unwrap_or(false)",
    ),
    rule(
        "fast startup that cannot be read is off",
        DECISION,
        "inputs.fast_startup().ok_or(Reason::ParametersUnreadable)?",
        "inputs.fast_startup().unwrap_or(false)",
    ),
    rule(
        "a count that cannot be read is 0",
        DECISION,
        "inputs.failed_boots().ok_or(Reason::ParametersUnreadable)?",
        "inputs.failed_boots().unwrap_or(0)",
    ),
    rule(
        "failed boots do not object",
        DECISION,
        "if boot_count::is_exhausted(",
        "if false && boot_count::is_exhausted(",
    ),
    rule(
        "an unreadable xenstore does not object",
        DECISION,
        "PvDisks::Unreadable => Err(Reason::StoreUnreadable),",
        "PvDisks::Unreadable => Ok(policy),",
    ),
    rule(
        "the host's veto does not object",
        DECISION,
        "PvDisks::Vetoed => Err(Reason::HostVetoed),",
        "PvDisks::Vetoed => Ok(policy),",
    ),
    rule(
        "no vbd at all does not object",
        DECISION,
        "PvDisks::None | PvDisks::Ready(0) => Err(Reason::NoVbd),",
        "PvDisks::None => Ok(policy),",
    ),
    rule(
        "a boot disk without a vbd does not object",
        DECISION,
        "PvDisks::BootDiskMissing => Err(Reason::BootDiskWithoutVbd),",
        "PvDisks::BootDiskMissing => Ok(policy),",
    ),
    rule(
        "a backend that is not ready does not object",
        DECISION,
        "PvDisks::BackendMissing => Err(Reason::BackendMissing),",
        "PvDisks::BackendMissing => Ok(policy),",
    ),
    rule(
        "another vendor's driver of our name does not object",
        DECISION,
        "Service::Foreign => Err(Reason::OtherSuite),",
        "Service::Foreign => Ok(()),",
    ),
    rule(
        "a driver without our mark is ours",
        DECISION,
        "None => Service::Foreign,",
        "None => Service::Ready,",
    ),
    rule(
        "any interface version is ours",
        DECISION,
        "Some(_) => Service::OtherVersion,",
        "Some(_) => Service::Ready,",
    ),
    rule("a driver of any start type is ready", DECISION, "if start != Self::BOOT_START || kind", "if kind"),
    rule(
        "a file system driver is ready",
        DECISION,
        "start != Self::BOOT_START || kind != Self::KERNEL_DRIVER",
        "start != Self::BOOT_START",
    ),
    rule(
        "an objection leaves the mode as it is",
        DECISION,
        "Err(reason) => Decision::Emulated(reason),",
        "Err(_) => Decision::Pv(HidePolicy::default()),",
    ),
    rule(
        "xenstore is asked before the options",
        DECISION,
        "let options = inputs.options().ok_or(Reason::OptionsUnreadable)?;",
        "let _ = inputs.pv_disks();\n    let options = inputs.options().ok_or(Reason::OptionsUnreadable)?;",
    ),
    rule(
        "a token that merely begins with NOGPLPV vetoes",
        OPTIONS,
        "b\"NOGPLPV\" if !token.is_longer() =>",
        "start if start.starts_with(b\"NOGPLPV\") =>",
    ),
    rule("NOGPLPV does not take GPLPV back", OPTIONS, "self.pv && !self.veto", "self.pv"),
    rule(
        "only SAFEBOOT alone is safe mode",
        OPTIONS,
        "b\"SAFEBOOT\" => self.safe_boot",
        "b\"SAFEBOOT\" if !token.is_longer() => self.safe_boot",
    ),
    rule("options go on behind the NUL", OPTIONS, ".take_while(|&u| u != 0)", ".filter(|&u| u != 0)"),
    rule("only spaces separate", OPTIONS, "matches!(unit, 0x09..=0x0D | 0x20)", "unit == 0x20"),
    rule(
        "any number of slashes may lead",
        OPTIONS,
        "if self.length == 0 && !self.slash && unit",
        "if self.length == 0 && unit",
    ),
    rule("the case of an option counts", OPTIONS, "c.to_ascii_uppercase()", "c"),
    rule(
        "the low byte of a unit is the letter",
        OPTIONS,
        "u8::try_from(unit).map_or(0xFF, |c| c.to_ascii_uppercase())",
        "(unit as u8).to_ascii_uppercase()",
    ),
    rule(
        "a long token wraps to a short one",
        OPTIONS,
        "self.length = self.length.saturating_add(1);",
        "self.length = (self.length + 1) % 256;",
    ),
    rule(
        "controller hides what has no CD-ROM only",
        POLICY,
        "HidePolicy::Controllers => true,",
        "HidePolicy::Controllers => !controller.may_carry_cdrom(),",
    ),
    rule(
        "disks hides every controller",
        POLICY,
        "HidePolicy::Disks => !controller.may_carry_cdrom(),",
        "HidePolicy::Disks => true,",
    ),
    rule("none hides", POLICY, "HidePolicy::Nothing => false,", "HidePolicy::Nothing => true,"),
    rule(
        "a disk may start under disks",
        POLICY,
        "(HidePolicy::Disks, Emulated::Channel) => true,",
        "(HidePolicy::Disks, Emulated::Channel | Emulated::Disk) => true,",
    ),
    rule(
        "a channel may not start under disks",
        POLICY,
        "(HidePolicy::Disks, Emulated::Channel) => true,",
        "(HidePolicy::Disks, Emulated::Channel) => false,",
    ),
    rule(
        "any controller may start under disks",
        POLICY,
        "Emulated::Controller(controller)) => controller.may_carry_cdrom(),",
        "Emulated::Controller(_)) => true,",
    ),
    rule(
        "a policy's name may go on",
        POLICY,
        "units.len() == name.len()\n                && units",
        "units.len() >= name.len()\n                && units",
    ),
    rule("failed boots are not limited", BOOT_COUNT, "failed >= LIMIT", "failed > u32::MAX - 1"),
    rule("one failed boot is enough", BOOT_COUNT, "pub const LIMIT: u32 = 2;", "pub const LIMIT: u32 = 1;"),
    rule(
        "a boot that begins does not count",
        BOOT_COUNT,
        "failed.saturating_add(1)",
        "failed.saturating_add(0)",
    ),
    rule("the count wraps", BOOT_COUNT, "failed.saturating_add(1)", "failed.wrapping_add(1)"),
    rule("a suite's service is not known", SUITES, "\"xenbus\", \"xenfilt\", \"xencrsh\"", "\"xenfilt\""),
    rule("a disabled service of another suite's objects", SUITES, "start != DISABLED", "start <= DISABLED"),
];
