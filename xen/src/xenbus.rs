//! Xenbus: how a frontend and a backend agree to connect, `io/xenbus.h`.
//!
//! Each end writes its own `state` node and watches the other's. [`Handshake`] is the frontend's part,
//! without any I/O: it is told what the backend's state is and what the frontend has done, and answers what
//! to do next.
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
    /// Returns the state of a number; numbers of no state are [`State::Unknown`].
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

/// The next step of a frontend. After [`Action::Set`] the backend's state is read and given again. After the
/// others the variant says what comes next.
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

/// Progress of the frontend.
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
    /// Begins at the start; the frontend's node may hold anything, such as an earlier session's state.
    pub const fn new() -> Self {
        Self { phase: Phase::Start }
    }

    /// Returns the next step after the backend's state was read.
    pub fn backend(&mut self, state: State) -> Action {
        use State::*;
        match (self.phase, state) {
            // A session that somebody before us left open is ended first: the backend has to let go of its
            // ring.
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

    /// Goes on when the nodes that the backend needs are written. Has no effect if they were not asked for.
    pub fn published(&mut self) -> Action {
        if self.phase != Phase::Initialising {
            return Action::Wait;
        }
        self.go(Phase::Initialised, State::Initialised)
    }

    /// Goes on when what the backend offers was read and is usable. Has no effect if it was not asked for.
    pub fn ready(&mut self) -> Action {
        if self.phase != Phase::Initialised {
            return Action::Wait;
        }
        self.go(Phase::Connected, State::Connected)
    }

    /// Closes: the frontend has stopped using the backend, by its own will or told by [`Action::Stop`].
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

    /// Returns true if both ends are connected as far as the frontend knows.
    pub fn is_connected(&self) -> bool {
        self.phase == Phase::Connected
    }

    /// Returns true if this end has written a later state than Initialising, so that a node which has that state, or none,
    /// is not as this end left it.
    pub fn is_past_start(&self) -> bool {
        !matches!(self.phase, Phase::Start | Phase::Initialising)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STATES: [State; 9] = [
        State::Unknown,
        State::Initialising,
        State::InitWait,
        State::Initialised,
        State::Connected,
        State::Closing,
        State::Closed,
        State::Reconfiguring,
        State::Reconfigured,
    ];

    /// Returns blkback's answer to the frontend's state.
    fn answer(backend: State, frontend: State) -> State {
        match (frontend, backend) {
            (State::Initialising, State::Closed | State::Initialising) => State::InitWait,
            (State::Initialised | State::Connected, State::InitWait) => State::Connected,
            (State::Closing, _) => State::Closing,
            (State::Closed, _) => State::Closed,
            _ => backend,
        }
    }

    /// Runs both ends until the frontend waits for good; answers the frontend's and the backend's state, and
    /// the actions other than writing and waiting.
    fn run(handshake: &mut Handshake, front: &mut State, back: &mut State) -> std::vec::Vec<Action> {
        let mut actions = std::vec::Vec::new();
        for _ in 0..40 {
            let mut action = handshake.backend(*back);
            match action {
                Action::Publish => {
                    actions.push(action);
                    action = handshake.published();
                }
                Action::Connect => {
                    actions.push(action);
                    action = handshake.ready();
                }
                Action::Stop => {
                    actions.push(action);
                    action = handshake.close();
                }
                _ => {}
            }
            let before = (*front, *back);
            if let Action::Set(state) = action {
                *front = state;
            }
            *back = answer(*back, *front);
            if before == (*front, *back) && !matches!(action, Action::Set(_)) {
                if actions.last() != Some(&action) {
                    actions.push(action);
                }
                break;
            }
        }
        actions
    }

    #[test]
    fn numbers_are_those_of_the_header() {
        for (number, state) in STATES.into_iter().enumerate() {
            assert_eq!((State::from_number(number as u64), state as usize), (state, number));
        }
        assert_eq!(State::from_number(9), State::Unknown);
        assert_eq!(State::from_number(u64::MAX), State::Unknown);
    }

    #[test]
    fn a_session_from_start_to_end_and_again() {
        let mut handshake = Handshake::new();
        let (mut front, mut back) = (State::Initialising, State::InitWait);
        let actions = run(&mut handshake, &mut front, &mut back);
        assert_eq!(actions, [Action::Publish, Action::Connect, Action::Refresh]);
        assert!(handshake.is_connected());
        assert_eq!((front, back), (State::Connected, State::Connected));

        back = State::Closing;
        assert_eq!(run(&mut handshake, &mut front, &mut back), [Action::Stop, Action::Done]);
        assert_eq!((front, back), (State::Closed, State::Closed));
        assert!(!handshake.is_connected());

        assert_eq!(handshake.reopen(), Action::Set(State::Initialising));
        (front, back) = (State::Initialising, State::InitWait);
        let actions = run(&mut handshake, &mut front, &mut back);
        assert_eq!(actions, [Action::Publish, Action::Connect, Action::Refresh]);
    }

    #[test]
    fn an_earlier_session_is_ended_first() {
        for stale in [State::Connected, State::Closing, State::Initialised] {
            let mut handshake = Handshake::new();
            assert_eq!(handshake.backend(stale), Action::Set(State::Closing));
            // Not before the backend has let go.
            assert_eq!(handshake.backend(State::Connected), Action::Wait);
            assert_eq!(handshake.backend(State::Closing), Action::Set(State::Closed));
            assert_eq!(handshake.backend(State::Closing), Action::Wait);
            assert_eq!(handshake.backend(State::Closed), Action::Set(State::Initialising));
            assert_eq!(handshake.backend(State::Closed), Action::Wait);
            assert_eq!(handshake.backend(State::InitWait), Action::Publish);
        }
    }

    #[test]
    fn nothing_is_published_before_the_backend_is_ready() {
        let mut handshake = Handshake::new();
        assert_eq!(handshake.published(), Action::Wait);
        assert_eq!(handshake.ready(), Action::Wait);
        assert_eq!(handshake.reopen(), Action::Wait);
        assert_eq!(handshake.backend(State::Initialising), Action::Set(State::Initialising));
        for state in [State::Initialising, State::Unknown, State::Closed, State::Connected, State::Closing] {
            assert_eq!(handshake.backend(state), Action::Wait);
        }
        assert_eq!(handshake.backend(State::InitWait), Action::Publish);
    }

    #[test]
    fn a_backend_that_vanishes_stops_the_frontend() {
        for gone in [State::Unknown, State::Closing, State::Closed] {
            let mut handshake = Handshake { phase: Phase::Connected };
            assert_eq!(handshake.backend(gone), Action::Stop);
            // Until the frontend has stopped, whatever the backend does.
            assert_eq!(handshake.backend(State::Connected), Action::Stop);
            assert_eq!(handshake.close(), Action::Set(State::Closing));
            assert_eq!(handshake.close(), Action::Wait);
            assert_eq!(handshake.backend(State::Connected), Action::Wait);
            assert_eq!(handshake.backend(gone), Action::Set(State::Closed));
            assert_eq!(handshake.backend(State::Closed), Action::Done);
        }
    }

    proptest! {
        /// Whatever both ends' states are at the start, an honest backend gets connected.
        #[test]
        fn every_start_leads_to_connected(front in 0usize..7, back in 1usize..7) {
            let (mut front, mut back) = (STATES[front], STATES[back]);
            let mut handshake = Handshake::new();
            run(&mut handshake, &mut front, &mut back);
            prop_assert!(handshake.is_connected(), "{:?} {:?} {:?}", handshake, front, back);
        }

        /// Whatever the backend's states, a connection is only ever made after publishing for a backend that
        /// was ready.
        #[test]
        fn steps_keep_their_order(states in prop::collection::vec(0usize..9, 0..60)) {
            let mut handshake = Handshake::new();
            let mut published = false;
            for state in states {
                match handshake.backend(STATES[state]) {
                    Action::Publish => {
                        prop_assert_eq!(STATES[state], State::InitWait);
                        prop_assert_eq!(handshake.published(), Action::Set(State::Initialised));
                        published = true;
                    }
                    Action::Connect => {
                        prop_assert!(published);
                        prop_assert_eq!(STATES[state], State::Connected);
                        prop_assert_eq!(handshake.ready(), Action::Set(State::Connected));
                    }
                    Action::Refresh => prop_assert!(handshake.is_connected()),
                    Action::Stop => {
                        published = false;
                        prop_assert!(!handshake.is_connected());
                        prop_assert_eq!(handshake.close(), Action::Set(State::Closing));
                    }
                    Action::Done => { handshake.reopen(); }
                    Action::Set(_) | Action::Wait => {}
                }
            }
        }
    }
}
