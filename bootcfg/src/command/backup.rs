//! `backup`: keeps a copy.

use serde_json::json;
use std::path::Path;

use super::Outcome;
use crate::{bail_as, exit::Exit, output::Tone, session::Session};

pub(super) fn run(session: &mut Session, file: Option<&Path>) -> Outcome {
    let place = session.place()?;
    let read = place.read()?;
    // Reading is safe, and so is a copy on another volume.
    if file.is_none_or(|file| session.is_on_the_volume(&place, file)) {
        session.refuse_hibernated(&place)?;
    }
    if session.global.dry_run {
        session.output.say(Tone::Plain, &format!("{place} would be copied"));
        return Ok((Exit::Done, json!({})));
    }
    if let Some(file) = file.filter(|file| file.exists()) {
        bail_as!(Refused, "{} is there already and is not overwritten", file.display());
    }
    let _lock = if file.is_none() { Some(place.lock()?) } else { None };
    let backup = place.backup(&read, file)?;
    session.output.say(Tone::Good, &format!("{place} is kept as {}", backup.display()));
    Ok((Exit::Done, json!({ "changed": true, "backup": backup.display().to_string() })))
}
