// SPDX-License-Identifier: GPL-3.0-only
//! Changes of the guests, as they happen.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use futures::StreamExt;
use serde_json::json;
use xenstore_rs::tokio::XsTokio;
use xenstore_rs::{AsyncWatch, Xs};

use crate::failed_boots::{FailedBoots, Rule};
use crate::guest::{self, Guest, Guests, Standing, at, words};
use crate::{boot, show};

/// Time between two looks at the device models' logs, of which nobody tells.
const LOOK: Duration = Duration::from_secs(2);

/// A change of a guest.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// It is there.
    Appeared(Guest),
    /// Something about it is different.
    Changed(Guest),
    /// Its domain has gone.
    Gone(Guest),
    /// Its boot was made emulated, since so many before it had not come up.
    Vetoed(Guest, u32),
}

/// The guests as they were last seen.
#[derive(Default)]
pub(crate) struct Seen {
    guests: BTreeMap<u32, Guest>,
    /// Errors that have been said of those that cannot be read.
    unread: BTreeMap<u32, String>,
}

impl Seen {
    /// Returns the changes since the last time. A guest that cannot be read is as it was: whether it has gone is not known.
    pub(crate) fn compare(&mut self, guests: Guests) -> Vec<Event> {
        let mut now: BTreeMap<u32, Guest> =
            guests.known.into_iter().map(|guest| (guest.domain, guest)).collect();
        let unread = guests.unread.keys().filter_map(|domain| self.guests.get_key_value(domain));
        now.extend(unread.map(|(domain, guest)| (*domain, guest.clone())));
        self.complain(&guests.unread);
        let before = std::mem::replace(&mut self.guests, now);
        let gone = before.iter().filter(|(domain, _)| !self.guests.contains_key(domain));
        let mut events: Vec<Event> = gone.map(|(_, guest)| Event::Gone(guest.clone())).collect();
        for (domain, guest) in &self.guests {
            match before.get(domain) {
                None => events.push(Event::Appeared(guest.clone())),
                Some(before) if !before.is_as(guest) => events.push(Event::Changed(guest.clone())),
                Some(_) => {}
            }
        }
        events
    }

    /// Says once of each guest that it cannot be read.
    fn complain(&mut self, unread: &BTreeMap<u32, io::Error>) {
        let unread = unread.iter().map(|(domain, error)| (*domain, error.to_string())).collect();
        let before = std::mem::replace(&mut self.unread, unread);
        for (domain, error) in self.unread.iter().filter(|(domain, error)| before.get(domain) != Some(error))
        {
            eprintln!("xenguard-dom0: domain {domain}: {error}");
        }
    }
}

impl Event {
    /// Returns the guest, and the word for what happened.
    fn parts(&self) -> (&Guest, &'static str) {
        match self {
            Self::Appeared(guest) => (guest, "appeared"),
            Self::Changed(guest) => (guest, "changed"),
            Self::Gone(guest) => (guest, "gone"),
            Self::Vetoed(guest, _) => (guest, "vetoed"),
        }
    }

    /// Returns a line for people.
    fn line(&self) -> String {
        let (guest, what) = self.parts();
        let head = format!("domain {} {}: ", guest.domain, guest.name);
        match (self, guest.standing()) {
            (Self::Gone(_), _) => head + "gone",
            (Self::Vetoed(_, failed), _) => {
                format!("{head}its boot is emulated, since {failed} boots in a row have not come up")
            }
            (_, Standing::Silent) => head + what + ", says nothing",
            (_, standing) => head + standing.name() + ", " + &guest.reason().map(words).unwrap_or_default(),
        }
    }

    /// Returns a document for programs, on one line.
    fn json(&self) -> String {
        let (guest, what) = self.parts();
        json!({ "event": what, "guest": show::value(guest) }).to_string()
    }
}

/// Prints what is there, and then what becomes of it.
///
/// # Errors
/// What xenstore answers.
pub(crate) fn run(
    store: &impl Xs,
    logs: &Path,
    json: bool,
    timeout: Option<u64>,
    rule: Option<Rule>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let watching = follow(store, logs, json, rule.map(FailedBoots::new));
    runtime.block_on(async {
        match timeout {
            None => watching.await,
            // That the time is over is what was asked for.
            Some(seconds) => {
                tokio::time::timeout(Duration::from_secs(seconds), watching).await.unwrap_or(Ok(()))
            }
        }
    })
}

async fn follow(store: &impl Xs, logs: &Path, json: bool, mut failed: Option<FailedBoots>) -> io::Result<()> {
    let path = "/local/domain";
    let watcher = at(path, XsTokio::new().await)?;
    let mut changes = at(path, watcher.watch(path).await)?;
    let mut seen = Seen::default();
    loop {
        let mut events = seen.compare(guest::all(store, logs)?);
        if let Some(failed) = &mut failed {
            events = veto(store, failed, events, Instant::now());
        }
        for event in events {
            let line = if json { event.json() } else { event.line() };
            let mut output = io::stdout().lock();
            writeln!(output, "{line}")?;
            output.flush()?;
        }
        // Until one of the guard's nodes changes, or a domain comes or goes; frontends and backends of all
        // guests change their nodes meanwhile.
        loop {
            match tokio::time::timeout(LOOK, changes.next()).await {
                Err(_) => break,
                Ok(Some(changed)) if matters(&changed) => break,
                Ok(Some(_)) => {}
                Ok(None) => return Err(io::Error::other("the connection to xenstore has ended")),
            }
        }
    }
}

/// Holds what happened against the count of failed boots, and has the boots of those that appeared emulated where that is
/// due. Returns the events with those that follow from this.
fn veto(store: &impl Xs, failed: &mut FailedBoots, events: Vec<Event>, now: Instant) -> Vec<Event> {
    let mut all = Vec::with_capacity(events.len());
    for event in events {
        let mut vetoed = None;
        match &event {
            Event::Appeared(guest) => {
                if let Some(boots) = failed.appeared(guest, now) {
                    match boot::choose(store, guest.domain, boot::Choice::Emulated) {
                        Ok(_) => vetoed = Some(Event::Vetoed(guest.clone(), boots)),
                        // It may have gone already. The others are watched all the same.
                        Err(error) => eprintln!("xenguard-dom0: domain {}: {error}", guest.domain),
                    }
                }
                failed.changed(guest);
            }
            Event::Changed(guest) => failed.changed(guest),
            Event::Gone(guest) => failed.gone(guest, now),
            Event::Vetoed(..) => {}
        }
        all.push(event);
        all.extend(vetoed);
    }
    all
}

/// Returns true if a node that changed may have to do with what is shown.
fn matters(path: &str) -> bool {
    let Some(rest) = path.strip_prefix("/local/domain") else { return true };
    let mut parts = rest.split('/').skip(2);
    match parts.next() {
        // A whole domain.
        None | Some("name") => true,
        Some("data" | "vm-data") => parts.next().is_none_or(|folder| folder == "xenguard"),
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::Guard;
    use crate::store::Fake;

    fn guest(domain: u32, phase: &'static str) -> Guest {
        let guard = Guard { phase: Some(phase), reason: Some(1), ..Guard::default() };
        Guest { domain, name: format!("g{domain}"), guard: Some(guard), ..Guest::default() }
    }

    fn known<const N: usize>(guests: [&Guest; N]) -> Guests {
        Guests { known: guests.map(Guest::clone).to_vec(), ..Guests::default() }
    }

    #[test]
    fn what_happened_is_told_once() {
        let mut seen = Seen::default();
        let (one, two) = (guest(1, "granted"), guest(2, "exposed"));
        assert_eq!(seen.compare(known([&one])), [Event::Appeared(one.clone())]);
        assert_eq!(seen.compare(known([&one])), []);
        let exposed = guest(1, "exposed");
        let events = seen.compare(known([&exposed, &two]));
        assert_eq!(events, [Event::Changed(exposed.clone()), Event::Appeared(two.clone())]);
        let events = seen.compare(known([&two]));
        assert_eq!(events, [Event::Gone(exposed)]);
    }

    /// A guest that cannot be read is neither gone nor new.
    #[test]
    fn a_guest_that_cannot_be_read_is_as_it_was() {
        let mut seen = Seen::default();
        let (one, two) = (guest(1, "granted"), guest(2, "exposed"));
        seen.compare(known([&one, &two]));
        let error = || BTreeMap::from([(1, io::ErrorKind::PermissionDenied.into())]);
        assert_eq!(seen.compare(Guests { unread: error(), ..known([&two]) }), []);
        assert_eq!(seen.compare(Guests { unread: error(), ..known([]) }), [Event::Gone(two)]);
        let exposed = guest(1, "exposed");
        assert_eq!(seen.compare(known([&exposed])), [Event::Changed(exposed)]);
    }

    /// The toolstack and the guest write the nodes; only the veto is ours.
    #[test]
    fn the_third_boot_is_vetoed_in_xenstore() {
        let store = Fake::default();
        let rule = Rule { limit: 2, up_after: Duration::from_secs(300) };
        let (mut failed, mut seen, mut now) = (FailedBoots::new(rule), Seen::default(), Instant::now());
        let word = |domain| store.read(&format!("/local/domain/{domain}/vm-data/xenguard/boot")).ok();
        let mut look = || {
            now += Duration::from_secs(10);
            let guests = guest::all(&store, Path::new("/nonexistent")).unwrap();
            veto(&store, &mut failed, seen.compare(guests), now)
        };
        for domain in 1..=3 {
            let root = format!("/local/domain/{domain}");
            store.add_guest(domain, "g", &[]);
            store.set(&format!("{root}/vm"), "/vm/m");
            let vetoed = look().iter().any(|event| matches!(event, Event::Vetoed(_, 2)));
            assert_eq!((vetoed, word(domain).is_some()), (domain == 3, domain == 3));
            store.set(&format!("{root}/data/xenguard/phase"), "exposed");
            look();
            store.rm(&root).unwrap();
            look();
        }
        assert_eq!(word(3), None);
    }

    /// A service comes and goes; that it lives on is no news.
    #[test]
    fn a_heartbeat_is_no_change() {
        let with = |beat| {
            let mut guest = guest(1, "exposed");
            guest.guard = guest.guard.map(|guard| Guard { service: beat, ..guard });
            guest
        };
        let mut seen = Seen::default();
        seen.compare(known([&with(None)]));
        assert_eq!(seen.compare(known([&with(Some(7))])), [Event::Changed(with(Some(7)))]);
        assert_eq!(seen.compare(known([&with(Some(37))])), []);
        assert_eq!(seen.compare(known([&with(None)])), [Event::Changed(with(None))]);
    }

    #[test]
    fn lines_name_the_guest_and_its_state() {
        assert!(Event::Changed(guest(3, "exposed")).line().starts_with("domain 3 g3: pv, "));
        assert_eq!(Event::Gone(guest(3, "exposed")).line(), "domain 3 g3: gone");
        assert!(!Event::Appeared(guest(3, "exposed")).json().contains('\n'));
    }

    #[test]
    fn only_the_guards_nodes_matter() {
        for path in [
            "/local/domain",
            "/local/domain/3",
            "/local/domain/3/data",
            "/local/domain/3/data/xenguard/since",
            "/local/domain/3/vm-data/xenguard/boot",
            "/local/domain/3/name",
        ] {
            assert!(matters(path), "{path}");
        }
        for path in [
            "/local/domain/3/device/vbd/768/state",
            "/local/domain/3/data/updated",
            "/local/domain/0/backend",
        ] {
            assert!(!matters(path), "{path}");
        }
    }
}
