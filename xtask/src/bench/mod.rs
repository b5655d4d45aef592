//! `cargo xtask bench`: the disk as the guest's system sees it through xenvbd, beside qemu's emulated IDE,
//! Linux's xen-blkfront, and dom0 on the bare device.

mod callgrind;
mod contender;
mod host;
mod image;
mod lines;
mod page;
mod plot;
mod result;

use std::{fs, process::Command};

use anyhow::{Context, Result, ensure};
use clap::Args;
use guests::boot::rig_files;
use rig::linux::Linux;
use serde_json::json;

use crate::{build, command, layout::Layout, setup, step::step};
use contender::{Contender, Plan, Programs};
use host::Host;
use page::Page;
use result::Results;

/// Options of a benchmark.
#[derive(Args, Debug)]
pub struct Options {
    /// Rounds, in each of which every contender comes
    #[arg(long, default_value_t = 2)]
    rounds: u32,
    /// Timed runs of each workload in a round
    #[arg(long, default_value_t = 3)]
    runs: u32,
    /// Length of a run in milliseconds
    #[arg(long, default_value_t = 700)]
    milliseconds: u64,
    /// Processors of the machine and of each guest; more than one have a page of their own
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4))]
    processors: u32,
    /// Only these, and docs/ stays as it is: ide, xenvbd, blkfront, dom0
    #[arg(long)]
    only: Vec<String>,
    /// Does not count the block frontend's instructions
    #[arg(long)]
    no_callgrind: bool,
    /// Takes the drivers and the executive as they were built last
    #[arg(long)]
    no_build: bool,
}

/// A person's remarks on the results: on every page, and on that of one processor.
const NOTES: &str = include_str!("notes.md");
const NOTES_ON_ONE: &str = include_str!("notes-1-processor.md");

/// Runs the benchmark, prints its tables, and writes `docs/results/performance.*`, or `performance-2-processors.*` and its
/// like.
///
/// # Errors
/// The rig failed, or a contender did not do what it reported.
pub fn run(options: &Options) -> Result<()> {
    let layout = Layout::here();
    let Options { runs, milliseconds, processors, .. } = *options;
    let plan = Plan { runs, milliseconds, processors };
    ensure!(
        options.rounds > 0 && plan.runs > 0 && plan.milliseconds > 0,
        "at least one round of one run of one millisecond"
    );
    ensure!(
        u64::from(plan.runs + 1) * plan.milliseconds <= 18_000,
        "{} runs of {} ms: dom0 has no time for more than 18 s of each workload, the first run included",
        plan.runs,
        plan.milliseconds
    );
    if !options.no_build {
        setup::ensure()?;
        build::all()?;
    }
    let rig = rig_files::ensure_with(&layout, rig::Release::default(), processors)?;
    let program = step("build the benchmark under Linux", || {
        Ok(rig::helper::build_static(layout.root(), &layout.target(), "bench-linux")?)
    })?;
    let linux = step("Linux guest", || Ok(Linux::ensure(&layout.target(), &|line| println!("  {line}"))?))?;
    let programs = Programs { layout: &layout, rig: &rig, linux: &linux, program };
    let mut host = Host::look(commit(&layout)?);
    let mut all: Vec<Results> = Vec::new();
    let wanted = |contender: &&Contender| {
        options.only.is_empty() || options.only.iter().any(|name| name == contender.name())
    };
    let contenders: Vec<Contender> = Contender::on(processors).iter().filter(wanted).copied().collect();
    ensure!(!contenders.is_empty(), "--only {} leaves nobody", options.only.join(" --only "));
    // One after the other in each round: a machine that changes its speed does so for all of them.
    for (round, contender) in
        (1..=options.rounds).flat_map(|round| contenders.iter().map(move |contender| (round, *contender)))
    {
        let title = format!("round {round}: {}", contender.title());
        let report = step(&title, || contender::run(&programs, contender, plan))?;
        if let Some(release) = report.first("linux").and_then(|line| line.get("release")) {
            host.linux = release.to_owned();
        }
        let results = Results::read(contender, &report, plan.runs)?;
        match all.iter_mut().find(|before| before.contender == contender) {
            Some(before) => before.add(results),
            None => all.push(results),
        }
    }
    let (points, gain) = if options.no_callgrind || processors > 1 {
        (Vec::new(), None)
    } else {
        (callgrind::measure(&layout)?, Some(callgrind::two_queues(&layout)?))
    };
    println!("\nMiB/s\n{}\nCPU µs for a request\n{}", page::throughput(&all, processors), page::cpu(&all));
    for target in page::targets(&all) {
        println!("{}: missed in {} of {}", target.what, target.missed.len(), target.measured);
    }
    let json = json!({
        "command": command_line(options),
        "host": host.json(),
        "rounds": options.rounds,
        "runs": plan.runs,
        "milliseconds": plan.milliseconds,
        "guest_processors": processors,
        "blkif_instructions": callgrind::json(&points),
        "two_queues_beside_one": gain,
        "contenders": all.iter().map(Results::json).collect::<Vec<_>>(),
    });
    let name = page_name(processors);
    let page = Page {
        command: &command_line(options),
        name: &name,
        host: &host,
        runs: (options.rounds, plan.runs, plan.milliseconds),
        processors,
        results: &all,
        more: &gain.map_or_else(String::new, |gain| callgrind::section(&points, gain)),
        notes: &if processors == 1 { format!("{NOTES}\n{NOTES_ON_ONE}") } else { NOTES.to_owned() },
    };
    let folder = if options.only.is_empty() {
        layout.root().join("docs/results")
    } else {
        layout.target().join("bench")
    };
    fs::create_dir_all(&folder)?;
    let mut files = vec![
        (format!("{name}.md"), page.text()),
        (format!("{name}.json"), format!("{json:#}\n")),
        (format!("{name}.svg"), plot::svg(&page::panels(&all))),
    ];
    if processors == 1 {
        files.push((format!("{name}-core.svg"), plot::svg(&callgrind::panels(&points))));
    }
    for (name, text) in &files {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    println!("written: {} in {}", names.join(", "), folder.display());
    Ok(())
}

/// Returns the name that the files of a run have, without their extensions.
fn page_name(processors: u32) -> String {
    match processors {
        1 => "performance".to_owned(),
        _ => format!("performance-{processors}-processors"),
    }
}

/// Returns the command that repeats this run.
fn command_line(options: &Options) -> String {
    let Options { rounds, runs, milliseconds, processors, .. } = options;
    let machine = if *processors == 1 { String::new() } else { format!(" --processors {processors}") };
    format!("cargo xtask bench --rounds {rounds} --runs {runs} --milliseconds {milliseconds}{machine}")
}

/// Returns the commit at hand, marked if the files differ from it.
fn commit(layout: &Layout) -> Result<String> {
    let mut git = Command::new("git");
    let found = command::output(git.args(["describe", "--always", "--dirty"]).current_dir(layout.root()))?;
    Ok(found.trim().to_owned())
}
