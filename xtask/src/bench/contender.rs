//! The contenders, and the way each is started: every one in a dom0 resumed from the same snapshot, on a copy
//! of the same image behind the same virtio disk.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use guests::{
    boot::{self, Folder},
    scenario::Entry,
};
use protocol::{BenchWord, Version, Word};
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
    /// Contenders that run in a guest.
    pub(super) const GUESTS: [Self; 3] = [Self::Ide, Self::Xenvbd, Self::Blkfront];

    /// Returns the contenders on a machine with so many processors, of which dom0 has one.
    pub(super) const fn on(processors: u32) -> &'static [Self] {
        if processors == 1 { &Self::ALL } else { &Self::GUESTS }
    }

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
    /// Processors of the machine and of each guest, which has a thread and a queue on each.
    pub processors: u32,
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
    match (contender, plan.processors) {
        (Contender::Dom0, _) => {}
        (_, 1) => {
            job.files.push(("bench-linux".to_owned(), programs.program.clone()));
            job.marks = tracing();
        }
        (_, processors) => spread(&mut job, processors),
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
    if plan.processors > 1 {
        has_queues(contender, &report, plan.processors)?;
    }
    Ok(report)
}

/// Gives a guest so many processors, each bound to one of the machine's. The first is dom0's, too.
fn spread(job: &mut Job, processors: u32) {
    let bound: Vec<String> = (0..processors).map(|number| format!("\"{number}\"")).collect();
    job.vcpus = processors;
    job.config.push(format!("cpus = [ {} ]", bound.join(", ")));
}

/// Checks that a PV disk had a queue for each of so many processors.
fn has_queues(contender: Contender, report: &Report, processors: u32) -> Result<()> {
    let queues: Option<u32> = match contender {
        Contender::Ide | Contender::Dom0 => return Ok(()),
        Contender::Xenvbd => report.debug("xenvbd: disk 768: ").find_map(|line| {
            let (queues, _) = line.split("disk 768: ").nth(1)?.split_once(" queues of ")?;
            queues.parse().ok()
        }),
        Contender::Blkfront => {
            report.first("linux").and_then(|line| line.get("queues")).and_then(|queues| queues.parse().ok())
        }
    };
    let (name, found) = (contender.name(), queues.unwrap_or_default());
    ensure!(found == processors, "{name}: its disk had {found} queues, expected {processors}");
    Ok(())
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
        (BenchWord::Threads, u64::from(plan.processors)),
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
    if plan.processors > 1 {
        // The first version that has an interrupt vector on each processor.
        boot::add_words(&mut job, &[Word::Nt(Version::Nt61)]);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_processor_of_a_guest_is_bound_to_one() {
        let mut job = Job::new("t", "/k");
        spread(&mut job, 2);
        assert_eq!((job.vcpus, &job.config[..]), (2, &["cpus = [ \"0\", \"1\" ]".to_owned()][..]));
    }

    #[test]
    fn a_queue_that_is_missing_is_told() {
        let found = |contender, line| has_queues(contender, &Report::parse([line]), 2);
        assert!(found(Contender::Xenvbd, "@xg dbg xenvbd: disk 768: 2 queues of 16 pages").is_ok());
        assert!(found(Contender::Blkfront, "@xg linux release=6.1 queues=2 max_segments=256").is_ok());
        for (contender, line) in [
            (Contender::Xenvbd, "@xg dbg xenvbd: disk 768: 1 queues of 16 pages"),
            (Contender::Xenvbd, "@xg dbg xenvbd: disk 832: 2 queues of 16 pages"),
            (Contender::Blkfront, "@xg linux release=6.1 queues=1"),
            (Contender::Blkfront, "@xg linux release=6.1"),
        ] {
            let error = found(contender, line).expect_err(line).to_string();
            assert!(error.ends_with("expected 2"), "{error}");
        }
    }
}
