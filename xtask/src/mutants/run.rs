//! Applies mutants and runs the tests that must catch them.

use std::{
    fs,
    process::{Command, Output},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use guests::{boot, boot::rig_files, built, catalogue, endurance, verdict};
use rig::RigFiles;

use super::{
    Catch, MUTANTS, Mutant,
    page::{self, Page, Row},
    rules, source,
};
use crate::{build, layout::Layout, repro, setup, step::step};

/// Mutants to run.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Only those of the guard's rules, which need no guest.
    pub rules: bool,
    /// Only those that the page does not have.
    pub missing: bool,
    /// Number at the same time.
    pub at_once: usize,
    /// Only those whose description contains one of these, where there are any.
    pub parts: Vec<String>,
}

impl Choice {
    /// Returns the mutants that are chosen; `page` has those that were run.
    fn mutants(&self, page: &Page) -> Vec<&'static Mutant> {
        let of_drivers = if self.rules { &[][..] } else { MUTANTS };
        let named = |what: &str| self.parts.is_empty() || self.parts.iter().any(|part| what.contains(part));
        let all = of_drivers.iter().chain(rules::all());
        all.filter(|mutant| named(mutant.what) && !(self.missing && page.has(mutant))).collect()
    }
}

/// Applies mutants, several at a time, reports which test caught each, and writes `docs/results/mutants.md`.
///
/// # Errors
/// A mutant could not be applied or built, or survived; the page is written all the same, and says so.
pub fn run(choice: &Choice) -> Result<()> {
    let here = Layout::here();
    let page = Mutex::new(Page::read(&here));
    let page = || page.lock().unwrap_or_else(PoisonError::into_inner);
    let mutants = choice.mutants(&page());
    ensure!(!mutants.is_empty(), "no mutant is chosen: see `cargo xtask mutants --help`");
    let in_guests = mutants.iter().any(|m| m.caught_by.iter().any(|catch| matches!(catch, Catch::Guest(_))));
    let rig = if in_guests {
        setup::ensure()?;
        build::executive()?;
        Some(rig_files::ensure(&here, rig::Release::default())?)
    } else {
        None
    };
    // A run of the rules does not disturb one of the drivers.
    let copies =
        copies(&here, if choice.rules { "rules" } else { "tree" }, mutants.len().min(choice.at_once))?;
    sound(&copies[0], &mutants)?;
    let wrong = Mutex::new(Vec::new());
    let queue = Mutex::new(mutants.into_iter());
    in_copies(
        &copies,
        || queue.lock().unwrap_or_else(PoisonError::into_inner).next(),
        |copy, mutant| {
            repro::copy_sources(&here, copy)?;
            apply(copy, mutant)?;
            let mut rows = Vec::new();
            for &catch in mutant.caught_by {
                let row = step(mutant.what, || tried(&here, copy, rig.as_ref(), mutant, catch))?;
                println!("{}", row.line());
                rows.push(row);
            }
            let bad = rows.iter().filter(|row| !row.is_good()).map(Row::line);
            wrong.lock().unwrap_or_else(PoisonError::into_inner).extend(bad);
            let mut page = page();
            page.put(mutant, rows);
            page.write(&here)
        },
    )?;
    let wrong = wrong.into_inner().unwrap_or_else(PoisonError::into_inner);
    ensure!(wrong.is_empty(), "not as they must be:\n{}", wrong.join("\n"));
    Ok(())
}

/// Usual number of breakages at the same time, each in a copy of the sources: a part of their time is a build's.
pub const AT_ONCE: usize = 4;

/// Makes copies of the sources, or brings them up to date: `count` of them, and one at least.
pub(super) fn copies(here: &Layout, name: &str, count: usize) -> Result<Vec<Layout>> {
    let folder = here.target().join("mutants");
    let copies: Vec<Layout> =
        (0..count.max(1)).map(|n| here.copy_at(folder.join(format!("{name}-{n}")))).collect();
    copies.iter().try_for_each(|copy| repro::copy_sources(here, copy))?;
    Ok(copies)
}

/// Does some work with what `next` returns until that is nothing, in all copies at the same time.
///
/// # Errors
/// The first failure of a copy's work, when the others have done all that there was.
pub(super) fn in_copies<T>(
    copies: &[Layout],
    next: impl Fn() -> Option<T> + Sync,
    work: impl Fn(&Layout, T) -> Result<()> + Sync,
) -> Result<()> {
    let first = Mutex::new(Ok(()));
    rig_files::each(copies.len(), copies, |copy| {
        let end = std::iter::from_fn(&next).try_for_each(|item| work(copy, item));
        let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
        if first.is_ok() {
            *first = end;
        }
    });
    first.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Runs the host tests that are to catch mutants on the sources as they are: a test that fails in the copy without
/// a mutant would count as catching every one.
fn sound(copy: &Layout, mutants: &[&Mutant]) -> Result<()> {
    let mut done: Vec<(&str, Vec<&str>)> = Vec::new();
    for catch in mutants.iter().flat_map(|mutant| mutant.caught_by) {
        let tests = match *catch {
            Catch::Host(package) => (package, vec!["--tests"]),
            Catch::Integration(package, test) => (package, vec!["--test", test]),
            _ => continue,
        };
        if done.contains(&tests) {
            continue;
        }
        let (package, which) = &tests;
        let failed = step("the tests without a mutant", || host(copy, package, which, &[], failed_tests))?;
        if let Some(failed) = failed {
            bail!("the tests of {package} fail without a mutant, and so would catch any: {failed}");
        }
        done.push(tests);
    }
    Ok(())
}

fn apply(copy: &Layout, mutant: &Mutant) -> Result<()> {
    let path = copy.root().join(mutant.file);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", mutant.file))?;
    let [place] = &source::places(&text, mutant.from)[..] else {
        bail!(
            "{}: `{}` must stand there once; bring the list of mutants up to date",
            mutant.file,
            mutant.from
        );
    };
    Ok(fs::write(&path, [&text[..place.start], mutant.to, &text[place.end..]].concat())?)
}

/// Runs what must catch the mutant that the copy has.
fn tried(here: &Layout, copy: &Layout, rig: Option<&RigFiles>, mutant: &Mutant, catch: Catch) -> Result<Row> {
    const GUARD: &str = "host tests of guard";
    const MODEL: &str = "model";
    let of_guard = || match host(copy, "guard", &["--lib"], &without(SLOW), failed_tests)? {
        None => host(copy, "guard", &["--lib"], SLOW, failed_tests),
        said => Ok(said),
    };
    let of_model = || host(copy, "model", &["--test", "explore"], &[], broken_cases);
    let row = |test: &str, said| Row::new(mutant, test.to_owned(), said);
    Ok(match catch {
        Catch::Host(package) => {
            row(&format!("host tests of {package}"), host(copy, package, &["--tests"], &[], failed_tests)?)
        }
        Catch::Integration(package, test) => {
            let which = ["--test", test];
            row(&format!("{package}, tests/{test}"), host(copy, package, &which, &[], failed_tests)?)
        }
        Catch::Guest(name) => {
            let rig = rig.context("no rig was started")?;
            build::drivers_in(copy)?;
            row(&format!("guest: {name}"), in_guest(here, copy, rig, name)?)
        }
        Catch::Rule => match of_guard()? {
            None => row(MODEL, of_model()?),
            said => row(GUARD, said),
        },
        Catch::Equivalent(why) => {
            let said = match of_guard()? {
                None => of_model()?,
                said => said,
            };
            Row::equivalent(mutant, why, said)
        }
    })
}

/// Time that a package's tests may take.
const LIMIT: Duration = Duration::from_secs(180);
/// Exit code of `timeout` where they take longer.
const TIMED_OUT: i32 = 124;

/// Guard's properties that take seconds: asked only where the other tests are silent.
const SLOW: &[&str] = &["the_invariant", "agrees_with_the_rule"];

/// Returns libtest's words for all tests but these.
fn without<'a>(names: &[&'a str]) -> Vec<&'a str> {
    names.iter().flat_map(|&name| ["--skip", name]).collect()
}

/// Returns true if a package and its tests are a program.
pub(super) fn builds(copy: &Layout, package: &str) -> Result<bool> {
    let built = of_cargo(copy, 10 * LIMIT, &["test", "--quiet", "--no-run", "--package", package])?;
    Ok(built.status.success())
}

/// Runs cargo in the copy.
fn of_cargo(copy: &Layout, limit: Duration, arguments: &[&str]) -> Result<Output> {
    // The limit holds for whatever cargo starts, too: a mutant may go round in circles.
    Command::new("timeout")
        .args([&limit.as_secs().to_string(), env!("CARGO")])
        .args(arguments)
        .current_dir(copy.root())
        .env("CARGO_TARGET_DIR", copy.target().join("host"))
        .env("CARGO_PROFILE_DEV_DEBUG", "none")
        .output()
        .context("cannot start cargo")
}

/// Runs some of a package's tests; what `read` makes of the output of those that failed.
pub(super) fn host(
    copy: &Layout,
    package: &str,
    which: &[&str],
    libtest: &[&str],
    read: fn(&str) -> Vec<String>,
) -> Result<Option<String>> {
    let cargo = |limit: Duration, last: &[&str]| {
        let test = ["test", "--quiet", "--no-fail-fast", "--package", package];
        of_cargo(copy, limit, &[&test, which, last].concat())
    };
    // Tests call examples as stand-ins, and cargo builds none of them where the tests are named.
    let examples = of_cargo(copy, 10 * LIMIT, &["build", "--quiet", "--examples", "--package", package])?;
    ensure!(
        examples.status.success(),
        "a mutant's examples do not build:\n{}",
        String::from_utf8_lossy(&examples.stderr)
    );
    let built = cargo(10 * LIMIT, &["--no-run"])?;
    ensure!(built.status.success(), "a mutant does not build:\n{}", String::from_utf8_lossy(&built.stderr));
    let tested = cargo(LIMIT, &[&["--"], libtest].concat())?;
    if tested.status.success() {
        return Ok(None);
    }
    if tested.status.code() == Some(TIMED_OUT) {
        return Ok(Some(format!("no end within {} s", LIMIT.as_secs())));
    }
    let mut names = read(&String::from_utf8_lossy(&tested.stdout));
    let errors = String::from_utf8_lossy(&tested.stderr);
    if names.is_empty() {
        names = aborted_tests(&errors);
    }
    ensure!(!names.is_empty(), "the tests of {package} fail without a word:\n{errors}");
    names.sort();
    Ok(Some(page::first(&names)))
}

/// Returns the names of the tests that failed, as libtest prints them.
pub(super) fn failed_tests(output: &str) -> Vec<String> {
    let names = output.lines().filter_map(|line| line.strip_prefix("---- ")?.strip_suffix(" stdout ----"));
    names.map(|name| format!("`{}`", name.replace("::tests::", "::"))).collect()
}

/// Returns the names of the tests that panicked twice and so took their process along: libtest has no word
/// for them.
fn aborted_tests(errors: &str) -> Vec<String> {
    let names = errors.lines().filter_map(|line| Some(line.strip_prefix("thread '")?.split_once("' ")?.0));
    let mut names: Vec<_> =
        names.map(|name| format!("`{}` (aborted)", name.replace("::tests::", "::"))).collect();
    names.dedup();
    names
}

/// Returns the configurations of the model that did not come out as they must, from the lines that it prints
/// of each.
fn broken_cases(output: &str) -> Vec<String> {
    let lines = output.lines().filter(|line| line.ends_with(": BREAKS") || line.ends_with("and must break"));
    let mut names: Vec<_> =
        lines.filter_map(|line| Some(format!("«{}»", line.split_once("  ")?.0.trim()))).collect();
    names.sort();
    names.dedup();
    names
}

/// Boots the mutated drivers, which are built; returns the first difference from what the scenario expects.
pub(super) fn in_guest(here: &Layout, copy: &Layout, rig: &RigFiles, name: &str) -> Result<Option<String>> {
    fs::create_dir_all(copy.nt())?;
    for name in built::STARTED {
        fs::copy(here.nt().join(name), copy.nt().join(name))?;
    }
    let differences = if let Some(scenario) = catalogue::boots().find(|boot| boot.name == name) {
        verdict::differences(scenario, &boot::boot(copy, rig, scenario)?)
    } else if let Some(sequence) = catalogue::sequences().find(|sequence| sequence.name == name) {
        verdict::sequence_differences(sequence, &boot::boot_sequence(copy, rig, sequence)?)
    } else if name == endurance::SAMPLE {
        endurance::sample(copy, rig)?
    } else {
        bail!("there is no guest {name}");
    };
    Ok(differences.into_iter().next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_read_from_the_output() {
        let output = "running 2 tests\n---- machine::tests::a stdout ----\nthread\n---- options::tests::b stdout ----\n";
        assert_eq!(failed_tests(output), ["`machine::a`", "`options::b`"]);
        let errors = "error: test failed\nthread 'tests::c' (27) panicked at x.rs:2:5:\nthread caused non-unwinding panic\n";
        assert_eq!(aborted_tests(errors), ["`tests::c` (aborted)"]);
        let output = "no fault, one boot     2 states, depth  4,    0.1 s: holds\n\
                      L4 alone, it returns   9 states, depth  4,    0.1 s: BREAKS\n\
                      no L6, a stranger      9 states, depth  4,    0.1 s: HOLDS, and must break\n\
                      L4 alone, it returns   9 states, depth  4,    0.1 s: BREAKS\n";
        assert_eq!(broken_cases(output), ["«L4 alone, it returns»", "«no L6, a stranger»"]);
    }
}
