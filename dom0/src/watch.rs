// SPDX-License-Identifier: GPL-3.0-only
//! Changes of the guests, as they happen.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use serde_json::json;
use xenstore_rs::tokio::XsTokio;
use xenstore_rs::{AsyncWatch, Xs};

use crate::failed_boots::{FailedBoots, Rule};
use crate::guest::{self, Guest, Guests, Standing, at, words};
use crate::{boot, show};

/// Time between two looks at the device models' logs, of which nobody tells.
const LOOK: Duration = Duration::from_secs(2);

/// Time that is left between two looks. A guest that writes without end causes five a second.
const APART: Duration = Duration::from_millis(200);

/// A change of a guest.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// It was there at the first look.
    Found(Guest),
    /// It is there.
    Appeared(Guest),
    /// Something about it is different.
    Changed(Guest),
    /// Its domain has gone.
    Gone(Guest),
    /// Its boot was made emulated, since so many before it had not come up.
    Vetoed(Guest, u32),
    /// The veto of an earlier boot was taken back: its boot goes as its entry says.
    Cleared(Guest),
}

/// The guests as they were last seen.
#[derive(Default)]
pub(crate) struct Seen {
    /// There was a first look.
    looked: bool,
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
        let looked = std::mem::replace(&mut self.looked, true);
        let before = std::mem::replace(&mut self.guests, now);
        let gone = before.iter().filter(|(domain, _)| !self.guests.contains_key(domain));
        let mut events: Vec<Event> = gone.map(|(_, guest)| Event::Gone(guest.clone())).collect();
        for (domain, guest) in &self.guests {
            match before.get(domain) {
                None if !looked => events.push(Event::Found(guest.clone())),
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
            Self::Found(guest) | Self::Appeared(guest) => (guest, "appeared"),
            Self::Changed(guest) => (guest, "changed"),
            Self::Gone(guest) => (guest, "gone"),
            Self::Vetoed(guest, _) => (guest, "vetoed"),
            Self::Cleared(guest) => (guest, "cleared"),
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
            (Self::Cleared(_), _) => {
                head + "its boot goes as its entry says, since the veto was for the one before"
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
/// An error of xenstore's.
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
        wait(&mut changes).await?;
    }
}

/// Waits for the next look: until one of the guard's nodes changes, or a domain comes or goes, and else for [`LOOK`]. Looks
/// are [`APART`], whatever guests write.
async fn wait(changes: &mut (impl Stream<Item = Box<str>> + Unpin)) -> io::Result<()> {
    let began = tokio::time::Instant::now();
    let mut until = began + LOOK;
    while tokio::time::Instant::now() < until {
        match tokio::time::timeout_at(until, changes.next()).await {
            Err(_) => break,
            Ok(Some(changed)) if matters(&changed) => until = began + APART,
            // Frontends and backends of all guests change their nodes meanwhile.
            Ok(Some(_)) => {}
            Ok(None) => return Err(io::Error::other("the connection to xenstore has ended")),
        }
    }
    Ok(())
}

/// Holds what happened against the count of failed boots, has the boots of domains that appeared emulated where that is
/// due, and takes the vetoes of earlier boots back. Returns the events with those that follow from this.
fn veto(store: &impl Xs, failed: &mut FailedBoots, events: Vec<Event>, now: Instant) -> Vec<Event> {
    let mut all = Vec::with_capacity(events.len());
    for event in events {
        let follows = match &event {
            Event::Found(guest) => {
                failed.changed(guest);
                Ok(None)
            }
            Event::Appeared(guest) => {
                let due = failed.appeared(guest, now);
                failed.changed(guest);
                match due {
                    Some(boots) => boot::veto_once(store, guest.domain)
                        .map(|is_ours| is_ours.then(|| Event::Vetoed(guest.clone(), boots))),
                    None => clear(store, failed, guest),
                }
            }
            Event::Changed(guest) => {
                failed.changed(guest);
                // Its toolstack may write the word after the name.
                clear(store, failed, guest)
            }
            Event::Gone(guest) => {
                failed.gone(guest, now);
                Ok(None)
            }
            Event::Vetoed(..) | Event::Cleared(_) => Ok(None),
        };
        // It may have gone already. The others are watched all the same.
        let follows = follows.unwrap_or_else(|error| {
            eprintln!("xenguard-dom0: domain {}: {error}", event.parts().0.domain);
            None
        });
        all.push(event);
        all.extend(follows);
    }
    all
}

/// Takes a veto back that the toolstack has kept from an earlier boot. Returns that it has.
fn clear(store: &impl Xs, failed: &mut FailedBoots, guest: &Guest) -> io::Result<Option<Event>> {
    if !guest.vetoed_once() || !failed.is_veto_over(guest) {
        return Ok(None);
    }
    let is_cleared = boot::end_veto(store, guest.domain)?;
    Ok(is_cleared.then(|| Event::Cleared(guest.clone())))
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
        assert_eq!(seen.compare(known([&one])), [Event::Found(one.clone())]);
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

    /// Guests as a toolstack makes them, which [`veto`] looks at.
    struct Host {
        store: Fake,
        failed: FailedBoots,
        seen: Seen,
        now: Instant,
    }

    impl Host {
        fn new() -> Self {
            let rule = Rule { limit: 2, up_after: Duration::from_secs(300) };
            let failed = FailedBoots::new(rule);
            let mut host =
                Self { store: Fake::default(), failed, seen: Seen::default(), now: Instant::now() };
            host.look();
            host
        }

        fn look(&mut self) -> Vec<Event> {
            self.now += Duration::from_secs(10);
            let guests = guest::all(&self.store, Path::new("/nonexistent")).unwrap();
            veto(&self.store, &mut self.failed, self.seen.compare(guests), self.now)
        }

        /// Begins a boot in a new domain, with the word that the toolstack has kept. Returns what happened.
        fn begin(&mut self, domain: u32, word: Option<&str>) -> Vec<Event> {
            self.store.add_guest(domain, "g", &[]);
            self.store.set(&format!("/local/domain/{domain}/vm"), "/vm/m");
            if let Some(word) = word {
                self.store.set(&boot_node(domain), word);
            }
            self.look()
        }

        /// Ends a boot whose guard has said this.
        fn end(&mut self, domain: u32, state: &[(&str, &str)]) {
            self.store.add_guest(domain, "g", state);
            self.look();
            self.store.rm(&format!("/local/domain/{domain}")).unwrap();
            self.look();
        }

        fn word(&self, domain: u32) -> Option<String> {
            self.store.read(&boot_node(domain)).ok().map(String::from)
        }
    }

    fn boot_node(domain: u32) -> String {
        format!("/local/domain/{domain}/vm-data/xenguard/boot")
    }

    const PV: &[(&str, &str)] = &[("phase", "exposed"), ("mode", "pv")];
    const EMULATED: &[(&str, &str)] = &[("phase", "emulated"), ("mode", "emulated"), ("reason", "0x28")];

    fn is_vetoed(events: &[Event]) -> bool {
        events.iter().any(|event| matches!(event, Event::Vetoed(_, 2)))
    }

    /// The toolstack and the guest write the nodes; only the veto is ours. XAPI keeps it over a reboot, and xl does not.
    #[test]
    fn the_third_boot_is_vetoed_in_xenstore() {
        let mut host = Host::new();
        for domain in [1, 2] {
            assert!(!is_vetoed(&host.begin(domain, None)));
            assert_eq!(host.word(domain), None);
            host.end(domain, PV);
        }
        assert!(is_vetoed(&host.begin(3, None)));
        let word = host.word(3).unwrap();
        assert!(guard::host::vetoes(word.as_bytes()));
        host.look();
        host.end(3, EMULATED);
        let events = host.begin(4, Some(&word));
        assert!(events.iter().any(|event| matches!(event, Event::Cleared(_))), "{events:?}");
        assert_eq!(host.word(4), None);
        host.end(4, PV);
        assert!(!is_vetoed(&host.begin(5, None)));
    }

    /// A vetoed boot that fails as well is no reason to try PV.
    #[test]
    fn a_veto_stays_while_boots_fail() {
        let mut host = Host::new();
        for domain in [1, 2] {
            host.begin(domain, None);
            host.end(domain, PV);
        }
        host.begin(3, None);
        let word = host.word(3).unwrap();
        host.end(3, PV);
        let events = host.begin(4, Some(&word));
        assert!(events.iter().any(|event| matches!(event, Event::Vetoed(_, 3))), "{events:?}");
        assert_eq!(host.word(4), Some(word));
    }

    #[test]
    fn an_admins_word_stays_his() {
        let mut host = Host::new();
        for domain in 1..=4 {
            assert!(!is_vetoed(&host.begin(domain, Some(guard::host::EMULATED))), "it is one already");
            assert_eq!(host.word(domain).as_deref(), Some(guard::host::EMULATED));
            host.end(domain, PV);
        }
        for (domain, word) in [(5, "Emulated"), (6, "emulated-after-failed-boots ")] {
            host.begin(domain, Some(word));
            assert_eq!(host.word(domain).as_deref(), Some(word));
            host.end(domain, EMULATED);
        }
    }

    /// A tool that is started anew does not know when the domain began.
    #[test]
    fn a_domain_that_was_there_before_counts_as_up() {
        let mut host = Host::new();
        host.seen = Seen::default();
        host.begin(1, None);
        host.end(1, PV);
        host.begin(2, None);
        host.end(2, PV);
        assert!(!is_vetoed(&host.begin(3, None)), "one boot has failed");
        host.end(3, PV);
        assert!(is_vetoed(&host.begin(4, None)));
    }

    /// Its domain may not have read it yet. The next one has it removed.
    #[test]
    fn a_veto_that_was_there_before_stays() {
        let word = guard::host::EMULATED_AFTER_FAILED_BOOTS;
        let mut host = Host::new();
        host.seen = Seen::default();
        host.begin(1, Some(word));
        assert_eq!(host.word(1).as_deref(), Some(word));
        host.store.add_guest(1, "g", EMULATED);
        host.look();
        assert_eq!(host.word(1).as_deref(), Some(word));
        host.end(1, EMULATED);
        host.begin(2, Some(word));
        assert_eq!(host.word(2), None);
    }

    /// A toolstack may write its nodes after a domain's name.
    #[test]
    fn a_word_that_comes_late_is_removed() {
        let mut host = Host::new();
        host.begin(1, None);
        host.store.set(&boot_node(1), guard::host::EMULATED_AFTER_FAILED_BOOTS);
        host.look();
        assert_eq!(host.word(1), None);
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

    const MATTERS: &str = "/local/domain/3/data/xenguard/since";
    const MATTERS_NOT: &str = "/local/domain/3/device/vbd/768/state";

    /// Returns the changes of a node, one in every `interval`.
    fn every(interval: Duration, path: &'static str) -> impl Stream<Item = Box<str>> + Unpin {
        let change = move |()| async move {
            tokio::time::sleep(interval).await;
            Some((Box::from(path), ()))
        };
        Box::pin(futures::stream::unfold((), change))
    }

    /// Returns the times at which there is another look, in milliseconds.
    async fn looks(mut changes: impl Stream<Item = Box<str>> + Unpin) -> [u128; 3] {
        let began = tokio::time::Instant::now();
        let mut looks = [0; 3];
        for look in &mut looks {
            tokio::time::timeout(Duration::from_secs(60), wait(&mut changes))
                .await
                .expect("no look")
                .unwrap();
            *look = began.elapsed().as_millis();
        }
        looks
    }

    /// Logs change without an event.
    #[tokio::test(start_paused = true)]
    async fn events_that_do_not_matter_delay_no_look() {
        assert_eq!(looks(futures::stream::pending()).await, [2000, 4000, 6000]);
        assert_eq!(looks(every(Duration::from_millis(300), MATTERS_NOT)).await, [2000, 4000, 6000]);
    }

    /// Guests may write without end.
    #[tokio::test(start_paused = true)]
    async fn looks_are_apart_whatever_a_guest_writes() {
        assert_eq!(looks(every(Duration::from_millis(1), MATTERS)).await, [200, 400, 600]);
        // Quiet before, an event is followed by a look at once.
        assert_eq!(looks(every(Duration::from_millis(300), MATTERS)).await, [300, 600, 900]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_the_events_is_an_error() {
        assert!(wait(&mut futures::stream::empty()).await.is_err());
    }
}
