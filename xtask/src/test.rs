//! All tests, with one line each and a closing line.

use std::{collections::VecDeque, process::Command, sync::Mutex, thread, time::Instant};

use anyhow::{Context, Result, bail};
use guests::{
    boot,
    boot::rig_files,
    run::{self, GuestTest},
};
use rig::RigFiles;

use crate::{build, layout::Layout, lint, package, pe, program, program_in_wine, repro, setup, wine};

/// Guests that run at the same time: one per core of a small machine.
const PARALLEL_GUESTS: usize = 2;

/// The test of `bootcfg.exe`, which not every machine can build.
const BOOTCFG_IN_WINE: &str = "bootcfg-wine";

/// Runs all tests and prints the closing line `N passed, N failed`.
///
/// # Errors
/// The tests could not be run, or some failed.
pub fn all() -> Result<()> {
    let layout = Layout::here();
    let tally = Tally::default();
    setup::ensure()?;
    build::all()?;
    for (name, check) in lint::ALL {
        tally.run(name, || check(&layout));
    }
    host_tests(&layout, &tally)?;
    for (driver, findings) in pe::check_all()? {
        tally.run(&format!("PE rules: {driver}"), || none_of(&findings));
    }
    tally.run("reproducible build", repro::check);
    let obstacle = program::obstacle(&layout)?;
    match &obstacle {
        None => tally.run("package", || package::test(&layout)),
        Some(obstacle) => println!("NOT RUN package, bootcfg-wine: {obstacle}"),
    }
    match rig_files::ensure(&layout) {
        Ok(rig) => {
            let mut tests = guest_tests(&layout, &rig)?;
            tests.retain(|test| obstacle.is_none() || test.name != BOOTCFG_IN_WINE);
            guests(tests, &tally);
        }
        Err(error) => tally.run("Xen in qemu", || Err(error)),
    }
    tally.close()
}

/// Runs guests of the test suite by name and shows their consoles.
///
/// # Errors
/// A name is unknown, the rig failed, or a guest showed something else than it must.
pub fn guests_by_name(names: &[String]) -> Result<()> {
    let layout = Layout::here();
    setup::bootcfg_tests()?;
    let rig = rig_files::ensure(&layout)?;
    let mut tests = guest_tests(&layout, &rig)?;
    tests.extend(run::by_name_only(&layout, &rig));
    for wanted in names {
        let Some(at) = tests.iter().position(|test| test.name == *wanted) else {
            let known: Vec<_> = tests.iter().map(|test| test.name.as_str()).collect();
            bail!("there is no guest {wanted}; there are: {}", known.join(", "));
        };
        let test = tests.swap_remove(at);
        let result = (test.run)();
        run::print_consoles(&boot::folder(&layout, wanted))?;
        result?;
    }
    Ok(())
}

/// Counts of passed and failed tests, and the failures' names.
#[derive(Default)]
struct Tally {
    counts: Mutex<(usize, Vec<String>)>,
}

impl Tally {
    fn run(&self, name: &str, test: impl FnOnce() -> Result<()>) {
        let started = Instant::now();
        let result = test();
        let seconds = started.elapsed().as_secs_f32();
        let mut counts = self.lock();
        match result {
            Ok(()) => {
                println!("ok      {name:<44} {seconds:>7.1} s");
                counts.0 += 1;
            }
            Err(error) => {
                println!("FAILED  {name:<44} {seconds:>7.1} s\n{error:#}");
                counts.1.push(name.to_owned());
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (usize, Vec<String>)> {
        self.counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn close(self) -> Result<()> {
        let (passed, failed) = self.counts.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !failed.is_empty() {
            println!("failed: {}", failed.join(", "));
        }
        println!("{passed} passed, {} failed", failed.len());
        if failed.is_empty() { Ok(()) } else { bail!("{} tests failed", failed.len()) }
    }
}

fn none_of(findings: &[String]) -> Result<()> {
    if findings.is_empty() { Ok(()) } else { bail!("{}", findings.join("\n")) }
}

/// The tests of every crate that runs on the host, counted as cargo counts them.
fn host_tests(layout: &Layout, tally: &Tally) -> Result<()> {
    let output = Command::new(env!("CARGO"))
        .args(["test", "--no-fail-fast", "--quiet"])
        .current_dir(layout.root())
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut counts = tally.lock();
    let (mut passed, mut failed) = (0, 0);
    for line in text.lines().filter(|line| line.starts_with("test result:")) {
        let number = |what: &str| -> usize {
            let words: Vec<_> = line.split([' ', ';']).filter(|w| !w.is_empty()).collect();
            let at = words.iter().position(|&word| word == what).unwrap_or(0);
            at.checked_sub(1).and_then(|i| words[i].parse().ok()).unwrap_or(0)
        };
        passed += number("passed");
        failed += number("failed");
    }
    counts.0 += passed;
    counts.1.extend(std::iter::repeat_n("host test".to_owned(), failed));
    println!("host tests: {passed} passed, {failed} failed");
    if !output.status.success() {
        print!("{text}");
        if failed == 0 {
            counts.1.push("host tests (do not build)".to_owned());
        }
    }
    Ok(())
}

/// The guest tests, and those that run the same files in Wine.
fn guest_tests<'a>(layout: &'a Layout, rig: &'a RigFiles) -> Result<Vec<GuestTest<'a>>> {
    let mut tests = run::tested(layout, rig)?;
    tests.push(GuestTest::new("wine", || wine::run(layout)));
    tests.push(GuestTest::new(BOOTCFG_IN_WINE, || program_in_wine::run(layout)));
    Ok(tests)
}

/// Runs tests that boot guests.
fn guests(tests: Vec<GuestTest>, tally: &Tally) {
    let queue = Mutex::new(VecDeque::from(tests));
    thread::scope(|scope| {
        for _ in 0..PARALLEL_GUESTS {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop_front();
                    let Some(test) = next else { break };
                    tally.run(&format!("guest: {}", test.name), test.run);
                }
            });
        }
    });
}
