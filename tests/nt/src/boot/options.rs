//! The executive's own command line, whose words are those of [`protocol::Word`].

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use protocol::{BenchWord, Controller, Exercise, Fault, OtherBuild, Plan, Word};

use super::Profile;

/// Words of the multiboot command line.
#[derive(Default)]
pub(crate) struct Options {
    /// A word that is not known: the boot stops with it.
    pub unknown: Option<String>,
    /// Number of the entry that is chosen at the boot menu, from 1.
    pub entry: usize,
    /// Nobody chooses at the boot menu.
    pub unattended: bool,
    /// Faults, in the order in which they happen.
    pub faults: Vec<Fault>,
    /// Drivers of the executive's own that are not boot-start, but loaded when a device needs them.
    pub late: Vec<String>,
    /// The exercise of a system that is up.
    pub exercise: Option<Exercise>,
    /// Disk and seconds of the exercise [`Exercise::Outage`].
    pub outage: (u32, u32),
    /// Disks that come during the exercise [`Exercise::Hostile`], files of [`Exercise::Endure`], saves of
    /// [`Exercise::Suspend`], seconds of [`Exercise::Hours`].
    pub rounds: u32,
    /// Seed of [`Exercise::Hours`].
    pub seed: u64,
    /// The service of the miniport that writes a crash dump, in place of the first disk's.
    pub dump_driver: Option<String>,
    /// Milliseconds from the loader's first word to the first driver.
    pub pause: u64,
    /// AHCI controllers have the subsystem IDs of real hardware, as a passed-through one has.
    pub look_alike: bool,
    /// The machine has two PCI root buses, the IDE controller on the second.
    pub second_root: bool,
    /// Number of root buses with nothing on them that come before the first.
    pub empty_roots: u32,
    /// The empty root buses do not answer for their children.
    pub silent_roots: bool,
    /// One more root bus with nothing on it comes after the first, and idefilter gets no memory for it.
    pub starved_root: bool,
    /// One comes whose ids cannot be read.
    pub nameless_root: bool,
    /// Somebody reports the IDE controller beside the PCI bus, before it.
    pub legacy_ide: bool,
    /// The PCI bus does not report the IDE controller.
    pub unreported: bool,
    /// The version whose rules hold.
    pub nt: Profile,
    /// True if only the instances' keys say which devices an earlier boot has installed, as on NT 6.2 or
    /// later.
    pub devnodes: bool,
    /// No interrupt message is granted, as where no vector is left.
    pub no_messages: bool,
    /// The interfaces of a class that nobody has registered are not an empty list but an error, as some kernels
    /// have it.
    pub unregistered_class: bool,
    /// PCI buses answer for their children later, at `DISPATCH_LEVEL`.
    pub late_relations: bool,
    /// The PCI bus does not answer IRP_MN_READ_CONFIG for its children.
    pub no_read_config: bool,
    /// The first request that asks a controller of this kind what it is fails.
    pub unidentified: Option<Controller>,
    /// Name of a registry value that drivers cannot read.
    pub unreadable: Option<String>,
    /// The difference of xenpci's calls of the guard.
    pub other_build: Option<OtherBuild>,
    /// The case that the deliberately wrong driver plays.
    pub wrong: Option<String>,
    /// Requests that fail.
    pub inject: Option<Plan>,
    /// The registry that is left for the next boot is printed.
    pub hive: bool,
    /// The benchmark runs.
    pub benchmark: bool,
    /// Numbers of the benchmark.
    pub bench: Vec<(BenchWord, u64)>,
    /// The machine is turned off through qemu's isa-debug-exit device.
    pub exit_debug: bool,
}

impl Options {
    /// Parses the command line. The loader may have put the executive's file name before the words.
    pub(crate) fn parse(line: &str) -> Self {
        let mut options = Self { entry: 1, ..Self::default() };
        for (n, text) in line.split_whitespace().enumerate() {
            match Word::parse(text) {
                Ok(word) => options.take(word),
                Err(_) if n == 0 && text.starts_with('/') => {}
                Err(_) => options.unknown = Some(text.to_string()),
            }
        }
        options
    }

    fn take(&mut self, word: Word<'_>) {
        match word {
            Word::Entry(number) => self.entry = number as usize,
            Word::Unattended => self.unattended = true,
            // The boot manager has done so.
            Word::LoadFrom(_) | Word::FirmwareStays => {}
            Word::Fault(fault) => self.faults.push(fault),
            Word::Exercise(exercise) => self.exercise = Some(exercise),
            Word::Outage { disk, seconds } => self.outage = (disk, seconds),
            Word::Rounds(count) => self.rounds = count,
            Word::Seed(seed) => self.seed = seed,
            Word::Late(service) => self.late.push(service.to_string()),
            Word::DumpDriver(service) => self.dump_driver = Some(service.to_string()),
            Word::Pause(milliseconds) => self.pause = milliseconds,
            Word::LookAlike => self.look_alike = true,
            Word::SecondRoot => self.second_root = true,
            Word::EmptyRoots(count) => self.empty_roots = count,
            Word::Unreported => self.unreported = true,
            Word::Nt(version) => self.nt = version.into(),
            Word::Devnodes => self.devnodes = true,
            Word::NoMessages => self.no_messages = true,
            Word::LateRelations => self.late_relations = true,
            Word::UnregisteredClass => self.unregistered_class = true,
            Word::NoReadConfig => self.no_read_config = true,
            Word::Unidentified(kind) => self.unidentified = Some(kind),
            Word::LegacyIde => self.legacy_ide = true,
            Word::SilentRoots => self.silent_roots = true,
            Word::StarvedRoot => self.starved_root = true,
            Word::NamelessRoot => self.nameless_root = true,
            Word::Unreadable(value) => self.unreadable = Some(value.to_string()),
            Word::OtherBuild(how) => self.other_build = Some(how),
            Word::Wrong(case) => self.wrong = Some(case.to_string()),
            Word::Inject(plan) => self.inject = Some(plan),
            Word::Hive => self.hive = true,
            Word::Benchmark => self.benchmark = true,
            Word::Bench(name, number) => self.bench.push((name, number)),
            Word::ExitDebug => self.exit_debug = true,
        }
    }

    /// Returns true if this NT has interrupt messages to grant.
    pub(crate) fn grants_messages(&self) -> bool {
        self.nt.has_messages() && !self.no_messages
    }
}
