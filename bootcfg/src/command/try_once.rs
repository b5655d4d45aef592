//! `try`: PV disks for the next boot only.

use serde_json::json;

use super::Outcome;
use crate::{exit::Exit, session::Session};

pub fn run(session: &mut Session) -> Outcome {
    let place = session.place()?;
    let system = session.system(&place);
    session.refuse_hibernated(&place)?;
    let facts = session.change(&place, None, |new| {
        let menu = new.menu_mut();
        let number = menu.try_pv()?;
        let entry = menu.entries().into_iter().find(|entry| entry.number == number);
        Ok((
            format!("The next boot is entry {number} (PV); the one after it is the default again"),
            json!({ "entry": entry.map(|entry| entry.json()) }),
        ))
    })?;
    system.turn_fast_startup_off(session)?;
    Ok((Exit::Done, facts))
}
