// SPDX-License-Identifier: GPL-3.0-only
//! Guests in Prometheus' text format.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use crate::guest::{Guest, Standing, at};

/// Returns the metrics of all guests.
pub(crate) fn text(guests: &[Guest]) -> String {
    let mut text = String::new();
    let mut family = |name: &str, help: &str, samples: &dyn Fn(&Guest) -> Vec<(String, u64)>| {
        // Writing to a String does not fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
        for guest in guests {
            for (labels, value) in samples(guest) {
                let _ = writeln!(text, "{name}{{{}{labels}}} {value}", identity(guest));
            }
        }
    };
    family("xenguard_guest_state", "How the guest is guarded: 1 for the one that it is.", &|guest| {
        let standing = guest.standing();
        let sample = |state: Standing| (label("state", state.name()), u64::from(state == standing));
        Standing::ALL.map(sample).to_vec()
    });
    family("xenguard_guest_reason", "The code of the reason for the state.", &|guest| {
        guest.reason().map(|reason| (String::new(), reason.into())).into_iter().collect()
    });
    family("xenguard_guest_disks", "Disks of the last census.", &|guest| {
        let Some(guard) = &guest.guard else { return Vec::new() };
        let kinds =
            [("own", guard.own), ("ours", guard.ours), ("alias", guard.alias), ("foreign", guard.foreign)];
        let sample = |(kind, count): (&str, Option<u32>)| Some((label("kind", kind), u64::from(count?)));
        kinds.into_iter().filter_map(sample).collect()
    });
    family("xenguard_guest_vetoed", "1 where the host keeps the guest's boots emulated.", &|guest| {
        vec![(String::new(), guest.vetoed().into())]
    });
    family("xenguard_guest_since_seconds", "Unix time of the last change, by the guest's clock.", &|guest| {
        let since = guest.guard.as_ref().and_then(|guard| guard.since);
        since.map(|since| (String::new(), since)).into_iter().collect()
    });
    let help = "Unix time of the service's last heartbeat, by the guest's clock; none without the service.";
    family("xenguard_guest_service_heartbeat_seconds", help, &|guest| {
        let beat = guest.guard.as_ref().and_then(|guard| guard.service);
        beat.map(|beat| (String::new(), beat)).into_iter().collect()
    });
    text
}

/// Returns the labels that tell a guest. Its name is cleaned already.
fn identity(guest: &Guest) -> String {
    format!("domain=\"{}\",name=\"{}\"", guest.domain, escape(&guest.name))
}

/// Returns one more label.
fn label(name: &str, value: &str) -> String {
    format!(",{name}=\"{}\"", escape(value))
}

/// Returns a label's value, escaped as Prometheus asks for.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Replaces a file as a whole: a collector never reads half of it.
///
/// # Errors
/// What the file system answers, with the path.
pub(crate) fn replace(file: &Path, text: &str) -> io::Result<()> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let new = file.with_file_name(name);
    let path = file.display().to_string();
    let written = fs::write(&new, text).and_then(|()| fs::rename(&new, file));
    if written.is_err() {
        // What could not be made whole is of no use.
        let _ = fs::remove_file(&new);
    }
    at(&path, written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::Guard;

    fn guest(name: &str) -> Guest {
        let guard = Guard { phase: Some("exposed"), reason: Some(1), own: Some(2), ..Guard::default() };
        Guest { domain: 4, name: name.to_owned(), guard: Some(guard), ..Guest::default() }
    }

    #[test]
    fn a_guest_has_its_samples() {
        let text = text(&[guest("web")]);
        for line in [
            "xenguard_guest_state{domain=\"4\",name=\"web\",state=\"pv\"} 1",
            "xenguard_guest_state{domain=\"4\",name=\"web\",state=\"emulated\"} 0",
            "xenguard_guest_reason{domain=\"4\",name=\"web\"} 1",
            "xenguard_guest_disks{domain=\"4\",name=\"web\",kind=\"own\"} 2",
            "xenguard_guest_vetoed{domain=\"4\",name=\"web\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
    }

    /// Every line that is no comment is a name, labels in quotes, and a number.
    #[test]
    fn a_name_cannot_leave_its_quotes() {
        let text = text(&[guest("a\"} 1\\")]);
        assert!(text.contains("name=\"a\\\"} 1\\\\\""), "{text}");
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (_, value) = line.rsplit_once("} ").unwrap();
            assert!(value.parse::<u64>().is_ok(), "{line}");
        }
    }

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let folder = std::env::temp_dir().join(format!("xenguard-dom0-metrics-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("xenguard.prom");
        for text in ["one\n", "two\n"] {
            replace(&file, text).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing is left beside it");
        assert!(replace(&folder.join("none/xenguard.prom"), "x").is_err());
        fs::remove_dir_all(&folder).unwrap();
    }
}
