//! `default`: which entry boots when nobody chooses.

use serde_json::json;

use super::Outcome;
use crate::{cli::Disks, exit::Exit, session::Session};

pub fn run(session: &mut Session, disks: Disks) -> Outcome {
    let place = session.place()?;
    let system = session.system(&place);
    session.refuse_hibernated(&place)?;
    if disks == Disks::Pv {
        system.refuse_pv_without_drivers(session.global.dry_run)?;
    }
    let facts = session.change(&place, None, |new| {
        let menu = new.menu_mut();
        let number = menu.set_default(disks == Disks::Pv)?;
        let entry = menu.entries().into_iter().find(|entry| entry.number == number);
        let name = entry.as_ref().map(|entry| entry.name.clone()).unwrap_or_default();
        Ok((
            format!("The default is entry {number}: {name}"),
            json!({ "entry": entry.map(|entry| entry.json()) }),
        ))
    })?;
    if disks == Disks::Pv {
        system.turn_fast_startup_off(session)?;
    }
    Ok((Exit::Done, facts))
}
