//! The client: one request at a time, replies matched, watch events kept for later.

use core::mem::size_of;

use zerocopy::{FromZeros, IntoBytes};

use super::events::{Queue, WatchEvent};
use super::{Errno, Error, Fault, Names, Ring, Store, path};
use crate::wire::xenstore::{ABS_PATH_MAX, Header, PAYLOAD_MAX, RING_SIZE, kind};

/// Bytes of a client's buffer that hold one message's payload; what is beyond keeps watch events.
pub const PAYLOAD_BUFFER: usize = PAYLOAD_MAX;

/// The client's way to reach the server's side of the event channel, and to wait.
pub trait Transport {
    /// Notifies the server.
    fn notify(&mut self);

    /// Waits until the server may have done something. `idle` counts the waits in a row that brought nothing,
    /// from 0. `false` gives up: time is up. Polling looks like "yield, and give up after so many"; with
    /// interrupts it is a wait for an event that the port's handler sets, with a time limit. Returning early
    /// is always allowed.
    fn wait(&mut self, idle: u32) -> bool;
}

/// A request without a reply yet.
#[derive(Clone, Copy, Debug)]
struct Open {
    id: u32,
    kind: u32,
}

/// A reply's content.
enum Reply {
    /// Bytes of payload, in the buffer.
    Payload(usize),
    Refused(Errno),
}

/// A connection to xenstored. *Passive* (as far as the transport waits); the caller keeps calls apart with a
/// lock.
///
/// `B` is private memory of at least [`PAYLOAD_BUFFER`] bytes: a `Box<[u8]>`, a `&'static mut [u8]`, an
/// array.
#[derive(Debug)]
pub struct Client<T, B> {
    ring: Ring,
    transport: T,
    buffer: B,
    /// The message being received: its header, and how many bytes of header and payload are here.
    header: Header,
    received: usize,
    next_id: u32,
    /// The request that has no reply yet: the one in hand, or one that was given up.
    open: Option<Open>,
    fault: Option<Fault>,
    events: Queue,
    /// Waits in a row that brought nothing.
    idle: u32,
}

impl<T: Transport, B: AsMut<[u8]>> Client<T, B> {
    /// Returns a connection over a ring on which no request is open.
    ///
    /// # Errors
    /// [`Error::NoSpace`] where the buffer is too small.
    pub fn new(ring: Ring, transport: T, mut buffer: B) -> Result<Self, Error> {
        let given = buffer.as_mut().len();
        if given < PAYLOAD_BUFFER {
            return Err(Error::NoSpace { needed: PAYLOAD_BUFFER, given });
        }
        Ok(Self {
            ring,
            transport,
            buffer,
            header: Header::new_zeroed(),
            received: 0,
            next_id: 1,
            open: None,
            fault: None,
            events: Queue::default(),
            idle: 0,
        })
    }

    /// Returns the fault that has made the connection unusable, if it is.
    pub fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Waits for the answer of a request that was given up, so that none is open, and takes everything that
    /// has arrived.
    ///
    /// # Errors
    /// [`Error::TimedOut`], [`Error::Broken`].
    pub fn drain(&mut self) -> Result<(), Error> {
        self.idle = 0;
        loop {
            self.pump()?;
            if self.open.is_none() && self.received == 0 {
                return Ok(());
            }
            self.wait()?;
        }
    }

    /// Gives the ring up, clean for the next user: no request open, nothing half-read.
    ///
    /// # Errors
    /// As [`Client::drain`]; the ring must not be used again then.
    pub fn release(mut self) -> Result<Ring, Error> {
        self.drain()?;
        Ok(self.ring)
    }

    /// Watches a node and all below it. The events carry `token`.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn watch(&mut self, path: &str, token: &str) -> Result<(), Error> {
        self.watch_message(kind::WATCH, path, token)
    }

    /// Ends a watch. Events of it that are kept or on the way may still be taken.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn unwatch(&mut self, path: &str, token: &str) -> Result<(), Error> {
        self.watch_message(kind::UNWATCH, path, token)
    }

    /// Ends every watch and transaction of this guest. Old servers answer [`Errno::NotImplemented`] or
    /// [`Errno::Invalid`].
    ///
    /// # Errors
    /// See [`Error`].
    pub fn reset_watches(&mut self) -> Result<(), Error> {
        self.acknowledged(kind::RESET_WATCHES, 0, &[b"\0"])
    }

    /// Returns the next watch event, without waiting for one.
    ///
    /// # Errors
    /// [`Error::Broken`].
    pub fn next_event(&mut self) -> Result<Option<WatchEvent<'_>>, Error> {
        self.pump()?;
        Ok(self.events.pop(&self.buffer.as_mut()[PAYLOAD_BUFFER..]))
    }

    /// Starts a transaction; its number is never 0.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn begin(&mut self) -> Result<u32, Error> {
        let length = self.request(kind::TRANSACTION_START, 0, &[b"\0"])?;
        let payload = &self.buffer.as_mut()[..length];
        let id =
            payload.split_last().filter(|(last, _)| **last == 0).and_then(|(_, id)| super::number(id).ok());
        match id.and_then(|id| u32::try_from(id).ok()).filter(|id| *id != 0) {
            Some(id) => Ok(id),
            None => Err(self.break_off(Fault::Malformed { kind: kind::TRANSACTION_START })),
        }
    }

    /// Ends a transaction, applying what it did or not.
    ///
    /// # Errors
    /// [`Errno::Again`]: it collided with another and did nothing. See [`Error`].
    pub fn end(&mut self, transaction: u32, apply: bool) -> Result<(), Error> {
        self.acknowledged(kind::TRANSACTION_END, transaction, &[if apply { b"T\0" } else { b"F\0" }])
    }

    /// Runs `body` in a transaction, up to `attempts` times as long as it collides with others. Where `body`
    /// fails nothing is applied.
    ///
    /// # Errors
    /// What `body` answers; [`Errno::Again`] where every attempt collided; see [`Error`].
    pub fn transact<R>(
        &mut self,
        attempts: u32,
        mut body: impl FnMut(&mut Within<'_, T, B>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        const AGAIN: Error = Error::Refused(Errno::Again);
        for _ in 0..attempts {
            let transaction = self.begin()?;
            match body(&mut self.within(transaction)) {
                Ok(result) => match self.end(transaction, true) {
                    Ok(()) => return Ok(result),
                    Err(AGAIN) => {}
                    Err(error) => return Err(error),
                },
                Err(error) => {
                    // The body's error matters more than one of the ending.
                    let _ = self.end(transaction, false);
                    if error != AGAIN {
                        return Err(error);
                    }
                }
            }
        }
        Err(AGAIN)
    }

    /// Returns the store as a transaction sees it; 0 is none.
    pub fn within(&mut self, transaction: u32) -> Within<'_, T, B> {
        Within { client: self, transaction }
    }

    fn watch_message(&mut self, kind: u32, path: &str, token: &str) -> Result<(), Error> {
        path::check(path)?;
        if token.len() > ABS_PATH_MAX {
            return Err(Error::PathLength { found: token.len(), limit: ABS_PATH_MAX });
        }
        if token.contains('\0') {
            return Err(Error::Token);
        }
        self.acknowledged(kind, 0, &[path.as_bytes(), b"\0", token.as_bytes(), b"\0"])
    }

    /// Sends a request whose reply is "OK".
    fn acknowledged(&mut self, kind: u32, transaction: u32, parts: &[&[u8]]) -> Result<(), Error> {
        let length = self.request(kind, transaction, parts)?;
        if &self.buffer.as_mut()[..length] == b"OK\0" {
            return Ok(());
        }
        Err(self.break_off(Fault::Malformed { kind }))
    }

    /// Sends a request and waits for its reply; answers the bytes of payload in the buffer.
    fn request(&mut self, kind: u32, transaction: u32, parts: &[&[u8]]) -> Result<usize, Error> {
        if let Some(fault) = self.fault {
            return Err(Error::Broken(fault));
        }
        let payload = parts.iter().map(|part| part.len()).sum();
        if payload > PAYLOAD_MAX {
            return Err(Error::Payload { found: payload, limit: PAYLOAD_MAX });
        }
        self.drain()?;

        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        let header = Header { kind, req_id: id, tx_id: transaction, len: payload as u32 };
        self.send(&header, parts, payload)?;
        self.open = Some(Open { id, kind });
        self.idle = 0;
        loop {
            match self.receive()? {
                Some(Reply::Payload(length)) => return Ok(length),
                Some(Reply::Refused(errno)) => return Err(Error::Refused(errno)),
                None => self.wait()?,
            }
        }
    }

    fn send(&mut self, header: &Header, parts: &[&[u8]], payload: usize) -> Result<(), Error> {
        let total = size_of::<Header>() + payload;
        self.idle = 0;
        // A message that fits is not begun before there is room for all of it: giving up then breaks nothing.
        while self.room()? < total.min(RING_SIZE) {
            self.pump()?;
            self.wait()?;
        }
        let mut sent = 0;
        for mut part in core::iter::once(header.as_bytes()).chain(parts.iter().copied()) {
            while !part.is_empty() {
                let count = self.ring.put(part).map_err(|fault| self.break_off(fault))?;
                part = &part[count..];
                sent += count;
                if count == 0 {
                    self.ring.publish();
                    self.transport.notify();
                    self.pump()?;
                    if self.wait().is_err() {
                        return Err(self.break_off(Fault::Stalled { sent, of: total }));
                    }
                } else {
                    self.idle = 0;
                }
            }
        }
        self.ring.publish();
        self.transport.notify();
        Ok(())
    }

    fn room(&mut self) -> Result<usize, Error> {
        self.ring.room().map_err(|fault| self.break_off(fault))
    }

    fn wait(&mut self) -> Result<(), Error> {
        let go_on = self.transport.wait(self.idle);
        self.idle = self.idle.saturating_add(1);
        if go_on { Ok(()) } else { Err(Error::TimedOut) }
    }

    /// Takes every message that has arrived while no reply is waited for.
    fn pump(&mut self) -> Result<(), Error> {
        if let Some(fault) = self.fault {
            return Err(Error::Broken(fault));
        }
        // A reply is that of the request that was given up; any other is a fault.
        while self.receive()?.is_some() {}
        Ok(())
    }

    /// Takes messages that have arrived up to the open request's reply.
    fn receive(&mut self) -> Result<Option<Reply>, Error> {
        while self.message()? {
            if self.header.kind == kind::WATCH_EVENT {
                self.keep_event()?;
            } else {
                return self.reply().map(Some);
            }
        }
        Ok(None)
    }

    /// Goes on receiving one message; whether it is complete. Then its payload is at the buffer's start.
    fn message(&mut self) -> Result<bool, Error> {
        const HEADER: usize = size_of::<Header>();
        loop {
            let length = self.header.len as usize;
            let into = if self.received < HEADER {
                &mut self.header.as_mut_bytes()[self.received..]
            } else {
                &mut self.buffer.as_mut()[self.received - HEADER..length]
            };
            if !into.is_empty() {
                let (count, notify) = self.ring.receive(into).map_err(|fault| self.break_off(fault))?;
                if notify {
                    self.transport.notify();
                }
                if count == 0 {
                    return Ok(false);
                }
                self.received += count;
                self.idle = 0;
            }
            if self.received < HEADER {
                continue;
            }
            let length = self.header.len as usize;
            if length > PAYLOAD_MAX {
                let limit = PAYLOAD_MAX as u32;
                return Err(self.break_off(Fault::Oversized { found: self.header.len, limit }));
            }
            if self.received == HEADER + length {
                self.received = 0;
                return Ok(true);
            }
        }
    }

    /// Keeps the watch event just received.
    fn keep_event(&mut self) -> Result<(), Error> {
        let (payload, memory) = self.buffer.as_mut().split_at_mut(PAYLOAD_BUFFER);
        let payload = &payload[..self.header.len as usize];
        if WatchEvent::parse(payload).is_none() {
            return Err(self.break_off(Fault::Malformed { kind: kind::WATCH_EVENT }));
        }
        self.events.push(memory, payload);
        Ok(())
    }

    /// Judges the reply just received.
    fn reply(&mut self) -> Result<Reply, Error> {
        let Header { kind: found, req_id, len, .. } = self.header;
        let open = self.open.filter(|open| open.id == req_id);
        let Some(open) = open else {
            let expected = self.open.map(|open| open.id);
            return Err(self.break_off(Fault::RequestId { expected, found: req_id }));
        };
        if found != open.kind && found != kind::ERROR {
            return Err(self.break_off(Fault::Kind { expected: open.kind, found }));
        }
        self.open = None;
        let length = len as usize;
        if found != kind::ERROR {
            return Ok(Reply::Payload(length));
        }
        match self.buffer.as_mut()[..length].split_last() {
            Some((0, name)) => Ok(Reply::Refused(Errno::from_name(name))),
            _ => Err(self.break_off(Fault::Malformed { kind: kind::ERROR })),
        }
    }

    /// Makes the connection unusable; the first fault stays.
    fn break_off(&mut self, fault: Fault) -> Error {
        Error::Broken(*self.fault.get_or_insert(fault))
    }
}

/// Bytes of a directory's generation, as decimal digits with room to spare.
const GENERATION_MAX: usize = 24;
/// Number of times that a list that changes while it is read in parts is begun anew.
const DIRECTORY_RESTARTS: u32 = 8;

/// Returns a number's decimal digits.
fn decimal(mut number: u32, digits: &mut [u8; 10]) -> &[u8] {
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &digits[start..];
        }
    }
}

/// A client's store as one transaction sees it.
#[derive(Debug)]
pub struct Within<'c, T, B> {
    client: &'c mut Client<T, B>,
    transaction: u32,
}

impl<T: Transport, B: AsMut<[u8]>> Within<'_, T, B> {
    /// Creates a node without a value, where it does not exist.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn make(&mut self, path: &str) -> Result<(), Error> {
        path::check(path)?;
        self.client.acknowledged(kind::MKDIR, self.transaction, &[path.as_bytes(), b"\0"])
    }

    /// Reads a list of children that is longer than a message, part by part (`XS_DIRECTORY_PART`): the bytes
    /// of it. Each part names the generation of the list; where that changes, the list has changed and is
    /// read anew.
    fn directory_in_parts(&mut self, path: &str, into: &mut [u8]) -> Result<usize, Error> {
        let malformed = Fault::Malformed { kind: kind::DIRECTORY_PART };
        let mut generation = [0; GENERATION_MAX];
        let (mut length, mut restarts) = (0, 0);
        loop {
            let mut digits = [0; 10];
            let offset = decimal(length as u32, &mut digits);
            let parts = [path.as_bytes(), b"\0", offset, b"\0"];
            let received = self.client.request(kind::DIRECTORY_PART, self.transaction, &parts)?;
            let reply = &self.client.buffer.as_mut()[..received];
            let end = reply.iter().position(|byte| *byte == 0).filter(|end| *end < GENERATION_MAX);
            let Some(end) = end else { return Err(self.client.break_off(malformed)) };
            let mut found = [0; GENERATION_MAX];
            found[..end].copy_from_slice(&reply[..end]);
            if length > 0 && found != generation {
                restarts += 1;
                if restarts > DIRECTORY_RESTARTS {
                    return Err(Error::Refused(Errno::Again));
                }
                length = 0;
                continue;
            }
            generation = found;
            let part = &reply[end + 1..];
            // An empty name ends the last part.
            let last = part == b"\0" || part.ends_with(b"\0\0");
            let names = if last { &part[..part.len() - 1] } else { part };
            if names.is_empty() && !last {
                return Err(self.client.break_off(malformed));
            }
            let given = into.len();
            let needed = length + names.len();
            let place = into.get_mut(length..needed).ok_or(Error::NoSpace { needed: needed * 2, given })?;
            place.copy_from_slice(names);
            length = needed;
            if last {
                return Ok(length);
            }
        }
    }

    /// Sends a request about a path, and copies its reply into `into`.
    fn fetch<'b>(&mut self, kind: u32, path: &str, into: &'b mut [u8]) -> Result<&'b [u8], Error> {
        path::check(path)?;
        let length = self.client.request(kind, self.transaction, &[path.as_bytes(), b"\0"])?;
        let given = into.len();
        let into = into.get_mut(..length).ok_or(Error::NoSpace { needed: length, given })?;
        into.copy_from_slice(&self.client.buffer.as_mut()[..length]);
        Ok(into)
    }
}

impl<T: Transport, B: AsMut<[u8]>> Store for Within<'_, T, B> {
    fn read<'b>(&mut self, path: &str, into: &'b mut [u8]) -> Result<&'b [u8], Error> {
        self.fetch(kind::READ, path, into)
    }

    fn write(&mut self, path: &str, value: &[u8]) -> Result<(), Error> {
        path::check(path)?;
        self.client.acknowledged(kind::WRITE, self.transaction, &[path.as_bytes(), b"\0", value])
    }

    fn remove(&mut self, path: &str) -> Result<(), Error> {
        path::check(path)?;
        self.client.acknowledged(kind::RM, self.transaction, &[path.as_bytes(), b"\0"])
    }

    fn directory<'b>(&mut self, path: &str, into: &'b mut [u8]) -> Result<Names<'b>, Error> {
        let length = match self.fetch(kind::DIRECTORY, path, into).map(|payload| payload.len()) {
            Err(Error::Refused(Errno::TooBig)) => self.directory_in_parts(path, into)?,
            other => other?,
        };
        Names::parse(&into[..length])
            .map_err(|_| self.client.break_off(Fault::Malformed { kind: kind::DIRECTORY }))
    }
}

impl<T: Transport, B: AsMut<[u8]>> Store for Client<T, B> {
    fn read<'b>(&mut self, path: &str, into: &'b mut [u8]) -> Result<&'b [u8], Error> {
        self.within(0).read(path, into)
    }

    fn write(&mut self, path: &str, value: &[u8]) -> Result<(), Error> {
        self.within(0).write(path, value)
    }

    fn remove(&mut self, path: &str) -> Result<(), Error> {
        self.within(0).remove(path)
    }

    fn directory<'b>(&mut self, path: &str, into: &'b mut [u8]) -> Result<Names<'b>, Error> {
        self.within(0).directory(path, into)
    }
}

#[cfg(test)]
mod tests;
