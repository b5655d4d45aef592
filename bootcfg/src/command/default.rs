//! `default`: which entry boots when nobody chooses.

use serde_json::json;

use super::Outcome;
use crate::{cli::Disks, exit::Exit, named::Named, session::Session};

pub(super) fn run(session: &mut Session, disks: Disks, entry: Option<&Named>) -> Outcome {
    let place = session.place()?;
    let entry = session.number_of(&place, entry)?;
    let system = session.system_of(&place, entry);
    session.refuse_hibernated_system(&system)?;
    if disks == Disks::Pv {
        // First: that there is no such entry is told before drivers are.
        let mut tried = place.read()?.configuration;
        tried.menu_mut().set_default(true, entry)?;
        let entries = tried.menu().entries();
        system.refuse_pv_without_drivers(&mut session.output, session.global.dry_run, &entries)?;
    }
    let facts = session.change(&place, None, |new| {
        let menu = new.menu_mut();
        let number = menu.set_default(disks == Disks::Pv, entry)?;
        let entry = menu.entries().into_iter().find(|entry| entry.number == number);
        let name = entry.as_ref().map(|entry| entry.name.clone()).unwrap_or_default();
        Ok((
            format!("The default is entry {number}: {name}"),
            json!({ "entry": entry.map(|entry| entry.json()) }),
        ))
    })?;
    system.prepare(&mut session.output, session.global.dry_run)?;
    Ok((Exit::Done, facts))
}
