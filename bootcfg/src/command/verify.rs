//! `verify`: is all consistent, and may disks be changed?

use serde_json::json;

use super::Outcome;
use crate::{
    exit::Exit,
    menu::{Finding, Severity},
    output::Tone,
    place::Place,
    session::Session,
};

pub fn run(session: &mut Session) -> Outcome {
    let place = session.place()?;
    let read = place.read()?;
    let system = session.system(&place);
    let menu = read.configuration.menu();
    let mut findings = menu.check();
    if let (Some(hive), Place::Store(path)) = (&read.hive, &place) {
        findings.extend(hive.told(path).map(Finding::note));
    }
    findings.extend(system.check(&menu.entries()));
    let wrong = findings.iter().filter(|finding| finding.severity == Severity::Wrong).count();
    for finding in &findings {
        let (tone, word) = match finding.severity {
            Severity::Wrong => (Tone::Bad, "wrong"),
            Severity::Note => (Tone::Attention, "note"),
        };
        session.output.say(tone, &format!("{word}: {}", finding.text));
    }
    let summary = match wrong {
        0 => format!("{place} is consistent"),
        1 => format!("{place}: 1 thing is wrong"),
        n => format!("{place}: {n} things are wrong"),
    };
    session.output.say(if wrong == 0 { Tone::Good } else { Tone::Bad }, &summary);
    let list: Vec<_> = findings.iter().map(Finding::json).collect();
    let exit = if wrong == 0 { Exit::Done } else { Exit::Findings };
    Ok((exit, json!({ "configuration": place.to_string(), "findings": list })))
}
