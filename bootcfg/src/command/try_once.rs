//! `try`: PV disks for the next boot only.

use serde_json::json;

use super::Outcome;
use crate::{exit::Exit, named::Named, session::Session};

pub(super) fn run(session: &mut Session, entry: Option<&Named>) -> Outcome {
    let place = session.place()?;
    let entry = session.number_of(&place, entry)?;
    let system = session.system_of(&place, entry);
    session.refuse_hibernated_system(&system)?;
    // First: a loader that has no such thing is told before drivers are.
    let mut tried = place.read()?.configuration;
    tried.menu_mut().try_pv(entry)?;
    system.refuse_pv_without_drivers(&mut session.output, session.global.dry_run, &tried.menu().entries())?;
    let facts = session.change(&place, None, |new| {
        let menu = new.menu_mut();
        let number = menu.try_pv(entry)?;
        let entry = menu.entries().into_iter().find(|entry| entry.number == number);
        Ok((
            format!("The next boot is entry {number} (PV); the one after it is the default again"),
            json!({ "entry": entry.map(|entry| entry.json()) }),
        ))
    })?;
    system.prepare(&mut session.output, session.global.dry_run)?;
    Ok((Exit::Done, facts))
}
