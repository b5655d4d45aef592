//! The two byte rings of the store page, `struct xenstore_domain_interface`.

use core::mem::{offset_of, size_of};
use core::sync::atomic::{AtomicU32, Ordering, fence};

use super::Fault;
use crate::SharedMemory;
use crate::wire::xenstore::{Interface, RING_SIZE};

/// The guest's end of the rings. What it has produced and consumed itself it keeps privately.
#[derive(Debug)]
pub struct Ring {
    memory: SharedMemory,
    req_prod: u32,
    rsp_cons: u32,
}

impl Ring {
    /// Takes over the mapped store page where an earlier user left it: between two messages. Panics where the
    /// memory is smaller than the two rings.
    pub fn new(memory: SharedMemory) -> Self {
        assert!(memory.len() >= size_of::<Interface>());
        let index = |offset| memory.atomic_u32(offset).load(Ordering::Acquire);
        let req_prod = index(offset_of!(Interface, req_prod));
        let rsp_cons = index(offset_of!(Interface, rsp_cons));
        Self { memory, req_prod, rsp_cons }
    }

    /// Returns the mapped store page.
    pub fn memory(&self) -> &SharedMemory {
        &self.memory
    }

    /// Returns the number of bytes that can be sent now.
    pub(super) fn room(&self) -> Result<usize, Fault> {
        let consumed = self.index(offset_of!(Interface, req_cons)).load(Ordering::Acquire);
        Ok(RING_SIZE - distance(self.req_prod, consumed)?)
    }

    /// Takes over the mapped store page where a user that is gone left it, wherever that was: what it had
    /// asked is answered, and thrown away, until the server has been quiet for `quiet` calls of `wait` in
    /// a row. Only of a request that it had begun and not finished the server would wait for the rest;
    /// `Ring::put` sees to it that there is none.
    ///
    /// `None` where `wait` gave up before.
    pub fn inherit(memory: SharedMemory, quiet: u32, mut wait: impl FnMut() -> bool) -> Option<Self> {
        let mut ring = Self::new(memory);
        let mut idle = 0;
        while idle < quiet {
            let asked = ring.index(offset_of!(Interface, req_cons)).load(Ordering::Acquire) != ring.req_prod;
            let produced = ring.index(offset_of!(Interface, rsp_prod)).load(Ordering::Acquire);
            let still = !asked && produced == ring.rsp_cons;
            idle = if still { idle + 1 } else { 0 };
            ring.rsp_cons = produced;
            ring.index(offset_of!(Interface, rsp_cons)).store(produced, Ordering::Release);
            if !wait() {
                return None;
            }
        }
        Some(ring)
    }

    /// Puts as many bytes as there is room for behind what was put before; answers how many. The server sees
    /// them when they are published: a message that fits is seen whole or not at all.
    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let count = self.room()?.min(bytes.len());
        let (first, second) = bytes[..count].split_at(count.min(RING_SIZE - place(self.req_prod)));
        self.memory.copy_in(offset_of!(Interface, req) + place(self.req_prod), first);
        self.memory.copy_in(offset_of!(Interface, req), second);
        self.req_prod = self.req_prod.wrapping_add(count as u32);
        Ok(count)
    }

    /// Lets the server see what was put.
    pub(super) fn publish(&self) {
        self.index(offset_of!(Interface, req_prod)).store(self.req_prod, Ordering::Release);
    }

    /// Receives as many bytes as there are, into `into`; answers how many, and whether the server may be
    /// waiting for the room that this made.
    pub(super) fn receive(&mut self, into: &mut [u8]) -> Result<(usize, bool), Fault> {
        let produced = self.index(offset_of!(Interface, rsp_prod)).load(Ordering::Acquire);
        let from = self.rsp_cons;
        let count = distance(produced, from)?.min(into.len());
        let (first, second) = into[..count].split_at_mut(count.min(RING_SIZE - place(from)));
        self.memory.copy_out(offset_of!(Interface, rsp) + place(from), first);
        self.memory.copy_out(offset_of!(Interface, rsp), second);
        self.rsp_cons = from.wrapping_add(count as u32);
        self.index(offset_of!(Interface, rsp_cons)).store(self.rsp_cons, Ordering::Release);
        // Published before `rsp_prod` is read again: the server fills the ring, then looks for room.
        fence(Ordering::SeqCst);
        let produced = self.index(offset_of!(Interface, rsp_prod)).load(Ordering::Acquire);
        Ok((count, count != 0 && produced.wrapping_sub(from) >= RING_SIZE as u32))
    }

    fn index(&self, offset: usize) -> &AtomicU32 {
        self.memory.atomic_u32(offset)
    }
}

/// Returns the number of bytes between two indices of one ring.
fn distance(produced: u32, consumed: u32) -> Result<usize, Fault> {
    let bytes = produced.wrapping_sub(consumed) as usize;
    if bytes > RING_SIZE { Err(Fault::Indices { produced, consumed }) } else { Ok(bytes) }
}

/// Returns the place of an index in its ring.
fn place(index: u32) -> usize {
    index as usize % RING_SIZE
}
