//! `remove`: takes PV entries out.

use anyhow::Result;
use serde_json::{Value, json};

use super::Outcome;
use crate::{
    bail_as,
    exit::Exit,
    menu::{Entry, Menu},
    named::Named,
    place::Place,
    session::Session,
};

pub(super) fn run(session: &mut Session, entry: Option<&Named>, all: bool) -> Outcome {
    let place = session.place()?;
    let entry = session.number_of(&place, entry)?;
    session.refuse_hibernated(&place)?;
    of_windows(session, &place, entry, all, None)
}

/// Removes PV entries; where a folder of Windows is given, its own only.
pub(super) fn of_windows(
    session: &mut Session,
    place: &Place,
    entry: Option<usize>,
    all: bool,
    windows: Option<&str>,
) -> Outcome {
    let facts = session
        .change(place, Some("Remove the PV entry?"), |new| removed(new.menu_mut(), entry, all, windows))?;
    Ok((Exit::Done, facts))
}

/// Removes PV entries from a menu in memory, as [`of_windows`]; returns a line for the user, and facts.
///
/// # Errors
/// There are several and none was named, or the menu keeps one.
pub(super) fn removed(
    menu: &mut dyn Menu,
    entry: Option<usize>,
    all: bool,
    windows: Option<&str>,
) -> Result<(String, Value)> {
    let is_of = |entry: &Entry| match (windows, &entry.folder) {
        (Some(windows), Some(folder)) => windows.eq_ignore_ascii_case(folder),
        _ => true,
    };
    let pv: Vec<usize> =
        menu.entries().iter().filter(|entry| entry.pv && is_of(entry)).map(|entry| entry.number).collect();
    let numbers = match (entry, &pv[..]) {
        (Some(number), _) => vec![number],
        (None, []) => return Ok(("There is no PV entry".to_owned(), json!({ "removed": [] }))),
        (None, [number]) => vec![*number],
        (None, several) if all => several.to_vec(),
        (None, several) => {
            let several: Vec<_> = several.iter().map(ToString::to_string).collect();
            bail_as!(Refused, "there are several PV entries: {}; say --entry N or --all", several.join(", "))
        }
    };
    let names: Vec<_> =
        menu.entries().into_iter().filter(|e| numbers.contains(&e.number)).map(|e| e.name).collect();
    // From the last, so that the numbers before it hold.
    for &number in numbers.iter().rev() {
        menu.remove_pv(number)?;
    }
    Ok((format!("Removed: {}", names.join(", ")), json!({ "removed": names })))
}
