//! `backup`: keeps a copy.

use serde_json::json;
use std::path::Path;

use super::Outcome;
use crate::{exit::Exit, output::Tone, session::Session, told};

pub fn run(session: &mut Session, file: Option<&Path>) -> Outcome {
    let place = session.place()?;
    let read = place.read()?;
    if session.global.dry_run {
        session.output.say(Tone::Plain, &format!("{place} would be copied"));
        return Ok((Exit::Done, json!({ "dry_run": true })));
    }
    if let Some(file) = file.filter(|file| file.exists()) {
        told!(Refused, "{} is there already and is not overwritten", file.display());
    }
    let _lock = place.lock()?;
    let backup = place.backup(&read, file)?;
    session.output.say(Tone::Good, &format!("{place} is kept as {}", backup.display()));
    Ok((Exit::Done, json!({ "backup": backup.display().to_string() })))
}
