//! `cargo xtask fuzz`: the fuzz targets for as long as one likes, and what they have covered.
//!
//! Each target is a program with libFuzzer in it, built by a nightly toolchain with counters for coverage, overflow
//! checks and debug assertions. What it found worth keeping stays in `target/fuzz/corpus`, minimised after each run, so
//! that a run goes on where the last one ended.

mod page;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
    thread,
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::{command, layout::Layout, step::step};
use page::Run;

/// Options of a run.
#[derive(Args, Debug)]
pub struct Options {
    /// Targets to run; all if not given
    targets: Vec<String>,
    /// Seconds that each target takes
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Targets at the same time
    #[arg(long, default_value_t = 2)]
    at_once: usize,
    /// Puts a sample of each minimised corpus into the sources, as inputs that `cargo xtask test` takes
    #[arg(long)]
    keep: bool,
}

/// A fuzz target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Target {
    name: &'static str,
    /// The folder of its crate below the root, in whose `fuzz` it is.
    folder: &'static str,
    /// Longest input in bytes.
    longest: u32,
}

/// All targets.
const TARGETS: [Target; 11] = [
    Target { name: "options", folder: "guard", longest: 128 },
    Target { name: "records", folder: "guard", longest: 512 },
    Target { name: "boot_ini", folder: "bootcfg", longest: 300 },
    Target { name: "bcd", folder: "bootcfg", longest: 200 },
    Target { name: "hive", folder: "bootcfg", longest: 12_288 },
    Target { name: "logs", folder: "bootcfg", longest: 12_288 },
    Target { name: "inf", folder: "bootcfg", longest: 300 },
    Target { name: "cdb", folder: "vbd", longest: 64 },
    Target { name: "nodes", folder: "vbd", longest: 300 },
    Target { name: "ring", folder: "vbd", longest: 300 },
    Target { name: "queue", folder: "vbd", longest: 300 },
];

/// The target that the programs are built for.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";
/// Flags of the compiler. Records of comparisons are left out, which take half of the time, and so is AddressSanitizer,
/// since the parsers have no unsafe code.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    --cfg fuzzing -Cdebug-assertions -Coverflow-checks -Ccodegen-units=1";
/// Most memory of a program: guests of a machine without memory fail.
const MEMORY: &str = "-rss_limit_mb=2048";
/// Most inputs of a target that are put into the sources, and most bytes of them.
const FEW: usize = 128;
const SMALL: u64 = 32 << 10;

/// Runs the targets and adds what they did to `docs/results/fuzz.md`.
///
/// # Errors
/// A target of another name; no nightly toolchain; a target that found something, which is named with its input.
pub fn run(options: &Options) -> Result<()> {
    let layout = Layout::here();
    let targets = chosen(&options.targets)?;
    ensure!(options.at_once > 0 && options.seconds > 0, "at least one target at a time, for a second");
    let mut folders: Vec<&str> = targets.iter().map(|target| target.folder).collect();
    folders.dedup();
    for folder in folders {
        step(&format!("fuzz targets of {folder}"), || build(&layout, folder))?;
    }
    let waiting = Mutex::new(targets.iter());
    let next = || waiting.lock().expect("nobody panics with it").next();
    let work = || {
        let run = |target: &Target| {
            step(&format!("fuzz {}", target.name), || fuzz(&layout, target, options.seconds))
        };
        std::iter::from_fn(next).map(run).collect::<Vec<_>>()
    };
    let runs: Vec<Result<Run>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..options.at_once).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker does not panic")).collect()
    });
    let mut failed = Vec::new();
    for run in runs {
        match run {
            Ok(run) => {
                page::add(&layout, &run)?;
                println!("{run}");
            }
            Err(error) => failed.push(format!("{error:#}")),
        }
    }
    if options.keep {
        targets.iter().try_for_each(|target| keep(&layout, target))?;
    }
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

/// Returns the targets of these names; all where there is no name.
fn chosen(names: &[String]) -> Result<Vec<Target>> {
    let of = |name: &String| {
        let found = TARGETS.into_iter().find(|target| target.name == name);
        let all = TARGETS.map(|target| target.name).join(", ");
        found.with_context(|| format!("there is no fuzz target {name}; there are: {all}"))
    };
    if names.is_empty() { Ok(TARGETS.to_vec()) } else { names.iter().map(of).collect() }
}

/// Builds the targets of a crate.
fn build(layout: &Layout, folder: &str) -> Result<()> {
    let mut rustup = Command::new("rustup");
    rustup
        .args([
            "run",
            "nightly",
            "cargo",
            "build",
            "--quiet",
            "--release",
            "--target",
            TRIPLE,
            "--target-dir",
        ])
        .arg(root(layout).join("build"))
        .current_dir(layout.root().join(folder).join("fuzz"))
        .env("RUSTFLAGS", FLAGS);
    // What this command was started with is of another toolchain.
    for name in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
        rustup.env_remove(name);
    }
    command::run(&mut rustup)
        .context("fuzz targets need a nightly toolchain: rustup toolchain install nightly")
}

/// Runs a target.
fn fuzz(layout: &Layout, target: &Target, seconds: u32) -> Result<Run> {
    let corpus = folder_of(layout, "corpus", target)?;
    let findings = folder_of(layout, "findings", target)?;
    let log = root(layout).join(format!("{}.log", target.name));
    let mut program = program(layout, target);
    program
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={}", target.longest))
        .args([MEMORY, "-timeout=20", "-print_final_stats=1", "-reload=0"])
        .arg(format!("-artifact_prefix={}/", findings.display()))
        .arg(&corpus)
        .args(Some(seeds(layout, target)).filter(|seeds| seeds.is_dir()));
    let Some(text) = said(&mut program, &log)? else {
        let inputs: Vec<String> = files(&findings)?.iter().map(|path| path.display().to_string()).collect();
        bail!("{} found something: {} ({})", target.name, inputs.join(", "), log.display());
    };
    let run = Run::read(target.name, &text).with_context(|| format!("{} has no end", log.display()))?;
    let (files, bytes) = minimise(layout, target, &corpus)?;
    Ok(Run { files, bytes, ..run })
}

/// Leaves those inputs in a corpus that cover what all cover. Returns their number and their bytes.
fn minimise(layout: &Layout, target: &Target, corpus: &Path) -> Result<(u64, u64)> {
    let least = folder_of(layout, "minimised", target)?;
    fs::remove_dir_all(&least)?;
    fs::create_dir(&least)?;
    let log = root(layout).join(format!("{}-merge.log", target.name));
    let mut program = program(layout, target);
    program
        .args(["-set_cover_merge=1", MEMORY])
        .arg(format!("-max_len={}", target.longest))
        .args([&least, corpus])
        .args(Some(seeds(layout, target)).filter(|seeds| seeds.is_dir()));
    said(&mut program, &log)?.with_context(|| format!("no minimised corpus: {}", log.display()))?;
    fs::remove_dir_all(corpus)?;
    fs::rename(&least, corpus)?;
    size(corpus)
}

/// Puts inputs of a corpus into the sources: all, or a sample of them, since their names are hashes.
fn keep(layout: &Layout, target: &Target) -> Result<()> {
    let mut inputs = files(&folder_of(layout, "corpus", target)?)?;
    inputs.sort();
    let seeds = seeds(layout, target);
    fs::create_dir_all(&seeds)?;
    let mut bytes = 0;
    for input in inputs.iter().step_by(inputs.len().div_ceil(FEW).max(1)) {
        bytes += fs::metadata(input)?.len();
        if bytes > SMALL {
            break;
        }
        let name = input.file_name().context("a file's name")?;
        fs::copy(input, seeds.join(name))
            .with_context(|| format!("cannot write into {}", seeds.display()))?;
    }
    Ok(())
}

/// Returns the folder of everything that fuzzing makes.
fn root(layout: &Layout) -> PathBuf {
    layout.target().join("fuzz")
}

/// Returns a target's folder of a kind, which is made if it is not there.
fn folder_of(layout: &Layout, kind: &str, target: &Target) -> Result<PathBuf> {
    let folder = root(layout).join(kind).join(target.name);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// Returns the folder of the inputs that are part of the sources.
fn seeds(layout: &Layout, target: &Target) -> PathBuf {
    layout.root().join(target.folder).join("fuzz/seeds").join(target.name)
}

/// Returns a target's program.
fn program(layout: &Layout, target: &Target) -> Command {
    let mut program = Command::new(root(layout).join("build").join(TRIPLE).join("release").join(target.name));
    // With it each error that a target expects unwinds its stack.
    program.env("RUST_BACKTRACE", "0");
    program
}

/// Runs a program and returns what it said, which is kept in a file; `None` where it failed.
fn said(program: &mut Command, log: &Path) -> Result<Option<String>> {
    let output = program.output().context("a fuzz target does not start")?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    fs::write(log, &text).with_context(|| format!("cannot write {}", log.display()))?;
    Ok(output.status.success().then_some(text))
}

/// Returns the files in a folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

/// Returns the number of files in a folder and their bytes.
fn size(folder: &Path) -> Result<(u64, u64)> {
    let files = files(folder)?;
    let bytes = files.iter().map(|file| Ok(fs::metadata(file)?.len())).sum::<Result<u64>>()?;
    Ok((files.len() as u64, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_here() {
        let layout = Layout::here();
        for target in TARGETS {
            let path =
                layout.root().join(target.folder).join("fuzz/targets").join(format!("{}.rs", target.name));
            assert!(path.is_file(), "{}", path.display());
        }
        let of = |folder| files(&layout.root().join(folder).join("fuzz/targets")).expect("a folder").len();
        assert_eq!(["guard", "bootcfg", "vbd"].map(of).iter().sum::<usize>(), TARGETS.len());
    }

    #[test]
    fn an_unknown_name_is_refused_with_those_there_are() {
        let refused =
            chosen(&["ring".to_owned(), "rings".to_owned()]).expect_err("no such target").to_string();
        assert!(refused.contains("no fuzz target rings; there are: options, records"), "{refused}");
        assert_eq!(chosen(&["cdb".to_owned()]).expect("a target")[0].folder, "vbd");
        assert_eq!(chosen(&[]).expect("all").len(), TARGETS.len());
    }
}
