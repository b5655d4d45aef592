//! `restore`: brings a backup back, or lists those that there are.

use anyhow::{Context, Result};
use guard::calendar;
use serde_json::{Value, json};
use std::path::Path;

use super::Outcome;
use crate::{
    bail_as,
    exit::Exit,
    files,
    output::Tone,
    place::{Old, Place},
    session::{self, Session},
};

pub(super) fn run(session: &mut Session, file: Option<&Path>, list: bool) -> Outcome {
    let place = session.place()?;
    if list {
        return list_all(session, &place);
    }
    session.refuse_hibernated(&place)?;
    let file = match (file, place.last_backup()?) {
        (Some(file), _) => file.to_owned(),
        (None, Some(last)) => last,
        (None, None) => bail_as!(Unusable, "{place} has no backup beside it; name a file"),
    };
    let bytes = session::read_named(&file)?;
    // What is no boot configuration, or of another kind, is not put in place.
    let new = place.parse(&bytes).with_context(|| format!("{} is no backup of {place}", file.display()))?;
    let (first, first_bytes) = (place.read(), place.raw().ok());
    if let Ok(read) = &first {
        if read.bytes == bytes || read.configuration == new {
            session.output.say(Tone::Good, &format!("{place} is as in {}", file.display()));
            return Ok((Exit::Done, json!({ "changed": false, "from": file.display().to_string() })));
        }
        if session.global.dry_run || session.global.verbose {
            session.show_difference(&place, &read.configuration, &new);
        }
    }
    if session.global.dry_run {
        let line = format!("{place} would be as in {}", file.display());
        session.output.say(Tone::Plain, &line);
        return Ok((Exit::Done, json!({ "from": file.display().to_string() })));
    }
    session.confirm(&format!("Replace {place} by {}?", file.display()))?;
    session.look_again(&session.system(&place))?;
    let _lock = place.lock()?;
    let now = place.read();
    let is_same = match (&first, &now) {
        (Ok(first), Ok(now)) => first.configuration == now.configuration,
        (Err(_), Err(_)) => first_bytes == place.raw().ok(),
        _ => false,
    };
    if !is_same {
        return Err(place.changed_meanwhile());
    }
    // A damaged configuration, which cannot be understood, is what a backup is for; so is one that is gone.
    let old = match now {
        Ok(read) => Some(Old { bytes: read.bytes, hive: read.hive }),
        Err(_) if !place.exists() => None,
        Err(error) => Some(Old { bytes: place.raw().with_context(|| format!("{error:#}"))?, hive: None }),
    };
    let kept = place.restore(old.as_ref(), &bytes, &file)?;
    session.output.say(Tone::Good, &format!("{place} is as in {}", file.display()));
    match &kept {
        Some(kept) => session.output.kept("What was there", kept),
        None => session.output.say(Tone::Faint, "Nothing was there before"),
    }
    let kept = kept.map(|path| path.display().to_string());
    Ok((Exit::Done, json!({ "changed": true, "from": file.display().to_string(), "backup": kept })))
}

fn list_all(session: &mut Session, place: &Place) -> Outcome {
    let now = place.raw().ok();
    let mut list = Vec::new();
    for (number, path) in place.backups()? {
        let facts = describe(place, now.as_deref(), number, &path);
        let line = format!(
            "{:4}  {}  {:>9} bytes  {}",
            number,
            facts["time"].as_str().unwrap_or("time not known    "),
            facts["size"],
            facts["content"].as_str().unwrap_or_default()
        );
        session.output.say(Tone::Plain, &line);
        session.output.detail(&format!("      {}", path.display()));
        list.push(facts);
    }
    if list.is_empty() {
        session.output.say(Tone::Plain, &format!("{place} has no backup beside it"));
    }
    Ok((Exit::Done, json!({ "backups": list })))
}

/// When a backup was made, and what is in it.
fn describe(place: &Place, now: Option<&[u8]>, number: u32, path: &Path) -> Value {
    let time = files::modified(path).map(utc);
    let content = || -> Result<String> {
        let bytes = session::read_named(path)?;
        let configuration = place.parse(&bytes)?;
        let entries = configuration.menu().entries();
        let pv = entries.iter().filter(|entry| entry.pv).count();
        let default = entries.iter().find(|entry| entry.default).map_or("none", |entry| &entry.name);
        let same = if now == Some(&bytes) { "; as it is now" } else { "" };
        Ok(format!("{} entries, {pv} of them PV; default: {default}{same}", entries.len()))
    };
    let content = content().unwrap_or_else(|error| format!("not usable: {error:#}"));
    let size = std::fs::metadata(path).map(|metadata| metadata.len()).ok();
    json!({ "number": number, "file": path.display().to_string(), "time": time, "size": size, "content": content })
}

/// Returns a time as `2026-11-28 16:45:00 UTC`.
fn utc(time: std::time::SystemTime) -> String {
    let seconds = time.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = calendar::date(days + calendar::UNIX_EPOCH);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn times_of_the_calendar() {
        // As `date -u -d @<seconds>` has them.
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_072_915_199, "2003-12-31 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(utc(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }
}
