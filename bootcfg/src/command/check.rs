//! `check`: is this a system that Xenguard can be installed into, and would it boot?

use super::Outcome;
use crate::{
    menu::{Finding, Severity},
    session::Session,
    system::Answer,
};

pub(super) fn run(session: &mut Session) -> Outcome {
    let place = session.place()?;
    let read = place.read()?;
    let menu = read.configuration.menu();
    let entries = menu.entries();
    let system = session.system(&place);

    let mut findings = menu.check();
    match entries.iter().find(|entry| entry.default) {
        Some(entry) => {
            let text =
                format!("`add` and `install` make the PV entry from entry {} ({})", entry.number, entry.name);
            findings.push(Finding::note(text));
        }
        None => findings
            .push(Finding::wrong("the menu's default is none of its entries: choose one with --entry")),
    }
    for fact in system.facts(&entries) {
        let asks = fact.asks_before_add && fact.answer == Answer::Yes;
        if asks || fact.answer == Answer::Unknown {
            findings.push(Finding::note(format!("{}: {}", fact.name, fact.text)));
        }
    }
    findings.extend(system.check(&entries));
    findings.extend(system.survey());
    findings.extend(session.findings_of_use());
    let mut seen = Vec::new();
    findings.retain(|finding| {
        let is_new = !seen.contains(&finding.text);
        seen.push(finding.text.clone());
        is_new
    });
    findings.sort_by_key(|finding| finding.severity == Severity::Note);

    let texts = [
        ": nothing stands against an installation",
        ": 1 thing stands against an installation",
        " things stand against an installation",
    ];
    Ok(super::verify::report(session, &place, &findings, texts))
}
