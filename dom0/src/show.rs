// SPDX-License-Identifier: GPL-3.0-only
//! Guests for people and for programs.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::guest::{Guest, Standing, words};

/// Returns a table of guests.
pub(crate) fn table(guests: &[Guest]) -> String {
    let head = ["DOMAIN", "NAME", "STATE", "DISKS", "SINCE", "VERSION", "REASON"].map(str::to_owned);
    let rows: Vec<[String; 7]> = std::iter::once(head).chain(guests.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 7] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            // Writing to a String does not fail.
            let _ = write!(line, "{cell:width$}  ");
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

fn row(guest: &Guest) -> [String; 7] {
    let guard = guest.guard.as_ref();
    [
        guest.domain.to_string(),
        guest.name.clone(),
        guest.standing().name().to_owned(),
        disks(guest),
        guard.and_then(|guard| guard.since).map(age).unwrap_or_default(),
        guard.and_then(|guard| guard.version.clone()).unwrap_or_default(),
        sentence(guest),
    ]
}

/// Returns the disks of the last census: `2 PV`, and what else there is.
fn disks(guest: &Guest) -> String {
    let Some(guard) = &guest.guard else { return String::new() };
    let mut parts = Vec::new();
    if let Some(own) = guard.own {
        parts.push(format!("{own} PV"));
    }
    for (count, what) in [(guard.alias, "alias"), (guard.foreign, "other")] {
        if let Some(count) = count.filter(|count| *count > 0) {
            parts.push(format!("{count} {what}"));
        }
    }
    parts.join(", ")
}

/// Returns the reason for its standing, in words, and the host's veto where it is still to come or is for one boot.
fn sentence(guest: &Guest) -> String {
    let reason = match guest.standing() {
        Standing::Silent => "says nothing".to_owned(),
        _ => guest.reason().map(words).unwrap_or_default(),
    };
    if guest.vetoed_once() {
        return format!("{reason}; {ONCE}");
    }
    let next = guest.vetoed() && guest.standing() != Standing::Emulated;
    if next { format!("{reason}; its next boot is emulated") } else { reason }
}

/// The words for the veto of `watch`.
const ONCE: &str = "PV is vetoed for this boot, since those before it failed";

/// Returns the time that has gone since a moment: `3 d`, `5 h`, `12 min`, `40 s`.
fn age(since: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    match now.saturating_sub(since) {
        seconds if seconds >= 2 * 86_400 => format!("{} d", seconds / 86_400),
        seconds if seconds >= 2 * 3600 => format!("{} h", seconds / 3600),
        seconds if seconds >= 120 => format!("{} min", seconds / 60),
        seconds => format!("{seconds} s"),
    }
}

/// Returns who chooses how its next boots go.
fn next_boots(guest: &Guest) -> String {
    match guest.vetoed() {
        _ if guest.vetoed_once() => format!("as the entry says; {ONCE}"),
        true => "emulated, by the host's word".to_owned(),
        false => "as the entry says".to_owned(),
    }
}

/// Returns everything that is known of a guest.
pub(crate) fn details(guest: &Guest) -> String {
    let mut lines = vec![
        ("domain", guest.domain.to_string()),
        ("name", guest.name.clone()),
        ("state", guest.standing().name().to_owned()),
        ("reason", guest.reason().map(|code| format!("{code:#x}, {}", words(code))).unwrap_or_default()),
        ("next boots", next_boots(guest)),
    ];
    if let Some(guard) = &guest.guard {
        let number = |value: Option<u32>| value.map(|value| value.to_string());
        let name = |value: Option<&str>| value.map(str::to_owned);
        let known = [
            ("version", guard.version.clone()),
            ("mode", name(guard.mode)),
            ("phase", name(guard.phase)),
            ("hide policy", name(guard.policy)),
            ("unplug", name(guard.unplug)),
            ("hidden controllers", number(guard.hidden)),
            ("PV driver's disks", number(guard.own)),
            ("PV disks seen", number(guard.ours)),
            ("aliases seen", number(guard.alias)),
            ("other disks seen", number(guard.foreign)),
            ("since", guard.since.map(|since| format!("{} (by the guest's clock)", age(since)))),
            (
                "service",
                guard.service.map(|beat| format!("last heartbeat {} ago (by the guest's clock)", age(beat))),
            ),
        ];
        lines.extend(known.into_iter().filter_map(|(what, value)| Some((what, value?))));
    }
    if let Some(stop) = &guest.stop {
        let text = format!("{} of {} disks its own: {}", stop.own, stop.enumerated, stop.text);
        lines.push(("stop, by its log", text));
    }
    let width = lines.iter().map(|(what, _)| what.len()).max().unwrap_or(0);
    lines.iter().fold(String::new(), |mut text, (what, value)| {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{:width$}{value}", format!("{what}:"), width = width + 2);
        text
    })
}

/// Returns one document of all guests.
pub(crate) fn json(guests: &[Guest]) -> String {
    let guests: Vec<Value> = guests.iter().map(value).collect();
    format!("{:#}\n", json!({ "guests": guests }))
}

/// Returns a guest as JSON.
pub(crate) fn value(guest: &Guest) -> Value {
    let guard = guest.guard.as_ref().map(|guard| {
        json!({
            "version": guard.version,
            "mode": guard.mode,
            "phase": guard.phase,
            "policy": guard.policy,
            "unplug": guard.unplug,
            "hidden": guard.hidden,
            "own": guard.own,
            "ours": guard.ours,
            "alias": guard.alias,
            "foreign": guard.foreign,
            "since": guard.since,
            "service": guard.service,
        })
    });
    json!({
        "domain": guest.domain,
        "name": guest.name,
        "state": guest.standing().name(),
        "reason": guest.reason(),
        "text": guest.reason().map(words),
        "boot": guest.boot,
        "vetoed": guest.vetoed(),
        "guard": guard,
        "stop": guest.stop.as_ref().map(|stop| {
            json!({ "reason": stop.reason, "own": stop.own, "enumerated": stop.enumerated, "text": stop.text })
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::Guard;
    use crate::log::Stop;

    fn guests() -> Vec<Guest> {
        let guard = Guard {
            version: Some("0.1.0".to_owned()),
            phase: Some("exposed"),
            reason: Some(1),
            own: Some(2),
            alias: Some(0),
            foreign: Some(1),
            service: Some(1_800_000_000),
            ..Guard::default()
        };
        let pv = Guest { domain: 1, name: "web".to_owned(), guard: Some(guard.clone()), ..Guest::default() };
        let stop = Stop { reason: 0x50, own: 1, enumerated: 2, text: "both are present".to_owned() };
        let stopped = Guest {
            domain: 12,
            name: "db".to_owned(),
            guard: Some(guard),
            stop: Some(stop),
            boot: Some("emulated".to_owned()),
            ..Guest::default()
        };
        let linux = Guest { domain: 13, name: "linux".to_owned(), ..Guest::default() };
        vec![pv, stopped, linux]
    }

    #[test]
    fn the_table_has_a_line_for_each_guest() {
        let table = table(&guests());
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 4, "{table}");
        assert!(lines[0].starts_with("DOMAIN  NAME   STATE    DISKS"), "{table}");
        assert!(lines[1].starts_with("1       web    pv       2 PV, 1 other"), "{table}");
        assert!(lines[2].contains("stopped"), "{table}");
        assert!(lines[2].ends_with("both present; its next boot is emulated"), "{table}");
        assert!(lines[3].ends_with("says nothing"), "{table}");
    }

    /// An admin's veto is told from that of `watch`, after which somebody has to look.
    #[test]
    fn a_veto_for_one_boot_is_told() {
        let word = guard::host::EMULATED_AFTER_FAILED_BOOTS.to_owned();
        let guest = Guest { domain: 1, boot: Some(word.clone()), ..Guest::default() };
        let told = "; PV is vetoed for this boot, since those before it failed\n";
        assert!(table(std::slice::from_ref(&guest)).ends_with(told));
        assert!(
            details(&guest).contains(&format!("next boots: as the entry says{told}")),
            "{}",
            details(&guest)
        );
        assert_eq!(value(&guest)["boot"], json!(word));
    }

    #[test]
    fn json_has_the_numbers_and_the_words() {
        let document: Value = serde_json::from_str(&json(&guests())).unwrap();
        let guests = document["guests"].as_array().unwrap();
        assert_eq!((&guests[0]["state"], &guests[0]["guard"]["own"]), (&json!("pv"), &json!(2)));
        assert_eq!(guests[0]["guard"]["service"], json!(1_800_000_000));
        assert_eq!((&guests[1]["reason"], &guests[1]["vetoed"]), (&json!(0x50), &json!(true)));
        assert_eq!((&guests[2]["guard"], &guests[2]["state"]), (&Value::Null, &json!("silent")));
    }

    #[test]
    fn details_tell_of_the_stop() {
        let text = details(&guests()[1]);
        assert!(text.contains("state:             stopped\n"), "{text}");
        assert!(text.contains("1 of 2 disks its own: both are present\n"), "{text}");
        assert!(text.contains("service:           last heartbeat "), "{text}");
        assert!(!details(&guests()[2]).contains("service"), "a guest without it says nothing of it");
    }
}
