//! Tries the rig with the payload: each behaviour of the guest must come back as what it is.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rig::payload::{self, Behaviour};
use rig::{Backend, Disk, End, Job, Mark, Outcome, Progress, RigError, RigFiles};

const IMAGE_SIZE: usize = 8 << 20;
const SECTOR: usize = 512;

/// Runs everything `repeat` times in each of `parallel` threads and returns how many runs were not as expected. With
/// `steps` each step of a run is told as well.
pub fn all(
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

fn once(files: &RigFiles, dir: &Path, steps: bool, say: &(dyn Fn(&str) + Sync)) -> Result<u32, RigError> {
    let cases = [
        ("power off", Behaviour::PowerOff, End::PoweredOff, true),
        ("triple fault", Behaviour::TripleFault, End::Rebooted, true),
        ("hang", Behaviour::Hang, End::TimedOut, true),
        ("plain", Behaviour::PowerOff, End::PoweredOff, false),
    ];
    let mut failed = 0;
    for (name, behaviour, end, xen) in cases {
        let job = job(dir, name, behaviour)?;
        let start = Instant::now();
        let mut watch = |progress: Progress<'_>| {
            if let (true, Progress::Step(step)) = (steps, progress) {
                say(&format!("{name}: {:5.1} {step}", start.elapsed().as_secs_f32()));
            }
        };
        let outcome = if xen {
            rig::run_watched(files, &job, &mut watch)?
        } else {
            rig::plain_watched(files, &job, &mut watch)?
        };
        let wrong = check(&job, &outcome, behaviour, end, xen);
        say(&format!(
            "{name}: {} (guest {:.1} s, whole run {:.1} s{})",
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

fn job(dir: &Path, name: &str, behaviour: Behaviour) -> Result<Job, RigError> {
    let write = |file: &str, data: &[u8]| {
        let path = dir.join(file);
        fs::create_dir_all(dir)
            .and_then(|()| fs::write(&path, data))
            .map(|()| path.clone())
            .map_err(|source| RigError::File { what: "write", path, source })
    };
    let mut job = Job::new(name, write("kernel", &payload::image(behaviour))?);
    job.module = Some(write("module", b"hello module\0")?);
    job.cmdline = "entry=2 test=smoke".to_owned();
    job.disks = vec![
        Disk::new(write("a", &vec![0x41; IMAGE_SIZE])?, "hda"),
        Disk::new(write("b", &vec![0x42; 2 * IMAGE_SIZE])?, "hdb").with_backend(Backend::Qdisk),
    ];
    job.marks = vec![Mark {
        when: "smoke start".to_owned(),
        run: "./dom0 list /local/domain/$DOMID/name".to_owned(),
    }];
    if behaviour == Behaviour::Hang {
        job.timeout = Duration::from_secs(25);
    }
    Ok(job)
}

/// What is not as it should be.
fn check(job: &Job, outcome: &Outcome, behaviour: Behaviour, end: End, xen: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut expect = |holds: bool, what: &str| {
        if !holds {
            wrong.push(format!("expected {what}"));
        }
    };
    expect(outcome.end == end, &format!("{end:?}, found {:?}", outcome.end));
    let mut lines = vec!["smoke start", "smoke module hello module", payload::long_line()];
    if xen {
        lines.push("smoke hypervisor");
    }
    let reaches_disk = behaviour != Behaviour::TripleFault;
    if reaches_disk {
        lines.extend(["smoke disk", "@xg up"]);
    }
    for line in lines {
        expect(outcome.console.iter().any(|l| l == line), &format!("the console line `{line}`"));
    }
    let cmdline = outcome.console.iter().find(|l| l.starts_with("smoke cmdline "));
    expect(cmdline.is_some_and(|l| l.ends_with("entry=2 test=smoke")), "the command line");
    expect(outcome.report().verdict() == reaches_disk.then_some("clean"), "the verdict");
    if xen {
        let expected = if reaches_disk { 2 } else { 0 };
        let vbds = outcome.store_running.as_ref().map_or(0, |store| store.vbds(1).len());
        expect(vbds == expected, &format!("{expected} vbds while it ran, found {vbds}"));
        expect(outcome.store_end.as_ref().is_some_and(|s| s.vbds(1).len() == 2), "2 vbds at the end");
        if reaches_disk {
            let mark = outcome.marks.first();
            expect(
                mark.is_some_and(|m| m.status == Some(0) && m.output == "/local/domain/1/name = guest\n"),
                "the mark's output",
            );
        }
    }
    for (disk, fill) in job.disks.iter().zip([0x41, 0x42]) {
        let image = fs::read(&disk.image).unwrap_or_default();
        let written = reaches_disk && disk.vdev == "hda";
        expect(
            image.get(SECTOR) == Some(&if written { fill + 1 } else { fill }),
            "sector 1 incremented once",
        );
        let others = image.iter().enumerate().filter(|&(at, &byte)| at != SECTOR && byte != fill).count();
        expect(others == 0, "no other byte of the image changed");
    }
    wrong
}
