//! Mutants of the rules by which something is an emulated controller, channel, disk or driver, or a root bus.

use super::rule;
use crate::mutants::Mutant;

const CONTROLLERS: &str = "guard/src/controllers.rs";
const WALK: &str = "guard/src/pci_walk.rs";
const PCI_ID: &str = "guard/src/pci_id.rs";
const ROOT_BUS: &str = "guard/src/root_bus.rs";
const BUS_MEMORY: &str = "guard/src/bus_memory.rs";
const STORAGE_ID: &str = "guard/src/storage_id.rs";
const TRIPWIRE: &str = "guard/src/tripwire.rs";
const UNITS: &str = "guard/src/units.rs";
const PROVENANCE: &str = "guard/src/provenance.rs";

pub(super) const MUTANTS: &[Mutant] = &[
    rule(
        "the subsystem does not tell passed-through hardware",
        CONTROLLERS,
        "&& row.subsystems.contains(&(function.subsystem_vendor, function.subsystem))",
        "",
    ),
    rule("the class does not count", CONTROLLERS, "&& row.class == function.class", ""),
    rule("a vendor's every device is its controller", CONTROLLERS, "&& row.device == function.device", ""),
    rule(
        "qemu-traditional's subsystem is unknown",
        CONTROLLERS,
        "const XEN: (u16, u16) = (0x5853, 0x0001);",
        "const XEN: (u16, u16) = (0x1AF4, 0x1100);",
    ),
    rule(
        "AHCI is for disks only",
        CONTROLLERS,
        "matches!(self, Controller::Ide | Controller::Ahci)",
        "matches!(self, Controller::Ide)",
    ),
    rule(
        "disks-only controllers are not in the total",
        CONTROLLERS,
        "self.with_cdrom.saturating_add(self.disks_only)",
        "self.with_cdrom",
    ),
    rule("bridges are not followed", WALK, "known.add(secondary);", "let _ = (secondary, known);"),
    rule(
        "the walk goes round in circles",
        WALK,
        "known.contains(bus) && !visited.contains(bus)",
        "known.contains(bus) && (!visited.contains(bus) || bus == 0)",
    ),
    rule(
        "only the roots' buses are looked at",
        WALK,
        "let mut known = roots;",
        "let mut known = Buses::none();\n    known.add(0);\n    let _ = roots;",
    ),
    rule("further functions are not looked at", WALK, "for function in 1..8 {", "for function in 1..1 {"),
    rule("the last function is not looked at", WALK, "for function in 1..8 {", "for function in 1..7 {"),
    rule("the last device is not looked at", WALK, "for device in 0..32 {", "for device in 0..31 {"),
    rule("a single function is asked for seven more", WALK, "& 0x0080_0000 != 0", "& 0x0080_0000 != 1"),
    rule(
        "the subsystem's halves are exchanged",
        WALK,
        "subsystem_vendor: low(subsystem),\n            subsystem: high(subsystem),",
        "subsystem_vendor: high(subsystem),\n            subsystem: low(subsystem),",
    ),
    rule(
        "buses from 128 on are those below",
        WALK,
        "self.0[(bus >> 7) as usize] & 1 << (bus & 127) != 0",
        "self.0[0] & 1 << (bus & 127) != 0",
    ),
    rule(
        "another bus's id is PCI's",
        PCI_ID,
        "if !units::starts_with(id, BUS) {",
        "if id.len() < BUS.len() {",
    ),
    rule(
        "what a bus reported once is hidden later",
        BUS_MEMORY,
        "Decided { alias: known.hidden || is_alias(), hide: known.hidden }",
        "{ let alias = known.hidden || is_alias(); Decided { alias, hide: alias } }",
    ),
    rule(
        "what a bus hid once is asked again",
        BUS_MEMORY,
        "return Decided { alias: known.hidden || is_alias(), hide: known.hidden };",
        "let alias = is_alias();\n            return Decided { alias, hide: known.hidden && alias };",
    ),
    rule(
        "a child that is gone is remembered",
        BUS_MEMORY,
        "Some(child) if child.present => child.present = false,",
        "Some(child) => child.present = false,",
    ),
    rule(
        "ids alone make any function of a maker's a controller",
        CONTROLLERS,
        "row.vendor == vendor && row.device == device && row.subsystems.contains(&subsystem)",
        "row.vendor == vendor && row.device == device",
    ),
    rule("the subsystem of an id is not read", PCI_ID, "number(\"SUBSYS_\", 8)", "number(\"SUBSYSTEM_\", 8)"),
    rule(
        "the last word on a part counts",
        PCI_ID,
        "self.class = self.class.or_else(|| number(\"CC_\", 4).map(low));",
        "self.class = number(\"CC_\", 4).map(low);",
    ),
    rule("a PCI Express root is none", ROOT_BUS, "[\"PNP0A03\", \"PNP0A08\"]", "[\"PNP0A03\", \"PNP0A03\"]"),
    rule("a root without ACPI is none", ROOT_BUS, "|| units::is(id, HAL_ROOT_BUS)", ""),
    rule(
        "any bus of the PnP BIOS is a PCI root",
        ROOT_BUS,
        "units::is(last, root)",
        "units::starts_with(last, &root[..5])",
    ),
    rule(
        "an id of the PnP BIOS has no star",
        ROOT_BUS,
        "*unit == u16::from(b'\\\\') || *unit == u16::from(b'*')",
        "*unit == u16::from(b'\\\\')",
    ),
    rule(
        "a disk without the generic id is none",
        STORAGE_ID,
        "units::is(id, GENERIC_DISK) || DISK_PREFIXES",
        "units::is(id, GENERIC_DISK) || [\"none\"]",
    ),
    rule(
        "a disk is known by its prefix alone",
        STORAGE_ID,
        "units::is(id, GENERIC_DISK) || DISK_PREFIXES",
        "DISK_PREFIXES",
    ),
    rule("a channel is none", STORAGE_ID, "found = Child::Channel;", ""),
    rule("a drive of any maker is emulated", STORAGE_ID, "&& units::contains(id, QEMU)", ""),
    rule(
        "a CD-ROM of qemu's is a disk",
        STORAGE_ID,
        "DISK_PREFIXES.iter().any(|prefix| units::starts_with(id, prefix)) && units::contains",
        "units::contains",
    ),
    rule("a driver of AHCI is not known", TRIPWIRE, "    \"storahci.sys\",\n", ""),
    rule("a driver of NVMe is not known", TRIPWIRE, "    \"stornvme.sys\",\n", ""),
    rule(
        "a driver is known by the end of its name",
        TRIPWIRE,
        "driver.len() == file.len()",
        "driver.len() <= file.len()",
    ),
    rule(
        "a driver is known without its folder only",
        TRIPWIRE,
        "path.rsplit(|&unit| unit == u16::from(b'\\\\')).next().unwrap_or_default()",
        "path",
    ),
    rule("a driver's case counts", TRIPWIRE, "unit.to_ascii_lowercase() == byte", "unit == byte"),
    rule(
        "a name may go on",
        UNITS,
        "units.len() == name.len() && starts_with(units, name)",
        "starts_with(units, name)",
    ),
    rule("the case of a name counts", UNITS, "unit.eq_ignore_ascii_case(&byte)", "unit == byte"),
    rule("a name is found at the start only", UNITS, "(0..units.len()).any(", "(0..units.len().min(1)).any("),
    rule(
        "any function above a disk tells of its controller",
        PROVENANCE,
        "function.class >> 8 != MASS_STORAGE",
        "false && function.class >> 8 != MASS_STORAGE",
    ),
    rule(
        "a model that copies its maker's subsystem is hardware",
        PROVENANCE,
        "function.subsystem_vendor == 0 || COPIES.contains(&(function.vendor, function.device))",
        "function.subsystem_vendor == 0",
    ),
    rule(
        "a function without a subsystem is hardware",
        PROVENANCE,
        "function.subsystem_vendor == 0 || COPIES",
        "COPIES",
    ),
    rule(
        "an emulated controller that the table has not is unknown",
        PROVENANCE,
        "classify(function).is_some() || EMULATED.contains(&function.subsystem_vendor)",
        "classify(function).is_some()",
    ),
    rule(
        "an emulated controller that the table has is not known",
        PROVENANCE,
        "classify(function).is_some() || EMULATED.contains(&function.subsystem_vendor)",
        "EMULATED.contains(&function.subsystem_vendor)",
    ),
    rule(
        "the first of two controllers is the disk's",
        PROVENANCE,
        "if one == other { one } else { Self::Unknown }",
        "if one == other { one } else { one }",
    ),
];
