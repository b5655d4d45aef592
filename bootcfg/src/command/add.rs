//! `add`: a PV entry beside an emulated one.

use serde_json::json;

use super::Outcome;
use crate::{exit::Exit, menu::default_number, session::Session, system::Answer};

pub fn run(session: &mut Session, entry: Option<usize>, name: Option<&str>) -> Outcome {
    let place = session.place()?;
    let system = session.system(&place);
    session.refuse_hibernated(&place)?;
    let mut question = None;
    for fact in system.facts().into_iter().filter(|fact| fact.asks_before_add && fact.answer == Answer::Yes) {
        session.output.warn(format!("{} is {}", fact.name, fact.text));
        question = Some("Add the entry all the same?");
    }
    let facts = session.change(&place, question, |new| {
        let menu = new.menu_mut();
        let source = match entry {
            Some(number) => number,
            None => default_number(menu)?,
        };
        // The default may be the PV entry already: then there is nothing to do either.
        let is_pv = menu.entries().iter().any(|e| e.number == source && e.pv);
        let sibling = if is_pv { Some(source) } else { menu.pv_sibling(source)? };
        let (number, line) = match sibling {
            Some(number) => (number, format!("Entry {number} boots this system with PV disks already")),
            None => {
                let number = menu.add_pv(source, name)?;
                (number, format!("Entry {number} boots with PV disks; the default is as it was"))
            }
        };
        let entry = menu.entries().into_iter().find(|entry| entry.number == number);
        Ok((line, json!({ "entry": entry.map(|entry| entry.json()) })))
    })?;
    // Idempotent too: an entry that was there already does not make fast startup safe.
    system.turn_fast_startup_off(session)?;
    Ok((Exit::Done, facts))
}
