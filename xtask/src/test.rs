//! All tests, with one line each and a closing line.

use std::{
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, Result, bail};
use guests::{
    boot,
    boot::rig_files,
    run::{self, GuestTest},
    scenario::TURNS,
    step::{Running, step},
};
use rig::{Release, RigFiles};

use crate::{
    build, layout::Layout, lint, package, pe, program, program_in_wine, repro, service_in_wine, setup, wine,
};

/// The test of `xenguard.exe`, which not every machine can build.
const BOOTCFG_IN_WINE: &str = "bootcfg-wine";
/// The test of `xenguard-svc.exe`, likewise.
const SERVICE_IN_WINE: &str = "service-wine";

/// Runs all tests and prints the closing line `N passed, N failed`. `xen`: the version that every guest runs on; without it
/// they run on the default one, and some of them on a further one, too. `turn`: the turn of the guests and of the versions
/// that take turns, from 1, or the day's.
///
/// # Errors
/// The tests could not be run, or some failed.
pub fn all(xen: Option<Release>, turn: Option<usize>) -> Result<()> {
    let layout = Layout::here();
    let tally = Tally::default();
    setup::ensure()?;
    let turn = turn.map_or_else(run::turn_of_today, |turn| turn - 1);
    println!("guests in turn: {} of {TURNS}; `--turn` chooses another one than the day's", turn + 1);
    // Who names a version wants every guest on that one.
    let further = xen.is_none().then(|| run::further_xen(turn));
    let rig = |release| match rig_files::ensure(&layout, release) {
        Ok(rig) => Some(rig),
        Err(error) => {
            tally.run(&format!("Xen {release} in qemu"), || Err(error));
            None
        }
    };
    let (first, further) = build::all_beside(|| (rig(xen.unwrap_or_default()), further.and_then(rig)))?;
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
        Some(obstacle) => println!("NOT RUN package, bootcfg-wine, service-wine: {obstacle}"),
    }
    let mut tests = match &first {
        Some(rig) => guest_tests(&layout, rig, turn)?,
        None => Vec::new(),
    };
    let built = |test: &GuestTest| ![BOOTCFG_IN_WINE, SERVICE_IN_WINE].contains(&test.name.as_str());
    tests.retain(|test| obstacle.is_none() || built(test));
    tests.extend(further.iter().flat_map(|rig| run::on_a_further_xen(&layout, rig)));
    guests(tests, &tally);
    tally.close()
}

/// Runs guests of the test suite by name and shows their consoles. Those that are saved go on under `onto`, where one is
/// given.
///
/// # Errors
/// A name is unknown, the rig failed, or a guest showed something else than it must.
pub fn guests_by_name(names: &[String], xen: Release, onto: Option<Release>) -> Result<()> {
    let layout = Layout::here();
    setup::bootcfg_tests()?;
    let mut rig = rig_files::ensure(&layout, xen)?;
    if let Some(onto) = onto {
        rig = rig.moving_onto(rig_files::ensure(&layout, onto)?);
    }
    let mut tests = guest_tests(&layout, &rig, 0)?;
    tests.extend(run::left_out(&layout, &rig, 0));
    tests.extend(run::on_a_further_xen(&layout, &rig));
    tests.push(run::power_cuts(&layout, &rig));
    for wanted in names {
        let Some(at) = tests.iter().position(|test| test.name == *wanted) else {
            let known: Vec<_> = tests.iter().map(|test| test.name.as_str()).collect();
            bail!("there is no guest {wanted}; there are: {}", known.join(", "));
        };
        let test = tests.swap_remove(at);
        let result = step(&format!("guest: {wanted}"), &test.run);
        run::print_consoles(&boot::folder(&layout, wanted))?;
        result?;
    }
    Ok(())
}

/// Totals of the tests.
#[derive(Default)]
struct Tally {
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    passed: usize,
    failed: Vec<String>,
    /// Reasons of all failures: they are said again at the end, which is where one looks.
    why: Vec<String>,
    /// Guests that the rig failed twice: nothing is known of them. They count as failed.
    by_rig: Vec<String>,
    /// Guests that were run again after the rig had failed.
    again: Vec<String>,
}

impl Tally {
    /// Runs a test, and returns the error if the rig failed it and `again` allows another run.
    fn attempt(&self, name: &str, again: bool, test: impl FnOnce() -> Result<()>) -> Option<String> {
        let running = Running::begin(name);
        let result = test();
        let mut counts = self.lock();
        match result {
            Ok(()) => {
                println!("{}", running.end("ok"));
                counts.passed += 1;
            }
            Err(error) => {
                let why = format!("{error:#}");
                let by_rig = run::rig_failure(&error).is_some();
                println!("{}\n{why}", running.end(if by_rig { "RIG" } else { "FAILED" }));
                if by_rig && again {
                    return Some(why);
                }
                counts.why.push(format!("{name}: {why}"));
                let list = if by_rig { &mut counts.by_rig } else { &mut counts.failed };
                list.push(name.to_owned());
            }
        }
        None
    }

    fn run(&self, name: &str, test: impl FnOnce() -> Result<()>) {
        self.attempt(name, false, test);
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(self) -> Result<()> {
        let counts = self.counts.into_inner().unwrap_or_else(PoisonError::into_inner);
        counts.closing_lines().iter().for_each(|line| println!("{line}"));
        match counts.failed() {
            0 => Ok(()),
            failed => bail!("{failed} tests failed"),
        }
    }
}

impl Counts {
    fn failed(&self) -> usize {
        self.failed.len() + self.by_rig.len()
    }

    /// Returns what is said at the end; the last line is `N passed, N failed`.
    fn closing_lines(&self) -> Vec<String> {
        let mut lines = self.why.clone();
        for (what, names) in [
            ("failed", &self.failed),
            ("failed by the rig, twice, so that nothing is known of the guest", &self.by_rig),
            ("run again after the rig had failed", &self.again),
        ] {
            if !names.is_empty() {
                lines.push(format!("{what}: {}", names.join(", ")));
            }
        }
        lines.push(format!("{} passed, {} failed", self.passed, self.failed()));
        lines
    }
}

fn none_of(findings: &[String]) -> Result<()> {
    if findings.is_empty() { Ok(()) } else { bail!("{}", findings.join("\n")) }
}

/// Runs the tests of every crate that runs on the host, counted as cargo counts them.
fn host_tests(layout: &Layout, tally: &Tally) -> Result<()> {
    let running = Running::begin("host tests");
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
    counts.passed += passed;
    counts.failed.extend(std::iter::repeat_n("host test".to_owned(), failed));
    println!("{}", running.end(if output.status.success() { "ok" } else { "FAILED" }));
    println!("host tests: {passed} passed, {failed} failed");
    if !output.status.success() {
        print!("{text}");
        if failed == 0 {
            counts.failed.push("host tests (do not build)".to_owned());
        }
    }
    Ok(())
}

/// Returns the guest tests, and those that run the same files in Wine.
fn guest_tests<'a>(layout: &'a Layout, rig: &'a RigFiles, turn: usize) -> Result<Vec<GuestTest<'a>>> {
    let mut tests = run::tested(layout, rig, turn)?;
    tests.push(GuestTest::new("wine", || wine::run(layout)));
    tests.push(GuestTest::new(BOOTCFG_IN_WINE, || program_in_wine::run(layout)));
    tests.push(GuestTest::new(SERVICE_IN_WINE, || service_in_wine::run(layout)));
    Ok(tests)
}

/// Runs tests that boot guests. What the rig fails is run once more at the end, when no other guest runs.
fn guests(tests: Vec<GuestTest>, tally: &Tally) {
    let again = Mutex::new(Vec::new());
    rig_files::each(rig_files::AT_ONCE, tests, |test| {
        if tally.attempt(&format!("guest: {}", test.name), true, &test.run).is_some() {
            again.lock().unwrap_or_else(PoisonError::into_inner).push(test);
        }
    });
    for test in again.into_inner().unwrap_or_else(PoisonError::into_inner) {
        tally.lock().again.push(test.name.clone());
        tally.run(&format!("guest: {}", test.name), &test.run);
    }
}

#[cfg(test)]
mod tests {
    use rig::RigError;

    use super::*;

    #[test]
    fn a_guest_that_the_rig_fails_is_run_once_more_and_told_apart() {
        let runs = Mutex::new(0);
        let failing = |times: usize| {
            let runs = &runs;
            move || {
                let mut runs = runs.lock().expect("not poisoned");
                *runs += 1;
                if *runs > times {
                    Ok(())
                } else {
                    Err(RigError::BadResults { reason: "none".to_owned() }.into())
                }
            }
        };
        let tally = Tally::default();
        guests(vec![GuestTest::new("recovers", failing(1))], &tally);
        let guest = || bail!("PV disks: 0, expected 1");
        guests(vec![GuestTest::new("fine", || Ok(())), GuestTest::new("wrong", guest)], &tally);
        *runs.lock().expect("not poisoned") = 0;
        guests(vec![GuestTest::new("never", failing(5))], &tally);
        assert_eq!(*runs.lock().expect("not poisoned"), 2);
        assert_eq!(
            tally.lock().closing_lines(),
            [
                "guest: wrong: PV disks: 0, expected 1",
                "guest: never: results of the job: none",
                "failed: guest: wrong",
                "failed by the rig, twice, so that nothing is known of the guest: guest: never",
                "run again after the rig had failed: recovers, never",
                "2 passed, 2 failed",
            ]
        );
    }
}
