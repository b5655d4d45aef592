//! Xenstored at the other end of the store page, honest unless told otherwise.

use core::mem::{offset_of, size_of};
use core::sync::atomic::Ordering;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::format;
use std::rc::Rc;
use std::string::{String, ToString};
use std::vec::Vec;

use zerocopy::{FromBytes, IntoBytes};

use super::{Memory, Tree};
use crate::store::{Ring, Transport};
use crate::wire::xenstore::{Header, Interface, PAYLOAD_MAX, RING_SIZE, kind};

struct Inner {
    /// Parts of lists asked for.
    part_requests: u32,
    generation_changes_at: u32,
    tree: Tree,
    input: Vec<u8>,
    output: VecDeque<u8>,
    watches: Vec<(String, String)>,
    /// Nodes at the start of each open transaction.
    transactions: BTreeMap<u32, BTreeMap<String, Vec<u8>>>,
    next_transaction: u32,
    collisions: u32,
    /// Bytes moved each way in one step.
    chunk: usize,
    /// Steps to sleep through before doing anything.
    asleep: u32,
    /// Raw bytes to answer the coming requests with.
    script: VecDeque<Vec<u8>>,
    requests: Vec<(u32, Vec<u8>)>,
    notified: u32,
    patience: u32,
    /// Kept alive for the ring.
    memory: Memory,
}

/// A xenstored for one guest; clones are the same server.
#[derive(Clone)]
pub struct Xenstored {
    inner: Rc<RefCell<Inner>>,
}

impl core::fmt::Debug for Xenstored {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Xenstored").finish_non_exhaustive()
    }
}

impl Xenstored {
    /// Returns a server with an empty tree and indices at 0.
    pub fn new() -> Self {
        Self::starting_at(0, 0)
    }

    /// Has the lists it tells in parts change with the `request`-th part, once.
    pub fn change_lists_at(&self, request: u32) {
        self.inner.borrow_mut().generation_changes_at = request;
    }

    /// Returns a server whose request and reply indices stand at these values.
    pub fn starting_at(request: u32, reply: u32) -> Self {
        let memory = Memory::new(1, 0);
        let page = memory.share();
        for (offset, value) in [
            (offset_of!(Interface, req_cons), request),
            (offset_of!(Interface, req_prod), request),
            (offset_of!(Interface, rsp_cons), reply),
            (offset_of!(Interface, rsp_prod), reply),
        ] {
            page.atomic_u32(offset).store(value, Ordering::SeqCst);
        }
        let inner = Inner {
            tree: Tree::default(),
            input: Vec::new(),
            output: VecDeque::new(),
            watches: Vec::new(),
            part_requests: 0,
            generation_changes_at: u32::MAX,
            transactions: BTreeMap::new(),
            next_transaction: 1,
            collisions: 0,
            chunk: RING_SIZE,
            asleep: 0,
            script: VecDeque::new(),
            requests: Vec::new(),
            notified: 0,
            patience: 64,
            memory,
        };
        Self { inner: Rc::new(RefCell::new(inner)) }
    }

    /// Returns the guest's end of the page.
    pub fn ring(&self) -> Ring {
        Ring::new(self.inner.borrow().memory.share())
    }

    /// Returns the page itself, as another user of it maps it.
    pub fn memory(&self) -> crate::SharedMemory {
        self.inner.borrow().memory.share()
    }

    /// Returns a transport that lets the server work whenever the client waits, and gives up after 64 idle
    /// waits.
    pub fn transport(&self) -> ServerTransport {
        ServerTransport { server: self.clone() }
    }

    /// Returns the nodes.
    pub fn tree(&self) -> Tree {
        self.inner.borrow().tree.clone()
    }

    /// Sets a node and fires its watches.
    pub fn set(&self, path: &str, value: &str) {
        let mut inner = self.inner.borrow_mut();
        inner.tree.set(path, value);
        inner.fire(path);
    }

    /// Moves at most so many bytes each way in one step.
    pub fn set_chunk(&self, bytes: usize) {
        self.inner.borrow_mut().chunk = bytes;
    }

    /// Does nothing for so many steps.
    pub fn sleep(&self, steps: u32) {
        self.inner.borrow_mut().asleep = steps;
    }

    /// Lets the client give up after so many idle waits.
    pub fn set_patience(&self, waits: u32) {
        self.inner.borrow_mut().patience = waits;
    }

    /// Answers the next request with these bytes, whatever it is.
    pub fn answer_with(&self, bytes: &[u8]) {
        self.inner.borrow_mut().script.push_back(bytes.to_vec());
    }

    /// Sends bytes that answer nothing.
    pub fn send(&self, bytes: &[u8]) {
        self.inner.borrow_mut().output.extend(bytes);
    }

    /// Lets so many transactions collide.
    pub fn collide(&self, times: u32) {
        self.inner.borrow_mut().collisions = times;
    }

    /// Overwrites an index of the page.
    pub fn set_index(&self, offset: usize, value: u32) {
        self.inner.borrow().memory.share().atomic_u32(offset).store(value, Ordering::SeqCst);
    }

    /// Returns the requests received so far: type and payload.
    pub fn requests(&self) -> Vec<(u32, Vec<u8>)> {
        self.inner.borrow().requests.clone()
    }

    /// Watches that are set: path and token.
    pub fn watches(&self) -> Vec<(String, String)> {
        self.inner.borrow().watches.clone()
    }

    /// Notifications received so far.
    pub fn notified(&self) -> u32 {
        self.inner.borrow().notified
    }

    /// Takes requests from the ring, handles those that are complete, sends what there is to send.
    pub fn step(&self) {
        self.inner.borrow_mut().step();
    }

    /// Returns a message as it appears on the wire.
    pub fn message(kind: u32, req_id: u32, payload: &[u8]) -> Vec<u8> {
        let header = Header { kind, req_id, tx_id: 0, len: payload.len() as u32 };
        [header.as_bytes(), payload].concat()
    }
}

impl Default for Xenstored {
    fn default() -> Self {
        Self::new()
    }
}

impl Inner {
    fn step(&mut self) {
        if self.asleep > 0 {
            self.asleep -= 1;
            return;
        }
        self.take();
        while let Some((header, payload)) = self.next_request() {
            self.requests.push((header.kind, payload.clone()));
            if let Some(bytes) = self.script.pop_front() {
                self.output.extend(bytes);
                continue;
            }
            let (kind, answer) = match self.handle(&header, &payload) {
                Ok(answer) => (header.kind, answer),
                Err(name) => (kind::ERROR, format!("{name}\0").into_bytes()),
            };
            let reply = Header { kind, len: answer.len() as u32, ..header };
            self.output.extend(reply.as_bytes());
            self.output.extend(answer);
            if header.kind == kind::WATCH && kind == kind::WATCH {
                let (path, token) = self.watches.last().cloned().expect("just set");
                self.send_event(&path, &token);
            }
        }
        self.give();
    }

    fn take(&mut self) {
        let page = self.memory.share();
        let consumed = page.atomic_u32(offset_of!(Interface, req_cons));
        let from = consumed.load(Ordering::SeqCst);
        let produced = page.atomic_u32(offset_of!(Interface, req_prod)).load(Ordering::SeqCst);
        let count = (produced.wrapping_sub(from) as usize).min(self.chunk);
        for index in 0..count {
            let at = from.wrapping_add(index as u32) as usize % RING_SIZE;
            self.input.push(page.atomic_u8(offset_of!(Interface, req) + at).load(Ordering::SeqCst));
        }
        consumed.store(from.wrapping_add(count as u32), Ordering::SeqCst);
    }

    fn give(&mut self) {
        let page = self.memory.share();
        let produced = page.atomic_u32(offset_of!(Interface, rsp_prod));
        let from = produced.load(Ordering::SeqCst);
        let consumed = page.atomic_u32(offset_of!(Interface, rsp_cons)).load(Ordering::SeqCst);
        let room = RING_SIZE.saturating_sub(from.wrapping_sub(consumed) as usize);
        let count = self.output.len().min(room).min(self.chunk);
        for (index, byte) in self.output.drain(..count).enumerate() {
            let at = from.wrapping_add(index as u32) as usize % RING_SIZE;
            page.atomic_u8(offset_of!(Interface, rsp) + at).store(byte, Ordering::SeqCst);
        }
        produced.store(from.wrapping_add(count as u32), Ordering::SeqCst);
    }

    fn next_request(&mut self) -> Option<(Header, Vec<u8>)> {
        let (header, rest) = Header::read_from_prefix(&self.input).ok()?;
        let length = header.len as usize;
        assert!(length <= PAYLOAD_MAX, "the client sent {length} bytes: the server would end the connection");
        let payload = rest.get(..length)?.to_vec();
        self.input.drain(..size_of::<Header>() + length);
        Some((header, payload))
    }

    fn handle(&mut self, header: &Header, payload: &[u8]) -> Result<Vec<u8>, &'static str> {
        if header.tx_id != 0 && !self.transactions.contains_key(&header.tx_id) {
            return Err("ENOENT");
        }
        let end = payload.iter().position(|byte| *byte == 0).ok_or("EINVAL")?;
        let path = core::str::from_utf8(&payload[..end]).map_err(|_| "EINVAL")?;
        let rest = &payload[end + 1..];
        let ok = || Ok(b"OK\0".to_vec());
        match header.kind {
            kind::READ => self.tree.value(path).ok_or("ENOENT"),
            kind::DIRECTORY => {
                let names = self.tree.children(path).ok_or("ENOENT")?;
                let answer: String = names.iter().flat_map(|name| [name.as_str(), "\0"]).collect();
                if answer.len() > PAYLOAD_MAX { Err("E2BIG") } else { Ok(answer.into_bytes()) }
            }
            kind::DIRECTORY_PART => {
                let names = self.tree.children(path).ok_or("ENOENT")?;
                let offset = core::str::from_utf8(rest.strip_suffix(b"\0").unwrap_or(rest));
                let offset: usize = offset.ok().and_then(|text| text.parse().ok()).ok_or("EINVAL")?;
                self.part_requests += 1;
                // The list changes once while it is read.
                let generation = if self.part_requests < self.generation_changes_at { 7 } else { 8 };
                let mut answer = format!("{generation}\0").into_bytes();
                let mut at = 0;
                for name in &names {
                    if at >= offset {
                        if answer.len() + name.len() + 1 > PAYLOAD_MAX {
                            return Ok(answer);
                        }
                        answer.extend(name.as_bytes());
                        answer.push(0);
                    }
                    at += name.len() + 1;
                }
                if answer.len() < PAYLOAD_MAX {
                    answer.push(0);
                }
                Ok(answer)
            }
            kind::WRITE => {
                self.tree.set(path, rest);
                self.fire(path);
                ok()
            }
            kind::MKDIR => {
                if self.tree.value(path).is_none() {
                    self.tree.set(path, "");
                }
                ok()
            }
            kind::RM => {
                if !self.tree.delete(path) {
                    return Err("ENOENT");
                }
                self.fire(path);
                ok()
            }
            kind::WATCH | kind::UNWATCH => {
                let token = core::str::from_utf8(rest).ok().and_then(|token| token.strip_suffix('\0'));
                let watch = (path.to_string(), token.ok_or("EINVAL")?.to_string());
                let known = self.watches.iter().position(|known| *known == watch);
                match (header.kind, known) {
                    (kind::WATCH, None) => self.watches.push(watch),
                    (kind::WATCH, Some(_)) => return Err("EEXIST"),
                    (_, Some(index)) => drop(self.watches.remove(index)),
                    (_, None) => return Err("ENOENT"),
                }
                ok()
            }
            kind::RESET_WATCHES => {
                self.watches.clear();
                self.transactions.clear();
                ok()
            }
            kind::TRANSACTION_START => {
                let id = self.next_transaction;
                self.next_transaction += 1;
                self.transactions.insert(id, self.tree.snapshot());
                Ok(format!("{id}\0").into_bytes())
            }
            kind::TRANSACTION_END => {
                let before = self.transactions.remove(&header.tx_id).ok_or("ENOENT")?;
                let collided = path == "T" && self.collisions > 0;
                if collided {
                    self.collisions -= 1;
                }
                if collided || path == "F" {
                    self.tree.restore(before);
                }
                if collided { Err("EAGAIN") } else { ok() }
            }
            _ => Err("ENOSYS"),
        }
    }

    fn fire(&mut self, path: &str) {
        let hit = |watched: &str| {
            path.strip_prefix(watched).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let tokens: Vec<_> =
            self.watches.iter().filter(|(watched, _)| hit(watched)).map(|(_, token)| token.clone()).collect();
        for token in tokens {
            self.send_event(path, &token);
        }
    }

    fn send_event(&mut self, path: &str, token: &str) {
        let payload = format!("{path}\0{token}\0");
        self.output.extend(Xenstored::message(kind::WATCH_EVENT, 0, payload.as_bytes()));
    }
}

/// Transport of [`Xenstored::transport`].
#[derive(Clone, Debug)]
pub struct ServerTransport {
    server: Xenstored,
}

impl Transport for ServerTransport {
    fn notify(&mut self) {
        self.server.inner.borrow_mut().notified += 1;
    }

    fn wait(&mut self, idle: u32) -> bool {
        self.server.step();
        idle < self.server.inner.borrow().patience
    }
}
