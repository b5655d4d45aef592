//! A block backend, honest unless told otherwise.

mod execute;

use core::mem::{offset_of, size_of};
use core::sync::atomic::{Ordering, fence};
use std::collections::BTreeSet;
use std::format;
use std::string::String;
use std::vec::Vec;

use zerocopy::IntoBytes;

use super::{Tree, World};
use crate::blkif::{Config, Disk, Event, Frontend, QueueOffer, XenbusDevice};
use crate::wire::{blkif as wire, ring};
use crate::xenbus::State;
use crate::{DomainId, GrantRef, PAGE_SIZE, Port, SharedMemory};

/// One ring as the backend has it.
#[derive(Debug)]
struct Queue {
    pages: Vec<(GrantRef, SharedMemory)>,
    port: Port,
    req_cons: u32,
    rsp_prod: u32,
    requests: Vec<wire::Request>,
}

/// A backend for one vbd, driven step by step by a test. What speaks of a ring means the one of
/// [`Blkback::select`], at first the only one.
#[derive(Debug)]
pub struct Blkback {
    world: World,
    frontend: String,
    backend: String,
    disk: Vec<u8>,
    block: u64,
    queues: Vec<Queue>,
    selected: usize,
    /// Grants that stay mapped, where the frontend agreed to that.
    persistent: Option<BTreeSet<u32>>,
    /// The value that the node `feature-persistent` gets when both ends connect, as Linux's blkback has it.
    pub persistent_at_last: Option<bool>,
    /// Grants that stay mapped although their request was answered.
    held: Vec<(GrantRef, bool)>,
    /// The guest's life in which it was connected.
    life: u32,
    /// Keeps the pages of answered requests mapped.
    pub hold_pages: bool,
    /// Has requests under way: it says that it has closed, as Linux's blkback does, and refuses new rings.
    pub busy: bool,
    /// Bears what only its own misbehaviour can bring about, instead of panicking: requests it overwrote,
    /// grants that have ended because it answered early.
    pub hostile: bool,
    /// Answers flushes and discards with "not supported", whatever its nodes say.
    pub refuses_features: bool,
    /// Flushes done so far: each with the operation it was asked by.
    pub flushes: Vec<u8>,
    /// Discards done so far: sector and number of sectors.
    pub discards: Vec<(u64, u64)>,
    /// Segments of each read and write done so far.
    pub segments: Vec<usize>,
    /// Notifications that would have been sent to the frontend.
    pub notifications: usize,
}

impl Blkback {
    /// The domain of every fake backend.
    pub const DOMAIN: DomainId = DomainId(0);

    /// Returns a backend for the vbd at `frontend` (such as `device/vbd/768`, which it creates as a toolstack
    /// does), with a disk of zeroes and a flush operation, waiting for its frontend.
    pub fn new(world: &World, frontend: &str, sectors: u64) -> Self {
        let number = frontend.rsplit('/').next().unwrap_or_default();
        let backend = format!("/local/domain/0/backend/vbd/1/{number}");
        let store = world.store();
        let front = |node: &str, value: &str| store.set(&format!("{frontend}/{node}"), value);
        front("backend", &backend);
        front("backend-id", "0");
        front("state", "1");
        front("virtual-device", number);
        front("device-type", "disk");
        let backend_node = |node: &str, value: &str| store.set(&format!("{backend}/{node}"), value);
        backend_node("state", "2");
        backend_node("sectors", &format!("{sectors}"));
        backend_node("sector-size", "512");
        backend_node("info", "0");
        backend_node("feature-flush-cache", "1");
        Self {
            world: world.clone(),
            frontend: frontend.into(),
            backend,
            disk: std::vec![0; sectors as usize * 512],
            block: 1,
            queues: Vec::new(),
            selected: 0,
            persistent: None,
            persistent_at_last: None,
            held: Vec::new(),
            life: world.life(),
            hold_pages: false,
            busy: false,
            hostile: false,
            refuses_features: false,
            flushes: Vec::new(),
            discards: Vec::new(),
            segments: Vec::new(),
            notifications: 0,
        }
    }

    /// Speaks of another of its rings from here on.
    pub fn select(&mut self, queue: usize) {
        assert!(queue < self.queues.len(), "{queue} of {} rings", self.queues.len());
        self.selected = queue;
    }

    /// Rings it is connected to.
    pub fn rings(&self) -> usize {
        self.queues.len()
    }

    /// Returns the number of pages of each ring.
    pub fn ring_pages(&self) -> usize {
        self.ring().pages.len()
    }

    /// Returns true if grants stay mapped.
    pub fn is_persistent(&self) -> bool {
        self.persistent.is_some()
    }

    fn ring(&self) -> &Queue {
        self.queues.get(self.selected).expect("connected")
    }

    fn ring_mut(&mut self) -> &mut Queue {
        self.queues.get_mut(self.selected).expect("connected")
    }

    /// Sets a node of the backend's.
    pub fn set(&mut self, node: &str, value: &str) {
        if node == "sector-size" {
            self.block = value.parse::<u64>().expect("a number") / 512;
        }
        self.store().set(&format!("{}/{node}", self.backend), value);
    }

    /// Returns the backend's state.
    pub fn state(&self) -> State {
        let text = self.store().text(&format!("{}/state", self.backend));
        text.and_then(|text| text.parse().ok()).map_or(State::Unknown, State::from_number)
    }

    /// Sets the backend's state.
    pub fn set_state(&mut self, state: State) {
        self.set("state", &format!("{}", state as u32));
    }

    /// Returns the disk.
    pub fn sectors(&mut self) -> &mut Vec<u8> {
        &mut self.disk
    }

    /// Does what blkback does when the frontend's state changes.
    pub fn negotiate(&mut self) {
        match (self.number("state"), self.state()) {
            (Some(1), State::Closed) => self.set_state(State::InitWait),
            (Some(3 | 4), State::InitWait) if self.busy => self.set_state(State::Closing),
            (Some(3 | 4), State::InitWait) => {
                assert_eq!(self.front("protocol").as_deref(), Some("x86_64-abi"));
                self.connect();
                self.set_state(State::Connected);
            }
            (Some(5), State::Connected | State::InitWait) => self.set_state(State::Closing),
            (Some(6), _) => {
                if !self.busy {
                    self.release_ring();
                }
                self.set_state(State::Closed);
            }
            _ => {}
        }
    }

    /// Maps the rings as the frontend's nodes name them, by the rules of `io/blkif.h`.
    fn connect(&mut self) {
        // It knows the scheme that it offers, and no other.
        let (pages, allowed) = match self.own("max-ring-page-order") {
            Some(order) => (1usize << self.number("ring-page-order").unwrap_or(0), 1usize << order),
            None => {
                let pages = self.number("num-ring-pages").unwrap_or(1) as usize;
                (pages, self.own("max-ring-pages").unwrap_or(1) as usize)
            }
        };
        assert!(pages.is_power_of_two() && pages <= allowed, "{pages} pages, {allowed} allowed");
        let queues = self.number("multi-queue-num-queues").unwrap_or(1) as usize;
        assert!(queues as u64 <= self.own("multi-queue-max-queues").unwrap_or(1), "{queues} queues");
        let persistent = self.number("feature-persistent") == Some(1);
        assert!(!persistent || self.own("feature-persistent") != Some(0), "persistent grants refused");
        if let Some(keeps) = self.persistent_at_last {
            self.set("feature-persistent", if keeps { "1" } else { "0" });
        }
        let persistent = persistent && self.own("feature-persistent") == Some(1);
        self.persistent = persistent.then(BTreeSet::new);
        for queue in 0..queues {
            let folder = if queues == 1 { String::new() } else { format!("queue-{queue}/") };
            let node = |name: &str| self.number(&format!("{folder}{name}"));
            let pages = (0..pages)
                .map(|page| {
                    let single = if pages == 1 { node("ring-ref") } else { None };
                    let ring = single.or_else(|| node(&format!("ring-ref{page}"))).expect("a ring");
                    let ring = GrantRef(ring as u32);
                    (ring, self.world.map(Self::DOMAIN, ring, true).expect("the ring is granted"))
                })
                .collect::<Vec<_>>();
            let port = Port(node("event-channel").expect("a port") as u32);
            let header: ring::Header = pages[0].1.read(0);
            let (req_cons, rsp_prod) = (header.rsp_prod, header.rsp_prod);
            self.queues.push(Queue { pages, port, req_cons, rsp_prod, requests: Vec::new() });
        }
        self.selected = 0;
    }

    /// Connects a frontend with as many queues as ports, each made within `config` and what this backend
    /// offers.
    pub fn connect_frontend(&mut self, config: Config, ports: &[Port]) -> Vec<Frontend<super::Hal>> {
        let (mut frontends, disk) = self.connect_disk(config, ports);
        frontends.iter_mut().zip(ports).for_each(|(frontend, port)| frontend.connect(*port, disk));
        frontends
    }

    /// Connects like [`Blkback::connect_frontend`], with the frontends as yet without their disk.
    pub fn connect_disk(&mut self, config: Config, ports: &[Port]) -> (Vec<Frontend<super::Hal>>, Disk) {
        let mut store = self.store();
        let mut xenbus = XenbusDevice::open(&mut store, &self.frontend).expect("a vbd");
        let mut frontends = Vec::new();
        for _ in 0..20 {
            match xenbus.advance(&mut store).expect("a sound store") {
                Event::Wanted(features) => {
                    let config = config.within(&features);
                    let make = |_: &Port| {
                        Frontend::new(self.world.hal(), xenbus.vbd(), config).expect("pages and grants")
                    };
                    frontends = ports.iter().map(make).collect();
                    let offer =
                        |(frontend, port): (&'_ Frontend<_>, &Port)| (frontend.ring().to_vec(), *port);
                    let offers: Vec<_> = frontends.iter().zip(ports).map(offer).collect();
                    let queues: Vec<_> =
                        offers.iter().map(|(ring, port)| QueueOffer { ring, port: *port }).collect();
                    xenbus.publish(&mut store, config.persistent, &queues).expect("a sound store");
                }
                Event::Connected(disk) => return (frontends, disk),
                _ => self.negotiate(),
            }
        }
        panic!("not connected");
    }

    /// Lets go of the rings' pages, and of the grants it kept.
    pub fn release_ring(&mut self) {
        let gone = core::mem::replace(&mut self.life, self.world.life()) != self.world.life();
        if gone {
            // Mappings of a former life of the guest are none of this one's.
            self.queues.clear();
            self.held.clear();
            self.persistent = None;
            return;
        }
        for queue in self.queues.drain(..) {
            queue.pages.iter().for_each(|(ring, _)| self.world.unmap(*ring, true));
        }
        for reference in self.persistent.take().into_iter().flatten() {
            self.world.unmap(GrantRef(reference), true);
        }
    }

    /// Dies with its domain: Xen takes every mapping away, what it had been asked is lost, and a new one
    /// waits for a frontend. What it wrote to the disk stays.
    pub fn die(&mut self) {
        self.release_ring();
        self.release_pages();
        self.set_state(State::InitWait);
    }

    /// Maps the page of the highest reference by which one is granted to it, as a backend may that guesses: Xen does not ask
    /// whether the reference was sent to it. Panics where there is none.
    pub fn guess(&mut self) {
        let granted = |number: &u32| self.world.map(Self::DOMAIN, GrantRef(*number), false).is_some();
        let number = (0..1 << 14).rev().find(granted).expect("a page that is granted");
        self.held.push((GrantRef(number), false));
    }

    /// Lets go of pages that were held back.
    pub fn release_pages(&mut self) {
        for (reference, write) in self.held.drain(..) {
            self.world.unmap(reference, write);
        }
    }

    /// Returns the port that the frontend offered.
    pub fn port(&self) -> Port {
        self.ring().port
    }

    /// Takes new requests from the ring, then asks to be notified of the next.
    pub fn fetch(&mut self) {
        let hostile = self.hostile;
        let ring = self.ring_mut();
        let slots = ring.slots();
        let produced = |ring: &Queue| ring.word(offset_of!(ring::Header, req_prod)).load(Ordering::Acquire);
        while produced(ring) != ring.req_cons {
            let outstanding = produced(ring).wrapping_sub(ring.rsp_prod);
            if outstanding > slots {
                assert!(hostile, "{outstanding} requests without a response");
                return;
            }
            let mut request = wire::Request::default();
            ring.copy_out(ring.slot(ring.req_cons), request.as_mut_bytes());
            ring.requests.push(request);
            ring.req_cons = ring.req_cons.wrapping_add(1);
            if produced(ring) == ring.req_cons {
                let event = ring.word(offset_of!(ring::Header, req_event));
                event.store(ring.req_cons.wrapping_add(1), Ordering::Relaxed);
                fence(Ordering::SeqCst);
            }
        }
    }

    /// Returns the requests taken and not yet answered.
    pub fn queue(&self) -> &[wire::Request] {
        &self.ring().requests
    }

    /// Does a queued request and answers it; nothing where there are none. Any order is allowed.
    pub fn answer(&mut self, index: usize) {
        if self.queue().is_empty() {
            return;
        }
        let count = self.queue().len();
        let request = self.ring_mut().requests.remove(index % count);
        let status = self.execute(&request);
        self.respond(&wire::Response {
            id: request.id,
            operation: execute::answered(&request),
            status,
            ..wire::Response::default()
        });
    }

    /// Does a queued request and dies before it answers.
    pub fn execute_unanswered(&mut self, index: usize) {
        if !self.queue().is_empty() {
            let count = self.queue().len();
            let request = self.ring_mut().requests.remove(index % count);
            self.execute(&request);
        }
    }

    /// Fetches and answers everything on every ring, in order.
    pub fn run(&mut self) {
        let selected = self.selected;
        for queue in 0..self.queues.len() {
            self.selected = queue;
            self.fetch();
            while !self.queue().is_empty() {
                self.answer(0);
            }
        }
        self.selected = selected;
    }

    /// Writes any response at all, published and notified as an honest one.
    pub fn respond(&mut self, response: &wire::Response) {
        let ring = self.ring_mut();
        ring.copy_in(ring.slot(ring.rsp_prod), response.as_bytes());
        let from = ring.rsp_prod;
        ring.rsp_prod = from.wrapping_add(1);
        let to = ring.rsp_prod;
        self.claim(to);
        fence(Ordering::SeqCst);
        let wanted = self.ring().word(offset_of!(ring::Header, rsp_event)).load(Ordering::Relaxed);
        if to.wrapping_sub(wanted) < to.wrapping_sub(from) {
            self.notifications += 1;
        }
    }

    /// Claims to have produced so many responses.
    pub fn claim(&self, rsp_prod: u32) {
        self.ring().word(offset_of!(ring::Header, rsp_prod)).store(rsp_prod, Ordering::Release);
    }

    /// Writes anywhere on the ring's first page.
    pub fn scribble(&self, offset: usize, bytes: &[u8]) {
        self.ring().pages[0].1.copy_in(offset, bytes);
    }

    /// Returns the ring's first page as the backend sees it.
    pub fn ring_page(&self) -> Vec<u8> {
        let mut page = std::vec![0; PAGE_SIZE];
        self.ring().pages[0].1.copy_out(0, &mut page);
        page
    }

    fn store(&self) -> Tree {
        self.world.store()
    }

    fn front(&self, node: &str) -> Option<String> {
        self.store().text(&format!("{}/{node}", self.frontend))
    }

    fn number(&self, node: &str) -> Option<u64> {
        self.front(node)?.parse().ok()
    }

    fn own(&self, node: &str) -> Option<u64> {
        self.store().text(&format!("{}/{node}", self.backend))?.parse().ok()
    }
}

impl Queue {
    fn slots(&self) -> u32 {
        // Table of the slots of a ring of 1, 2, 4, 8 and 16 pages (io/blkif.h's __RING_SIZE).
        [32, 64, 128, 256, 512][self.pages.len().ilog2() as usize]
    }

    /// Returns the byte offset of a slot.
    fn slot(&self, index: u32) -> usize {
        size_of::<ring::Header>() + (index % self.slots()) as usize * size_of::<wire::Request>()
    }

    fn word(&self, offset: usize) -> &core::sync::atomic::AtomicU32 {
        self.pages[0].1.atomic_u32(offset)
    }

    fn copy_out(&self, offset: usize, into: &mut [u8]) {
        for (n, byte) in into.iter_mut().enumerate() {
            let at = offset + n;
            self.pages[at / PAGE_SIZE].1.copy_out(at % PAGE_SIZE, core::slice::from_mut(byte));
        }
    }

    fn copy_in(&self, offset: usize, from: &[u8]) {
        for (n, byte) in from.iter().enumerate() {
            let at = offset + n;
            self.pages[at / PAGE_SIZE].1.copy_in(at % PAGE_SIZE, &[*byte]);
        }
    }
}
