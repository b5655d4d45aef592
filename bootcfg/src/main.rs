//! `bootcfg`: shows, adds and removes the boot.ini entry that boots with PV disks.

#![forbid(unsafe_code)]

use anyhow::{Context, Result};
use bootcfg::{boot_ini::BootIni, replace::replace};
use clap::{Parser, Subcommand};
use std::{fs, path::PathBuf};

/// Shows and edits the boot entries that select the PV mode (boot.ini of NT 5.x).
#[derive(Parser)]
#[command(version, after_help = "Example: bootcfg add boot.ini --entry 1")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the entries and which of them boot with PV disks
    List {
        /// The boot.ini
        file: PathBuf,
    },
    /// Add an entry with /GPLPV behind the one it is made from; the default stays
    Add {
        /// The boot.ini
        file: PathBuf,
        /// Number of the entry to make it from, as `list` shows it
        #[arg(long, default_value_t = 1)]
        entry: usize,
        /// Print the new file instead of writing it
        #[arg(long)]
        dry_run: bool,
    },
    /// Remove an entry with /GPLPV
    Remove {
        /// The boot.ini
        file: PathBuf,
        /// Number of the entry, as `list` shows it
        #[arg(long)]
        entry: usize,
        /// Print the new file instead of writing it
        #[arg(long)]
        dry_run: bool,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::List { file } => {
            let ini = read(&file)?;
            for (i, entry) in ini.entries().iter().enumerate() {
                let mode = if ini.selects_pv(entry) { "PV" } else { "emulated" };
                println!("{:2}  {mode:8}  {}  {}", i + 1, ini.name(entry), ini.switches(entry));
            }
            Ok(())
        }
        Command::Add { file, entry, dry_run } => edit(&file, dry_run, |ini| ini.add_pv(entry).map(drop)),
        Command::Remove { file, entry, dry_run } => edit(&file, dry_run, |ini| ini.remove_pv(entry)),
    }
}

fn read(file: &PathBuf) -> Result<BootIni> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    BootIni::parse(bytes).with_context(|| file.display().to_string())
}

fn edit(file: &PathBuf, dry_run: bool, change: impl FnOnce(&mut BootIni) -> Result<()>) -> Result<()> {
    let old = read(file)?;
    let mut new = old.clone();
    change(&mut new)?;
    if dry_run {
        print!("{}", String::from_utf8_lossy(new.bytes()));
    } else {
        let backup = replace(file, old.bytes(), new.bytes())?;
        println!("{} is written; the old one is kept as {}", file.display(), backup.display());
    }
    Ok(())
}
