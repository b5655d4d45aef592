//! The talk over xenstore: who the backend is, the handshake, what the disk is like.

use super::{Disk, Error, Kind, Vbd, VirtualDevice};
use crate::store::{self, Names, Store, path::PathBuf};
use crate::xenbus::{Action, Handshake, State};
use crate::{DomainId, GrantRef, Port};

/// Largest number of a domain; those above stand for something else (`DOMID_FIRST_RESERVED`).
const DOMAIN_LIMIT: u64 = 0x7FF0;

/// Steps of the handshake that one call may take without waiting; a session has five.
const STEPS: u32 = 8;

/// Nodes of features that this frontend does not use, which an earlier user of the vbd may have left.
const STALE: [&str; 4] =
    ["multi-queue-num-queues", "ring-page-order", "num-ring-pages", "feature-persistent"];

/// What the frontend publishes for its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Grant of the ring's page, [`super::Frontend::ring`].
    pub ring: GrantRef,
    /// A port that the backend's domain may bind to.
    pub port: Port,
}

/// Where the link is after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing to do before the backend's state changes.
    Waiting,
    /// Both ends are connected; requests may be sent.
    Connected(Disk),
    /// Connected as before; the disk is, or has become, this.
    Unchanged(Disk),
    /// The backend closes or is gone: stop sending, let requests come back, then call [`Link::close`].
    Stop,
    /// Both ends are closed.
    Closed,
}

/// One vbd's nodes. *Passive*: every method waits for xenstore.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    frontend: PathBuf,
    backend: PathBuf,
    vbd: Vbd,
    handshake: Handshake,
}

impl Link {
    /// Reads a frontend's own nodes below `path`, such as `device/vbd/768`. Nothing is written.
    ///
    /// # Errors
    /// [`Error::Store`]; [`Error::Node`] where a value is out of bounds.
    pub fn open(store: &mut impl Store, path: &str) -> Result<Self, Error> {
        let at = |node| move |error| Error::Store { node, error };
        let frontend = PathBuf::new(path).map_err(at("device"))?;
        let join = |node| frontend.join(node).map_err(at(node));

        let mut buffer = [0; PathBuf::CAPACITY];
        let backend = store.read(&join("backend")?, &mut buffer).map_err(at("backend"))?;
        let backend = core::str::from_utf8(backend).map_err(|_| at("backend")(store::Error::Value))?;
        let backend = PathBuf::new(backend).map_err(at("backend"))?;

        let domain = store::read_number(store, &join("backend-id")?).map_err(at("backend-id"))?;
        if domain >= DOMAIN_LIMIT {
            return Err(Error::Node { node: "backend-id", found: domain });
        }
        let device = store::read_number(store, &join("virtual-device")?).map_err(at("virtual-device"))?;
        let device =
            u32::try_from(device).map_err(|_| Error::Node { node: "virtual-device", found: device })?;
        let mut buffer = [0; 16];
        let kind = match store.read(&join("device-type")?, &mut buffer) {
            Ok(b"disk") => Kind::Disk,
            Ok(b"cdrom") => Kind::Cdrom,
            Ok(_) | Err(store::Error::NoSpace { .. }) => Kind::Other,
            Err(error) => return Err(at("device-type")(error)),
        };
        let trusted = store::read_optional(store, &join("trusted")?).map_err(at("trusted"))?;
        let vbd = Vbd {
            backend_domain: DomainId(domain as u16),
            device: VirtualDevice(device),
            kind,
            trusted: trusted != Some(0),
        };
        Ok(Self { frontend, backend, vbd, handshake: Handshake::new() })
    }

    /// What the vbd is.
    pub fn vbd(&self) -> Vbd {
        self.vbd
    }

    /// The backend's folder.
    pub fn backend(&self) -> &str {
        &self.backend
    }

    /// The same, to keep.
    pub fn backend_path(&self) -> PathBuf {
        self.backend
    }

    /// The backend's state now, without a step of the handshake.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn backend_state(&self, store: &mut impl Store) -> Result<State, Error> {
        let at = |error| Error::Store { node: "state", error };
        store::read_state(store, &self.backend.join("state").map_err(at)?).map_err(at)
    }

    /// Goes on as far as possible without waiting. Call it once at the start and whenever the node `state` of
    /// [`Link::backend`] may have changed.
    ///
    /// # Errors
    /// See [`Error`]. The step that failed is tried again by the next call.
    pub fn advance(&mut self, store: &mut impl Store, offer: &Offer) -> Result<Event, Error> {
        for _ in 0..STEPS {
            let state = self.backend_state(store)?;
            let mut next = self.handshake;
            match next.backend(state) {
                Action::Set(state) => self.set(store, state)?,
                Action::Publish => {
                    self.publish(store, offer)?;
                    self.step(store, next.published())?;
                }
                Action::Connect => {
                    let disk = Disk::read(store, &self.backend)?;
                    self.step(store, next.ready())?;
                    self.handshake = next;
                    return Ok(Event::Connected(disk));
                }
                Action::Refresh => return Ok(Event::Unchanged(Disk::read(store, &self.backend)?)),
                Action::Wait => return Ok(Event::Waiting),
                Action::Stop => {
                    self.handshake = next;
                    return Ok(Event::Stop);
                }
                Action::Done => return Ok(Event::Closed),
            }
            self.handshake = next;
        }
        Ok(Event::Waiting)
    }

    /// Begins to close, by our own will or after [`Event::Stop`]; no request is in flight any more.
    /// [`Link::advance`] goes on until [`Event::Closed`].
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn close(&mut self, store: &mut impl Store) -> Result<(), Error> {
        let mut next = self.handshake;
        self.step(store, next.close())?;
        self.handshake = next;
        Ok(())
    }

    /// Begins anew after [`Event::Closed`], with a new ring to offer.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn reopen(&mut self, store: &mut impl Store) -> Result<(), Error> {
        let mut next = self.handshake;
        self.step(store, next.reopen())?;
        self.handshake = next;
        Ok(())
    }

    fn step(&self, store: &mut impl Store, action: Action) -> Result<(), Error> {
        match action {
            Action::Set(state) => self.set(store, state),
            _ => Ok(()),
        }
    }

    fn set(&self, store: &mut impl Store, state: State) -> Result<(), Error> {
        self.write_number(store, "state", state as u32)
    }

    fn publish(&self, store: &mut impl Store, offer: &Offer) -> Result<(), Error> {
        self.remove_stale(store)?;
        self.write_number(store, "ring-ref", offer.ring.0)?;
        self.write_number(store, "event-channel", offer.port.0)?;
        self.write(store, "protocol", b"x86_64-abi")
    }

    fn remove_stale(&self, store: &mut impl Store) -> Result<(), Error> {
        let at = |error| Error::Store { node: "device", error };
        let mut buffer = [0; 1024];
        let names: Names<'_> = store.directory(&self.frontend, &mut buffer).map_err(at)?;
        for name in names.filter(|name| STALE.contains(name)) {
            store.remove(&self.frontend.join(name).map_err(at)?).map_err(at)?;
        }
        Ok(())
    }

    fn write_number(&self, store: &mut impl Store, node: &'static str, number: u32) -> Result<(), Error> {
        let mut digits = [0; 10];
        let mut rest = number;
        let mut start = digits.len();
        loop {
            start -= 1;
            digits[start] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                return self.write(store, node, &digits[start..]);
            }
        }
    }

    fn write(&self, store: &mut impl Store, node: &'static str, value: &[u8]) -> Result<(), Error> {
        let at = |error| Error::Store { node, error };
        store.write(&self.frontend.join(node).map_err(at)?, value).map_err(at)
    }
}

#[cfg(test)]
mod tests;
