//! The census, and what may cross between drivers.

use super::rule;
use crate::mutants::Mutant;

const CENSUS: &str = "guard/src/census.rs";
const BACKING: &str = "guard/src/backing/mod.rs";
const ABI: &str = "guard/src/abi.rs";

pub(super) const MUTANTS: &[Mutant] = &[
    rule(
        "a clone on passed-through hardware is an alias",
        CENSUS,
        "Origin::OtherBus | Origin::PassedThrough if is_same()",
        "Origin::PassedThrough if is_same() => Class::Alias,\n        Origin::OtherBus if is_same()",
    ),
    rule(
        "an identity is a size alone",
        CENSUS,
        "identity.is_some_and(|identity| own.contains(&identity))",
        "identity.is_some_and(|identity| own.iter().any(|o| o.sectors == identity.sectors))",
    ),
    rule(
        "a stranger with our identity is foreign",
        CENSUS,
        "Origin::Unknown if is_signed_alike() => Class::Alias,",
        "",
    ),
    rule(
        "storage that has grown is another storage",
        CENSUS,
        "other.signature == self.signature",
        "other == self",
    ),
    rule(
        "a disk of an emulated controller is foreign",
        CENSUS,
        "Origin::EmulatedController => Class::Alias,",
        "Origin::EmulatedController => Class::Foreign,",
    ),
    rule(
        "a clone on another bus is an alias",
        CENSUS,
        "Origin::OtherBus | Origin::PassedThrough if is_same() => Class::Clone,",
        "Origin::OtherBus | Origin::PassedThrough if is_same() => Class::Alias,",
    ),
    rule(
        "a clone is not told from another disk",
        CENSUS,
        "Origin::OtherBus | Origin::PassedThrough if is_same() => Class::Clone,",
        "",
    ),
    rule(
        "aliases are not among the enumerated",
        CENSUS,
        "self.ours.saturating_add(self.alias).saturating_add(self.foreign)",
        "self.ours.saturating_add(self.foreign)",
    ),
    rule(
        "a clone counts as no disk",
        CENSUS,
        "counts.clones = counts.clones.saturating_add(1);\n                &mut counts.foreign",
        "&mut counts.clones",
    ),
    rule(
        "two vbds on one backing are two disks",
        CENSUS,
        "Relation::Same => Pair::Shared,",
        "Relation::Same => Pair::Apart,",
    ),
    rule(
        "what nodes do not tell apart is two disks whatever its content",
        CENSUS,
        "Relation::Unknown if signed_alike => Pair::Shared,",
        "",
    ),
    rule(
        "a clone behind another vbd is the disk itself",
        CENSUS,
        "Relation::Distinct if same_identity => Pair::Clones,",
        "Relation::Distinct if same_identity => Pair::Shared,",
    ),
    rule(
        "one vbd that may only read is enough",
        CENSUS,
        "one.backing.is_read_only() && other.backing.is_read_only()",
        "one.backing.is_read_only() || other.backing.is_read_only()",
    ),
    rule(
        "a disk that shares with the one before the last is overlooked",
        CENSUS,
        "list[..at].iter().any(",
        "list[..at].iter().take(1).any(",
    ),
    rule("a name means the same in every domain", BACKING, "if self.domain != other.domain {", "if false {"),
    rule("a device's number is not compared", BACKING, "if number || name {", "if number && false || name {"),
    rule("a name is not compared", BACKING, "if number || name {", "if number || name && false {"),
    rule(
        "a partition is another disk",
        BACKING,
        "let whole = self.partition == 0 || other.partition == 0;",
        "let whole = false;",
    ),
    rule(
        "each partition is the whole disk",
        BACKING,
        "self.hash == other.hash && (whole || self.partition == other.partition)",
        "self.hash == other.hash && (whole || self.partition >= other.partition || true)",
    ),
    rule("a number's partition is another disk", BACKING, "(same || disk && whole)", "same"),
    rule(
        "the format is part of the name",
        BACKING,
        "let text = without_formats(value);",
        "let text = value;",
    ),
    rule("two loop devices are two files", BACKING, "!(a.is_loop() && b.is_loop()) || named", "true"),
    rule(
        "a device of qemu's is never the device of the kernel's",
        BACKING,
        "name.absolute && name.place == Place::File",
        "name.absolute",
    ),
    rule(
        "a caller of another version is heard",
        ABI,
        "if self.abi != ABI_VERSION {",
        "if self.abi > ABI_VERSION + 1 {",
    ),
    rule(
        "flags that nobody knows are accepted",
        ABI,
        "CENSUS if self.flags & !(SETTLED | STRICT) == 0 =>",
        "CENSUS =>",
    ),
    rule(
        "no event is answered with nothing",
        ABI,
        "event.map_or(Err(Reason::EventRefused), RawEvent::unpack)",
        "event.map_or(Ok(Event::DriverLoaded), RawEvent::unpack)",
    ),
    rule(
        "an answer that cannot be understood exposes",
        ABI,
        "_ => Action::Withhold(reason), } } #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes",
        "3 => Action::Withhold(reason),\n        _ => Action::Expose, } } #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes",
    ),
    rule(
        "the unplug crosses between drivers",
        ABI,
        "Event::Decided(_)\n            | Event::BusAttached { .. }\n            | Event::Unplugged(_)",
        "Event::Unplugged(_) => Some(plain(RESUMED)),\n            Event::Decided(_)\n            | Event::BusAttached { .. }",
    ),
    rule(
        "settled and strict are exchanged",
        ABI,
        "settled: self.flags & SETTLED != 0,\n                strict: self.flags & STRICT != 0,",
        "settled: self.flags & STRICT != 0,\n                strict: self.flags & SETTLED != 0,",
    ),
];
