//! One vbd as a xenbus device: its nodes and those of its backend, the handshake, what the disk is like.

use super::{Disk, Error, Features, Kind, Vbd, VirtualDevice};
use crate::store::{self, Errno, Names, Store, path::PathBuf};
use crate::xenbus::{Action, Handshake, State};
use crate::{DomainId, GrantRef, Port};
use core::fmt::{self, Write};

/// Largest number of a domain; those above stand for something else (`DOMID_FIRST_RESERVED`).
const DOMAIN_LIMIT: u64 = 0x7FF0;

/// Steps of the handshake that one call may take without waiting; a session has five.
const STEPS: u32 = 8;

/// Nodes that an earlier user of the vbd may have left, besides those of its rings and queues.
const STALE: [&str; 5] =
    ["multi-queue-num-queues", "ring-page-order", "num-ring-pages", "feature-persistent", "event-channel"];

/// One queue that the frontend publishes for its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueOffer<'a> {
    /// Grants of the ring's pages, [`super::Frontend::ring`]; as many for each queue.
    pub ring: &'a [GrantRef],
    /// A port that the backend's domain may bind to.
    pub port: Port,
}

/// State of the device after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing to do before the backend's state changes.
    Waiting,
    /// The backend waits for rings: make them within these features, and call [`XenbusDevice::publish`].
    Wanted(Features),
    /// Both ends are connected; requests may be sent.
    Connected(Disk),
    /// Connected as before; the disk is, or has become, this.
    Unchanged(Disk),
    /// The backend closes or is gone: stop sending, let requests come back, then call [`XenbusDevice::close`].
    Stop,
    /// Both ends are closed.
    Closed,
}

/// The end of [`XenbusDevice::connect`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connected {
    /// Both ends are connected.
    To(Disk),
    /// The backend closes.
    Refused,
    /// Time was up.
    TimedOut,
}

/// A vbd as a xenbus device: its nodes in xenstore. *Passive*: every method waits for xenstore.
#[derive(Clone, Copy, Debug)]
pub struct XenbusDevice {
    frontend: PathBuf,
    backend: PathBuf,
    vbd: Vbd,
    handshake: Handshake,
}

impl XenbusDevice {
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

    /// Returns the vbd.
    pub fn vbd(&self) -> Vbd {
        self.vbd
    }

    /// Returns the backend's folder.
    pub fn backend(&self) -> &str {
        &self.backend
    }

    /// Returns the same, to keep.
    pub fn backend_path(&self) -> PathBuf {
        self.backend
    }

    /// Returns the backend's state now, without a step of the handshake.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn backend_state(&self, store: &mut impl Store) -> Result<State, Error> {
        let at = |error| Error::Store { node: "state", error };
        store::read_state(store, &self.backend.join("state").map_err(at)?).map_err(at)
    }

    /// Returns true if the toolstack wants the backend to be there (its node `online`).
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn is_online(&self, store: &mut impl Store) -> Result<bool, Error> {
        let at = |error| Error::Store { node: "online", error };
        let online = store::read_optional(store, &self.backend.join("online").map_err(at)?).map_err(at)?;
        Ok(online == Some(1))
    }

    /// Returns true if somebody has made the frontend's nodes anew, or removed them, since this end published its rings. Its
    /// state, which only this end and the toolstack write, is then back at the start or gone. The backend is then another,
    /// if it is one.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn is_replaced(&self, store: &mut impl Store) -> Result<bool, Error> {
        let at = |error| Error::Store { node: "state", error };
        let state = store::read_state(store, &self.frontend.join("state").map_err(at)?).map_err(at)?;
        Ok(self.handshake.is_past_start() && matches!(state, State::Unknown | State::Initialising))
    }

    /// Reads some of the backend's own nodes, by their names below its folder, and tells each value; of one that
    /// does not exist, or that the guest may not read, it tells nothing. `buffer` takes a value at a time.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn backend_values(
        &self,
        store: &mut impl Store,
        nodes: &[&'static str],
        buffer: &mut [u8],
        mut tell: impl FnMut(&'static str, &[u8]),
    ) -> Result<(), Error> {
        for &node in nodes {
            let at = |error| Error::Store { node, error };
            match store.read(&self.backend.join(node).map_err(at)?, buffer) {
                Ok(value) => tell(node, value),
                Err(store::Error::Refused(Errno::NoEntry | Errno::Access)) => {}
                Err(error) => return Err(at(error)),
            }
        }
        Ok(())
    }

    /// Goes on as far as possible without waiting. Call it once at the start and whenever the node `state` of
    /// [`XenbusDevice::backend`] may have changed.
    ///
    /// # Errors
    /// See [`Error`]. The step that failed is tried again by the next call.
    pub fn advance(&mut self, store: &mut impl Store) -> Result<Event, Error> {
        for _ in 0..STEPS {
            let state = self.backend_state(store)?;
            let mut next = self.handshake;
            match next.backend(state) {
                Action::Set(state) => self.set(store, state)?,
                Action::Publish => return Ok(Event::Wanted(Features::read(store, &self.backend)?)),
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

    /// Publishes the rings that [`Event::Wanted`] asked for; all of them have as many pages, a power of two.
    /// `persistent`: their grants may stay mapped. [`XenbusDevice::advance`] goes on. Without effect where nothing is
    /// wanted.
    ///
    /// The number of pages is written in both of its schemes (`io/blkif.h`, note 3 on multi-page rings), whatever
    /// the backend offered.
    ///
    /// # Errors
    /// [`Error::Store`]; the next [`XenbusDevice::advance`] asks again.
    pub fn publish(
        &mut self,
        store: &mut impl Store,
        persistent: bool,
        queues: &[QueueOffer<'_>],
    ) -> Result<(), Error> {
        let mut next = self.handshake;
        let action = next.published();
        if action == Action::Wait {
            return Ok(());
        }
        self.remove_stale(store)?;
        let pages = queues.first().map_or(1, |queue| queue.ring.len()).max(1);
        if pages > 1 {
            let order = pages.ilog2();
            self.write_number(store, "ring-page-order", format_args!("ring-page-order"), order)?;
            self.write_number(store, "num-ring-pages", format_args!("num-ring-pages"), 1 << order)?;
        }
        match queues {
            [queue] => self.write_queue(store, "", queue)?,
            queues => {
                self.write_number(
                    store,
                    "multi-queue-num-queues",
                    format_args!("multi-queue-num-queues"),
                    queues.len() as u32,
                )?;
                for (index, queue) in queues.iter().enumerate() {
                    let mut folder = Text::<12>::default();
                    // Five digits at most, as the backend's number of queues has 16 bits.
                    let _ = write!(folder, "queue-{index}/");
                    self.write_queue(store, folder.as_str(), queue)?;
                }
            }
        }
        if persistent {
            self.write(store, "feature-persistent", b"1")?;
        }
        self.write(store, "protocol", b"x86_64-abi")?;
        self.step(store, action)?;
        self.handshake = next;
        Ok(())
    }

    /// Goes on until both ends are connected. `offer` makes rings within a backend's features and publishes them; `pause`
    /// lets a moment pass, and answers false when time is up. With `again`, a backend that closes is asked again as long as it
    /// is online: blkback refuses new rings, and closes, while requests of the rings before are under way.
    ///
    /// # Errors
    /// [`Error::Store`], and those of `offer`.
    pub fn connect<S: Store, E: From<Error>>(
        &mut self,
        store: &mut S,
        again: bool,
        mut offer: impl FnMut(&mut Self, &Features) -> Result<(), E>,
        mut pause: impl FnMut() -> bool,
    ) -> Result<Connected, E> {
        loop {
            match self.advance(store)? {
                Event::Wanted(features) => {
                    offer(self, &features)?;
                    continue;
                }
                Event::Connected(disk) => return Ok(Connected::To(disk)),
                Event::Stop | Event::Closed if !again || !self.is_online(store)? => {
                    return Ok(Connected::Refused);
                }
                Event::Stop => self.close(store)?,
                Event::Closed => self.reopen(store)?,
                Event::Waiting | Event::Unchanged(_) => {}
            }
            if !pause() {
                return Ok(Connected::TimedOut);
            }
        }
    }

    /// Begins to close, by our own will or after [`Event::Stop`]; no request is in flight any more.
    /// [`XenbusDevice::advance`] goes on until [`Event::Closed`].
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
        self.write_number(store, "state", format_args!("state"), state as u32)
    }

    fn write_queue(&self, store: &mut impl Store, folder: &str, queue: &QueueOffer<'_>) -> Result<(), Error> {
        if let [ring] = queue.ring {
            self.write_number(store, "ring-ref", format_args!("{folder}ring-ref"), ring.0)?;
        } else {
            for (index, ring) in queue.ring.iter().enumerate() {
                self.write_number(store, "ring-ref", format_args!("{folder}ring-ref{index}"), ring.0)?;
            }
        }
        self.write_number(store, "event-channel", format_args!("{folder}event-channel"), queue.port.0)
    }

    fn remove_stale(&self, store: &mut impl Store) -> Result<(), Error> {
        let at = |error| Error::Store { node: "device", error };
        let mut buffer = [0; 1024];
        let names: Names<'_> = store.directory(&self.frontend, &mut buffer).map_err(at)?;
        let stale =
            |name: &&str| STALE.contains(name) || name.starts_with("ring-ref") || name.starts_with("queue-");
        for name in names.filter(stale) {
            store.remove(&self.frontend.join(name).map_err(at)?).map_err(at)?;
        }
        Ok(())
    }

    fn write_number(
        &self,
        store: &mut impl Store,
        node: &'static str,
        name_of: fmt::Arguments<'_>,
        number: u32,
    ) -> Result<(), Error> {
        let at = |error| Error::Store { node, error };
        let mut name = Text::<32>::default();
        let mut value = Text::<10>::default();
        let fits = name.write_fmt(name_of).is_ok() && write!(value, "{number}").is_ok();
        if !fits {
            return Err(at(store::Error::NoSpace { needed: 64, given: 32 }));
        }
        store.write(&self.frontend.join(name.as_str()).map_err(at)?, value.as_str().as_bytes()).map_err(at)
    }

    fn write(&self, store: &mut impl Store, node: &'static str, value: &[u8]) -> Result<(), Error> {
        let at = |error| Error::Store { node, error };
        store.write(&self.frontend.join(node).map_err(at)?, value).map_err(at)
    }
}

/// A short text: a node's name, or a number.
pub(super) struct Text<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self { bytes: [0; N], length: 0 }
    }
}

impl<const N: usize> Text<N> {
    pub(super) fn as_str(&self) -> &str {
        core::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

impl<const N: usize> Write for Text<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.get_mut(self.length..self.length + text.len()).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length += text.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
