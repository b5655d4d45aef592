//! All tests, with one line each and a closing line.

use std::{collections::VecDeque, fs, path::Path, process::Command, sync::Mutex, thread, time::Instant};

use anyhow::{Context, Result, bail};
use rig::RigFiles;
use volume::Verdict;

use crate::{
    build, faults, guest,
    layout::Layout,
    lifecycle, lint, package, pe, program, program_in_wine, repro, rig_files,
    scenario::{self, Scenario, Sequence},
    setup, verdict, wine,
};

/// Guests that run at the same time: one per core of a small machine.
const PARALLEL_GUESTS: usize = 2;

/// The test of `bootcfg.exe`, which not every machine can build.
const BOOTCFG_IN_WINE: &str = "bootcfg-wine";

/// Runs all tests and prints the closing line `N passed, N failed`.
///
/// # Errors
/// The tests could not be run, or some failed.
pub fn run() -> Result<()> {
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
    let rig = rig_files::ensure(&layout)?;
    let mut tests = guest_tests(&layout, &rig)?;
    tests.extend(scenario::by_name_only().map(|scenario| scenario_test(&layout, &rig, scenario)));
    tests.extend(scenario::SEQUENCES_BY_NAME.iter().map(|sequence| sequence_test(&layout, &rig, sequence)));
    for wanted in names {
        let Some(at) = tests.iter().position(|test| test.name == *wanted) else {
            let known: Vec<_> = tests.iter().map(|test| test.name.as_str()).collect();
            bail!("there is no guest {wanted}; there are: {}", known.join(", "));
        };
        let test = tests.swap_remove(at);
        let result = (test.run)();
        print_consoles(&guest::folder(&layout, wanted))?;
        result?;
    }
    Ok(())
}

/// Shows what is kept of a guest's console, or of those of a sequence's boots.
fn print_consoles(folder: &Path) -> Result<()> {
    let console = folder.join("console.txt");
    if console.exists() {
        println!("{}", fs::read_to_string(&console).with_context(|| console.display().to_string())?);
        return Ok(());
    }
    let mut boots: Vec<_> = fs::read_dir(folder)
        .with_context(|| folder.display().to_string())?
        .filter_map(|entry| Some(entry.ok()?.path()).filter(|path| path.is_dir()))
        .collect();
    boots.sort();
    for boot in boots {
        println!("==== {}", boot.file_name().unwrap_or_default().to_string_lossy());
        print_consoles(&boot)?;
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

/// A test that boots a guest; it keeps its output in the folder of its name.
struct GuestTest<'a> {
    name: String,
    run: Box<dyn FnOnce() -> Result<()> + Send + 'a>,
}

/// A boot of a scenario, held against what it expects.
fn scenario_test<'a>(layout: &'a Layout, rig: &'a RigFiles, scenario: &'static Scenario) -> GuestTest<'a> {
    let run = move || none_of(&verdict::differences(scenario, &guest::boot(layout, rig, scenario)?));
    GuestTest { name: scenario.name.to_owned(), run: Box::new(run) }
}

/// The boots of a sequence, held against what each expects.
fn sequence_test<'a>(layout: &'a Layout, rig: &'a RigFiles, sequence: &'static Sequence) -> GuestTest<'a> {
    let run = move || {
        let boots = guest::boot_sequence(layout, rig, sequence)?;
        none_of(&verdict::sequence_differences(sequence, &boots)).context(sequence.title)
    };
    GuestTest { name: sequence.name.to_owned(), run: Box::new(run) }
}

fn guest_tests<'a>(layout: &'a Layout, rig: &'a RigFiles) -> Result<Vec<GuestTest<'a>>> {
    let mut tests: Vec<_> = scenario::all().map(|scenario| scenario_test(layout, rig, scenario)).collect();
    tests.extend(scenario::SEQUENCES.iter().map(|sequence| sequence_test(layout, rig, sequence)));
    let mut add = |name: &str, run: Box<dyn FnOnce() -> Result<()> + Send + 'a>| {
        tests.push(GuestTest { name: name.to_owned(), run });
    };
    for half in 0..2 {
        add(&format!("faults-sample-{half}"), Box::new(move || faults::sample(layout, rig, half)));
    }
    add(lifecycle::SHORT.0, Box::new(|| lifecycle::live(layout, rig, &lifecycle::SHORT, &|_| ())));
    add("wine", Box::new(|| wine::run(layout)));
    add(BOOTCFG_IN_WINE, Box::new(|| program_in_wine::run(layout)));
    add("double-mount", Box::new(|| double_mount(layout, rig)));
    for (case, violation) in wrong_cases(layout)? {
        add(
            &format!("wrong-{case}"),
            Box::new(move || wrong_driver(layout, rig, &case, violation.as_deref())),
        );
    }
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

/// One backing file behind two emulated disks, mounted through both: if this volume survived, "intact" would
/// mean nothing in the other tests.
fn double_mount(layout: &Layout, rig: &RigFiles) -> Result<()> {
    let (outcome, image) = guest::boot_double_mount(layout, rig)?;
    let mounts = outcome.report().all("mount").count();
    if mounts != 2 || image.verdict != Verdict::Destroyed {
        bail!("{mounts} mounts and the image {image}; expected 2 and destroyed");
    }
    Ok(())
}

/// The deliberately wrong drivers and the violation each must be stopped for; none for the one that is right.
fn wrong_cases(layout: &Layout) -> Result<Vec<(String, Option<String>)>> {
    let path = layout.root().join("tests/nt/wrong/cases.txt");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
            [case, "-"] => Ok((case.to_owned(), None)),
            [case, violation] => Ok((case.to_owned(), Some(violation.to_owned()))),
            _ => bail!("{}: `{line}` is not `case violation`", path.display()),
        })
        .collect()
}

fn wrong_driver(layout: &Layout, rig: &RigFiles, case: &str, violation: Option<&str>) -> Result<()> {
    let report = guest::boot_wrong(layout, rig, case)?.report();
    let found: Vec<_> = report.all("violation").filter_map(|line| line.get("name")).collect();
    let expected: Vec<_> = violation.into_iter().collect();
    let verdict = if violation.is_some() { "stopped" } else { "clean" };
    if found != expected || report.verdict() != Some(verdict) {
        bail!("violations {found:?}, end {:?}; expected {expected:?}, {verdict}", report.verdict());
    }
    Ok(())
}
