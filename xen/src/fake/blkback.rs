//! A block backend, honest unless told otherwise.

use core::mem::{offset_of, size_of};
use core::sync::atomic::{Ordering, fence};
use std::format;
use std::string::String;
use std::vec::Vec;

use super::{Tree, World};
use crate::wire::{blkif as wire, ring};
use crate::xenbus::State;
use crate::{DomainId, GrantRef, Port, SharedMemory};

/// Slots of a ring of one page.
const SLOTS: u32 = 32;

/// A backend for one vbd, driven step by step by a test.
#[derive(Debug)]
pub struct Blkback {
    world: World,
    frontend: String,
    backend: String,
    disk: Vec<u8>,
    block: u64,
    ring: Option<(GrantRef, SharedMemory)>,
    port: Port,
    req_cons: u32,
    rsp_prod: u32,
    queue: Vec<wire::Request>,
    /// Grants that stay mapped although their request was answered.
    held: Vec<(GrantRef, bool)>,
    /// Keeps the pages of answered requests mapped.
    pub hold_pages: bool,
    /// Bears what only its own misbehaviour can bring about, instead of panicking: requests it overwrote,
    /// grants that have ended because it answered early.
    pub hostile: bool,
    /// Flushes done so far: each with the operation it was asked by.
    pub flushes: Vec<u8>,
    /// Notifications that would have been sent to the frontend.
    pub notifications: usize,
}

impl Blkback {
    /// The domain of every fake backend.
    pub const DOMAIN: DomainId = DomainId(0);

    /// A backend for the vbd at `frontend` (such as `device/vbd/768`, which it creates as a toolstack does),
    /// with a disk of zeroes and a flush operation, waiting for its frontend.
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
            ring: None,
            port: Port(0),
            req_cons: 0,
            rsp_prod: 0,
            queue: Vec::new(),
            held: Vec::new(),
            hold_pages: false,
            hostile: false,
            flushes: Vec::new(),
            notifications: 0,
        }
    }

    /// Sets a node of the backend's.
    pub fn set(&mut self, node: &str, value: &str) {
        if node == "sector-size" {
            self.block = value.parse::<u64>().expect("a number") / 512;
        }
        self.store().set(&format!("{}/{node}", self.backend), value);
    }

    /// The backend's state.
    pub fn state(&self) -> State {
        let text = self.store().text(&format!("{}/state", self.backend));
        text.and_then(|text| text.parse().ok()).map_or(State::Unknown, State::from_number)
    }

    /// Sets the backend's state.
    pub fn set_state(&mut self, state: State) {
        self.set("state", &format!("{}", state as u32));
    }

    /// The disk.
    pub fn sectors(&mut self) -> &mut Vec<u8> {
        &mut self.disk
    }

    /// Does what blkback does when the frontend's state changes.
    pub fn negotiate(&mut self) {
        match (self.number("state"), self.state()) {
            (Some(1), State::Closed) => self.set_state(State::InitWait),
            (Some(3 | 4), State::InitWait) => {
                assert_eq!(self.front("protocol").as_deref(), Some("x86_64-abi"));
                let ring = GrantRef(self.number("ring-ref").expect("a ring") as u32);
                self.port = Port(self.number("event-channel").expect("a port") as u32);
                let memory = self.world.map(Self::DOMAIN, ring, true).expect("the ring is granted");
                let header: ring::Header = memory.read(0);
                self.req_cons = header.rsp_prod;
                self.rsp_prod = header.rsp_prod;
                self.ring = Some((ring, memory));
                self.set_state(State::Connected);
            }
            (Some(5), State::Connected | State::InitWait) => self.set_state(State::Closing),
            (Some(6), _) => {
                self.release_ring();
                self.set_state(State::Closed);
            }
            _ => {}
        }
    }

    /// Lets go of the ring's page.
    pub fn release_ring(&mut self) {
        if let Some((ring, _)) = self.ring.take() {
            self.world.unmap(ring, true);
        }
    }

    /// Lets go of pages that were held back.
    pub fn release_pages(&mut self) {
        for (reference, write) in self.held.drain(..) {
            self.world.unmap(reference, write);
        }
    }

    /// The port that the frontend offered.
    pub fn port(&self) -> Port {
        self.port
    }

    /// Takes new requests from the ring, then asks to be notified of the next.
    pub fn fetch(&mut self) {
        let (_, memory) = self.ring.as_ref().expect("connected");
        let produced = || memory.atomic_u32(offset_of!(ring::Header, req_prod)).load(Ordering::Acquire);
        while produced() != self.req_cons {
            let outstanding = produced().wrapping_sub(self.rsp_prod);
            if outstanding > SLOTS {
                assert!(self.hostile, "{outstanding} requests without a response");
                return;
            }
            self.queue.push(memory.read(slot(self.req_cons)));
            self.req_cons = self.req_cons.wrapping_add(1);
            if produced() == self.req_cons {
                let event = memory.atomic_u32(offset_of!(ring::Header, req_event));
                event.store(self.req_cons.wrapping_add(1), Ordering::Relaxed);
                fence(Ordering::SeqCst);
            }
        }
    }

    /// Requests taken and not yet answered.
    pub fn queue(&self) -> &[wire::Request] {
        &self.queue
    }

    /// Does a queued request and answers it; nothing where there are none. Any order is allowed.
    pub fn answer(&mut self, index: usize) {
        if self.queue.is_empty() {
            return;
        }
        let request = self.queue.remove(index % self.queue.len());
        let status = self.execute(&request);
        self.respond(&wire::Response {
            id: request.id,
            operation: request.operation,
            status,
            ..wire::Response::default()
        });
    }

    /// Fetches and answers everything, in order.
    pub fn run(&mut self) {
        self.fetch();
        while !self.queue.is_empty() {
            self.answer(0);
        }
    }

    /// Writes any response at all, published and notified as an honest one.
    pub fn respond(&mut self, response: &wire::Response) {
        let (_, memory) = self.ring.as_ref().expect("connected");
        memory.write(slot(self.rsp_prod), response);
        let from = self.rsp_prod;
        self.rsp_prod = from.wrapping_add(1);
        self.claim(self.rsp_prod);
        let (_, memory) = self.ring.as_ref().expect("connected");
        fence(Ordering::SeqCst);
        let wanted = memory.atomic_u32(offset_of!(ring::Header, rsp_event)).load(Ordering::Relaxed);
        if self.rsp_prod.wrapping_sub(wanted) < self.rsp_prod.wrapping_sub(from) {
            self.notifications += 1;
        }
    }

    /// Claims to have produced so many responses.
    pub fn claim(&self, rsp_prod: u32) {
        let (_, memory) = self.ring.as_ref().expect("connected");
        memory.atomic_u32(offset_of!(ring::Header, rsp_prod)).store(rsp_prod, Ordering::Release);
    }

    /// Writes anywhere on the ring's page.
    pub fn scribble(&self, offset: usize, bytes: &[u8]) {
        self.ring.as_ref().expect("connected").1.copy_in(offset, bytes);
    }

    /// The ring's page as the backend sees it.
    pub fn ring_page(&self) -> Vec<u8> {
        let mut page = std::vec![0; crate::PAGE_SIZE];
        self.ring.as_ref().expect("connected").1.copy_out(0, &mut page);
        page
    }

    /// Does a request; answers its status.
    pub fn execute(&mut self, request: &wire::Request) -> i16 {
        let write = match request.operation {
            wire::OP_READ => false,
            wire::OP_WRITE => true,
            wire::OP_WRITE_BARRIER | wire::OP_FLUSH_DISKCACHE if request.nr_segments == 0 => {
                self.flushes.push(request.operation);
                return wire::RSP_OKAY;
            }
            _ => return wire::RSP_EOPNOTSUPP,
        };
        let valid =
            |segment: &wire::Segment| segment.first_sect <= segment.last_sect && segment.last_sect < 8;
        let Some(segments) =
            request.seg.get(..usize::from(request.nr_segments)).filter(|all| all.iter().all(valid))
        else {
            assert!(self.hostile, "{request:?}");
            return wire::RSP_ERROR;
        };
        let count: u64 =
            segments.iter().map(|segment| u64::from(segment.last_sect - segment.first_sect) + 1).sum();
        if !request.sector_number.is_multiple_of(self.block) || !count.is_multiple_of(self.block) {
            return wire::RSP_ERROR;
        }
        let end = request.sector_number.checked_add(count);
        if end.is_none_or(|end| end > self.disk.len() as u64 / 512) {
            return wire::RSP_ERROR;
        }
        let mut at = request.sector_number as usize * 512;
        for segment in segments {
            let reference = GrantRef(segment.gref);
            // The page of a read is written.
            let Some(memory) = self.world.map(Self::DOMAIN, reference, !write) else {
                assert!(self.hostile, "{reference:?} does not allow this");
                return wire::RSP_ERROR;
            };
            let offset = usize::from(segment.first_sect) * 512;
            let length = (usize::from(segment.last_sect) + 1) * 512 - offset;
            let sectors = &mut self.disk[at..at + length];
            if write {
                memory.copy_out(offset, sectors);
            } else {
                memory.copy_in(offset, sectors);
            }
            at += length;
            if self.hold_pages {
                self.held.push((reference, !write));
            } else {
                self.world.unmap(reference, !write);
            }
        }
        wire::RSP_OKAY
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
}

fn slot(index: u32) -> usize {
    size_of::<ring::Header>() + (index % SLOTS) as usize * size_of::<wire::Request>()
}
