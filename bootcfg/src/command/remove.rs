//! `remove`: takes PV entries out.

use serde_json::json;

use super::Outcome;
use crate::{exit::Exit, session::Session, told};

pub fn run(session: &mut Session, entry: Option<usize>, all: bool) -> Outcome {
    let place = session.place()?;
    session.refuse_hibernated(&place)?;
    let facts = session.change(&place, Some("Remove the PV entry?"), |new| {
        let menu = new.menu_mut();
        let pv: Vec<usize> =
            menu.entries().iter().filter(|entry| entry.pv).map(|entry| entry.number).collect();
        let numbers = match (entry, &pv[..]) {
            (Some(number), _) => vec![number],
            (None, []) => return Ok(("There is no PV entry".to_owned(), json!({ "removed": [] }))),
            (None, [number]) => vec![*number],
            (None, several) if all => several.to_vec(),
            (None, several) => {
                let several: Vec<_> = several.iter().map(ToString::to_string).collect();
                told!(Refused, "there are several PV entries: {}; say --entry N or --all", several.join(", "))
            }
        };
        let names: Vec<_> =
            menu.entries().into_iter().filter(|e| numbers.contains(&e.number)).map(|e| e.name).collect();
        // From the last, so that the numbers before it hold.
        for &number in numbers.iter().rev() {
            menu.remove_pv(number)?;
        }
        Ok((format!("Removed: {}", names.join(", ")), json!({ "removed": names })))
    })?;
    Ok((Exit::Done, facts))
}
