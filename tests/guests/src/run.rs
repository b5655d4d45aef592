//! The guest tests as a list.

use std::{collections::BTreeSet, fs, path::Path, time::SystemTime};

use anyhow::{Context, Result, bail};
use rig::{Outcome, Release, RigError, RigFiles};
use volume::Verdict;

use crate::{
    boot::{self, Boot},
    catalogue, endurance, explore, faults,
    layout::Layout,
    lifecycle,
    scenario::{Runs, Scenario, Sequence, TURNS},
    verdict,
};

/// A test that boots guests; it keeps its output in the folder of its name.
pub struct GuestTest<'a> {
    /// Name on the command line and in the output.
    pub name: String,
    /// Boots the guests.
    ///
    /// # Errors
    /// The rig failed, or a guest showed something else than it must.
    pub run: Box<dyn Fn() -> Result<()> + Send + 'a>,
}

impl<'a> GuestTest<'a> {
    /// Returns a test of this name.
    pub fn new(name: impl Into<String>, run: impl Fn() -> Result<()> + Send + 'a) -> Self {
        Self { name: name.into(), run: Box::new(run) }
    }
}

/// Returns the failure of the rig that an error comes from, or `None` if it comes from a guest or a host file.
pub fn rig_failure(error: &anyhow::Error) -> Option<&RigError> {
    error.chain().find_map(|cause| cause.downcast_ref())
}

/// Returns the turn of a day: the number of the day, counted from 1970, within [`TURNS`].
pub fn turn_of_today() -> usize {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    (now.as_secs() / 86_400) as usize % TURNS
}

/// Returns the guest tests of `cargo xtask test` in a turn, from 0 to [`TURNS`] - 1.
///
/// # Errors
/// The list of the wrong driver's cases cannot be read.
pub fn tested<'a>(layout: &'a Layout, rig: &'a RigFiles, turn: usize) -> Result<Vec<GuestTest<'a>>> {
    let mut tests: Vec<_> = of_catalogue(layout, rig, Some(turn)).collect();
    tests.push(faults_sample(layout, rig, turn % faults::SAMPLES));
    for seed in explore::TESTED.0..explore::TESTED.0 + explore::TESTED.1 {
        let drawn = explore::scenario(seed);
        let run = move || as_expected(&drawn, &boot::boot(layout, rig, &drawn)?);
        tests.push(GuestTest::new(drawn.name, run));
    }
    let life = || lifecycle::live(layout, rig, &lifecycle::SHORT, &|_| ());
    tests.push(GuestTest::new(lifecycle::SHORT.0, life));
    tests.push(GuestTest::new("double-mount", || double_mount(layout, rig)));
    tests.push(GuestTest::new("unknown-word", || unknown_word(layout, rig)));
    for (case, violation) in wrong_cases(layout)? {
        let name = format!("wrong-{case}");
        tests.push(GuestTest::new(name, move || wrong_driver(layout, rig, &case, violation.as_deref())));
    }
    Ok(tests)
}

/// Returns a part of the fixed faults.
fn faults_sample<'a>(layout: &'a Layout, rig: &'a RigFiles, part: usize) -> GuestTest<'a> {
    GuestTest::new(format!("faults-sample-{part}"), move || faults::sample(layout, rig, part))
}

/// Guests that each `cargo xtask test` boots on one further version of Xen: the entry, the last resort, a save under load,
/// disks that come and go, disks of every kind, and the toolstack's requests.
const ON_A_FURTHER_XEN: [&str; 6] =
    ["pv", "alias-returns", "save-restore", "hotplug-blkback", "kinds", "xl-shutdown"];

/// Returns the further version of Xen of a turn: the versions beside the default one take turns, too.
pub fn further_xen(turn: usize) -> Release {
    let mut others = Release::ALL.into_iter().filter(|&release| release != Release::default());
    others.nth(turn % (Release::ALL.len() - 1)).unwrap_or_default()
}

/// Returns the guests that a test boots on a further version of Xen, which their names say.
pub fn on_a_further_xen<'a>(layout: &'a Layout, rig: &'a RigFiles) -> impl Iterator<Item = GuestTest<'a>> {
    let chosen = catalogue::boots().filter(|boot| ON_A_FURTHER_XEN.contains(&boot.name));
    chosen.map(move |scenario| {
        let name = format!("{}-xen-{}", scenario.name, rig.release());
        let folder = name.clone();
        GuestTest::new(name, move || as_expected(scenario, &boot::boot_as(layout, rig, scenario, &folder)?))
    })
}

/// Returns the short stretch of the endurance run, by its name.
pub fn power_cuts<'a>(layout: &'a Layout, rig: &'a RigFiles) -> GuestTest<'a> {
    GuestTest::new(endurance::SAMPLE, || none_of(&endurance::sample(layout, rig)?))
}

/// Returns the guests of the catalogue and the fixed faults that [`tested`] leaves out in this turn.
pub fn left_out<'a>(
    layout: &'a Layout,
    rig: &'a RigFiles,
    turn: usize,
) -> impl Iterator<Item = GuestTest<'a>> {
    let chosen: BTreeSet<_> = of_catalogue(layout, rig, Some(turn)).map(|test| test.name).collect();
    let samples = (0..faults::SAMPLES).filter(move |part| *part != turn % faults::SAMPLES);
    of_catalogue(layout, rig, None)
        .filter(move |test| !chosen.contains(&test.name))
        .chain(samples.map(move |part| faults_sample(layout, rig, part)))
}

/// Returns the guests of the catalogue: those of a turn, or all.
fn of_catalogue<'a>(
    layout: &'a Layout,
    rig: &'a RigFiles,
    turn: Option<usize>,
) -> impl Iterator<Item = GuestTest<'a>> {
    let boots = catalogue::boots().map(move |boot| (boot.runs, scenario_test(layout, rig, boot)));
    let sequences = catalogue::sequences().map(move |one| (one.runs, sequence_test(layout, rig, one)));
    let mut in_turn = 0;
    boots.chain(sequences).filter_map(move |(runs, test)| is_chosen(runs, &mut in_turn, turn).then_some(test))
}

/// Returns true if a turn has the next guest, and counts those that take turns. No turn has them all.
fn is_chosen(runs: Runs, in_turn: &mut usize, turn: Option<usize>) -> bool {
    *in_turn += usize::from(runs == Runs::InTurn);
    match (runs, turn) {
        (_, None) | (Runs::Always, _) => true,
        (Runs::InTurn, Some(turn)) => *in_turn % TURNS == turn % TURNS,
        (Runs::ByName, Some(_)) => false,
    }
}

/// Boots a scenario, and holds the boot against what it expects.
fn scenario_test<'a>(layout: &'a Layout, rig: &'a RigFiles, scenario: &'static Scenario) -> GuestTest<'a> {
    GuestTest::new(scenario.name, move || as_expected(scenario, &boot::boot(layout, rig, scenario)?))
}

/// Boots a sequence, and holds each boot against what it expects.
fn sequence_test<'a>(layout: &'a Layout, rig: &'a RigFiles, sequence: &'static Sequence) -> GuestTest<'a> {
    GuestTest::new(sequence.name, move || {
        let boots = boot::boot_sequence(layout, rig, sequence)?;
        let mut differences = verdict::sequence_differences(sequence, &boots);
        if !differences.is_empty() {
            differences.extend(boots.iter().map(|boot| last_words(&boot.outcome)));
        }
        none_of(&differences).context(sequence.title)
    })
}

/// Fails if a boot was not as its scenario expects: with the differences, and with what the machine said last.
fn as_expected(scenario: &Scenario, boot: &Boot) -> Result<()> {
    let mut differences = verdict::differences(scenario, boot);
    if !differences.is_empty() {
        differences.push(last_words(&boot.outcome));
    }
    none_of(&differences)
}

/// Returns how a machine ended, and what it and Xen said last.
fn last_words(outcome: &Outcome) -> String {
    /// Lines of each.
    const LINES: usize = 8;
    /// Characters of each line.
    const WIDTH: usize = 160;
    let last = |lines: Vec<&str>| {
        lines[lines.len().saturating_sub(LINES)..]
            .iter()
            .map(|line| format!("\n    {}", line.chars().take(WIDTH).collect::<String>()))
            .collect::<String>()
    };
    format!(
        "it ended as {:?} after {:.1} s, and said last:{}\nXen said last:{}",
        outcome.end,
        outcome.guest_time.as_secs_f32(),
        last(outcome.console.iter().map(String::as_str).collect()),
        last(outcome.xen_log.lines().collect()),
    )
}

fn none_of(differences: &[String]) -> Result<()> {
    if differences.is_empty() { Ok(()) } else { bail!("{}", differences.join("\n")) }
}

/// Shows what is kept of a guest's console, or of those of a sequence's boots.
///
/// # Errors
/// A console cannot be read.
pub fn print_consoles(folder: &Path) -> Result<()> {
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

/// Mounts one backing file behind two emulated disks through both. If this volume survived, "intact" would
/// mean nothing in the other tests.
fn double_mount(layout: &Layout, rig: &RigFiles) -> Result<()> {
    let (outcome, image) = boot::boot_double_mount(layout, rig)?;
    let mounts = outcome.report().all(protocol::Line::Mount.name()).count();
    if mounts != 2 || image.verdict != Verdict::Destroyed {
        bail!("{mounts} mounts and the image {image}; expected 2 and destroyed");
    }
    Ok(())
}

/// Checks that a word that the executive does not know stops it before the first driver. Otherwise a misspelt
/// word would leave a guest that tests nothing.
fn unknown_word(layout: &Layout, rig: &RigFiles) -> Result<()> {
    const WORD: &str = "late-relation";
    let report = boot::boot_unknown_word(layout, rig, WORD)?.report();
    let said = report.debug("panic ").next().unwrap_or_default().to_owned();
    let loaded = report.all(protocol::Line::Load.name()).count();
    if report.verdict() != Some("stopped") || !said.contains(WORD) || loaded > 0 {
        bail!(
            "end {:?}, {loaded} drivers loaded, {said:?}; expected a stop that names {WORD}",
            report.verdict()
        );
    }
    Ok(())
}

/// Returns the deliberately wrong drivers and the violation each must be stopped for; none for the one that
/// is right.
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
    let report = boot::boot_wrong(layout, rig, case)?.report();
    let found: Vec<_> =
        report.all(protocol::Line::Violation.name()).filter_map(|line| line.get("name")).collect();
    let expected: Vec<_> = violation.into_iter().collect();
    let verdict = if violation.is_some() { "stopped" } else { "clean" };
    if found != expected || report.verdict() != Some(verdict) {
        bail!("violations {found:?}, end {:?}; expected {expected:?}, {verdict}", report.verdict());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_of_the_rig_is_told_from_one_of_the_guest() {
        let of_rig: Result<()> = Err(RigError::BadResults { reason: "none".to_owned() }.into());
        let of_rig = of_rig.context("boot 1 of x").expect_err("an error");
        assert!(matches!(rig_failure(&of_rig), Some(RigError::BadResults { .. })));
        assert!(
            rig_failure(&none_of(&["PV disks: 0, expected 1".to_owned()]).expect_err("an error")).is_none()
        );
    }
}

#[cfg(test)]
mod turns {
    use super::*;

    /// Each guest that takes turns is in one turn, and no turn has many more than another.
    #[test]
    fn every_guest_has_its_turn() {
        let all =
            || catalogue::boots().map(|boot| boot.runs).chain(catalogue::sequences().map(|one| one.runs));
        let chosen = |turn| {
            let mut in_turn = 0;
            all().map(move |runs| is_chosen(runs, &mut in_turn, turn))
        };
        let turns: Vec<Vec<bool>> = (0..TURNS).map(|turn| chosen(Some(turn)).collect()).collect();
        for (at, runs) in all().enumerate() {
            let count = turns.iter().filter(|turn| turn[at]).count();
            let expected = match runs {
                Runs::Always => TURNS,
                Runs::InTurn => 1,
                Runs::ByName => 0,
            };
            assert_eq!(count, expected, "guest {at}");
        }
        let sizes: Vec<_> = turns.iter().map(|turn| turn.iter().filter(|&&chosen| chosen).count()).collect();
        assert!(sizes.iter().max() <= sizes.iter().min().map(|least| least + 1).as_ref(), "{sizes:?}");
        assert!(chosen(None).all(|chosen| chosen));
    }

    /// Each version of Xen beside the default one has a turn, and each guest that is named for it is there.
    #[test]
    fn every_version_of_xen_has_its_turn() {
        let turns: BTreeSet<_> = (0..TURNS).map(|turn| further_xen(turn).xen()).collect();
        let others = Release::ALL.into_iter().filter(|&release| release != Release::default());
        assert_eq!(turns, others.map(Release::xen).collect());
        for name in ON_A_FURTHER_XEN {
            assert_eq!(catalogue::boots().filter(|boot| boot.name == name).count(), 1, "{name}");
        }
    }
}
