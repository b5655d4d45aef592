//! Tries the rig with the payload: each behaviour of the guest must come back as what it is.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rig::payload::{self, Behaviour};
use rig::{Backend, Disk, End, Job, Mark, Outcome, Progress, RigError, RigFiles, Store};

const IMAGE_SIZE: usize = 8 << 20;
const SECTOR: usize = 512;
/// Bytes that fill the images.
const FILLS: [u8; 3] = [0x41, 0x42, 0x43];

/// Tries the helper's commands on a node of our own.
const HELPER: &str = "
set -e
./dom0 write /tool/smoke 'a%'
(sleep 2; ./dom0 write /tool/smoke b) &
./dom0 watch /tool/smoke --until b --timeout 30
./dom0 remove /tool/smoke
./dom0 read /tool/smoke 2>/dev/null || echo none
./dom0 watch /local/domain/$DOMID/name --until other --timeout 0.5 2>/dev/null || echo timeout $?
";
const HELPER_PRINTS: &str =
    "/tool/smoke = a%25\n/tool/smoke = b\nnone\n/local/domain/1/name = guest\ntimeout 2\n";

/// Runs everything `repeat` times in each of `parallel` threads and returns how many runs were not as
/// expected. With `steps` each step of a run is told as well.
pub(crate) fn all(
    files: &RigFiles,
    target: &Path,
    repeat: u32,
    parallel: u32,
    steps: bool,
    say: &(dyn Fn(&str) + Sync),
) -> Result<u32, RigError> {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..parallel)
            .map(|number| {
                scope.spawn(move || {
                    let mut failed = 0;
                    for _ in 0..repeat {
                        failed += once(files, &target.join(format!("rig/smoke-{number}")), steps, say)?;
                    }
                    Ok(failed)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or(Ok(1))).sum()
    })
}

/// A way to run the payload.
struct Case {
    name: &'static str,
    behaviour: Behaviour,
    end: End,
    xen: bool,
    /// Both of the job's disks over one image.
    shared: bool,
}

const CASES: [Case; 6] = [
    Case {
        name: "power off",
        behaviour: Behaviour::PowerOff,
        end: End::PoweredOff,
        xen: true,
        shared: false,
    },
    Case {
        name: "shared image",
        behaviour: Behaviour::PowerOff,
        end: End::PoweredOff,
        xen: true,
        shared: true,
    },
    Case { name: "talk", behaviour: Behaviour::Talk, end: End::PoweredOff, xen: true, shared: false },
    Case {
        name: "triple fault",
        behaviour: Behaviour::TripleFault,
        end: End::Rebooted,
        xen: true,
        shared: false,
    },
    Case { name: "hang", behaviour: Behaviour::Hang, end: End::TimedOut, xen: true, shared: false },
    Case { name: "plain", behaviour: Behaviour::PowerOff, end: End::PoweredOff, xen: false, shared: false },
];

impl Case {
    fn reaches_disk(&self) -> bool {
        self.behaviour != Behaviour::TripleFault
    }

    /// Returns true if a third disk is attached while it runs.
    fn attaches(&self) -> bool {
        self.behaviour == Behaviour::Hang
    }
}

fn once(files: &RigFiles, dir: &Path, steps: bool, say: &(dyn Fn(&str) + Sync)) -> Result<u32, RigError> {
    let mut failed = 0;
    for case in &CASES {
        let job = job(dir, case)?;
        let start = Instant::now();
        let mut watch = |progress: Progress<'_>| {
            if let (true, Progress::Step(step)) = (steps, progress) {
                say(&format!("{}: {:5.1} {step}", case.name, start.elapsed().as_secs_f32()));
            }
        };
        let outcome = if case.xen {
            rig::run_watched(files, &job, &mut watch)?
        } else {
            rig::plain_watched(files, &job, &mut watch)?
        };
        let wrong = check(&job, &outcome, case);
        say(&format!(
            "{}: {} (guest {:.1} s, whole run {:.1} s{})",
            case.name,
            if wrong.is_empty() { "as expected" } else { "NOT as expected" },
            outcome.guest_time.as_secs_f32(),
            outcome.total_time.as_secs_f32(),
            if outcome.retried_after.is_some() { ", second attempt" } else { "" },
        ));
        if let Some(first) = &outcome.retried_after {
            say(&format!("first attempt: {first}"));
        }
        if !wrong.is_empty() {
            failed += 1;
            say(&format!("{}\n{outcome:#?}", wrong.join("\n")));
        }
    }
    let _ = fs::remove_dir_all(dir);
    Ok(failed)
}

fn job(dir: &Path, case: &Case) -> Result<Job, RigError> {
    let write = |file: &str, data: &[u8]| {
        let path = dir.join(file);
        fs::create_dir_all(dir)
            .and_then(|()| fs::write(&path, data))
            .map(|()| path.clone())
            .map_err(|source| RigError::File { what: "write", path, source })
    };
    let mut job = Job::new(case.name, write("kernel", &payload::image(case.behaviour))?);
    job.module = Some(write("module", b"hello module\0")?);
    job.cmdline = "entry=2 test=smoke".to_owned();
    let first = write("a", &vec![FILLS[0]; IMAGE_SIZE])?;
    let second = if case.shared { first.clone() } else { write("b", &vec![FILLS[1]; 2 * IMAGE_SIZE])? };
    job.disks = vec![Disk::new(first, "hda"), Disk::new(second, "hdb").with_backend(Backend::Qdisk)];
    job.marks = vec![Mark {
        when: "smoke start".to_owned(),
        run: "./dom0 list /local/domain/$DOMID/name".to_owned(),
    }];
    if case.attaches() {
        let mut disk = Disk::new(write("c", &vec![FILLS[2]; IMAGE_SIZE])?, "xvdc");
        disk.at_start = false;
        job.disks.push(disk);
        job.marks.push(Mark { when: "@xg end".to_owned(), run: "bash attach-2.sh".to_owned() });
        job.marks.push(Mark { when: "@xg end".to_owned(), run: HELPER.to_owned() });
        job.timeout = Duration::from_secs(25);
    }
    Ok(job)
}

/// Returns everything that is not as it should be.
fn check(job: &Job, outcome: &Outcome, case: &Case) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut expect = |holds: bool, what: &str| {
        if !holds {
            wrong.push(format!("expected {what}"));
        }
    };
    expect(outcome.end == case.end, &format!("{:?}, found {:?}", case.end, outcome.end));
    let mut lines = vec!["smoke start", "smoke module hello module"];
    if case.xen {
        lines.push("smoke hypervisor");
    }
    if case.reaches_disk() {
        lines.extend(["smoke disk", "@xg up"]);
    }
    for line in lines {
        expect(outcome.console.iter().any(|l| l == line), &format!("the console line `{line}`"));
    }
    let long = outcome.console.iter().filter(|l| *l == payload::long_line()).count();
    let times = if case.behaviour == Behaviour::Talk { payload::TALK as usize } else { 1 };
    expect(long == times, &format!("{times} long lines, found {long}"));
    let cmdline = outcome.console.iter().find(|l| l.starts_with("smoke cmdline "));
    expect(cmdline.is_some_and(|l| l.ends_with("entry=2 test=smoke")), "the command line");
    expect(outcome.report().verdict() == case.reaches_disk().then_some("clean"), "the verdict");
    if case.xen {
        let vbds = |store: &Option<Store>| store.as_ref().map_or(0, |store| store.vbds(outcome.domain).len());
        let at_end = if case.attaches() { 3 } else { 2 };
        expect(vbds(&outcome.store_end) == at_end, &format!("{at_end} vbds at the end"));
        for mark in &outcome.marks {
            // A guest that ends at once may end before its marks do.
            let printed = ["/local/domain/1/name = guest\n", "", HELPER_PRINTS][mark.mark];
            let good = mark.status == Some(0) && mark.output == printed;
            expect(mark.status.is_none() || good, &format!("`{printed}` and success of {mark:?}"));
        }
        if case.attaches() {
            expect(outcome.marks.iter().all(|m| m.status == Some(0)), "every mark's success");
            expect(vbds(&outcome.store_running) >= 2, "2 vbds while it ran");
        }
    }
    for (index, disk) in job.disks.iter().enumerate() {
        let fill = if case.shared { FILLS[0] } else { FILLS[index] };
        let image = fs::read(&disk.image).unwrap_or_default();
        let written = case.reaches_disk() && (case.shared || disk.vdev == "hda");
        expect(
            image.get(SECTOR) == Some(&if written { fill + 1 } else { fill }),
            "sector 1 incremented once",
        );
        let others = image.iter().enumerate().filter(|&(at, &byte)| at != SECTOR && byte != fill).count();
        expect(others == 0, "no other byte of the image changed");
    }
    wrong
}
