// SPDX-License-Identifier: GPL-3.0-only
//! A backend of our own that serves a vbd well at first, and then breaks the protocol in one way; one vbd after the
//! other, each with another way.

use std::collections::VecDeque;
use std::io;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use xenstore_rs::AsyncXs;
use xenstore_rs::tokio::XsTokio;

use crate::at;
use crate::grants::{Events, Grants, Mapping};
use crate::ring::{ERROR, FLUSH, NOT_SUPPORTED, OKAY, READ, Request, Ring, WRITE};

/// Number of the vbd: xvdb.
const VBD: u32 = 51728;
/// Bytes of a sector.
const SECTOR: usize = 512;
/// Sectors of the disk.
const SECTORS: usize = 8192;
/// Requests that are served well before the deed.
const SERVED: u32 = 64;
/// Time in which a frontend connects, and in which its first requests come: a slow machine needs more than 15 s.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time that is left to a frontend after the deed, and after the vbd is taken away.
const AFTER: Duration = Duration::from_secs(2);
/// Time for which a deed lasts.
const LASTS: Duration = Duration::from_secs(1);
/// Time for which the guest is paused: longer than a frontend waits for the backend's part of the handshake.
const PAUSED: Duration = Duration::from_secs(35);
/// Time that a slow disk takes for its first answer: one that spins up, or another path to it.
const SPIN_UP: Duration = Duration::from_secs(15);
/// Time for which reads fail: longer than a frontend tries before it shows a disk.
const READABLE_AFTER: Duration = Duration::from_secs(20);
/// The signature of a disk that the guest has on a controller that nobody knows (`tests/nt/src/disk/foreign.rs`), its place in
/// a master boot record, and that of what says that it is one.
const OTHER_SIGNATURE: u32 = 0x0DD5_1612;
const SIGNATURE: usize = 0x1B8;
const MARK: usize = 510;
/// Less than the time that a frontend leaves to a backend that closes.
const AT_ONCE: Duration = Duration::from_secs(4);

/// A way to break the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    /// None: the disk is served well until it is taken away.
    None,
    /// More answers than requests.
    AnswersAhead,
    /// The number of answers goes back.
    AnswersBack,
    /// An answer to a request of no such name.
    UnknownName,
    /// Two answers to one request.
    Twice,
    /// An answer of a status that does not exist.
    UnknownStatus,
    /// An answer to another operation.
    OtherOperation,
    /// Requests are written over before they are answered well.
    Overwritten,
    /// Nothing but notifications.
    Storm,
    /// The backend does not want to be told of requests, and looks for them itself.
    Deaf,
    /// One byte all over the ring.
    Filled(u8),
    /// Words anywhere in the ring.
    Scribbled,
    /// The disk is closed with requests on their way.
    Closed,
    /// The pages of requests are mapped when the vbd is taken away, and the requests are answered later.
    Held,
    /// A node of the backend's gets values, one after the other.
    Node(&'static str, &'static [&'static str]),
    /// The state goes round in circles.
    States,
    /// The state is removed.
    StateRemoved,
    /// The backend's folder is removed with requests on their way.
    FolderRemoved,
    /// Every request is answered, nobody is told, and the backend closes for good.
    GoneBehindAnswers,
}

/// Time that passes where a frontend does not expect it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delay {
    None,
    /// The guest is paused when it waits for the backend to connect, which does so some time later.
    Paused,
    /// The first request is answered late.
    FirstAnswer,
    /// For as long as the frontend asks: every read fails.
    Reads,
    /// The first reads fail, for longer than a frontend tries.
    FirstReads,
}

/// A vbd that is attached.
struct Round {
    name: &'static str,
    /// Nodes of the backend's that differ from what a good one writes.
    nodes: &'static [(&'static str, &'static str)],
    /// The frontend connects.
    connects: bool,
    delay: Delay,
    deed: Deed,
}

/// Returns a vbd whose nodes are in order.
const fn ring(name: &'static str, deed: Deed) -> Round {
    Round { name, nodes: &[], connects: true, delay: Delay::None, deed }
}

/// Returns a vbd with a node of an odd value, which connects all the same or does not.
const fn node(name: &'static str, nodes: &'static [(&'static str, &'static str)], connects: bool) -> Round {
    Round { name, nodes, connects, ..ring(name, Deed::None) }
}

/// Breakages of the ring.
const RINGS: &[Round] = &[
    ring("answers-ahead", Deed::AnswersAhead),
    ring("answers-back", Deed::AnswersBack),
    ring("unknown-name", Deed::UnknownName),
    ring("twice", Deed::Twice),
    ring("unknown-status", Deed::UnknownStatus),
    ring("other-operation", Deed::OtherOperation),
    ring("overwritten", Deed::Overwritten),
    ring("storm", Deed::Storm),
    ring("deaf", Deed::Deaf),
    ring("ones", Deed::Filled(0xFF)),
    ring("zeros", Deed::Filled(0)),
    ring("scribbled", Deed::Scribbled),
    ring("well", Deed::None),
];

/// More than any number of a node's is.
const LARGE: &str = "18446744073709551615";

/// Breakages of the nodes.
const NODES: &[Round] = &[
    node("no-sectors", &[("sectors", "0")], false),
    node("sectors-beyond", &[("sectors", LARGE)], false),
    node("sectors-no-number", &[("sectors", "many")], false),
    node("block-of-0", &[("sector-size", "0")], false),
    node("block-of-513", &[("sector-size", "513")], false),
    node("block-beyond", &[("sector-size", "1073741824")], false),
    node(
        "boasts",
        &[
            ("feature-max-indirect-segments", LARGE),
            ("max-ring-page-order", LARGE),
            ("multi-queue-max-queues", LARGE),
            ("info", "4294967040"),
        ],
        true,
    ),
    ring("sectors-change", Deed::Node("sectors", &["0", "x", LARGE, "9223372036854775808", "8"])),
    ring("state-unknown", Deed::Node("state", &["99", "x", "", "-1", "4"])),
    ring("states", Deed::States),
    ring("state-removed", Deed::StateRemoved),
    ring("closed", Deed::Closed),
    ring("folder-removed", Deed::FolderRemoved),
    ring("well", Deed::None),
];

/// Grants that are held.
const PAGES: &[Round] = &[ring("held", Deed::Held), ring("well", Deed::None)];

/// Time that passes.
const TIMES: &[Round] = &[
    Round { delay: Delay::Paused, ..ring("paused", Deed::None) },
    Round { delay: Delay::FirstAnswer, ..ring("slow", Deed::None) },
    ring("gone-behind-answers", Deed::GoneBehindAnswers),
    ring("well", Deed::None),
];

/// A disk that cannot be read, and whose nodes do not say what is behind it.
const UNREAD: &[Round] =
    &[Round { nodes: &[("params", "")], delay: Delay::Reads, ..ring("unread", Deed::None) }];

/// A disk that can be read late, and has the signature of another that the guest has.
const READ_LATE: &[Round] = &[Round { delay: Delay::FirstReads, ..ring("read-late", Deed::None) }];

/// A part that the backend plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// It breaks the rings.
    Rings,
    /// It breaks its nodes.
    Nodes,
    /// It is slow to let go of a request's pages.
    Pages,
    /// It is slow, or the guest is.
    Times,
    /// It fails every read.
    Unread,
    /// It fails every read at first.
    ReadLate,
}

/// Plays a part before a domain.
///
/// # Errors
/// xenstore or a driver fails, or a frontend does not do what it must.
pub(crate) async fn play(store: &XsTokio, domain: u32, part: Part) -> io::Result<()> {
    let grants = Grants::open()?;
    let mut wrong = 0;
    let rounds = match part {
        Part::Rings => RINGS,
        Part::Nodes => NODES,
        Part::Pages => PAGES,
        Part::Times => TIMES,
        Part::Unread => UNREAD,
        Part::ReadLate => READ_LATE,
    };
    for (number, round) in (1..).zip(rounds) {
        let mut backend = Backend::attach(store, domain, number, round).await?;
        let end = backend.play(&grants, round).await;
        backend.take_away(&grants).await?;
        // The ring and the grants are held until now, as a backend does that is slow to let go.
        drop(backend);
        match end {
            Ok(served) => println!("{}: {served} requests served", round.name),
            Err(error) => {
                println!("{}: WRONG: {error}", round.name);
                wrong += 1;
            }
        }
    }
    if wrong == 0 { Ok(()) } else { Err(io::Error::other(format!("{wrong} rounds went wrong"))) }
}

/// The backend of a vbd.
struct Backend<'a> {
    store: &'a XsTokio,
    domain: u32,
    /// Its own folder, and the frontend's.
    own: String,
    front: String,
    memory: Vec<u8>,
    connected: Option<(Ring, Events)>,
    /// Requests that were taken and not answered.
    waiting: VecDeque<Request>,
    /// Pages of those, mapped while the vbd is taken away.
    held: Vec<Mapping>,
}

impl<'a> Backend<'a> {
    /// Makes the nodes of a vbd, as a toolstack and a backend do. `number` tells its storage from that of others.
    async fn attach(store: &'a XsTokio, domain: u32, number: u32, round: &Round) -> io::Result<Self> {
        let own = format!("/local/domain/0/backend/hostile/{domain}/{VBD}");
        let front = format!("/local/domain/{domain}/device/vbd/{VBD}");
        let backend = Self {
            store,
            domain,
            own,
            front,
            memory: vec![0; SECTORS * SECTOR],
            connected: None,
            waiting: VecDeque::new(),
            held: Vec::new(),
        };
        backend.allow(&backend.own, &["n0".to_owned(), format!("r{domain}")]).await?;
        let (sectors, size) = (SECTORS.to_string(), SECTOR.to_string());
        let (domain, params) = (domain.to_string(), format!("/hostile/{number}"));
        let mut nodes = vec![
            ("frontend", backend.front.as_str()),
            ("frontend-id", &domain),
            ("online", "1"),
            ("params", &params),
            ("type", "hostile"),
            ("mode", "w"),
            ("sectors", &sectors),
            ("sector-size", &size),
            ("info", "0"),
        ];
        nodes.retain(|(name, _)| !round.nodes.iter().any(|(other, _)| other == name));
        nodes.extend_from_slice(round.nodes);
        nodes.push(("state", "2"));
        for (name, value) in nodes {
            backend.write(name, value).await?;
        }
        backend.allow(&backend.front, &[format!("n{}", backend.domain), "r0".to_owned()]).await?;
        let number = VBD.to_string();
        for (name, value) in [
            ("backend-id", "0"),
            ("virtual-device", &number),
            ("device-type", "disk"),
            ("state", "1"),
            ("backend", &backend.own),
        ] {
            let path = format!("{}/{name}", backend.front);
            at(&path, store.write(&path, value).await)?;
        }
        Ok(backend)
    }

    /// Has the toolstack do something with the domain.
    fn xl(&self, command: &str) -> io::Result<()> {
        let status = Command::new("xl").args([command, &self.domain.to_string()]).status()?;
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("xl {command}"))) }
    }

    /// Makes a folder with these permissions, which its nodes inherit.
    async fn allow(&self, folder: &str, permissions: &[String]) -> io::Result<()> {
        at(folder, self.store.write(folder, "").await)?;
        let status = Command::new("xenstore-chmod").arg(folder).args(permissions).status()?;
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("xenstore-chmod {folder}"))) }
    }

    async fn write(&self, name: &str, value: &str) -> io::Result<()> {
        let path = format!("{}/{name}", self.own);
        at(&path, self.store.write(&path, value).await)
    }

    /// Serves the disk, and breaks the protocol. Returns how many requests were served.
    async fn play(&mut self, grants: &Grants, round: &Round) -> io::Result<u32> {
        let patience = if round.connects { PATIENCE } else { AFTER };
        let mut connected = self.connect(grants, patience, round.delay).await?;
        if connected && !round.connects {
            // A disk is looked at when both ends are connected.
            tokio::time::sleep(AFTER).await;
            connected = self.front("state").await? == "4";
        }
        if connected != round.connects {
            let how = if connected { "connected" } else { "did not connect" };
            return Err(io::Error::other(format!("the frontend {how}")));
        }
        if !connected {
            return Ok(0);
        }
        if round.delay == Delay::Reads {
            return self.fail_reads(PATIENCE, Err(io::Error::other("the frontend stays connected"))).await;
        }
        if round.delay == Delay::FirstReads {
            self.fail_reads(READABLE_AFTER, Ok(())).await?;
            self.memory[SIGNATURE..SIGNATURE + 4].copy_from_slice(&OTHER_SIGNATURE.to_le_bytes());
            self.memory[MARK..SECTOR].copy_from_slice(&[0x55, 0xAA]);
            self.serve(grants, |_, _| false)?;
            return Ok(self.ring()?.answered());
        }
        if round.delay == Delay::FirstAnswer {
            tokio::time::sleep(SPIN_UP).await;
        }
        self.serve(grants, |ring, _| ring.answered() >= SERVED)?;
        let served = self.ring()?.answered();
        if served < SERVED {
            return Err(io::Error::other(format!("{served} requests in {} s", PATIENCE.as_secs())));
        }
        self.wait_for_requests()?;
        match self.do_deed(grants, round.deed).await {
            // The frontend has had enough, and has taken its grants back.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
            result => result?,
        }
        tokio::time::sleep(AFTER).await;
        Ok(served)
    }

    /// Waits for the frontend's ring, and connects. Returns true if the frontend does so, too.
    async fn connect(&mut self, grants: &Grants, patience: Duration, delay: Delay) -> io::Result<bool> {
        if !self.becomes("3", patience).await? {
            return Ok(false);
        }
        let number = |text: String| text.parse::<u32>().map_err(io::Error::other);
        let mut references = Vec::new();
        match self.front("ring-ref").await? {
            one if !one.is_empty() => references.push(number(one)?),
            _ => {
                let order = number(self.front("ring-page-order").await?)?;
                for page in 0..1 << order {
                    references.push(number(self.front(&format!("ring-ref{page}")).await?)?);
                }
            }
        }
        let ring = Ring::new(grants.map(self.domain, &references)?);
        let events = Events::bind(self.domain, number(self.front("event-channel").await?)?)?;
        self.connected = Some((ring, events));
        if delay == Delay::Paused {
            self.xl("pause")?;
            tokio::time::sleep(PAUSED).await;
            self.xl("unpause")?;
            tokio::time::sleep(AFTER).await;
        }
        self.write("state", "4").await?;
        self.becomes("4", patience).await
    }

    /// Waits until the frontend has this state. Returns false if it does not come to it.
    async fn becomes(&self, state: &str, patience: Duration) -> io::Result<bool> {
        let end = Instant::now() + patience;
        while self.front("state").await? != state {
            if Instant::now() > end {
                return Ok(false);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(true)
    }

    /// Returns a node of the frontend's, empty where there is none.
    async fn front(&self, name: &str) -> io::Result<String> {
        let path = format!("{}/{name}", self.front);
        match self.store.read(&path).await {
            Ok(value) => Ok(value.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => at(&path, Err(error)),
        }
    }

    fn connection(&mut self) -> io::Result<&mut (Ring, Events)> {
        self.connected.as_mut().ok_or_else(|| io::Error::other("not connected"))
    }

    fn ring(&mut self) -> io::Result<&mut Ring> {
        self.connection().map(|(ring, _)| ring)
    }

    /// Takes the requests that there are, waiting some time for one.
    fn take(&mut self, time: Duration) -> io::Result<()> {
        let (ring, events) = self.connection()?;
        let mut request = ring.take();
        if request.is_none() {
            events.wait(time)?;
            request = ring.take();
        }
        while let Some(taken) = request {
            self.waiting.push_back(taken);
            request = self.ring()?.take();
        }
        Ok(())
    }

    /// Takes requests until there are two that wait.
    fn wait_for_requests(&mut self) -> io::Result<()> {
        let end = Instant::now() + PATIENCE;
        while self.waiting.len() < 2 && Instant::now() < end {
            self.take(Duration::from_millis(20))?;
        }
        Ok(())
    }

    /// Serves requests well until `done`, given the time for which it has, or until a frontend is out of patience.
    fn serve(&mut self, grants: &Grants, done: impl Fn(&Ring, Duration) -> bool) -> io::Result<()> {
        let start = Instant::now();
        while !done(self.ring()?, start.elapsed()) && start.elapsed() < PATIENCE {
            self.take(Duration::from_millis(20))?;
            self.answer_all(grants)?;
        }
        Ok(())
    }

    /// Answers the requests that wait, as they should be.
    fn answer_all(&mut self, grants: &Grants) -> io::Result<()> {
        while let Some(request) = self.waiting.pop_front() {
            let status = self.transfer(grants, &request)?;
            self.answer(&request, request.operation, status)?;
        }
        Ok(())
    }

    fn answer(&mut self, request: &Request, operation: u8, status: i16) -> io::Result<()> {
        let (ring, events) = self.connection()?;
        ring.answer(request.id, operation, status);
        events.notify()
    }

    /// Notifies the frontend.
    fn notify(&self) -> io::Result<()> {
        self.connected.as_ref().map_or(Ok(()), |(_, events)| events.notify())
    }

    /// Moves a request's data.
    fn transfer(&mut self, grants: &Grants, request: &Request) -> io::Result<i16> {
        if request.operation == FLUSH {
            return Ok(OKAY);
        }
        if !matches!(request.operation, READ | WRITE) {
            return Ok(NOT_SUPPORTED);
        }
        let mut at = request.sector as usize * SECTOR;
        for segment in &request.segments {
            let page = grants.map(self.domain, &[segment.reference])?;
            let (first, last) = (usize::from(segment.sectors.0), usize::from(segment.sectors.1));
            let length = (last + 1 - first) * SECTOR;
            let own = self.memory.get_mut(at..at + length).ok_or(io::ErrorKind::InvalidInput)?;
            if request.operation == READ {
                page.write(first * SECTOR, own);
            } else {
                page.read(first * SECTOR, own);
            }
            at += length;
        }
        Ok(OKAY)
    }

    /// Fails every read until the frontend has enough of it, or for a `time`, after which there is that `end`. Returns how many
    /// there were.
    async fn fail_reads(&mut self, time: Duration, end: io::Result<()>) -> io::Result<u32> {
        let start = Instant::now();
        while self.front("state").await? == "4" {
            if start.elapsed() > time {
                end?;
                break;
            }
            self.take(Duration::from_millis(20))?;
            while let Some(request) = self.waiting.pop_front() {
                self.answer(&request, request.operation, ERROR)?;
            }
        }
        Ok(self.ring()?.answered())
    }

    /// Breaks the protocol; requests are waiting.
    async fn do_deed(&mut self, grants: &Grants, deed: Deed) -> io::Result<()> {
        let request = self.waiting.front().cloned().ok_or_else(|| io::Error::other("no request waits"))?;
        let go_on = |_: &Ring, time| time >= LASTS;
        match deed {
            Deed::None => return self.serve(grants, go_on),
            Deed::AnswersAhead => drop(self.ring()?.responses().fetch_add(9, Ordering::Release)),
            Deed::AnswersBack => drop(self.ring()?.responses().fetch_sub(1, Ordering::Release)),
            Deed::UnknownName => self.ring()?.answer(u64::MAX - 1, request.operation, OKAY),
            Deed::Twice => {
                let status = self.transfer(grants, &request)?;
                self.ring()?.answer(request.id, request.operation, status);
                self.ring()?.answer(request.id, request.operation, status);
            }
            Deed::UnknownStatus => self.ring()?.answer(request.id, request.operation, 77),
            Deed::OtherOperation => self.ring()?.answer(request.id, 0x55, OKAY),
            Deed::Overwritten => {
                self.ring()?.overwrite_requests();
                return self.serve(grants, go_on);
            }
            Deed::Storm => {
                let start = Instant::now();
                while start.elapsed() < LASTS {
                    self.notify()?;
                }
                return self.serve(grants, go_on);
            }
            Deed::Deaf => {
                let start = Instant::now();
                while start.elapsed() < LASTS {
                    self.answer_all(grants)?;
                    self.take(Duration::ZERO)?;
                    self.ring()?.be_deaf();
                }
                return self.serve(grants, go_on);
            }
            Deed::Filled(byte) => self.ring()?.fill(byte),
            Deed::Scribbled => {
                let (start, mut random) = (Instant::now(), 0x9E37_79B9_u32);
                while start.elapsed() < LASTS {
                    for _ in 0..64 {
                        random ^= random << 13;
                        random ^= random >> 17;
                        random ^= random << 5;
                        self.ring()?.scribble((random >> 8) as usize, random.rotate_left(7));
                    }
                    self.notify()?;
                }
            }
            Deed::Closed => self.write("state", "6").await?,
            Deed::Held => {
                for request in &self.waiting {
                    for segment in &request.segments {
                        self.held.push(grants.map(self.domain, &[segment.reference])?);
                    }
                }
                return Ok(());
            }
            Deed::Node(name, values) => {
                for value in values {
                    self.write(name, value).await?;
                    // A new size is told by the state.
                    if name != "state" {
                        self.write("state", "4").await?;
                    }
                    self.serve(grants, |_, time| time >= LASTS / 4)?;
                }
                return self.serve(grants, go_on);
            }
            Deed::States => {
                for round in 0..10 {
                    for state in ["1", "3", "7", "2", "8", "4"] {
                        self.write("state", state).await?;
                    }
                    if round % 3 == 0 {
                        self.serve(grants, |_, time| time >= LASTS / 10)?;
                    }
                }
                return self.serve(grants, go_on);
            }
            Deed::StateRemoved => {
                let path = format!("{}/state", self.own);
                at(&path, self.store.rm(&path).await)?;
            }
            Deed::FolderRemoved => at(&self.own, self.store.rm(&self.own).await)?,
            Deed::GoneBehindAnswers => return self.go_behind_answers(grants).await,
        }
        self.notify()
    }

    /// Answers everything without telling, closes, and sees that the frontend does not wait for what is there.
    async fn go_behind_answers(&mut self, grants: &Grants) -> io::Result<()> {
        // Every reader's request is there by then, and none comes before an answer is taken in.
        let start = Instant::now();
        while start.elapsed() < LASTS {
            self.take(LASTS / 10)?;
        }
        while let Some(request) = self.waiting.pop_front() {
            let status = self.transfer(grants, &request)?;
            self.ring()?.answer(request.id, request.operation, status);
        }
        self.write("online", "0").await?;
        self.write("state", "6").await?;
        let closed = Instant::now();
        while self.front("state").await? == "4" {
            if closed.elapsed() > AT_ONCE {
                return Err(io::Error::other("the frontend waits for answers that are in the ring"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Takes the vbd away without asking. What is held is answered later, and nobody is told of the answers.
    async fn take_away(&mut self, grants: &Grants) -> io::Result<()> {
        for folder in [&self.front, &self.own] {
            match self.store.rm(folder).await {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => at(folder, result)?,
            }
        }
        if !self.held.is_empty() {
            tokio::time::sleep(LASTS).await;
            self.held.clear();
            while let Some(request) = self.waiting.pop_front() {
                let status = self.transfer(grants, &request)?;
                self.ring()?.answer(request.id, request.operation, status);
            }
        }
        tokio::time::sleep(AFTER).await;
        Ok(())
    }
}
