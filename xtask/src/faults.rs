//! Faults injected into a PV boot, one per boot, by index (`tests/nt/src/inject`): whatever fails, the boot ends
//! emulated, PV or stopped, with every disk mounted at most once and nothing that the verifier objects to.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt, fs,
    sync::{Mutex, PoisonError},
    thread,
};

use anyhow::{Context, Result, bail, ensure};
use guard::machine::BUGCHECK_CODE;
use rig::{Report, RigFiles};
use volume::Verdict;

use crate::{build, guest, layout::Layout, rig_files, setup, verdict};

/// Boots that one dom0 goes through before the rig starts afresh.
const BATCH: usize = 40;
/// Rigs at the same time: one more than processors, since a guest's life is mostly waiting.
const RIGS: usize = 3;
/// A ring of one page, and 73 pages for a disk in place of 292: of a row of allocations of one kind the hundreds after the
/// first dozens say nothing new, and each is a boot.
const SMALL_RINGS: &str = "[HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Services\\xenvbd\\Parameters]\n\
    \"RingOrder\"=dword:00000000\n\"Segments\"=dword:00000040\n";
/// The first line of a guest's console.
const FIRST_LINE: &str = "HVM Loader";
/// The bugcheck of a panic in one of the drivers (`wdm::bugcheck::PANIC`): memory that Rust's own collections do not
/// get ends there.
const PANIC: u64 = 0x0058_4750;
/// What is tried in every run of the tests: of each kind an early request, made by idefilter, and a later one.
const SAMPLE: [&str; 8] =
    ["pool:2", "pool:60", "registry:3", "registry:12", "hypercall:1", "hypercall:12", "store:1", "store:12"];

/// How a boot with a fault ended, correctly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Pv,
    Emulated,
    /// Nothing was exposed after the emulated disks had been taken away: NT stops with 0x7B.
    NoDisk,
    /// The guard stopped it.
    Stopped,
    /// A driver stopped it for want of memory.
    Panicked,
    /// There was no such request in this boot.
    NotReached,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            End::Pv => "PV",
            End::Emulated => "emulated",
            End::NoDisk => "no disk (0x7B)",
            End::Stopped => "stopped by the guard",
            End::Panicked => "stopped by a driver",
            End::NotReached => "not reached",
        })
    }
}

/// Runs every request of every kind, or of those named; prints how they ended.
///
/// # Errors
/// The rig failed, or a boot ended otherwise than it may.
pub fn run(kinds: &[String], every: u64) -> Result<()> {
    let layout = Layout::here();
    setup::ensure()?;
    build::drivers()?;
    build::executive()?;
    let rig = rig_files::ensure(&layout)?;
    let (counted, _) = boots(&layout, &rig, "faults-count", &[])?;
    let last = counted.last().context("the guest printed nothing")?;
    let requests = last.first("requests").context("the requests were not counted")?;
    let mut plans = Vec::new();
    for (kind, count) in &requests.fields {
        if !kinds.is_empty() && !kinds.contains(kind) {
            continue;
        }
        let count: u64 = count.parse().with_context(|| format!("{kind}={count}"))?;
        println!("{kind}: {count} requests in a PV boot");
        plans.extend((1..=count).step_by(every.max(1) as usize).map(|n| format!("{kind}:{n}")));
    }
    let batches: VecDeque<(usize, Vec<String>)> =
        plans.chunks(BATCH).map(<[String]>::to_vec).enumerate().collect();
    let (total, queue) = (batches.len(), Mutex::new(batches));
    let found = Mutex::new((BTreeMap::new(), Vec::new()));
    thread::scope(|scope| {
        for _ in 0..RIGS {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some((n, plans)) = next else { break };
                    let result = batch(&layout, &rig, &format!("faults-{n}"), &plans);
                    let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                    match result {
                        Ok((ends, wrong)) => {
                            for (plan, end) in ends {
                                let kind = plan.split(':').next().unwrap_or_default().to_owned();
                                *found.0.entry((kind, end)).or_insert(0) += 1;
                            }
                            // Said at once, since a run takes hours.
                            wrong.iter().for_each(|line| println!("WRONG: {line}"));
                            found.1.extend(wrong);
                        }
                        Err(error) => found.1.push(format!("batch {n}: {error:#}")),
                    }
                    let right: u32 = found.0.values().sum();
                    println!(
                        "batch {} of {total} done; so far {right} right, {} wrong",
                        n + 1,
                        found.1.len()
                    );
                }
            });
        }
    });
    let (ends, wrong) = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    let rows: Vec<Vec<String>> = ends
        .iter()
        .map(|((kind, end), count): (&(String, End), &u32)| {
            vec![kind.clone(), end.to_string(), count.to_string()]
        })
        .collect();
    verdict::print_table(&HEAD, &rows);
    if kinds.is_empty() && every <= 1 {
        let path = layout.root().join("docs/faults.md");
        fs::write(&path, page(&ends, &wrong)).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}", path.display());
    }
    if !wrong.is_empty() {
        bail!("{} boots ended otherwise than they may:\n{}", wrong.len(), wrong.join("\n"));
    }
    Ok(())
}

const HEAD: [&str; 3] = ["kind", "end", "boots"];

/// `docs/faults.md`: what came of a run of everything.
fn page(ends: &BTreeMap<(String, End), u32>, wrong: &[String]) -> String {
    let good: u32 = ends.values().sum();
    let mut text = format!(
        "# Faults by index\n\n\
         Written by a run of `cargo xtask faults`; not edited by hand. Each request that a PV boot makes has failed once, in a\n\
         boot of its own ([testing](testing.md#faults-by-index) says how, and which ends are right).\n\n\
         **{} boots, {good} with a right end.**\n\n| {} |\n|---|---|---|\n",
        good as usize + wrong.len(),
        HEAD.join(" | "),
    );
    for ((kind, end), count) in ends {
        text += &format!("| {kind} | {end} | {count} |\n");
    }
    if !wrong.is_empty() {
        text += "\nNot as they may:\n\n";
        text.extend(wrong.iter().map(|line| format!("- {line}\n")));
    }
    text
}

/// The fixed sample.
///
/// # Errors
/// The rig failed, or a boot ended otherwise than it may, or without its fault.
pub fn sample(layout: &Layout, rig: &RigFiles, half: usize) -> Result<()> {
    let plans: Vec<String> = SAMPLE.iter().skip(half).step_by(2).map(|&plan| plan.to_owned()).collect();
    let (ends, wrong) = batch(layout, rig, &format!("faults-sample-{half}"), &plans)?;
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    let missed: Vec<_> = ends.iter().filter(|(_, end)| *end == End::NotReached).collect();
    ensure!(missed.is_empty(), "no such request: {missed:?}");
    Ok(())
}

/// What each boot of a batch came to.
type Ends = Vec<(String, End)>;

/// Boots one dom0's worth of faults and then, on the same disk, without one: that boot must be a PV boot that finds
/// the volume as the others left it. Answers the ends, and what was wrong.
fn batch(layout: &Layout, rig: &RigFiles, name: &str, plans: &[String]) -> Result<(Ends, Vec<String>)> {
    let (reports, image) = boots(layout, rig, name, plans)?;
    ensure!(reports.len() == plans.len() + 1, "{} guests were seen of {}", reports.len(), plans.len() + 1);
    let (mut ends, mut wrong) = (Vec::new(), Vec::new());
    let mut mounts = 0;
    for (plan, report) in plans.iter().map(String::as_str).chain(["none"]).zip(&reports) {
        mounts += report.all("mount").count() as u64;
        match end(report) {
            Ok(End::NotReached) if plan == "none" => {}
            Ok(end) if plan == "none" => wrong.push(format!("{name}: the last boot has a fault: {end}")),
            Ok(end) => ends.push((plan.to_owned(), end)),
            Err(why) => wrong.push(format!("{plan}: {why}")),
        }
    }
    if image.verdict != Verdict::Intact || image.generation != 1 + mounts {
        wrong.push(format!(
            "{name}: the image is {image}, mounted {} times of {mounts}",
            image.generation - 1
        ));
    }
    Ok((ends, wrong))
}

/// How a boot ended, or what is wrong with that.
fn end(report: &Report) -> Result<End, String> {
    let injected = report.first("injected").map(|line| line.text.clone()).unwrap_or_default();
    let why = |what: String| Err(format!("{what} ({injected})"));
    if let Some(violation) = report.first("violation") {
        return why(format!("violation {}", violation.text));
    }
    let ide = report.all("disk").filter(|disk| disk.is("bus", "ide")).count();
    let pv = report.all("disk").filter(|disk| disk.is("driver", "xenvbd")).count();
    let mounts = report.all("mount").count();
    if mounts > 1 || report.all("mount").any(|mount| !mount.is("status", "ok")) {
        return why(format!("{mounts} mounts of one disk"));
    }
    let end = match (report.verdict(), report.bugcheck()) {
        (Some("stopped"), Some([code, ..])) if code == u64::from(BUGCHECK_CODE) => End::Stopped,
        (Some("stopped"), Some([PANIC, ..])) => End::Panicked,
        (Some("stopped"), Some([code, p1, ..])) => return why(format!("bugcheck {code:#x} {p1:#x}")),
        (Some("clean"), None) => match (ide, pv, mounts) {
            (0, 1, 1) => End::Pv,
            (1, 0, 1) => End::Emulated,
            (0, 0, 0) => End::NoDisk,
            _ => return why(format!("{ide} IDE and {pv} PV disks, {mounts} mounts")),
        },
        (verdict, _) => return why(format!("no end: {verdict:?}")),
    };
    if injected.is_empty() {
        return if end == End::Pv { Ok(End::NotReached) } else { why(format!("{end} without a fault")) };
    }
    Ok(end)
}

/// Boots with each plan and then without a fault, on one disk; what each guest reported, and the disk's image.
fn boots(
    layout: &Layout,
    rig: &RigFiles,
    name: &str,
    plans: &[String],
) -> Result<(Vec<Report>, volume::Report)> {
    let words: Vec<String> = plans.iter().map(|plan| format!("inject={plan}")).collect();
    let (console, image) = guest::boot_batch(layout, rig, name, SMALL_RINGS, &words, "inject=count")?;
    // What stands before the first guest's first line is no guest's.
    let mut guests: Vec<Vec<&str>> = Vec::new();
    for line in &console {
        match guests.last_mut() {
            _ if line.starts_with(FIRST_LINE) => guests.push(Vec::new()),
            Some(guest) => guest.push(line),
            None => {}
        }
    }
    Ok((guests.into_iter().map(Report::parse).collect(), image))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end_of(lines: &[&str]) -> Result<End, String> {
        end(&Report::parse(lines.iter().copied()))
    }

    #[test]
    fn the_page_counts_what_it_lists() {
        let ends =
            BTreeMap::from([(("pool".to_owned(), End::Pv), 2), (("store".to_owned(), End::Emulated), 1)]);
        let text = page(&ends, &["pool:3: hung".to_owned()]);
        assert!(text.contains("**4 boots, 3 with a right end.**"), "{text}");
        assert!(
            text.contains(
                "| pool | PV | 2 |\n| store | emulated | 1 |\n\nNot as they may:\n\n- pool:3: hung\n"
            )
        );
    }

    #[test]
    fn only_the_ends_that_may_be_are_ends() {
        const INJECTED: &str = "@xg injected kind=pool n=1 routine=X";
        const PV: &str = "@xg disk n=0 bus=scsi driver=xenvbd";
        const IDE: &str = "@xg disk n=0 bus=ide driver=ide";
        const MOUNT: &str = "@xg mount disk=0 status=ok";
        const CLEAN: &str = "@xg end verdict=clean";
        const STOPPED: &str = "@xg end verdict=stopped";
        assert_eq!(end_of(&[INJECTED, PV, MOUNT, CLEAN]), Ok(End::Pv));
        assert_eq!(end_of(&[PV, MOUNT, CLEAN]), Ok(End::NotReached));
        assert_eq!(end_of(&[INJECTED, IDE, MOUNT, CLEAN]), Ok(End::Emulated));
        assert_eq!(end_of(&[INJECTED, CLEAN]), Ok(End::NoDisk));
        assert_eq!(end_of(&[INJECTED, "@xg bugcheck code=0x58454e p1=0x50", STOPPED]), Ok(End::Stopped));
        assert!(end_of(&[INJECTED, "@xg bugcheck code=0x50 p1=0x8", STOPPED]).is_err());
        assert!(end_of(&[IDE, MOUNT, CLEAN]).is_err(), "emulated without a fault");
        assert!(end_of(&[INJECTED, IDE, PV, MOUNT, MOUNT, CLEAN]).is_err(), "both");
        assert!(end_of(&[INJECTED, IDE, PV, MOUNT, CLEAN]).is_err(), "both shown");
        assert!(end_of(&[INJECTED, PV, MOUNT, "@xg violation name=pool-leaked", STOPPED]).is_err());
        assert!(end_of(&[INJECTED, PV, MOUNT]).is_err(), "hung");
    }
}
