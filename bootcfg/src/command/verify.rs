//! `verify`: is all consistent, and may disks be changed?

use serde_json::{Value, json};

use super::Outcome;
use crate::{
    exit::Exit,
    menu::{Finding, Severity},
    output::Tone,
    place::Place,
    session::Session,
};

pub(super) fn run(session: &mut Session) -> Outcome {
    let place = session.place()?;
    let read = place.read()?;
    let system = session.system(&place);
    let menu = read.configuration.menu();
    let mut findings = menu.check();
    if let (Some(hive), Place::Store(path)) = (&read.hive, &place) {
        findings.extend(hive.replay_note(path).map(Finding::note));
    }
    findings.extend(system.check(&menu.entries()));
    let texts = [" is consistent", ": 1 thing is wrong", " things are wrong"];
    Ok(report(session, &place, &findings, texts))
}

/// Prints findings and a summary, and returns the exit code and the document. `texts`: what follows the place where
/// nothing is wrong, where one thing is, and what follows the number of more.
pub(super) fn report(
    session: &Session,
    place: &Place,
    findings: &[Finding],
    [none, one, more]: [&str; 3],
) -> (Exit, Value) {
    let wrong = findings.iter().filter(|finding| finding.severity == Severity::Wrong).count();
    for finding in findings {
        let (tone, word) = match finding.severity {
            Severity::Wrong => (Tone::Bad, "wrong"),
            Severity::Note => (Tone::Attention, "note"),
        };
        session.output.say(tone, &format!("{word}: {}", finding.text));
    }
    let summary = match wrong {
        0 => format!("{place}{none}"),
        1 => format!("{place}{one}"),
        n => format!("{place}: {n}{more}"),
    };
    session.output.say(if wrong == 0 { Tone::Good } else { Tone::Bad }, &summary);
    let list: Vec<_> = findings.iter().map(Finding::json).collect();
    let exit = if wrong == 0 { Exit::Done } else { Exit::Findings };
    (exit, json!({ "configuration": place.to_string(), "findings": list }))
}
