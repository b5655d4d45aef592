//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

use crate::named::Named;

/// Selects, for each boot entry of a Windows guest, emulated or PV disks.
///
/// An entry whose options hold GPLPV boots from Xen's paravirtual disks; any other entry boots from the
/// emulated ones. xenguard edits boot.ini (NT 5.x) and BCD stores (NT 6 and later), in the running Windows or
/// offline on its disk. Before it writes it makes a backup; interrupted at any moment it leaves the old or
/// the new file whole.
#[derive(Debug, Parser)]
#[command(name = "xenguard", version, max_term_width = 100, after_help = EXAMPLES, after_long_help = LONG_HELP)]
pub struct Arguments {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  xenguard status                                  in the running Windows
  xenguard --root /mnt status                      offline: the guest's system volume is mounted at /mnt
  xenguard --boot-ini boot.ini --dry-run add       what would change
  xenguard --store /mnt/Boot/BCD add --name \"Windows (PV)\"
  xenguard try                                     PV for the next boot only (BCD)
  xenguard default emulated
  xenguard restore                                 back to the last backup";

const LONG_HELP: &str = "\
Examples:
  xenguard status                                  in the running Windows
  xenguard --root /mnt status                      offline: the guest's system volume is mounted at /mnt
  xenguard --boot-ini boot.ini --dry-run add       what would change
  xenguard --store /mnt/Boot/BCD add --name \"Windows (PV)\"
  xenguard try                                     PV for the next boot only (BCD)
  xenguard default emulated
  xenguard restore                                 back to the last backup
  xenguard completions bash > /etc/bash_completion.d/xenguard

Exit codes:
  0 done, or nothing to do        1 verify, check found something 2 command line not understood
  3 refused, nothing changed      4 no usable boot configuration 5 a file operation failed
  6 another xenguard is at work    7 not permitted, read-only     8 bcdedit or libhivex missing or failed
  9 not confirmed (say --yes)    10 the package is missing, mixed or damaged";

/// Options of every command.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Which boot configuration")]
pub struct Global {
    /// A boot.ini
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "store")]
    pub boot_ini: Option<PathBuf>,
    /// A BCD store (a file such as Boot/BCD)
    #[arg(long, global = true, value_name = "BCD")]
    pub store: Option<PathBuf>,
    /// A mounted guest system volume: boot.ini, Boot/BCD or EFI/Microsoft/Boot/BCD is found below it, and
    /// hibernation, fast startup and the drivers' state are read from it
    #[arg(long, global = true, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// The folder of Windows below --root; that of the entry's own path if not given
    #[arg(long, global = true, value_name = "FOLDER", requires = "root")]
    pub windows: Option<String>,
    /// A SYSTEM hive that stands for the registry of the running Windows, for tests
    #[arg(long, global = true, value_name = "HIVE", hide = true)]
    pub registry: Option<PathBuf>,
    /// A program that is called like bcdedit, for tests
    #[arg(long, global = true, value_name = "PROGRAM", hide = true)]
    pub bcdedit: Option<PathBuf>,
    /// A program that is called with a tool's name (pnputil, rundll32, reg, sc) and its arguments, for tests
    #[arg(long, global = true, value_name = "PROGRAM", hide = true)]
    pub tools: Option<PathBuf>,
    /// Show what would change as a diff and change nothing
    #[arg(short = 'n', long, global = true, help_heading = "How")]
    pub dry_run: bool,
    /// Do not ask: remove, uninstall, clean, restore and prune do, and add and install where Secure Boot or BitLocker
    /// is on
    #[arg(short, long, global = true, help_heading = "How")]
    pub yes: bool,
    /// Print one JSON document instead of text
    #[arg(long, global = true, help_heading = "How")]
    pub json: bool,
    /// Only warnings and errors
    #[arg(short, long, global = true, help_heading = "How", conflicts_with = "verbose")]
    pub quiet: bool,
    /// More detail
    #[arg(short, long, global = true, help_heading = "How")]
    pub verbose: bool,
    /// When to use colour
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", help_heading = "How")]
    pub color: Colour,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// Emulated or PV disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Disks {
    /// Xen's paravirtual disks
    Pv,
    /// qemu's emulated disks
    Emulated,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the entries, which is the default, which boot with PV disks, the drivers' state, the last boot's choice,
    /// hibernation, fast startup, Secure Boot, BitLocker, the code page of boot.ini's names, and warnings
    Status,
    /// Add a PV entry behind an emulated one; the default stays as it is. Fast startup is turned off, and marks of
    /// StartOverride are taken away
    #[command(
        after_help = "Examples:\n  xenguard add\n  xenguard --root /mnt add --entry 2 --name \"Server (PV)\""
    )]
    Add {
        /// The entry to make it from: its number in status, {default}, {current} or {GUID}; the default entry
        /// if not given
        #[arg(long, value_name = "N")]
        entry: Option<Named>,
        /// The new entry's name; the source's name and "(PV disks)" if not given. In boot.ini it must have ASCII
        /// characters only, or those of the guest's OEM code page where that is known
        #[arg(long)]
        name: Option<String>,
    },
    /// Remove a PV entry; where it was the default, its emulated sibling becomes the default
    Remove {
        /// The entry: its number in status, {default}, {current} or {GUID}; needed only where there are several
        /// PV entries
        #[arg(long, value_name = "N", conflicts_with = "all")]
        entry: Option<Named>,
        /// Every PV entry
        #[arg(long)]
        all: bool,
    },
    /// Make the PV or the emulated entry the default; the PV entry is refused where the drivers are not ready
    Default {
        /// Which
        disks: Disks,
        /// An entry of the system that is meant: its number in status, {default}, {current} or {GUID}; the
        /// default system if not given
        #[arg(long, value_name = "N")]
        entry: Option<Named>,
    },
    /// Boot with PV disks the next time only (BCD; boot.ini has no such thing); refused where the drivers are not
    /// ready
    Try {
        /// An entry of the system that is meant: its number in status, {default}, {current} or {GUID}; the
        /// default system if not given
        #[arg(long, value_name = "N")]
        entry: Option<Named>,
    },
    /// How many seconds the boot menu waits
    Timeout {
        /// Seconds, 0 to 999; 0 shows no menu
        #[arg(value_parser = clap::value_parser!(u32).range(0..=999))]
        seconds: u32,
    },
    /// Check the entries, that no hibernation image and no fast startup stand against a change of disks, and the
    /// drivers as the loader will find them
    Verify,
    /// Before installing: one list of everything in this system that stands against an installation, or that
    /// keeps a Windows from booting (0x7B)
    #[command(after_help = "Examples:\n  xenguard check\n  xenguard --root /mnt check")]
    Check,
    /// Show the guard's record and the last lines of the activity log, which the drivers of the running Windows keep; with
    /// --root, the activity log's files
    #[command(after_help = "Examples:\n  xenguard log --follow\n  xenguard --root /mnt log")]
    Log {
        /// Go on with lines as they come, until Ctrl-C
        #[arg(short, long)]
        follow: bool,
    },
    /// Take out what is left of another suite of PV drivers (Xen Project, XenServer, XCP-ng, GPLPV, SUSE VMDP),
    /// on a volume that no Windows is using
    #[command(after_help = "Examples:\n  xenguard --root /mnt --dry-run clean\n  xenguard --root /mnt clean")]
    Clean,
    /// Keep a copy of the boot configuration; an existing file is not overwritten
    Backup {
        /// Where to; beside the original, under the first free name, if not given
        file: Option<PathBuf>,
    },
    /// Bring back a backup, also of a boot.ini or BCD that is gone; what is there now is kept as a further backup
    Restore {
        /// The backup; the last one made beside the original if not given
        file: Option<PathBuf>,
        /// List the backups: number, date, size, what is in them
        #[arg(long, conflicts_with = "file")]
        list: bool,
    },
    /// Remove old backups of the boot configuration and of the SYSTEM hive; the first one and the last N stay
    Prune {
        /// How many of the last ones stay
        #[arg(long, value_name = "N", default_value_t = 5)]
        keep: usize,
    },
    /// Put the drivers in and add the PV entry; the default stays, and nothing changes until a PV entry is
    /// chosen
    #[command(
        after_help = "Examples:\n  xenguard install\n  xenguard --root /mnt install --package xenguard-0.1.0"
    )]
    Install {
        /// The folder with the drivers and their INF files; that of this program if not given
        #[arg(long, value_name = "DIR")]
        package: Option<PathBuf>,
        /// The entry to make the PV entry from: its number in status, {default}, {current} or {GUID}; the
        /// default entry if not given
        #[arg(long, value_name = "N", conflicts_with = "no_entry")]
        entry: Option<Named>,
        /// Leave the boot entries as they are
        #[arg(long)]
        no_entry: bool,
    },
    /// Take the drivers and every PV entry out, in the order that never leaves a filter without its file
    #[command(after_help = "Examples:\n  xenguard uninstall\n  xenguard --root /mnt --yes uninstall")]
    Uninstall,
    /// Have the running Windows write the drivers' files and the registry to its disk; install.cmd calls it on Server
    /// 2003, and install does the same by itself
    Flush,
    /// Print the manual page
    #[command(after_help = "Example:\n  xenguard man > /usr/local/share/man/man1/xenguard.1")]
    Man,
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

impl Command {
    /// Returns the command's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Command::Status => "status",
            Command::Add { .. } => "add",
            Command::Remove { .. } => "remove",
            Command::Default { .. } => "default",
            Command::Try { .. } => "try",
            Command::Timeout { .. } => "timeout",
            Command::Verify => "verify",
            Command::Check => "check",
            Command::Log { .. } => "log",
            Command::Clean => "clean",
            Command::Backup { .. } => "backup",
            Command::Restore { .. } => "restore",
            Command::Prune { .. } => "prune",
            Command::Install { .. } => "install",
            Command::Uninstall => "uninstall",
            Command::Flush => "flush",
            Command::Man => "man",
            Command::Completions { .. } => "completions",
        }
    }
}
