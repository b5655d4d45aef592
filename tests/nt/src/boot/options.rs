//! The executive's own command line.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::inject::Plan;

/// Words of the multiboot command line.
#[derive(Default)]
pub struct Options {
    /// `entry=N`: which entry of boot.ini is started, from 1.
    pub entry: usize,
    /// `fault=<name>`: what goes wrong once the system is up.
    pub faults: Vec<String>,
    /// `test=<name>`: self tests of the executive.
    pub tests: Vec<String>,
    /// `late=<service>`: a driver of the executive's own that is not boot-start, but loaded when a device
    /// needs it.
    pub late: Vec<String>,
    /// `exercise=<name>`: what a system that is up goes through.
    pub exercise: Option<String>,
    /// `outage=<disk>,<seconds>`: of the exercise of that name.
    pub outage: (u32, u32),
    /// `dump-driver=<service>`: the miniport that is to write a crash dump, whoever has the disk.
    pub dump_driver: Option<String>,
    /// `pause=<ms>`: how long the loader takes from its first word to the first driver.
    pub pause: u64,
    /// `look-alike`: AHCI controllers have the subsystem ids of real hardware, as one that is passed through
    /// has.
    pub look_alike: bool,
    /// `second-root`: the machine has two PCI root buses, the IDE controller on the second.
    pub second_root: bool,
    /// `nt=6.1`: what a driver can tell of the kernel is as of NT 6.1 and not 5.2: its version, interrupt
    /// messages, and the routines that connect them.
    pub nt61: bool,
    /// `no-messages`: no interrupt message is granted, as where no vector is left.
    pub no_messages: bool,
    /// `late-relations`: PCI buses answer for their children later, at `DISPATCH_LEVEL`.
    pub late_relations: bool,
    /// `wrong=<case>`: the case the deliberately wrong driver is to play.
    pub wrong: Option<String>,
    /// `inject=…`: what is to fail.
    pub inject: Option<Plan>,
    /// `hive=1`: print what the registry leaves for the next boot.
    pub hive: bool,
    /// `bench.<name>=<number>`: how much the benchmark runs.
    pub bench: Vec<(String, u64)>,
    /// `exit=debug`: power off through qemu's isa-debug-exit device.
    pub exit_debug: bool,
}

impl Options {
    /// Reads the command line; words it does not know (such as the kernel's file name) are skipped.
    pub fn parse(line: &str) -> Self {
        let mut options = Self { entry: 1, ..Self::default() };
        for word in line.split_whitespace() {
            match word.split_once('=') {
                Some(("entry", number)) => options.entry = number.parse().unwrap_or(1),
                Some(("fault", name)) => options.faults.push(name.to_string()),
                Some(("pause", number)) => options.pause = number.parse().unwrap_or(0),
                Some(("dump-driver", name)) => options.dump_driver = Some(name.to_string()),
                Some(("late", name)) => options.late.push(name.to_string()),
                Some(("test", name)) => options.tests.push(name.to_string()),
                Some(("exercise", name)) => options.exercise = Some(name.to_string()),
                Some(("outage", outage)) => {
                    let (disk, seconds) = outage.split_once(',').unwrap_or((outage, "0"));
                    options.outage = (disk.parse().unwrap_or(0), seconds.parse().unwrap_or(0));
                }
                Some(("wrong", case)) => options.wrong = Some(case.to_string()),
                Some(("nt", "6.1")) => options.nt61 = true,
                Some(("inject", plan)) => options.inject = Plan::parse(plan),
                Some(("hive", "1")) => options.hive = true,
                Some((name, number)) if name.starts_with("bench.") => {
                    let name = name.trim_start_matches("bench.").to_string();
                    options.bench.push((name, number.parse().unwrap_or(0)));
                }
                Some(("exit", "debug")) => options.exit_debug = true,
                None if word == "look-alike" => options.look_alike = true,
                None if word == "no-messages" => options.no_messages = true,
                None if word == "second-root" => options.second_root = true,
                None if word == "late-relations" => options.late_relations = true,
                _ => {}
            }
        }
        options
    }

    /// Whether this NT has interrupt messages to grant.
    pub const fn grants_messages(&self) -> bool {
        self.nt61 && !self.no_messages
    }
}
