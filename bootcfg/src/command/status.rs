//! `status`: the entries, the drivers, and what to know about both.

use serde_json::json;

use super::Outcome;
use crate::{
    exit::Exit,
    menu::{Entry, FOR_EVER, Finding, Loads, Severity},
    output::Tone,
    session::Session,
    system::Answer,
};

pub(super) fn run(session: &mut Session) -> Outcome {
    let place = session.place()?;
    let read = place.read()?;
    let menu = read.configuration.menu();
    let system = session.system(&place);
    let entries = menu.entries();
    let output = &session.output;

    output.say(Tone::Strong, &format!("{} ({})", place, menu.kind()));
    for entry in &entries {
        output.say(if entry.default { Tone::Strong } else { Tone::Plain }, &line(entry));
        output.detail(&format!("      {}  {}", entry.id, entry.options));
    }
    let timeout = menu.timeout();
    output.say(
        Tone::Plain,
        &match timeout {
            Some(0) => "The menu is not shown (timeout 0)".to_owned(),
            Some(FOR_EVER) => "The menu waits for a choice".to_owned(),
            Some(seconds) => format!("The menu waits {seconds} s"),
            None => "The menu's timeout is not set".to_owned(),
        },
    );

    let facts = system.facts(&entries);
    for fact in &facts {
        let tone = if fact.answer == Answer::Unknown { Tone::Faint } else { Tone::Plain };
        output.say(tone, &format!("{:<16} {}", fact.name, fact.text));
    }
    let mut findings = menu.check();
    findings.extend(system.check(&entries));
    for finding in findings.iter().filter(|finding| finding.severity == Severity::Wrong) {
        session.output.warn(&finding.text);
    }
    let facts: serde_json::Map<_, _> = facts
        .into_iter()
        .map(|fact| (fact.key.to_owned(), json!({ "answer": fact.answer.word(), "text": fact.text })))
        .collect();
    let drivers = system.judge(&entries).map(|judgement| judgement.json()).unwrap_or_default();
    Ok((
        Exit::Done,
        json!({
            "configuration": place.to_string(),
            "kind": read.configuration.menu().kind(),
            "entries": entries.iter().map(Entry::json).collect::<Vec<_>>(),
            "timeout": timeout,
            "system": facts,
            "records": system.records().json(),
            "drivers": drivers,
            "findings": findings.iter().map(Finding::json).collect::<Vec<_>>(),
        }),
    ))
}

/// One entry for a reader: `* 1  emulated  Windows Server 2003`.
pub(super) fn line(entry: &Entry) -> String {
    let mark = if entry.default { '*' } else { ' ' };
    let disks = match entry.loads {
        Loads::Windows if entry.pv => "PV",
        Loads::Windows => "emulated",
        Loads::Recovery => "recovery",
        Loads::Other => "other",
    };
    let hidden = if entry.shown { "" } else { "  (not in the menu)" };
    format!("{mark} {:2}  {disks:<8}  {}{hidden}", entry.number, entry.name)
}
