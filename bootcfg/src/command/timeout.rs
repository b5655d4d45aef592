//! `timeout`: how long the menu waits.

use serde_json::json;

use super::Outcome;
use crate::{exit::Exit, session::Session};

pub(super) fn run(session: &mut Session, seconds: u32) -> Outcome {
    let place = session.place()?;
    session.refuse_hibernated(&place)?;
    let facts = session.change(&place, None, |new| {
        new.menu_mut().set_timeout(seconds)?;
        let line = match seconds {
            0 => "The menu is not shown any more".to_owned(),
            _ => format!("The menu waits {seconds} s"),
        };
        Ok((line, json!({ "timeout": seconds })))
    })?;
    Ok((Exit::Done, facts))
}
