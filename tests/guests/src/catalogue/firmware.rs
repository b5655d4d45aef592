//! Machines that their firmware starts from their own disk, as Windows is started.

use protocol::{Line, Version, Word};

use crate::{
    check::{Check, Differences, Seen},
    scenario::{BASE, Entry, PV_BOOT, Runs, Scenario, Start},
};

const NT52: &[Word<'static>] = &[Word::Nt(Version::Nt52)];

/// The guests, in the order of the table in docs/testing.md.
pub(super) const BOOTS: &[Scenario] = &[
    Scenario {
        name: "firmware-pv",
        title: "SeaBIOS, boot sectors, and a loader that reads the PV entry of boot.ini, the hive and the drivers by INT 13h",
        start: Start::Bios,
        words: NT52,
        checks: &[READ_BY_BIOS],
        ..PV_BOOT
    },
    Scenario {
        name: "firmware-emulated",
        title: "the same disk, and nobody chooses at the boot menu",
        start: Start::Bios,
        entry: Entry::Default,
        words: NT52,
        checks: &[READ_BY_BIOS],
        runs: Runs::InTurn,
        ..BASE
    },
];

const READ_BY_BIOS: Check = Check {
    what: "before the first driver the loader has read boot.ini, the executive, the hive and the four drivers, and no other",
    run: read_by_bios,
};

/// The files of a boot, in the order in which the loader reads them.
const READ: [&str; 8] = [
    "\\words.txt",
    "\\boot.ini",
    "\\WINDOWS\\system32\\nt.elf",
    "\\WINDOWS\\system32\\config\\SYSTEM",
    "\\WINDOWS\\system32\\drivers\\idefallback.sys",
    "\\WINDOWS\\system32\\drivers\\idefilter.sys",
    "\\WINDOWS\\system32\\drivers\\xenpci.sys",
    "\\WINDOWS\\system32\\drivers\\xenvbd.sys",
];

fn read_by_bios(seen: &Seen<'_>, found: &mut Differences) {
    const SAYS: &str = "ntldr: INT 13h: read ";
    let read: Vec<_> = (seen.report.debug(SAYS))
        .filter_map(|line| line.split_once(SAYS)?.1.split_once(','))
        .map(|(file, _)| file)
        .collect();
    found.same("files that the loader read", &read[..], &READ);
    found.holds("a driver after that", seen.lines(Line::Load).next().is_some());
}
