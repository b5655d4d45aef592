//! The executive's command line.

use core::fmt;

use crate::{Unknown, name::named};

named! {
    /// An exercise: a longer task of the executive in a system that is up.
    Exercise {
        /// Adds more lines to the activity log than its ring keeps, at HIGH_LEVEL, and waits until a file has the last.
        Activity = "activity",
        /// Shuts down when dom0 asks by `control/shutdown`.
        Asked = "asked",
        /// Lets go of the power button while dom0 asks, and takes it again.
        AskedAgain = "asked-again",
        /// Shuts down when the toolstack presses ACPI's power button.
        AskedByAcpi = "asked-by-acpi",
        /// Reads, locks, ejects and loads a PV CD-ROM drive.
        Cdrom = "cdrom",
        /// Uses a disk while dom0 saves and restores the guest, and then sets the system's clock by the machine's.
        Clock = "clock",
        /// Uses a disk while dom0 saves a copy of the guest, and the guest goes on.
        Copy = "copy",
        /// Crashes with requests in flight.
        Crash = "crash",
        /// Crashes after dom0 has taken the disk's backend away.
        CrashDead = "crash-dead",
        /// Brings SRBs of every function to the first disk, and beside it.
        Functions = "functions",
        /// Uses a disk that dom0 attaches, writes a file that stays in the cache, and has dom0 detach the disk.
        Detach = "detach",
        /// Uses a disk that dom0 attaches, in use while dom0 asks for it, until dom0 takes it.
        DetachInUse = "detach-in-use",
        /// Reads the files that earlier boots have flushed, and writes and flushes files while the disk is read.
        Endure = "endure",
        /// Writes memory at S4 and goes on in the same domain.
        Hibernate = "hibernate",
        /// Writes memory at S4 and goes on in another domain.
        HibernateElsewhere = "hibernate-elsewhere",
        /// Writes memory at S4 and goes on in the same domain, where a backend keeps a page by which it was written.
        HibernateKept = "hibernate-kept",
        /// Starts a copy of the miniport although no device was told of S4.
        HibernateUnprepared = "hibernate-unprepared",
        /// Sets the system to S4 although xenpci has no thread that serves it.
        HibernateUnserved = "hibernate-unserved",
        /// Reads from the disks of a hostile backend, which come and go, and from the first disk meanwhile.
        Hostile = "hostile",
        /// Uses a disk that dom0 attaches, until dom0 takes it without asking.
        Hotplug = "hotplug",
        /// Writes, reads and compares the first disk, and two disks that dom0 attaches and takes again and again; shuts down
        /// when dom0 asks.
        Hours = "hours",
        /// Reads, writes and unmaps blocks of each raw disk.
        Kinds = "kinds",
        /// Uses a disk while dom0 stops and restarts its backend.
        Outage = "outage",
        /// Reads of the guard as programs do, and shuts down when dom0 asks.
        Reader = "reader",
        /// Waits until a vbd that dom0 attaches is refused.
        Refused = "refused",
        /// Reads a disk's capacity before and after dom0 enlarges it.
        Resize = "resize",
        /// Follows dom0's requests as the service does: one program hangs, the next one carries a reboot out.
        Service = "service",
        /// Uses a disk while the system goes to S3 and dom0 wakes it.
        Sleep = "sleep",
        /// Uses a disk while dom0 saves and restores the guest.
        Suspend = "suspend",
        /// Uses a disk from every processor.
        Traffic = "traffic",
        /// Has a paging, a hibernation and a dump file come to the adapter and go again.
        Usage = "usage",
    }
}

named! {
    /// A fault that the executive makes happen.
    Fault {
        /// Somebody else's bugcheck before the session manager runs.
        EarlyCrash = "early-crash",
        /// Somebody else's bugcheck with the system up.
        LateCrash = "late-crash",
        /// The power goes with the system up.
        PowerCut = "power-cut",
        /// The IDE controller comes back on a path without a filter.
        IdeReturn = "ide-return",
        /// No driver hears of disk arrivals in time, and xenvbd never does.
        Unheard = "unheard",
        /// The PCI bus is asked again for its children.
        Requery = "requery",
        /// A disk arrives that never answers a read.
        DeadDisk = "dead-disk",
        /// A blank PV disk gets a partition table, and then a second path to it arrives on a controller that nobody knows.
        Signed = "signed",
        /// The fault `signed`; the second path answers late, and behind another disk that arrives with it and answers at once.
        SignedBehind = "signed-behind",
        /// The fault `signed`; the second path answers when nobody waits for it any more.
        SignedLate = "signed-late",
        /// A second path to a blank PV disk arrives on a controller that nobody knows, and then the disk gets a partition table.
        SignedAfter = "signed-after",
        /// Dom0 attaches a second vbd over a blank PV disk's backing, and then the disk gets a partition table.
        SignedTwice = "signed-twice",
        /// Dom0 attaches a second vbd over a blank PV disk's backing, and then both get partition tables.
        SetUpTwice = "set-up-twice",
        /// A disk arrives on a controller that nobody knows, and then its content is copied onto a blank PV disk.
        Copied = "copied",
        /// Dom0 attaches another blank vbd; both blank disks get partition tables, and then one is copied onto the other.
        Cloned = "cloned",
        /// Dom0 attaches a vbd that cannot be read yet, and a disk arrives on a controller that nobody knows.
        ReadLate = "read-late",
        /// A second path to the boot disk arrives on a controller that nobody knows, whose first reads fail, and which has
        /// grown since.
        OddAlias = "odd-alias",
        /// Disks that never answer a read arrive on controllers that nobody knows, as many as xenvbd has threads to read
        /// disks, and then a second path to the boot disk.
        SilentUnits = "silent-units",
        /// Two disks arrive on controllers that nobody knows, the second of which is slow; then dom0 attaches a PV disk.
        SlowUnit = "slow-unit",
        /// A second path to the boot disk arrives on USB, as qemu emulates it.
        UsbAlias = "usb-alias",
        /// Many disks without a signature arrive, on controllers that nobody knows.
        ManyForeign = "many-foreign",
        /// A disk on a controller that nobody knows goes, and a second path to the boot disk arrives in its place.
        Exchanged = "exchanged",
        /// Xenpci's second thread, which serves the toolstack, cannot be made.
        NoSecondThread = "no-second-thread",
        /// Memory has run out for idefilter, and stays so.
        StarveIdefilter = "starve-idefilter",
        /// The thread that plays the faults loses the processor for a while whenever idefilter releases a spin lock on it.
        HeldUp = "held-up",
        /// The interfaces of devices can no longer be listed, and a disk arrives.
        Unlisted = "unlisted",
        /// Dom0 plugs a controller, and the PCI bus is asked twice for its children.
        Plugged = "plugged",
        /// The registry takes nothing that a driver writes, from the boot's beginning.
        RegistryFull = "registry-full",
        /// The system's volume is full for what drivers write, until the exercise of the activity log or the shutdown.
        VolumeFull = "volume-full",
        /// The last root bus is removed in order.
        RootRemoved = "root-removed",
        /// The Xen platform device is surprise-removed.
        PlatformLost = "platform-lost",
        /// A filter of a PV disk's enables a second disk interface for it.
        SecondInterface = "second-interface",
    }
}

named! {
    /// A kind of emulated controller.
    Controller {
        /// The PIIX's IDE controller.
        Ide = "ide",
        /// A SCSI controller.
        Scsi = "scsi",
    }
}

named! {
    /// A disk of the two that UEFI firmware with Xen's drivers sees for one of the toolstack's.
    FirmwareDisk {
        /// The device model's.
        Emulated = "emulated",
        /// The vbd.
        Pv = "PV",
    }
}

named! {
    /// A difference of xenpci's calls of the guard, as a driver of another build would make them.
    OtherBuild {
        /// They have another version of the interface.
        Version = "version",
        /// They have a kind that this version does not know.
        Kind = "kind",
        /// The first says that PV disks appear, where it should ask for them.
        Unasked = "unasked",
    }
}

named! {
    /// A version of NT whose rules the executive has.
    Version {
        /// Server 2003 x64.
        Nt52 = "5.2",
        /// Windows 7 and Server 2008 R2.
        Nt61 = "6.1",
        /// Windows 8.1 and Server 2012 R2.
        Nt63 = "6.3",
        /// Windows 10.
        Nt100 = "10.0",
    }
}

named! {
    /// A kind of request that can be made to fail.
    FaultKind {
        /// A routine that allocates for a driver.
        Pool = "pool",
        /// A read of the registry or of a device's properties.
        Registry = "registry",
        /// A hypercall.
        Hypercall = "hypercall",
        /// A request to xenstore.
        Store = "store",
    }
}

named! {
    /// A number that the benchmark takes.
    BenchWord {
        /// Timed runs of each workload.
        Runs = "runs",
        /// Length of a run in milliseconds.
        Milliseconds = "ms",
        /// Threads, each on a processor and with a queue of its own.
        Threads = "threads",
        /// Milliseconds left to dom0 for switching Xen's trace on or off.
        Pause = "pause",
        /// A number that each written block carries.
        Stamp = "stamp",
    }
}

/// The requests that fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// None; they are only counted.
    Count,
    /// The n-th request of a kind, from 1.
    Fail(FaultKind, u32),
    /// Allocations that this seed draws.
    Random(u32),
}

impl Plan {
    /// Parses `count`, `random:<seed>` or `<kind>:<n>`.
    ///
    /// # Errors
    /// The text is neither.
    pub fn parse(text: &str) -> Result<Self, Unknown> {
        if text == "count" {
            return Ok(Self::Count);
        }
        let (kind, n) = text.split_once(':').ok_or(Unknown)?;
        if kind == "random" {
            return Ok(Self::Random(number(n)?));
        }
        Ok(Self::Fail(FaultKind::parse(kind)?, number(n)?))
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count => f.write_str("count"),
            Self::Fail(kind, n) => write!(f, "{kind}:{n}"),
            Self::Random(seed) => write!(f, "random:{seed}"),
        }
    }
}

/// One word of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word<'a> {
    /// The entry that is chosen at the boot menu, from 1.
    Entry(u32),
    /// Nobody chooses at the boot menu.
    Unattended,
    /// The disk that the UEFI boot manager reads the system from; without it, the one that it was started from.
    LoadFrom(FirmwareDisk),
    /// The UEFI boot manager does not tell the firmware that the system takes over: no exit handler runs.
    FirmwareStays,
    /// A fault; the words of several happen in their order.
    Fault(Fault),
    /// The exercise of a system that is up.
    Exercise(Exercise),
    /// For [`Exercise::Outage`]: the disk, and the seconds for which files are written.
    Outage {
        /// Number of the disk, from 0.
        disk: u32,
        /// Seconds from the moment when dom0 is asked.
        seconds: u32,
    },
    /// For [`Exercise::Hostile`]: the number of disks that come. For [`Exercise::Endure`]: the number of files that are
    /// written. For [`Exercise::Suspend`]: the number of times that the guest is saved. For [`Exercise::Hours`]: seconds.
    Rounds(u32),
    /// For [`Exercise::Hours`]: draws its requests, and the disks that are taken by force.
    Seed(u64),
    /// A driver of the executive's own that is loaded only when a device needs it.
    Late(&'a str),
    /// The service of the miniport that writes a crash dump, in place of the first disk's.
    DumpDriver(&'a str),
    /// Milliseconds between the first report line and the first driver.
    Pause(u64),
    /// AHCI controllers have the subsystem IDs of real hardware, as a passed-through one has.
    LookAlike,
    /// The IDE controller is on a second PCI root bus.
    SecondRoot,
    /// This many further PCI root buses, with nothing on them, are reported before the first.
    EmptyRoots(u32),
    /// The PCI bus does not report the IDE controller, which stands in configuration space.
    Unreported,
    /// The version of NT; 5.2 without it.
    Nt(Version),
    /// Only the devices' keys say which of them an earlier boot has installed (NT 6.2 and later).
    Devnodes,
    /// No interrupt message is granted.
    NoMessages,
    /// PCI buses answer for their children later, on another thread at `DISPATCH_LEVEL`.
    LateRelations,
    /// The interfaces of a class that nobody has registered are an error and not an empty list.
    UnregisteredClass,
    /// The PCI bus does not answer IRP_MN_READ_CONFIG for its children.
    NoReadConfig,
    /// A controller of this kind does not say what it is when it is asked for the first time.
    Unidentified(Controller),
    /// Somebody reports the IDE controller beside the PCI bus, before it.
    LegacyIde,
    /// Further root buses do not answer for their children.
    SilentRoots,
    /// One more PCI root bus, with nothing on it, is reported after the first, and idefilter gets no memory for it.
    StarvedRoot,
    /// The same with memory, and the ids of that bus cannot be read.
    NamelessRoot,
    /// The registry's value of this name cannot be read.
    Unreadable(&'a str),
    /// xenpci is of another build than the guard.
    OtherBuild(OtherBuild),
    /// The case that the deliberately wrong driver plays.
    Wrong(&'a str),
    /// The requests that fail.
    Inject(Plan),
    /// The registry that is left for the next boot is printed.
    Hive,
    /// The benchmark runs.
    Benchmark,
    /// A number of the benchmark.
    Bench(BenchWord, u64),
    /// The machine is turned off through qemu's isa-debug-exit device.
    ExitDebug,
}

impl<'a> Word<'a> {
    /// Parses one word.
    ///
    /// # Errors
    /// The word, or its value, is not one of those above.
    pub fn parse(word: &'a str) -> Result<Self, Unknown> {
        let Some((key, value)) = word.split_once('=') else {
            return Ok(match word {
                "firmware-stays" => Self::FirmwareStays,
                "look-alike" => Self::LookAlike,
                "second-root" => Self::SecondRoot,
                "devnodes" => Self::Devnodes,
                "no-messages" => Self::NoMessages,
                "unregistered-class" => Self::UnregisteredClass,
                "late-relations" => Self::LateRelations,
                "no-read-config" => Self::NoReadConfig,
                "unreported" => Self::Unreported,
                "legacy-ide" => Self::LegacyIde,
                "starved-root" => Self::StarvedRoot,
                "nameless-root" => Self::NamelessRoot,
                "silent-roots" => Self::SilentRoots,
                _ => return Err(Unknown),
            });
        };
        Ok(match (key, value) {
            ("entry", "none") => Self::Unattended,
            ("entry", n) => Self::Entry(number(n)?),
            ("load-from", name) => Self::LoadFrom(FirmwareDisk::parse(name)?),
            ("fault", name) => Self::Fault(Fault::parse(name)?),
            ("exercise", name) => Self::Exercise(Exercise::parse(name)?),
            ("outage", value) => {
                let (disk, seconds) = value.split_once(',').ok_or(Unknown)?;
                Self::Outage { disk: number(disk)?, seconds: number(seconds)? }
            }
            ("rounds", count) => Self::Rounds(number(count)?),
            ("seed", seed) => Self::Seed(number(seed)?),
            ("late", service) => Self::Late(service),
            ("dump-driver", service) => Self::DumpDriver(service),
            ("pause", ms) => Self::Pause(number(ms)?),
            ("empty-roots", count) => Self::EmptyRoots(number(count)?),
            ("unidentified", kind) => Self::Unidentified(Controller::parse(kind)?),
            ("nt", version) => Self::Nt(Version::parse(version)?),
            ("unreadable", value) => Self::Unreadable(value),
            ("other-build", how) => Self::OtherBuild(OtherBuild::parse(how)?),
            ("wrong", case) => Self::Wrong(case),
            ("inject", plan) => Self::Inject(Plan::parse(plan)?),
            ("hive", "1") => Self::Hive,
            ("test", "bench") => Self::Benchmark,
            ("exit", "debug") => Self::ExitDebug,
            (key, value) => {
                let key = key.strip_prefix("bench.").ok_or(Unknown)?;
                Self::Bench(BenchWord::parse(key)?, number(value)?)
            }
        })
    }
}

fn number<T: core::str::FromStr>(text: &str) -> Result<T, Unknown> {
    text.parse().map_err(|_| Unknown)
}

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Entry(n) => write!(f, "entry={n}"),
            Self::Unattended => f.write_str("entry=none"),
            Self::LoadFrom(disk) => write!(f, "load-from={disk}"),
            Self::FirmwareStays => f.write_str("firmware-stays"),
            Self::Fault(fault) => write!(f, "fault={fault}"),
            Self::Exercise(exercise) => write!(f, "exercise={exercise}"),
            Self::Outage { disk, seconds } => write!(f, "outage={disk},{seconds}"),
            Self::Rounds(count) => write!(f, "rounds={count}"),
            Self::Seed(seed) => write!(f, "seed={seed}"),
            Self::Late(service) => write!(f, "late={service}"),
            Self::DumpDriver(service) => write!(f, "dump-driver={service}"),
            Self::Pause(ms) => write!(f, "pause={ms}"),
            Self::LookAlike => f.write_str("look-alike"),
            Self::SecondRoot => f.write_str("second-root"),
            Self::EmptyRoots(count) => write!(f, "empty-roots={count}"),
            Self::Unreported => f.write_str("unreported"),
            Self::Nt(version) => write!(f, "nt={version}"),
            Self::Devnodes => f.write_str("devnodes"),
            Self::NoMessages => f.write_str("no-messages"),
            Self::LateRelations => f.write_str("late-relations"),
            Self::UnregisteredClass => f.write_str("unregistered-class"),
            Self::NoReadConfig => f.write_str("no-read-config"),
            Self::Unidentified(kind) => write!(f, "unidentified={kind}"),
            Self::LegacyIde => f.write_str("legacy-ide"),
            Self::SilentRoots => f.write_str("silent-roots"),
            Self::StarvedRoot => f.write_str("starved-root"),
            Self::NamelessRoot => f.write_str("nameless-root"),
            Self::Unreadable(value) => write!(f, "unreadable={value}"),
            Self::OtherBuild(how) => write!(f, "other-build={how}"),
            Self::Wrong(case) => write!(f, "wrong={case}"),
            Self::Inject(plan) => write!(f, "inject={plan}"),
            Self::Hive => f.write_str("hive=1"),
            Self::Benchmark => f.write_str("test=bench"),
            Self::Bench(key, number) => write!(f, "bench.{key}={number}"),
            Self::ExitDebug => f.write_str("exit=debug"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;
    use std::vec::Vec;

    use super::*;

    #[test]
    fn each_word_comes_back_from_its_text() {
        let mut words: Vec<Word<'_>> = std::vec![
            Word::Entry(3),
            Word::Outage { disk: 1, seconds: 45 },
            Word::Rounds(13),
            Word::Seed(1 << 40),
            Word::Late("pciide"),
            Word::DumpDriver("xenvbd"),
            Word::Pause(4000),
            Word::LookAlike,
            Word::SecondRoot,
            Word::EmptyRoots(8),
            Word::Unreported,
            Word::LegacyIde,
            Word::SilentRoots,
            Word::StarvedRoot,
            Word::NamelessRoot,
            Word::Unreadable("Start"),
            Word::Unattended,
            Word::LoadFrom(FirmwareDisk::Emulated),
            Word::LoadFrom(FirmwareDisk::Pv),
            Word::FirmwareStays,
            Word::Devnodes,
            Word::NoMessages,
            Word::LateRelations,
            Word::UnregisteredClass,
            Word::NoReadConfig,
            Word::Unidentified(Controller::Ide),
            Word::Unidentified(Controller::Scsi),
            Word::Wrong("none"),
            Word::Inject(Plan::Count),
            Word::Inject(Plan::Fail(FaultKind::Store, 12)),
            Word::Inject(Plan::Random(7)),
            Word::Hive,
            Word::Benchmark,
            Word::Bench(BenchWord::Milliseconds, 500),
            Word::ExitDebug,
        ];
        words.extend(OtherBuild::ALL.iter().map(|&how| Word::OtherBuild(how)));
        words.extend(Version::ALL.iter().map(|&version| Word::Nt(version)));
        words.extend(Fault::ALL.iter().map(|&fault| Word::Fault(fault)));
        words.extend(Exercise::ALL.iter().map(|&exercise| Word::Exercise(exercise)));
        for word in words {
            assert_eq!(Word::parse(&word.to_string()), Ok(word));
        }
    }

    #[test]
    fn a_misspelt_word_is_refused() {
        for text in [
            "",
            "late-relation",
            "nt=6.2",
            "exercise=hotplugs",
            "fault=",
            "outage=1",
            "outage=1,x",
            "inject=pool",
            "inject=disk:1",
            "bench.run=1",
            "hive=0",
            "entry=one",
            "entry",
        ] {
            assert_eq!(Word::parse(text), Err(Unknown), "{text}");
        }
    }
}
