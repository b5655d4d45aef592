//! `restore`: brings a backup back.

use anyhow::Context;
use serde_json::json;
use std::path::Path;

use super::Outcome;
use crate::{
    exit::Exit,
    output::Tone,
    session::{self, Session},
    told,
};

pub fn run(session: &mut Session, file: Option<&Path>) -> Outcome {
    let place = session.place()?;
    session.system(&place).refuse_offline_edit_of_hibernated(session.global.dry_run)?;
    let file = match (file, place.last_backup()?) {
        (Some(file), _) => file.to_owned(),
        (None, Some(last)) => last,
        (None, None) => told!(Unusable, "{place} has no backup beside it; name a file"),
    };
    let bytes = session::read_named(&file)?;
    // What is no boot configuration, or of another kind, is not put in place.
    let new = place.parse(&bytes).with_context(|| format!("{} is no backup of {place}", file.display()))?;
    let old = place.read();
    if let Ok(read) = &old {
        if read.bytes == bytes || read.configuration == new {
            session.output.say(Tone::Good, &format!("{place} is as in {}", file.display()));
            return Ok((Exit::Done, json!({ "changed": false, "from": file.display().to_string() })));
        }
        if session.global.dry_run || session.global.verbose {
            session.show_difference(&place, &read.configuration, &new);
        }
    }
    if session.global.dry_run {
        return Ok((Exit::Done, json!({ "dry_run": true, "from": file.display().to_string() })));
    }
    session.confirm(&format!("Replace {place} by {}?", file.display()))?;
    let _lock = place.lock()?;
    // A damaged configuration, which cannot be understood, is what a backup is for.
    let old = match place.read() {
        Ok(read) => read.bytes,
        Err(error) => place.raw().with_context(|| format!("{error:#}"))?,
    };
    let kept = place.restore(&old, &bytes, &file)?;
    session.output.say(Tone::Good, &format!("{place} is as in {}", file.display()));
    session.output.say(Tone::Faint, &format!("What was there is kept as {}", kept.display()));
    let facts =
        json!({ "changed": true, "from": file.display().to_string(), "backup": kept.display().to_string() });
    Ok((Exit::Done, facts))
}
