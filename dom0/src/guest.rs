// SPDX-License-Identifier: GPL-3.0-only
//! One guest, read from xenstore and from its device model's log.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use guard::Reason;
use guard::{host, last_boot};
use xenstore_rs::Xs;

use crate::log::{self, Stop};
use crate::text::{clean, code_of};

/// A guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Guest {
    /// Number of its domain.
    pub domain: u32,
    /// Its name, cleaned.
    pub name: String,
    /// The virtual machine that the domain is, by the toolstack's path of it: the same in the domain that a reboot
    /// makes. Cleaned.
    pub machine: Option<String>,
    /// The state that its guard reports; `None` from a guest that reports nothing.
    pub guard: Option<Guard>,
    /// The host's word for its boots, cleaned.
    pub boot: Option<String>,
    /// The guard's stop, as the device model's log has it.
    pub stop: Option<Stop>,
    /// It has said last that it ends in order.
    pub in_order: bool,
}

/// A guard's state, from the guest's nodes. A node that is missing or makes no sense is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Guard {
    /// The suite's version, cleaned.
    pub version: Option<String>,
    /// `emulated` or `pv`.
    pub mode: Option<&'static str>,
    /// One of [`host::PHASES`].
    pub phase: Option<&'static str>,
    /// One of [`host::UNPLUG`].
    pub unplug: Option<&'static str>,
    /// One of [`host::POLICIES`].
    pub policy: Option<&'static str>,
    /// The code of the reason for the phase.
    pub reason: Option<u32>,
    /// Emulated controllers that are hidden.
    pub hidden: Option<u32>,
    /// Disks of the last census: those on the PV driver's list.
    pub own: Option<u32>,
    /// The system's disks that are the PV driver's own.
    pub ours: Option<u32>,
    /// The system's disks that stand for the storage behind one of those.
    pub alias: Option<u32>,
    /// The system's other disks.
    pub foreign: Option<u32>,
    /// Seconds since 1970-01-01 UTC, by the guest's clock, since which this has been so.
    pub since: Option<u64>,
    /// Seconds since 1970-01-01 UTC, by the guest's clock, at which its service last said that it lives.
    pub service: Option<u64>,
}

/// State of a guest's protection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// From PV disks, guarded.
    Pv,
    /// A PV boot that has not come to its disks yet.
    Starting,
    /// A PV boot whose disks stay emulated.
    Withheld,
    /// An emulated boot.
    Emulated,
    /// The guard stopped it.
    Stopped,
    /// Nothing is known: another system, no Xenguard, or it has not come so far.
    Silent,
}

impl Standing {
    /// Every standing.
    pub(crate) const ALL: [Self; 6] =
        [Self::Pv, Self::Starting, Self::Withheld, Self::Emulated, Self::Stopped, Self::Silent];

    /// Returns the word for it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Pv => "pv",
            Self::Starting => "starting",
            Self::Withheld => "withheld",
            Self::Emulated => "emulated",
            Self::Stopped => "stopped",
            Self::Silent => "silent",
        }
    }
}

/// A monitor's judgement of a guest, the better first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Health {
    /// The guest boots as its admin asked.
    Good,
    /// PV was asked for and is not to be had, boots have failed, or a disk is there twice.
    Attention,
    /// The guard stopped it.
    Stopped,
}

impl Guest {
    /// Reads a guest. A node that is not there is no error.
    ///
    /// # Errors
    /// An error of xenstore's but `ENOENT`.
    pub(crate) fn read(store: &impl Xs, domain: u32, logs: &Path) -> io::Result<Self> {
        let root = format!("/local/domain/{domain}");
        let text = |path: &str| read(store, &format!("{root}/{path}"));
        let name = text("name")?.unwrap_or_default();
        let guard = match text(&format!("{}/phase", host::STATE))? {
            None => None,
            Some(_) => Some(Guard::read(store, &format!("{root}/{}", host::STATE))?),
        };
        let boot = text(host::BOOT)?.map(|word| clean(&word));
        let machine = text("vm")?;
        let started = match &machine {
            Some(path) => read(store, &format!("{path}/{STARTED}"))?,
            None => None,
        };
        let stop = log::stop_of(logs, &name, started.as_deref().and_then(seconds));
        let machine = machine.map(|path| clean(&path));
        let last = text(&format!("{}/{}", host::STATE, last_boot::NODE))?;
        let in_order = last.is_some_and(|line| line.starts_with(last_boot::IN_ORDER));
        Ok(Self { domain, name: clean(&name), machine, guard, boot, stop, in_order })
    }

    /// Returns the state of its protection.
    pub(crate) fn standing(&self) -> Standing {
        if self.stop.is_some() {
            return Standing::Stopped;
        }
        match self.guard.as_ref().and_then(|guard| guard.phase) {
            None | Some("unsealed") => Standing::Silent,
            Some("emulated") => Standing::Emulated,
            Some("exposed") => Standing::Pv,
            Some("withheld") => Standing::Withheld,
            Some("stopped") => Standing::Stopped,
            Some(_) => Standing::Starting,
        }
    }

    /// Returns true if the other is the same but for the time of its service's heartbeat.
    pub(crate) fn is_as(&self, other: &Self) -> bool {
        let beat = |guest: &Self| guest.guard.as_ref().and_then(|guard| guard.service);
        let mut late = self.clone();
        if let (Some(guard), Some(_), Some(_)) = (&mut late.guard, beat(self), beat(other)) {
            guard.service = beat(other);
        }
        late == *other
    }

    /// Returns the reason for its standing.
    pub(crate) fn reason(&self) -> Option<u32> {
        match &self.stop {
            Some(stop) => Some(stop.reason),
            None => self.guard.as_ref()?.reason,
        }
    }

    /// Returns true if the host keeps it from PV disks.
    pub(crate) fn vetoed(&self) -> bool {
        self.boot.as_ref().is_some_and(|word| host::vetoes(word.as_bytes()))
    }

    /// Returns true if `watch` has its boot emulated, since those before it failed.
    pub(crate) fn vetoed_once(&self) -> bool {
        self.boot.as_deref() == Some(host::EMULATED_AFTER_FAILED_BOOTS)
    }

    /// Returns a monitor's judgement of it.
    pub(crate) fn health(&self) -> Health {
        /// Emulated boots that somebody chose.
        const CHOSEN: [Reason; 4] =
            [Reason::NotSelected, Reason::Vetoed, Reason::SafeMode, Reason::HostVetoed];
        let alias = self.guard.as_ref().and_then(|guard| guard.alias).unwrap_or(0);
        match self.standing() {
            Standing::Stopped => Health::Stopped,
            Standing::Withheld => Health::Attention,
            Standing::Emulated if !CHOSEN.iter().any(|chosen| Some(chosen.code()) == self.reason()) => {
                Health::Attention
            }
            _ if alias > 0 || self.vetoed_once() => Health::Attention,
            _ => Health::Good,
        }
    }
}

impl Guard {
    fn read(store: &impl Xs, folder: &str) -> io::Result<Self> {
        let text = |name: &str| read(store, &format!("{folder}/{name}"));
        let number = |name: &str| Ok::<_, io::Error>(text(name)?.and_then(|value| value.parse().ok()));
        let known = |name: &str, names: &[&'static str]| {
            let value = text(name)?;
            let found = value.and_then(|value| names.iter().find(|name| **name == value).copied());
            Ok::<_, io::Error>(found)
        };
        Ok(Self {
            version: text("version")?.map(|version| clean(&version)),
            mode: known("mode", &["emulated", "pv"])?,
            phase: known("phase", &host::PHASES)?,
            unplug: known("unplug", &host::UNPLUG)?,
            policy: known("policy", &host::POLICIES)?,
            reason: text("reason")?.and_then(|code| code_of(&code)),
            hidden: number("hidden")?,
            own: number("own")?,
            ours: number("ours")?,
            alias: number("alias")?,
            foreign: number("foreign")?,
            since: text("since")?.and_then(|value| value.parse().ok()),
            service: text(host::SERVICE)?.and_then(|value| value.parse().ok()),
        })
    }
}

/// Node of a machine with the time at which its domain was made (libxl: `libxl__domain_make`).
const STARTED: &str = "start_time";

/// Returns the whole seconds of a time that has a fraction.
fn seconds(time: &str) -> Option<u64> {
    time.split('.').next()?.parse().ok()
}

/// Returns the words for a reason's code.
pub(crate) fn words(code: u32) -> String {
    match Reason::from_code(code) {
        Some(reason) => reason.text().to_owned(),
        None => format!("reason {code:#x}, which this version does not know"),
    }
}

/// The guests, as they were read at one time.
#[derive(Debug, Default)]
pub(crate) struct Guests {
    /// Guests that could be read, by number.
    pub known: Vec<Guest>,
    /// Errors of those that could not, by number.
    pub unread: BTreeMap<u32, io::Error>,
}

/// Reads every guest but dom0.
///
/// # Errors
/// An answer of xenstore's when it is asked for the domains, and the loss of the connection.
pub(crate) fn all(store: &impl Xs, logs: &Path) -> io::Result<Guests> {
    let mut guests = Guests::default();
    for domain in domains(store)? {
        match name(store, domain).and_then(|name| name.map(|_| Guest::read(store, domain, logs)).transpose())
        {
            Ok(Some(guest)) => guests.known.push(guest),
            // One that went meanwhile has no name any more, and a domain always has one.
            Ok(None) => {}
            Err(error) if is_lost(&error) => return Err(error),
            Err(error) => {
                guests.unread.insert(domain, error);
            }
        }
    }
    Ok(guests)
}

/// Numbers of the domains but dom0's, ascending.
///
/// # Errors
/// An error of xenstore's.
pub(crate) fn domains(store: &impl Xs) -> io::Result<Vec<u32>> {
    let names = at("/local/domain", store.directory("/local/domain"))?;
    let mut domains: Vec<u32> = names.iter().filter_map(|name| name.parse().ok()).collect();
    domains.retain(|&domain| domain != 0);
    domains.sort_unstable();
    Ok(domains)
}

/// Returns the number of a domain that is given by number or by name.
///
/// # Errors
/// `NotFound`, and what xenstore answers.
pub(crate) fn find(store: &impl Xs, domain: &str) -> io::Result<u32> {
    let domains = domains(store)?;
    if let Some(number) = domain.parse().ok().filter(|number| domains.contains(number)) {
        return Ok(number);
    }
    let mut unread = None;
    for number in domains {
        match name(store, number) {
            Ok(name) if name.as_deref() == Some(domain) => return Ok(number),
            Ok(_) => {}
            // It may have been this one.
            Err(error) => unread = Some(error),
        }
    }
    if let Some(error) = unread {
        return Err(error);
    }
    let message = format!("there is no domain {}; `xenguard-dom0 list` shows those that run", clean(domain));
    Err(io::Error::new(io::ErrorKind::NotFound, message))
}

/// Returns the worst of the guests' healths.
pub(crate) fn worst(guests: &[Guest]) -> Health {
    guests.iter().map(Guest::health).max().unwrap_or(Health::Good)
}

/// Returns a domain's name; `None` where there is no such domain.
fn name(store: &impl Xs, domain: u32) -> io::Result<Option<String>> {
    read(store, &format!("/local/domain/{domain}/name"))
}

/// Returns true if an error of xenstore's is the loss of the connection, after which no node can be read.
fn is_lost(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof)
}

/// The value of a node whose bytes are not text. It makes no sense for any node, and is a veto of the host's.
const NOT_TEXT: &str = "?";

/// Returns a node's value; `None` where there is none. One that is not UTF-8, which a guest may write, is [`NOT_TEXT`].
///
/// # Errors
/// An error of xenstore's but `ENOENT`.
pub(crate) fn read(store: &impl Xs, path: &str) -> io::Result<Option<String>> {
    match store.read(path) {
        Ok(value) => Ok(Some(value.into_string())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Some(NOT_TEXT.to_owned())),
        Err(error) => at(path, Err(error)),
    }
}

/// Names the path in an error, which is no broken pipe then: that is standard output's alone, and no failure.
pub(crate) fn at<T>(path: &str, result: io::Result<T>) -> io::Result<T> {
    result.map_err(|error| {
        let kind = match error.kind() {
            io::ErrorKind::BrokenPipe => io::ErrorKind::ConnectionAborted,
            kind => kind,
        };
        io::Error::new(kind, format!("{path}: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Fake;

    fn nowhere() -> &'static Path {
        Path::new("/nonexistent")
    }

    #[test]
    fn a_pv_guest_is_read() {
        let store = Fake::with_guest(
            3,
            "web",
            &[("phase", "exposed"), ("reason", "0x1"), ("own", "2"), ("alias", "0")],
        );
        let guest = Guest::read(&store, 3, nowhere()).unwrap();
        assert_eq!((guest.name.as_str(), guest.standing(), guest.reason()), ("web", Standing::Pv, Some(1)));
        assert_eq!((guest.health(), guest.vetoed()), (Health::Good, false));
    }

    #[test]
    fn a_guest_without_the_suite_is_silent() {
        let store = Fake::with_guest(3, "linux", &[]);
        let guest = Guest::read(&store, 3, nowhere()).unwrap();
        assert_eq!((guest.standing(), guest.health(), guest.guard), (Standing::Silent, Health::Good, None));
    }

    #[test]
    fn an_emulated_boot_that_nobody_chose_wants_attention() {
        for (reason, health) in [
            (Reason::NotSelected, Health::Good),
            (Reason::HostVetoed, Health::Good),
            (Reason::SafeMode, Health::Good),
            (Reason::BackendMissing, Health::Attention),
            (Reason::FailedBoots, Health::Attention),
        ] {
            let code = format!("{:#x}", reason.code());
            let store = Fake::with_guest(1, "g", &[("phase", "emulated"), ("reason", &code)]);
            assert_eq!(Guest::read(&store, 1, nowhere()).unwrap().health(), health, "{reason:?}");
        }
        let store = Fake::with_guest(1, "g", &[("phase", "withheld"), ("reason", "0x3d")]);
        assert_eq!(Guest::read(&store, 1, nowhere()).unwrap().health(), Health::Attention);
    }

    /// An admin who chose an emulated boot needs no word of it; one whose guest did not come up from PV does.
    #[test]
    fn a_boot_that_was_vetoed_after_failed_ones_wants_attention() {
        for (word, health) in
            [(host::EMULATED, Health::Good), (host::EMULATED_AFTER_FAILED_BOOTS, Health::Attention)]
        {
            for state in [&[("phase", "emulated"), ("reason", "0x28")][..], &[]] {
                let store = Fake::with_guest(1, "g", state);
                store.set("/local/domain/1/vm-data/xenguard/boot", word);
                assert_eq!(Guest::read(&store, 1, nowhere()).unwrap().health(), health, "{word} {state:?}");
            }
        }
    }

    /// Its log stays when a guest is moved to another host, and it may have been stopped here before that.
    #[test]
    fn a_stop_is_one_of_this_domain() {
        let logs = std::env::temp_dir().join(format!("xenguard-dom0-guest-{}", std::process::id()));
        std::fs::create_dir_all(&logs).unwrap();
        let line = "xenguard: stop 0x0058454e reason=0x50 own=1 enumerated=2: twice\n";
        std::fs::write(logs.join("qemu-dm-g.log"), line).unwrap();
        let store = Fake::with_guest(1, "g", &[("phase", "exposed"), ("reason", "0x1")]);
        store.set("/local/domain/1/vm", "/vm/7");
        for (made, standing) in [("1700000000.25", Standing::Stopped), ("99999999999.00", Standing::Pv)] {
            store.set("/vm/7/start_time", made);
            assert_eq!(Guest::read(&store, 1, &logs).unwrap().standing(), standing, "{made}");
        }
        std::fs::remove_dir_all(&logs).unwrap();
    }

    /// A guest may write whatever it likes below its data.
    #[test]
    fn what_a_guest_writes_is_not_believed() {
        let long = "9".repeat(4000);
        let hostile = [
            ("phase", "exposed\u{1b}[2J"),
            ("mode", "pv\n0"),
            ("reason", "0xfffffffff"),
            ("own", "-1"),
            ("alias", long.as_str()),
            ("version", "1\u{1b}]0;x\u{7}\"\n"),
            ("since", "tomorrow"),
            ("service", "\u{1b}[2J"),
        ];
        let store = Fake::with_guest(1, "g\u{202e}\u{1b}[31m", &hostile);
        let guest = Guest::read(&store, 1, nowhere()).unwrap();
        assert_eq!(guest.standing(), Standing::Silent);
        let guard = guest.guard.unwrap();
        assert_eq!(
            (guard.mode, guard.reason, guard.own, guard.alias, guard.since.or(guard.service)),
            (None, None, None, None, None)
        );
        for text in [guest.name, guard.version.unwrap()] {
            assert!(text.chars().all(|c| c.is_ascii_graphic() || c == ' '), "{text:?}");
        }
        assert_eq!(clean(&long).len(), crate::text::SHOWN);
    }

    /// A guest writes bytes, and the others are shown all the same.
    #[test]
    fn bytes_that_are_not_text_make_no_sense() {
        let store = Fake::with_guest(1, "hostile", &[]);
        let state = [("phase", "exposed"), ("reason", "0x1")];
        store.add_guest(2, "healthy", &state);
        for node in ["phase", "version", "last"] {
            store.set(&format!("/local/domain/1/data/xenguard/{node}"), b"\xff");
        }
        store.set("/local/domain/1/vm-data/xenguard/boot", b"pv\xff");
        let guests = all(&store, nowhere()).unwrap().known;
        let [hostile, healthy] = guests.as_slice() else { panic!("{guests:?}") };
        assert_eq!((hostile.standing(), hostile.in_order), (Standing::Silent, false));
        assert_eq!(hostile.guard.as_ref().unwrap().version.as_deref(), Some("?"));
        // In the guest, too, a word that nobody knows is a veto.
        assert!(hostile.vetoed());
        assert_eq!((healthy.name.as_str(), healthy.standing()), ("healthy", Standing::Pv));
    }

    #[test]
    fn domains_are_found_by_number_and_by_name() {
        let store = Fake::with_guest(10, "7", &[]);
        store.add_guest(7, "web", &[]);
        assert_eq!(find(&store, "web").unwrap(), 7);
        assert_eq!(find(&store, "10").unwrap(), 10);
        // A number that a domain has comes before a name.
        assert_eq!(find(&store, "7").unwrap(), 7);
        for missing in ["0", "8", "db", ""] {
            assert_eq!(find(&store, missing).unwrap_err().kind(), io::ErrorKind::NotFound, "{missing:?}");
        }
        let numbers: Vec<u32> =
            all(&store, nowhere()).unwrap().known.iter().map(|guest| guest.domain).collect();
        assert_eq!(numbers, [7, 10]);
    }

    #[test]
    fn a_guest_that_cannot_be_read_ends_no_other() {
        let store = Fake::with_guest(1, "one", &[]);
        store.add_guest(2, "two", &[("phase", "exposed")]);
        store.add_guest(3, "three", &[]);
        store.refuse("/local/domain/1/data/xenguard/phase");
        store.refuse("/local/domain/3/name");
        let guests = all(&store, nowhere()).unwrap();
        let numbers: Vec<u32> = guests.known.iter().map(|guest| guest.domain).collect();
        let unread: Vec<u32> = guests.unread.keys().copied().collect();
        assert_eq!((numbers, unread), (vec![2], vec![1, 3]));
        assert!(guests.unread[&1].to_string().contains("/data/xenguard/phase: "), "{:?}", guests.unread);
        assert_eq!(find(&store, "two").unwrap(), 2);
        assert_eq!(find(&store, "nobody").unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        // Without xenstore there is no other.
        for kind in [io::ErrorKind::BrokenPipe, io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset]
        {
            store.fail("/local/domain/1/name", kind);
            assert!(all(&store, nowhere()).is_err(), "{kind}");
        }
    }

    #[test]
    fn a_store_that_refuses_is_an_error_that_names_the_node() {
        let store = Fake::with_guest(1, "g", &[]);
        store.refuse("/local/domain/1/data/xenguard/phase");
        let error = Guest::read(&store, 1, nowhere()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(error.to_string().starts_with("/local/domain/1/data/xenguard/phase: "), "{error}");
    }

    /// A pipe that is broken is the reader's, who has read enough; xenstore that has gone is a failure.
    #[test]
    fn a_store_that_has_gone_is_no_broken_pipe() {
        let store = Fake::with_guest(1, "g", &[]);
        for path in ["/local/domain", "/local/domain/1/name"] {
            store.fail(path, io::ErrorKind::BrokenPipe);
        }
        let errors = [domains(&store).unwrap_err(), Guest::read(&store, 1, nowhere()).unwrap_err()];
        assert_eq!(errors.map(|error| error.kind()), [io::ErrorKind::ConnectionAborted; 2]);
    }
}
