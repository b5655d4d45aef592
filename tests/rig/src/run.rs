//! Runs a job under Xen, from the snapshot.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::console::Console;
use crate::error::{FileContext, RigError};
use crate::host;
use crate::images::Images;
use crate::job::{
    BatchBoot, End, Job, MarkResult, OVMF, Outcome, Progress, config, preloaded, specification,
};
use crate::machine::{ConsoleFile, Live};
use crate::qemu::{Drive, GUEST_SLOTS, JOB_SLOT, Machine, RESULTS_SLOT};
use crate::setup::RigFiles;
use crate::store::Store;
use crate::workdir::WorkDir;

const JOB_SCRIPT: &str = include_str!("../dom0/job.sh");
const BLOCK_SCRIPT: &str = include_str!("../dom0/block-fast.sh");
const SAVE_SCRIPT: &str = include_str!("../dom0/save.sh");
const CACHE_SCRIPT: &str = include_str!("../dom0/cache.sh");
const BOOT_SCRIPT: &str = include_str!("../dom0/boot.sh");
const COPY_SCRIPT: &str = include_str!("../dom0/copy.sh");
/// Wakes the guest from S3.
const SLEEP_SCRIPT: &str = include_str!("../dom0/sleep.sh");
const VBDS_SCRIPT: &str = include_str!("../dom0/vbds.sh");
const NEIGHBOUR_SCRIPT: &str = include_str!("../dom0/neighbour.sh");
const FEATURES_SCRIPT: &str = include_str!("../dom0/features.sh");
const DETACH_SCRIPT: &str = include_str!("../dom0/detach.sh");

const POLL: Duration = Duration::from_millis(20);
/// dom0's first answer after the snapshot is loaded.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// From the job's arrival to the guest's creation.
const CREATE_LIMIT: Duration = Duration::from_secs(180);
/// A boot of a batch, which dom0 itself ends before (job.sh).
const BOOT_LIMIT: Duration = Duration::from_secs(330);
/// From the guest's end to the results.
const COLLECT_LIMIT: Duration = Duration::from_secs(120);
/// Seconds a mark's command may take.
const MARK_SECONDS: u32 = 240;
/// Words of Xen's about a platform timer that it has not looked at for so long that it came round, which takes some seconds.
const STOOD_STILL: &str = "Platform timer appears to have unexpectedly wrapped";
/// Room for a run's copies and results.
const SPACE_MIB: u64 = 512;
/// Room for what dom0 brings back; the file is sparse.
const RESULTS_SIZE: u64 = 256 << 20;
/// The image of a guest that goes on elsewhere, in dom0's directory of the job and among its results.
const SAVED: &str = "save.img";
const SECTOR: u64 = 512;

/// Runs a job under Xen and replaces its images by the results. Repeats it once if the rig broke down.
///
/// # Errors
///
/// See [`RigError`]. What the guest does is never an error.
pub fn run(files: &RigFiles, job: &Job) -> Result<Outcome, RigError> {
    run_watched(files, job, &mut |_| {})
}

/// Does the same as [`run`], telling `watch` what happens as it happens.
///
/// # Errors
///
/// As for [`run`].
pub fn run_watched(
    files: &RigFiles,
    job: &Job,
    watch: &mut dyn FnMut(Progress<'_>),
) -> Result<Outcome, RigError> {
    let images = Images::lock(job)?;
    if let Some(onto) = &files.onto {
        return moved(files, onto, job, &images, watch);
    }
    match attempt(files, job, &images, Leg::Whole, watch) {
        Err(error) if error.is_transient() => {
            watch(Progress::Step("the rig failed; once more"));
            let mut outcome = attempt(files, job, &images, Leg::Whole, watch)?;
            outcome.retried_after = Some(error.to_string());
            Ok(outcome)
        }
        result => result,
    }
}

/// Part of a guest's life that one rig sees.
#[derive(Clone, Copy)]
enum Leg<'a> {
    /// All of it.
    Whole,
    /// Up to its save, whose image goes to this file.
    Saved(&'a Path),
    /// From the image in this file on.
    Restored(&'a Path),
}

/// Runs a job under one Xen until the guest is saved, and from there on under another.
fn moved(
    from: &RigFiles,
    onto: &RigFiles,
    job: &Job,
    images: &Images,
    watch: &mut dyn FnMut(Progress<'_>),
) -> Result<Outcome, RigError> {
    let work = WorkDir::new(&from.work)?;
    let image = work.path().join(SAVED);
    let first = attempt(from, job, images, Leg::Saved(&image), watch)?;
    if !image.exists() {
        return Err(job.bad("its guest was not saved, and so cannot be restored elsewhere"));
    }
    let rest: Vec<usize> =
        (0..job.marks.len()).filter(|mark| !first.marks.iter().any(|done| done.mark == *mark)).collect();
    let marks = rest.iter().map(|&mark| job.marks[mark].clone()).collect();
    let job = Job { marks, created: None, ..job.clone() };
    let second = attempt(onto, &job, images, Leg::Restored(&image), watch)?;
    let later = second.marks.into_iter().map(|done| MarkResult { mark: rest[done.mark], ..done });
    Ok(Outcome {
        console: [first.console, second.console].concat(),
        xen_log: [first.xen_log, second.xen_log].concat(),
        marks: first.marks.into_iter().chain(later).collect(),
        before: first.before,
        created: first.created,
        store_running: first.store_running,
        guest_time: first.guest_time + second.guest_time,
        total_time: first.total_time + second.total_time,
        ..second
    })
}

fn attempt(
    files: &RigFiles,
    job: &Job,
    images: &Images,
    leg: Leg<'_>,
    watch: &mut dyn FnMut(Progress<'_>),
) -> Result<Outcome, RigError> {
    let start = Instant::now();
    let work = WorkDir::new(&files.work)?;
    let dir = work.path();
    host::check_space(dir, "a run", SPACE_MIB)?;
    let copies = images.copy(dir)?;
    let (job_disk, results) = (dir.join("job"), dir.join("results"));
    write_job(files, job, leg, &job_disk)?;
    File::create(&results).and_then(|file| file.set_len(RESULTS_SIZE)).file("create", &results)?;

    watch(Progress::Step("loading the snapshot"));
    let (initramfs, memory) = (files.initramfs(), files.memory());
    let machine = Machine {
        dom0: &files.dom0,
        processors: files.processors,
        initramfs: &initramfs,
        memory: &memory,
        write_memory: false,
        job: Drive::ReadOnly(&job_disk),
        results: Drive::Writable(&results),
        guest: copies.iter().map(|copy| Drive::Writable(copy)).collect(),
    };
    let mut live = Live::start(&files.qemu, &machine, dir, true)?;
    live.load(&files.state())?;
    live.wait_for_shell("waking up from the snapshot", ANSWER_LIMIT)?;

    watch(Progress::Step("creating the guest"));
    let slots: Vec<String> = std::iter::once(RESULTS_SLOT)
        .chain(images.of_disk.iter().map(|&index| GUEST_SLOTS[index]))
        .map(slot)
        .collect();
    live.shell(&format!(
        ". /run/attach.sh; mkdir -p /run/job; cd /run/job; \
         dd if=$(attach {}) bs=1M iflag=direct status=none | tar -x; bash job.sh {} &",
        slot(JOB_SLOT),
        slots.join(" ")
    ))?;
    let mut guest = Guest::new(job, ConsoleFile::new(live.console()));
    guest.follow(&mut live, watch)?;
    live.quit();
    guest.read_console(watch);
    guest.console.finish();

    let mut files = read_results(&results, leg)?;
    let end = guest.end(&mut files)?;
    if matches!(end, End::TimedOut) && guest.console.xen.contains(STOOD_STILL) {
        return Err(RigError::StoodStill);
    }
    images.replace(&copies)?;
    let marks = guest.mark_results(&mut files);
    let mut text = |name: &str| files.remove(name).unwrap_or_default();
    let store = |text: String| (!text.is_empty()).then(|| Store::parse(&text));
    Ok(Outcome {
        end,
        domain: guest.domain.unwrap_or_default(),
        com1: text("com1"),
        xen_log: std::mem::take(&mut guest.console.xen),
        dom0_log: text("dmesg"),
        device_model: text("device-model"),
        before: text("before"),
        created: text("created"),
        after: text("after"),
        batch: text("batch"),
        store_running: store(text("store-running")),
        store_end: store(text("store-end")),
        marks,
        console: std::mem::take(&mut guest.console.guest),
        guest_time: guest.time,
        total_time: start.elapsed(),
        retried_after: None,
    })
}

/// Returns a PCI slot as dom0 spells it.
fn slot(number: u32) -> String {
    format!("{number:02x}")
}

/// Returns the scripts of the marks: those of the job, and after them the dump.
fn mark_scripts(job: &Job) -> Vec<String> {
    let dump = "./dom0 dump $DOMID >out/store-running".to_owned();
    job.marks.iter().map(|mark| mark.run.clone()).chain([dump]).collect()
}

/// Writes the archive that dom0 reads from its second disk.
fn write_job(files: &RigFiles, job: &Job, leg: Leg<'_>, path: &Path) -> Result<(), RigError> {
    let targets: Vec<String> = (0..job.disks.len()).map(|index| format!("/dev/guest-disk{index}")).collect();
    let mut texts = vec![
        ("guest.cfg".to_owned(), config(job, &targets)?),
        ("job.sh".to_owned(), JOB_SCRIPT.to_owned()),
        ("block-fast.sh".to_owned(), BLOCK_SCRIPT.to_owned()),
        ("cache.sh".to_owned(), CACHE_SCRIPT.to_owned()),
        ("boot.sh".to_owned(), BOOT_SCRIPT.to_owned()),
        ("save.sh".to_owned(), SAVE_SCRIPT.to_owned()),
        ("copy.sh".to_owned(), COPY_SCRIPT.to_owned()),
        ("sleep.sh".to_owned(), SLEEP_SCRIPT.to_owned()),
        ("vbds.sh".to_owned(), VBDS_SCRIPT.to_owned()),
        ("neighbour.sh".to_owned(), NEIGHBOUR_SCRIPT.to_owned()),
        ("features.sh".to_owned(), FEATURES_SCRIPT.to_owned()),
        ("detach.sh".to_owned(), DETACH_SCRIPT.to_owned()),
    ];
    for (index, (disk, target)) in job.disks.iter().zip(&targets).enumerate().filter(|(_, d)| !d.0.at_start) {
        let attach = format!("xl block-attach $DOMID {}\n", specification(disk, target));
        texts.push((format!("attach-{index}.sh"), attach));
    }
    if let Some(script) = &job.before {
        texts.push(("before.sh".to_owned(), script.clone()));
    }
    if let Some(script) = &job.after {
        texts.push(("after.sh".to_owned(), script.clone()));
    }
    if let Some(script) = &job.created {
        texts.push(("created.sh".to_owned(), script.clone()));
    }
    for (index, script) in mark_scripts(job).into_iter().enumerate() {
        texts.push((format!("mark-{index}.sh"), script));
    }
    if matches!(leg, Leg::Saved(_)) {
        texts.push(("elsewhere".to_owned(), String::new()));
    }
    if !job.batch.is_empty() {
        texts.push(("batch".to_owned(), job.batch.iter().map(BatchBoot::line).collect()));
    }
    let firmware = files.ovmf.file();
    let mut inputs = vec![("dom0", &files.helper)];
    if job.uefi {
        inputs.push((OVMF, &firmware));
    }
    inputs.extend(job.kernel.iter().map(|kernel| ("kernel", kernel)));
    if let Some(module) = &job.module {
        inputs.push(("module", module));
    }
    inputs.extend(job.files.iter().map(|(name, path)| (name.as_str(), path)));

    let file = File::create(path).file("create", path)?;
    let mut archive = tar::Builder::new(file);
    let mut add = |name: &str, data: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o755);
        header.set_size(data.len() as u64);
        archive.append_data(&mut header, name, data).file("write", path)
    };
    for (name, text) in &texts {
        add(name, text.as_bytes())?;
    }
    let read = |input: &Path| fs::read(input).map_err(|e| job.bad(format!("{}: {e}", input.display())));
    for (name, input) in inputs {
        add(name, &read(input)?)?;
    }
    if let Leg::Restored(image) = leg {
        add(SAVED, &fs::read(image).file("read", image)?)?;
    }
    if let Some(input) = &job.preloaded {
        add("preloaded", &preloaded(&read(input)?))?;
    }
    let mut file = archive.into_inner().file("write", path)?;
    file.flush().file("write", path)?;
    // dom0 reads it in whole pages.
    let length = file.metadata().file("look at", path)?.len();
    file.set_len(length.next_multiple_of(8 * SECTOR)).file("extend", path)
}

/// Returns the files dom0 packed onto the results disk. A guest's image goes to its own file.
fn read_results(path: &Path, leg: Leg<'_>) -> Result<HashMap<String, String>, RigError> {
    let file = File::open(path).file("open", path)?;
    let bad = |error: std::io::Error| RigError::BadResults { reason: format!("not an archive: {error}") };
    let mut files = HashMap::new();
    for entry in tar::Archive::new(file).entries().map_err(bad)? {
        let mut entry = entry.map_err(bad)?;
        let name = entry.path().map_err(bad)?.file_name().map(|name| name.to_string_lossy().into_owned());
        if let (Leg::Saved(image), Some(SAVED)) = (leg, name.as_deref()) {
            let mut file = File::create(image).file("create", image)?;
            io::copy(&mut entry, &mut file).file("write", image)?;
            continue;
        }
        let mut data = Vec::new();
        entry.read_to_end(&mut data).map_err(bad)?;
        if let (Some(name), true) = (name, entry.header().entry_type().is_file()) {
            files.insert(name, String::from_utf8_lossy(&data).into_owned());
        }
    }
    Ok(files)
}

/// A guest being followed from its creation to its end.
struct Guest<'a> {
    job: &'a Job,
    file: ConsoleFile,
    console: Console,
    /// Console lines already looked at.
    seen: usize,
    domain: Option<u32>,
    created: Option<Instant>,
    time: Duration,
    reason: Option<u32>,
    timed_out: bool,
    /// For each mark, the dump included, whether it fired and how it ended.
    fired: Vec<bool>,
    status: Vec<Option<i32>>,
}

impl<'a> Guest<'a> {
    fn new(job: &'a Job, file: ConsoleFile) -> Self {
        let marks = mark_scripts(job).len();
        Self {
            job,
            file,
            console: Console::default(),
            seen: 0,
            domain: None,
            created: None,
            time: Duration::ZERO,
            reason: None,
            timed_out: false,
            fired: vec![false; marks],
            status: vec![None; marks],
        }
    }

    fn read_console(&mut self, watch: &mut dyn FnMut(Progress<'_>)) {
        self.console.feed(&self.file.more());
        for line in &self.console.guest[self.seen..] {
            watch(Progress::Line(line));
            for (index, fired) in self.fired.iter_mut().enumerate() {
                let when = self.job.marks.get(index).map_or(&self.job.dump_at, |mark| &mark.when);
                *fired |= line.contains(when);
            }
        }
        self.seen = self.console.guest.len();
    }

    /// Follows the guest until dom0 has collected everything.
    fn follow(&mut self, live: &mut Live, watch: &mut dyn FnMut(Progress<'_>)) -> Result<(), RigError> {
        let mut started = vec![false; self.fired.len()];
        let mut since = Instant::now();
        let mut limit = CREATE_LIMIT;
        let mut doing = "creating the guest";
        loop {
            self.read_console(watch);
            while let Some(report) = live.reported() {
                let words: Vec<&str> = report.split(' ').collect();
                match words[..] {
                    ["created", domain] => {
                        self.domain = domain.parse().ok();
                        self.created = Some(Instant::now());
                        watch(Progress::Step("the guest runs"));
                        (since, limit, doing) = (Instant::now(), self.job.timeout, "running the guest");
                    }
                    ["boot"] => {
                        watch(Progress::Step("a boot of the batch"));
                        (since, limit, doing) = (Instant::now(), BOOT_LIMIT, "running a batch");
                    }
                    ["shutdown", reason] => {
                        self.reason = reason.parse().ok();
                        self.stopped();
                        watch(Progress::Step("collecting results"));
                        (since, limit, doing) = (Instant::now(), COLLECT_LIMIT, "collecting results");
                    }
                    ["other", domain] => {
                        if let Ok(domain) = domain.parse() {
                            self.console.ignore(domain);
                        }
                    }
                    ["mark", index, status] => {
                        if let Some(slot) = index.parse().ok().and_then(|i: usize| self.status.get_mut(i)) {
                            *slot = status.parse().ok();
                        }
                    }
                    ["done"] => {
                        self.stopped();
                        return Ok(());
                    }
                    _ => {}
                }
            }
            live.check(doing)?;
            if let (Some(domain), None, false) = (self.domain, self.reason, self.timed_out) {
                for (index, started) in started.iter_mut().enumerate() {
                    if self.fired[index] && !*started {
                        *started = true;
                        live.shell(&format!(
                            "(cd /run/job; DOMID={domain} timeout -k 5 {MARK_SECONDS} bash mark-{index}.sh \
                             </dev/null >out/mark-{index} 2>&1; echo \"@rig mark {index} $?\" >/dev/ttyS1)"
                        ))?;
                    }
                }
            }
            if since.elapsed() > limit {
                if self.domain.is_none() || self.reason.is_some() || self.timed_out {
                    return Err(live.silent(doing, limit));
                }
                self.timed_out = true;
                self.stopped();
                let domain = self.domain.unwrap_or_default();
                watch(Progress::Step("the guest's time is over"));
                live.shell(&format!(
                    "(cd /run/job; ./dom0 dump {domain} >out/store-end 2>&1; xl destroy {domain})"
                ))?;
                (since, limit, doing) = (Instant::now(), COLLECT_LIMIT, "destroying the guest");
            }
            thread::sleep(POLL);
        }
    }

    fn stopped(&mut self) {
        if let Some(created) = self.created.take() {
            self.time = created.elapsed();
        }
    }

    fn end(&self, files: &mut HashMap<String, String>) -> Result<End, RigError> {
        let log = files.remove("xl").unwrap_or_default();
        match (self.domain, self.reason) {
            (None, _) => {
                let log = log + &files.remove("device-model").unwrap_or_default();
                Err(RigError::CreateFailed { log })
            }
            _ if self.timed_out => Ok(End::TimedOut),
            (Some(_), Some(reason)) => Ok(End::from_reason(reason)),
            (Some(_), None) => Ok(End::Destroyed),
        }
    }

    fn mark_results(&self, files: &mut HashMap<String, String>) -> Vec<MarkResult> {
        (0..self.job.marks.len())
            .filter(|&mark| self.fired[mark])
            .map(|mark| MarkResult {
                mark,
                status: self.status[mark],
                output: files.remove(&format!("mark-{mark}")).unwrap_or_default(),
            })
            .collect()
    }
}
