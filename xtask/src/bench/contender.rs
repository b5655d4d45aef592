//! The contenders, and the way each is started: every one in a dom0 resumed from the same snapshot, on a copy
//! of the same image behind the same virtio disk.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use guests::{
    boot::{self, Folder},
    scenario::Entry,
};
use protocol::{BenchWord, Word};
use rig::{Disk, End, Job, Mark, Progress, Report, RigFiles, linux::Linux};

use super::image;
use crate::layout::Layout;

/// A contender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Contender {
    /// The NT executive on qemu's emulated IDE disk.
    Ide,
    /// The NT executive with the shipped drivers.
    Xenvbd,
    /// A Linux guest's xen-blkfront.
    Blkfront,
    /// dom0 on the device itself.
    Dom0,
}

impl Contender {
    /// All, in the order in which they run.
    pub(super) const ALL: [Self; 4] = [Self::Ide, Self::Xenvbd, Self::Blkfront, Self::Dom0];

    /// Returns a short name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ide => "ide",
            Self::Xenvbd => "xenvbd",
            Self::Blkfront => "blkfront",
            Self::Dom0 => "dom0",
        }
    }

    /// Returns a name for a reader.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Ide => "emulated IDE",
            Self::Xenvbd => "xenvbd",
            Self::Blkfront => "Linux xen-blkfront",
            Self::Dom0 => "dom0, no guest",
        }
    }

    /// Returns the stamp that its writes carry.
    const fn stamp(self) -> u64 {
        0x5847_0000 + self as u64
    }
}

/// The workloads to run, and the length of each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Timed runs of each workload.
    pub runs: u32,
    /// Length of each in milliseconds.
    pub milliseconds: u64,
}

/// Milliseconds that a guest leaves dom0 for switching Xen's trace on or off.
const PAUSE: u64 = 4000;
/// Time that boots and ends around the runs may take: a Linux guest needs two minutes in software emulation.
const OVERHEAD: Duration = Duration::from_secs(300);
/// Path of Xen's trace in dom0.
const TRACE: &str = "/tmp/bench.trace";

/// The programs that are run.
pub(super) struct Programs<'a> {
    /// The workspace with the built drivers and executive.
    pub layout: &'a Layout,
    /// The rig.
    pub rig: &'a RigFiles,
    /// The Linux guest's kernel.
    pub linux: &'a Linux,
    /// The benchmark under Linux.
    pub program: PathBuf,
}

/// Runs one contender and returns what it reported, and what was counted in Xen's trace.
pub(super) fn run(programs: &Programs<'_>, contender: Contender, plan: Plan) -> Result<Report> {
    let folder = Folder::new(programs.layout, &format!("bench-{}", contender.name()))?;
    let disk = folder.path("disk.img");
    image::make(&disk)?;
    let mut job = match contender {
        Contender::Ide => executive(programs, &folder, plan, contender, Entry::Emulated)?,
        Contender::Xenvbd => executive(programs, &folder, plan, contender, Entry::Pv)?,
        Contender::Blkfront => linux(programs, &folder, plan, contender)?,
        // Something must be created in the end: a guest that dies at once.
        Contender::Dom0 => dom0(programs, &folder, plan, contender)?,
    };
    job.disks = vec![Disk::new(&disk, if contender == Contender::Dom0 { "xvda" } else { "hda" })];
    job.timeout =
        OVERHEAD + Duration::from_millis(plan.milliseconds) * (plan.runs + 2) * 2 * bench::ALL.len() as u32;
    if contender != Contender::Dom0 {
        job.files.push(("bench-linux".to_owned(), programs.program.clone()));
        job.marks = tracing();
    }
    let outcome = rig::run_watched(programs.rig, &job, &mut |progress| {
        if let Progress::Step(step) = progress {
            println!("  {}: {step}", contender.name());
        }
    })?;
    let counts: String = outcome.marks.iter().map(|mark| mark.output.as_str()).collect();
    fs::write(folder.path("trace.txt"), &counts)?;
    fs::write(folder.path("com1.txt"), &outcome.com1)?;
    fs::write(folder.path("before.txt"), &outcome.before)?;
    let outcome = folder.keep(outcome)?;
    let lines =
        outcome.console.iter().map(String::as_str).chain(counts.lines()).chain(outcome.before.lines());
    let report = Report::parse(lines);
    let end = if contender == Contender::Dom0 { End::Rebooted } else { End::PoweredOff };
    ensure!(
        outcome.end == end,
        "{}: the guest ended by {:?}; its console is in {}",
        contender.name(),
        outcome.end,
        folder.path("console.txt").display()
    );
    let runs = super::lines::longest(&report).with_context(|| contender.name())?;
    image::check(&disk, contender.stamp(), &runs).with_context(|| contender.name())?;
    Ok(report)
}

/// Switches Xen's trace of HVM guests on and off around the traced runs, and counts.
fn tracing() -> Vec<Mark> {
    let begin = format!(
        "xentrace -D -S 512 -e 0x0008f000 {TRACE} >/dev/null 2>&1 & echo $! >/tmp/bench.pid; sleep 2; kill -0 $(cat /tmp/bench.pid)"
    );
    let end = format!("kill -INT $(cat /tmp/bench.pid); sleep 1; ./bench-linux trace {TRACE}");
    vec![
        Mark { when: format!("@xg {}", bench::line::TRACE_KIND), run: begin },
        Mark { when: format!("@xg {}", bench::line::TRACED_KIND), run: end },
    ]
}

/// Returns the words of the benchmark, which the executive and the program under Linux understand.
fn words(plan: Plan, contender: Contender) -> String {
    let words = [
        (BenchWord::Runs, u64::from(plan.runs)),
        (BenchWord::Milliseconds, plan.milliseconds),
        (BenchWord::Threads, 1),
        (BenchWord::Pause, PAUSE),
        (BenchWord::Stamp, contender.stamp()),
    ];
    words.map(|(name, number)| Word::Bench(name, number).to_string()).join(" ")
}

fn executive(
    programs: &Programs<'_>,
    folder: &Folder,
    plan: Plan,
    contender: Contender,
    entry: Entry,
) -> Result<Job> {
    let mut job = boot::executive(programs.layout, folder, entry, boot::Suite::default(), "")?;
    boot::add_words(&mut job, &[Word::Benchmark]);
    job.cmdline += &format!(" {}", words(plan, contender));
    Ok(job)
}

fn linux(programs: &Programs<'_>, folder: &Folder, plan: Plan, contender: Contender) -> Result<Job> {
    let initramfs = folder.path("initramfs");
    programs.linux.write_initramfs(&programs.program, &initramfs)?;
    let mut job = Job::new(contender.name(), programs.linux.kernel());
    job.module = Some(initramfs);
    job.memory_mib = 256;
    // Nothing that would cost a guest time without serving the disk.
    job.cmdline = format!(
        "console=ttyS0 quiet mitigations=off nokaslr audit=0 apparmor=0 random.trust_cpu=on panic=-1 {}",
        words(plan, contender)
    );
    Ok(job)
}

fn dom0(programs: &Programs<'_>, folder: &Folder, plan: Plan, contender: Contender) -> Result<Job> {
    let kernel = folder.path("payload");
    fs::write(&kernel, rig::payload::image(rig::payload::Behaviour::TripleFault))?;
    let mut job = Job::new(contender.name(), kernel);
    job.files.push(("bench-linux".to_owned(), programs.program.clone()));
    job.before = Some(format!(
        "./bench-linux disk /dev/guest-disk0 {} {} {}\n",
        plan.runs,
        plan.milliseconds,
        contender.stamp()
    ));
    Ok(job)
}
