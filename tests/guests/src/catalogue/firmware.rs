//! Machines that their firmware starts from their own disk, as Windows is started.

use protocol::{FirmwareDisk, Line, Version, Word};

use super::absence::{FILTER_NOT_STARTED, WITHOUT_FILTER};
use crate::{
    check::{Check, Differences, Seen},
    scenario::{BASE, Backend, Entry, Expect, PV, PV_BOOT, Runs, Scenario, Sequence, Start, When},
};

/// The PV entry of a machine that SeaBIOS starts.
const BIOS_PV: Scenario =
    Scenario { start: Start::Bios, words: &[Word::Nt(Version::Nt52)], checks: &[READ_BY_BIOS], ..PV_BOOT };
/// The entry that such a machine is started from where nobody chooses.
const BIOS_DEFAULT: Scenario = Scenario {
    start: Start::Bios,
    entry: Entry::Default,
    words: &[Word::Nt(Version::Nt52)],
    checks: &[READ_BY_BIOS],
    ..BASE
};
/// The PV entry of a machine that OVMF starts.
const UEFI_PV: Scenario = Scenario {
    start: Start::Uefi,
    words: &[NT61[0], PAUSE],
    dom0: &[(When::Started, CONNECTED), (When::Booted, CLOSED)],
    checks: &[READ_BY_UEFI],
    ..PV_BOOT
};
/// The entry that such a machine is started from where nobody chooses.
const UEFI_EMULATED: Scenario = Scenario {
    start: Start::Uefi,
    entry: Entry::Default,
    words: UEFI_PV.words,
    dom0: UEFI_PV.dom0,
    checks: &[READ_BY_UEFI],
    ..BASE
};
/// Time for dom0 to look at what the firmware has left, before the first driver.
const PAUSE: Word<'static> = Word::Pause(5000);
/// The boot manager reads from the vbd, and the firmware is not told that the system takes over.
const UNCLEAN: &[Word<'static>] = &[NT61[0], PAUSE, Word::LoadFrom(FirmwareDisk::Pv), Word::FirmwareStays];
/// Holds that the firmware has each vbd: both ends are connected, by a ring and an event channel.
const CONNECTED: &str = "for f in $(xenstore-list -p /local/domain/$DOMID/device/vbd); do b=$(xenstore-read $f/backend); \
    xenstore-read -p $f/state $b/state $f/ring-ref $f/event-channel || exit; \
    [ \"$(xenstore-read $f/state) $(xenstore-read $b/state)\" = \"4 4\" ] || exit; done";
/// Holds that the firmware has let go of each vbd.
const CLOSED: &str = "for f in $(xenstore-list -p /local/domain/$DOMID/device/vbd); do b=$(xenstore-read $f/backend); \
    xenstore-ls $f; xenstore-read -p $b/state || exit; \
    [ $(xenstore-read $f/state) != 4 ] && [ $(xenstore-read $b/state) != 4 ] || exit; done";
/// A version of NT that has boot configuration data.
const NT61: &[Word<'static>] = &[Word::Nt(Version::Nt61)];

/// The guests, in the order of the table in docs/testing.md.
pub(super) const BOOTS: &[Scenario] = &[
    Scenario {
        name: "firmware-pv",
        title: "SeaBIOS and boot sectors start a loader, which reads boot.ini, the hive and the drivers from the disk",
        ..BIOS_PV
    },
    Scenario {
        name: "firmware-emulated",
        title: "such a disk with boot configuration data, and nobody chooses at the boot menu",
        words: NT61,
        checks: &[READ_WITH_STORE],
        runs: Runs::InTurn,
        ..BIOS_DEFAULT
    },
    Scenario {
        name: "firmware-imports",
        title: "such a disk: idefilter is disabled, and the loader reads its file for xenpci, which imports from it",
        registry: disabled!("idefilter"),
        expect: FILTER_NOT_STARTED,
        checks: &[READ_FOR_IMPORTS],
        runs: Runs::ByName,
        ..BIOS_PV
    },
    Scenario {
        name: "firmware-file-missing",
        title: "such a disk, and idefilter.sys is gone from it: idefallback saves the boot",
        without: &["idefilter.sys"],
        expect: WITHOUT_FILTER,
        checks: &[READ_WITHOUT_FILTER],
        runs: Runs::ByName,
        ..BIOS_PV
    },
];

/// The guests that OVMF starts.
pub(super) const UEFI_BOOTS: &[Scenario] = &[
    Scenario {
        name: "ovmf-pv",
        title: "OVMF, whose own PV driver has connected the vbd, starts a boot manager from the emulated disk",
        runs: Runs::InTurn,
        ..UEFI_PV
    },
    Scenario {
        name: "ovmf-emulated",
        title: "the emulated entry behind it",
        runs: Runs::InTurn,
        ..UEFI_EMULATED
    },
    Scenario {
        name: "ovmf-from-pv",
        title: "the boot manager reads the system from OVMF's PV disk",
        words: &[NT61[0], PAUSE, Word::LoadFrom(FirmwareDisk::Pv)],
        checks: &[READ_FROM_PV],
        runs: Runs::ByName,
        ..UEFI_PV
    },
    Scenario {
        name: "ovmf-unclean",
        title: "the same with two disks, and OVMF is not told that the system takes over: its rings stay mapped",
        words: UNCLEAN,
        disks: &[Backend::Blkback, Backend::Qdisk],
        dom0: &[(When::Started, CONNECTED), (When::Booted, CONNECTED)],
        expect: Expect { pv: 2, ..PV },
        checks: &[READ_FROM_PV],
        runs: Runs::InTurn,
        ..UEFI_PV
    },
    Scenario {
        name: "ovmf-unclean-emulated",
        title: "the emulated entry behind an OVMF that is not told",
        words: UNCLEAN,
        dom0: &[(When::Started, CONNECTED), (When::Booted, CONNECTED)],
        checks: &[READ_FROM_PV],
        runs: Runs::ByName,
        ..UEFI_EMULATED
    },
];

/// Machines that are booted several times.
pub(super) const SEQUENCES: &[Sequence] = &[Sequence {
    name: "firmware-both",
    title: "SeaBIOS starts one disk: nobody chooses at the menu, the second entry is chosen, and nobody chooses again",
    boots: &[
        Scenario { name: "default", ..BIOS_DEFAULT },
        Scenario { name: "second", ..BIOS_PV },
        Scenario { name: "default-again", ..BIOS_DEFAULT },
    ],
    runs: Runs::ByName,
}];

const READ_BY_BIOS: Check = Check {
    what: "before the first driver the loader has read by INT 13h the entry, the executive, the hive and the drivers, in NT's order",
    run: read_by_bios,
};

const READ_WITH_STORE: Check = Check { what: READ_BY_BIOS.what, run: read_with_store };

const READ_FOR_IMPORTS: Check =
    Check { what: "the loader has read the drivers, each with what it imports from", run: read_for_imports };

const READ_WITHOUT_FILTER: Check =
    Check { what: "the loader has read the other drivers", run: read_without_filter };

const READ_BY_UEFI: Check = Check {
    what: "before the first driver the boot manager has read the same by UEFI's file protocol from OVMF's emulated disk",
    run: read_by_uefi,
};

const READ_FROM_PV: Check =
    Check { what: "the boot manager has read the same from OVMF's PV disk", run: read_from_pv };

/// The words of the loader behind a BIOS, and of the boot manager behind UEFI, before a file that they have read.
const BY_INT_13: &str = "ntldr: INT 13h: read ";
const BY_UEFI: &str = "bootmgr: read ";

const BOOT_INI: &str = "\\boot.ini";
/// The drivers in the order in which NT loads them.
const DRIVERS: &[&str] = &["idefallback.sys", "idefilter.sys", "xenpci.sys", "xenvbd.sys"];

fn read_by_bios(seen: &Seen<'_>, found: &mut Differences) {
    same_files(seen, found, BY_INT_13, BOOT_INI, DRIVERS);
}

fn read_with_store(seen: &Seen<'_>, found: &mut Differences) {
    same_files(seen, found, BY_INT_13, "\\Boot\\BCD", DRIVERS);
}

fn read_without_filter(seen: &Seen<'_>, found: &mut Differences) {
    same_files(seen, found, BY_INT_13, BOOT_INI, &["idefallback.sys", "xenpci.sys", "xenvbd.sys"]);
}

fn read_for_imports(seen: &Seen<'_>, found: &mut Differences) {
    same_files(
        seen,
        found,
        BY_INT_13,
        BOOT_INI,
        &["idefallback.sys", "xenpci.sys", "idefilter.sys", "xenvbd.sys"],
    );
}

fn read_by_uefi(seen: &Seen<'_>, found: &mut Differences) {
    read_from(FirmwareDisk::Emulated, seen, found);
}

fn read_from_pv(seen: &Seen<'_>, found: &mut Differences) {
    read_from(FirmwareDisk::Pv, seen, found);
}

fn read_from(disk: FirmwareDisk, seen: &Seen<'_>, found: &mut Differences) {
    same_files(seen, found, BY_UEFI, "\\EFI\\Microsoft\\Boot\\BCD", DRIVERS);
    let says = format!("bootmgr: loads from the {disk} disk");
    found.holds(&says, seen.report.debug(&says).count() == 1);
}

/// Compares the files that the loader has read: those of every boot, then these drivers, and no other.
fn same_files(seen: &Seen<'_>, found: &mut Differences, says: &str, menu: &str, drivers: &[&str]) {
    const FOLDER: &str = "\\WINDOWS\\system32\\";
    let text = |line: &str| Some(line.split_once(says)?.1.split_once(',')?.0.to_owned());
    let read: Vec<_> = seen.report.debug(says).filter_map(text).collect();
    let first = ["\\words.txt", menu].map(str::to_owned).into_iter();
    let system = ["nt.elf", "config\\SYSTEM"].into_iter().map(|name| format!("{FOLDER}{name}"));
    let drivers = drivers.iter().map(|name| format!("{FOLDER}drivers\\{name}"));
    found.same("files that the loader read", read, first.chain(system).chain(drivers).collect());
    let loads = seen.report.position(Line::Load.name());
    let last = seen.report.lines().iter().rposition(|line| line.text.contains(says));
    found.holds("a driver started, and none before the last file was read", last < loads);
}
