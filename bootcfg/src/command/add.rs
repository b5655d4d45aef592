//! `add`: a PV entry beside an emulated one.

use anyhow::Result;
use serde_json::json;

use super::Outcome;
use crate::{
    exit::Exit,
    menu::{Menu, default_number, refuse_control_characters},
    named::Named,
    session::Session,
    system::Answer,
};

pub(super) fn run(session: &mut Session, entry: Option<&Named>, name: Option<&str>) -> Outcome {
    let place = session.place()?;
    let entry = session.number_of(&place, entry)?;
    of_number(session, entry, name)
}

/// Adds the PV entry of an entry by its number, or of the default; otherwise as [`run`].
///
/// # Errors
/// Errors of [`run`].
pub(super) fn of_number(session: &mut Session, entry: Option<usize>, name: Option<&str>) -> Outcome {
    let place = session.place()?;
    let system = session.system_of(&place, entry);
    session.refuse_hibernated_system(&system)?;
    if let Some(name) = name {
        refuse_control_characters(name)?;
    }
    let mut question = None;
    for fact in
        system.facts(&[]).into_iter().filter(|fact| fact.asks_before_add && fact.answer == Answer::Yes)
    {
        session.output.warn(format!("{} is {}", fact.name, fact.text));
        question = Some("Add the entry all the same?");
    }
    let facts = session.change(&place, question, |new| {
        let menu = new.menu_mut();
        let (number, is_new) = made(menu, entry, name)?;
        let line = if is_new {
            format!("Entry {number} boots with PV disks; the default is as it was")
        } else {
            format!("Entry {number} boots this system with PV disks already")
        };
        let entry = menu.entries().into_iter().find(|entry| entry.number == number);
        Ok((line, json!({ "entry": entry.map(|entry| entry.json()) })))
    })?;
    // Idempotent too: an entry that was there already does not make fast startup safe.
    system.prepare(&mut session.output, session.global.dry_run)?;
    Ok((Exit::Done, facts))
}

/// Makes the PV entry of `entry`, or else of the default one, unless it is there; returns its number, and
/// whether it was made.
///
/// # Errors
/// It cannot be made.
pub(super) fn made(menu: &mut dyn Menu, entry: Option<usize>, name: Option<&str>) -> Result<(usize, bool)> {
    let source = match entry {
        Some(number) => number,
        None => default_number(menu)?,
    };
    // The default may be the PV entry already: then there is nothing to do either.
    let is_pv = menu.entries().iter().any(|e| e.number == source && e.pv);
    let sibling = if is_pv { Some(source) } else { menu.pv_sibling(source)? };
    match sibling {
        Some(number) => Ok((number, false)),
        None => Ok((menu.add_pv(source, name)?, true)),
    }
}
