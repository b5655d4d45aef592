//! Xenbus: how a frontend and a backend agree to connect, `io/xenbus.h`.
//!
//! Each end writes its own `state` node and watches the other's. [`Handshake`] is the frontend's part, without any
//! I/O: it is told what the backend's state is and what the frontend has done, and answers what to do next.
//!
//! ```text
//!  frontend                        backend
//!  Initialising ─────────────────▶ InitWait          (backend is ready to be told)
//!  writes its ring's nodes
//!  Initialised  ─────────────────▶ Connected         (backend maps the ring, writes the disk's nodes)
//!  reads the disk's nodes
//!  Connected
//!      …
//!  Closing      ─────────────────▶ Closing
//!  Closed       ─────────────────▶ Closed            (Initialising again leads back to InitWait)
//! ```

/// `enum xenbus_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No such node, or not a state.
    Unknown = 0,
    /// Starting.
    Initialising = 1,
    /// Backend: ready for the frontend's nodes.
    InitWait = 2,
    /// Frontend: nodes written.
    Initialised = 3,
    /// Working.
    Connected = 4,
    /// On the way to closed.
    Closing = 5,
    /// Not connected.
    Closed = 6,
    /// Being changed (PCI pass-through).
    Reconfiguring = 7,
    /// Changed.
    Reconfigured = 8,
}

impl State {
    /// The state of a number; numbers of no state are [`State::Unknown`].
    pub const fn from_number(number: u64) -> Self {
        match number {
            1 => Self::Initialising,
            2 => Self::InitWait,
            3 => Self::Initialised,
            4 => Self::Connected,
            5 => Self::Closing,
            6 => Self::Closed,
            7 => Self::Reconfiguring,
            8 => Self::Reconfigured,
            _ => Self::Unknown,
        }
    }
}

/// What a frontend is told to do. After [`Action::Set`] the backend's state is read and given again; after the
/// others what the variant says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing until the backend's state changes.
    Wait,
    /// Write this state to the frontend's node.
    Set(State),
    /// Write the nodes that the backend needs, then call [`Handshake::published`].
    Publish,
    /// Read what the backend offers, then call [`Handshake::ready`].
    Connect,
    /// Connected already: read again what may have changed, such as the size.
    Refresh,
    /// The backend closes, or is gone: stop using it, then call [`Handshake::close`].
    Stop,
    /// Both ends are closed; [`Handshake::reopen`] begins anew.
    Done,
}

/// How far the frontend is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing written yet.
    Start,
    /// An earlier session is being ended: Closing written.
    ResetClosing,
    /// An earlier session is being ended: Closed written.
    ResetClosed,
    Initialising,
    Initialised,
    Connected,
    /// Told to stop, not yet closing.
    Stopping,
    Closing,
    Closed,
}

/// The frontend's part of the handshake. Any level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handshake {
    phase: Phase,
}

impl Handshake {
    /// At the start; the frontend's node may hold anything, such as an earlier session's state.
    pub const fn new() -> Self {
        Self { phase: Phase::Start }
    }

    /// The backend's state was read: what to do.
    pub fn backend(&mut self, state: State) -> Action {
        use State::*;
        match (self.phase, state) {
            // A session that somebody before us left open is ended first: the backend has to let go of its ring.
            (Phase::Start, Initialised | Connected | Closing | Reconfiguring | Reconfigured) => {
                self.go(Phase::ResetClosing, Closing)
            }
            (Phase::Start, _) => self.go(Phase::Initialising, Initialising),
            (Phase::ResetClosing, Closing | Closed | Unknown) => self.go(Phase::ResetClosed, Closed),
            (Phase::ResetClosing | Phase::ResetClosed, Initialising | InitWait) => {
                self.go(Phase::Initialising, Initialising)
            }
            (Phase::ResetClosed, Closed) => self.go(Phase::Initialising, Initialising),
            (Phase::Initialising, InitWait) => Action::Publish,
            (Phase::Initialised, Connected) => Action::Connect,
            (Phase::Connected, Connected) => Action::Refresh,
            (Phase::Initialised | Phase::Connected, Closing | Closed | Unknown) => {
                self.phase = Phase::Stopping;
                Action::Stop
            }
            (Phase::Stopping, _) => Action::Stop,
            (Phase::Closing, Closing | Closed | Unknown | Initialising | InitWait) => {
                self.go(Phase::Closed, Closed)
            }
            (Phase::Closed, Closed | Unknown | Initialising | InitWait) => Action::Done,
            _ => Action::Wait,
        }
    }

    /// The nodes that the backend needs are written. Without effect where they were not asked for.
    pub fn published(&mut self) -> Action {
        if self.phase != Phase::Initialising {
            return Action::Wait;
        }
        self.go(Phase::Initialised, State::Initialised)
    }

    /// What the backend offers was read and is usable. Without effect where it was not asked for.
    pub fn ready(&mut self) -> Action {
        if self.phase != Phase::Initialised {
            return Action::Wait;
        }
        self.go(Phase::Connected, State::Connected)
    }

    /// The frontend has stopped using the backend, by its own will or told by [`Action::Stop`].
    pub fn close(&mut self) -> Action {
        match self.phase {
            Phase::Closing | Phase::Closed => Action::Wait,
            _ => self.go(Phase::Closing, State::Closing),
        }
    }

    /// Begins anew once both ends are closed. Without effect before.
    pub fn reopen(&mut self) -> Action {
        if self.phase != Phase::Closed {
            return Action::Wait;
        }
        self.go(Phase::Initialising, State::Initialising)
    }

    /// Whether both ends are connected as far as the frontend knows.
    pub fn is_connected(&self) -> bool {
        self.phase == Phase::Connected
    }

    fn go(&mut self, phase: Phase, state: State) -> Action {
        self.phase = phase;
        Action::Set(state)
    }
}

impl Default for Handshake {
    fn default() -> Self {
        Self::new()
    }
}
