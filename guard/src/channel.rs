//! The interface of xenpci's device for programs: control codes, layouts, and the queue of events.
//!
//! A program asks for the first event, or the first line of the activity log, with a number that it has not seen; where
//! there is none yet, the request waits. So the driver keeps nothing of its readers: each has its own number, and sees by
//! it how many it has missed.

use crate::activity::{self, Line};

/// The GUID of this channel's device interface: {6F1C2A34-5B0D-4E9B-9A77-3D1E8C5A4B10}.
pub const INTERFACE: u128 = 0x6F1C_2A34_5B0D_4E9B_9A77_3D1E_8C5A_4B10;

/// FILE_READ_ACCESS: the handle was opened for reading.
const READ: u32 = 1;
/// FILE_WRITE_ACCESS: the handle was opened for writing.
const WRITE: u32 = 2;

/// Returns a control code: FILE_DEVICE_UNKNOWN, METHOD_BUFFERED.
const fn code(function: u32, access: u32) -> u32 {
    0x22 << 16 | access << 14 | function << 2
}

/// Answers with a [`Version`].
pub const GET_VERSION: u32 = code(0x800, READ);
/// Answers with a [`crate::abi::Status`].
pub const GET_STATUS: u32 = code(0x801, READ);
/// Takes a sequence number (8 bytes, little endian) and answers with an [`Event`], at once or later.
pub const GET_EVENT: u32 = code(0x802, READ);
/// Says that the sender lives and carries out requests to power off and to reboot. Takes the number of the last such
/// event that it has carried out (8 bytes, little endian), 0 for none. Answers with the number of the next event
/// (8 bytes): a request before it was not for the sender.
pub const HEARTBEAT: u32 = code(0x803, WRITE);

/// Answers with the guard's record ([`crate::record`]).
pub const GET_RECORD: u32 = code(0x804, READ);
/// Takes the number of a line of the activity log (8 bytes, little endian) and answers with a [`LogLine`], at once or
/// later.
pub const GET_LINE: u32 = code(0x805, READ);

/// The version of this file's layouts and meanings. A new code does not change it: a driver that does not know a code
/// answers STATUS_INVALID_DEVICE_REQUEST.
pub const CHANNEL_VERSION: u32 = 1;

/// The answer to [`GET_VERSION`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Version {
    /// [`CHANNEL_VERSION`].
    pub channel: u32,
    /// [`crate::abi::ABI_VERSION`], which says how a status is laid out.
    pub abi: u32,
}

impl Version {
    /// Returns the bytes of this version's answer.
    #[must_use]
    pub fn bytes() -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&CHANNEL_VERSION.to_le_bytes());
        bytes[4..].copy_from_slice(&crate::abi::ABI_VERSION.to_le_bytes());
        bytes
    }
}

/// Kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// The guard's status has changed; the value is its phase in bits 31–16 and the reason in bits 15–0.
    Status = 1,
    /// The guest is about to be suspended.
    Suspending = 2,
    /// The guest goes on; the value is 1 in a new domain.
    Resumed = 3,
    /// The toolstack has asked to power off.
    PowerOff = 4,
    /// The toolstack has asked to reboot.
    Reboot = 5,
}

/// An event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Event {
    /// Its number; the first is 1, each further one more.
    pub sequence: u64,
    /// Events from the one that was asked for on that are not kept any more.
    pub lost: u64,
    /// When it happened, in 100 ns since 1601-01-01 UTC.
    pub time: u64,
    /// A [`Kind`].
    pub kind: u32,
    /// A value whose meaning depends on the kind.
    pub value: u32,
}

impl Event {
    /// Bytes of an event.
    pub const BYTES: usize = 32;

    /// Returns the event as it crosses, little endian.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.lost.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.time.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.kind.to_le_bytes());
        bytes[28..].copy_from_slice(&self.value.to_le_bytes());
        bytes
    }
}

const _: () = assert!(size_of::<Event>() == Event::BYTES);

impl Event {
    /// Returns the event of these bytes, little endian.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let (words, _) = bytes.as_chunks::<8>();
        let [sequence, lost, time, rest] = [0, 1, 2, 3].map(|at| u64::from_le_bytes(words[at]));
        Self { sequence, lost, time, kind: rest as u32, value: (rest >> 32) as u32 }
    }
}

/// A line of the activity log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// The line, with its number in the boot, from 1.
    pub line: Line,
    /// Lines from the one that was asked for on that are not kept any more.
    pub lost: u64,
}

impl LogLine {
    /// Bytes of a line: its number, the lost ones, its time in 100 ns since 1601-01-01 UTC, and the length of its text, 8
    /// bytes each, and room for the text.
    pub const BYTES: usize = 32 + activity::LINE;

    /// Returns the line as it crosses, little endian.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let text = self.line.bytes();
        let numbers = [self.line.number, self.lost, self.line.time, text.len() as u64];
        for (place, number) in bytes.chunks_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes[32..32 + text.len()].copy_from_slice(text);
        bytes
    }

    /// Returns the line of these bytes, little endian; a text that is longer than its room is cut off.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let (words, _) = bytes.as_chunks::<8>();
        let [number, lost, time, length] = [0, 1, 2, 3].map(|at| u64::from_le_bytes(words[at]));
        let length = usize::try_from(length).unwrap_or(usize::MAX).min(activity::LINE);
        Self { line: Line::new(number, time, &bytes[32..32 + length]), lost }
    }
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Status, Self::Suspending, Self::Resumed, Self::PowerOff, Self::Reboot];

    /// Returns the kind of a number; `None` for one of a later version.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u32 == number)
    }
}

/// Events that are kept.
const KEPT: usize = 64;

/// The last events.
#[derive(Clone, Debug)]
pub struct Events {
    /// By sequence number modulo [`KEPT`].
    kept: [Event; KEPT],
    /// The number of the next event.
    next: u64,
}

impl Events {
    /// Returns a queue without events.
    #[must_use]
    pub const fn new() -> Self {
        Self { kept: [Event { sequence: 0, lost: 0, time: 0, kind: 0, value: 0 }; KEPT], next: 1 }
    }

    /// Adds an event, in the place of the oldest one, and returns its number.
    pub fn add(&mut self, kind: Kind, value: u32, time: u64) -> u64 {
        let sequence = self.next;
        let event = Event { sequence, lost: 0, time, kind: kind as u32, value };
        self.kept[(sequence % KEPT as u64) as usize] = event;
        self.next += 1;
        sequence
    }

    /// Returns the number of the next event.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// Returns the first event from number `from` on that is kept, and how many before it are not; `None`
    /// where it is still to come. 0 counts as 1. A number beyond the next one is of another boot: it counts
    /// as 1, too.
    #[must_use]
    pub fn from(&self, from: u64) -> Option<Event> {
        let wanted = if from > self.next { 1 } else { from.max(1) };
        let oldest = self.next.saturating_sub(KEPT as u64).max(1);
        let sequence = wanted.max(oldest);
        (sequence < self.next)
            .then(|| Event { lost: sequence - wanted, ..self.kept[(sequence % KEPT as u64) as usize] })
    }
}

impl Default for Events {
    fn default() -> Self {
        Self::new()
    }
}

/// The program that carries out requests to power off and to reboot, by its handle. There is at most one: that which
/// has sent the last [`HEARTBEAT`].
#[derive(Clone, Copy, Debug)]
pub struct Follower<H> {
    handle: Option<H>,
    /// Time of its last heartbeat, in 100 ns since 1601-01-01 UTC.
    beat: u64,
    /// Number of the last event that it has carried out.
    carried: u64,
}

impl<H: Copy + PartialEq> Follower<H> {
    /// Returns the state without a program.
    #[must_use]
    pub const fn none() -> Self {
        Self { handle: None, beat: 0, carried: 0 }
    }

    /// Notes a heartbeat through a handle at a time. A number from `next` on is of no event yet, and counts as 0.
    pub fn beats(&mut self, handle: H, carried: u64, next: u64, time: u64) {
        let carried = if carried < next { carried } else { 0 };
        *self = Self { handle: Some(handle), beat: time, carried };
    }

    /// Notes that a handle is closed. Returns true if it was the program's, which is gone then.
    pub fn closed(&mut self, handle: H) -> bool {
        let gone = self.handle == Some(handle);
        if gone {
            *self = Self::none();
        }
        gone
    }

    /// Returns true if there is a program.
    #[must_use]
    pub const fn lives(&self) -> bool {
        self.handle.is_some()
    }

    /// Returns the time of the program's last heartbeat; `None` without a program.
    #[must_use]
    pub fn last_beat(&self) -> Option<u64> {
        self.handle.map(|_| self.beat)
    }

    /// Returns true if there is a program that says it has carried out this event.
    #[must_use]
    pub const fn has_carried(&self, event: u64) -> bool {
        self.handle.is_some() && self.carried >= event
    }
}

/// Step by which a request to power off or to reboot comes nearer to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The program is given an event, whose number [`Handover::give`] takes.
    Give,
    /// The program still has time.
    Wait,
    /// The program has carried it out.
    Acknowledge,
    /// The power button is pressed.
    Press,
}

/// The way of one request to the program that follows, and past one that does not carry it out to the power button.
#[derive(Clone, Copy, Debug, Default)]
pub struct Handover {
    /// Number of the event that the program was given, as long as it has time.
    event: Option<u64>,
    /// A program was given this request already.
    given: bool,
}

impl Handover {
    /// Returns the next step. `expired`: the time that the program has for an event is over.
    pub fn step<H: Copy + PartialEq>(&mut self, follower: &Follower<H>, expired: bool) -> Step {
        match self.event {
            Some(event) if follower.has_carried(event) => {
                self.event = None;
                Step::Acknowledge
            }
            Some(_) if follower.lives() && !expired => Step::Wait,
            Some(_) => {
                self.event = None;
                Step::Press
            }
            None if follower.lives() && !self.given => Step::Give,
            None => Step::Press,
        }
    }

    /// Notes that the program was given the request as the event of this number.
    pub fn give(&mut self, event: u64) {
        *self = Self { event: Some(event), given: true };
    }

    /// Returns true if the program has time for an event.
    #[must_use]
    pub const fn waits(&self) -> bool {
        self.event.is_some()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_reader_sees_each_event_once_and_in_order() {
        let mut events = Events::new();
        assert_eq!(events.from(0), None);
        for value in 0..3 {
            events.add(Kind::Status, value, 7);
        }
        let mut next = 0;
        for value in 0..3 {
            let event = events.from(next).unwrap();
            assert_eq!((event.value, event.lost, event.sequence), (value, 0, u64::from(value) + 1));
            next = event.sequence + 1;
        }
        assert_eq!(events.from(next), None);
    }

    #[test]
    fn what_is_lost_is_counted() {
        let mut events = Events::new();
        for value in 0..100 {
            events.add(Kind::Resumed, value, 0);
        }
        let event = events.from(1).unwrap();
        assert_eq!((event.sequence, event.lost, event.value), (37, 36, 36));
        // A reader that came from another boot.
        assert_eq!(events.from(1000).unwrap().sequence, 37);
    }

    #[test]
    fn bytes_are_the_layout() {
        let event = Event { sequence: 1, lost: 2, time: 3, kind: 4, value: 5 };
        let bytes = event.to_bytes();
        assert_eq!((bytes[0], bytes[8], bytes[16], bytes[24], bytes[28]), (1, 2, 3, 4, 5));
        assert_eq!(GET_EVENT, 0x0022_6008);
        assert_eq!(Event::from_bytes(&bytes), event);
    }

    /// The I/O manager refuses a code whose access bits the handle was not opened with.
    #[test]
    fn a_heartbeat_needs_a_handle_for_writing() {
        assert_eq!(HEARTBEAT, 0x0022_A00C);
        assert_eq!((HEARTBEAT >> 14 & 3, GET_STATUS >> 14 & 3), (2, 1));
    }

    #[test]
    fn a_program_lives_from_its_heartbeat_to_its_handles_end() {
        let mut follower = Follower::none();
        assert_eq!((follower.lives(), follower.last_beat(), follower.has_carried(0)), (false, None, false));
        follower.beats('a', 0, 4, 70);
        assert_eq!(
            (follower.lives(), follower.last_beat(), follower.has_carried(3)),
            (true, Some(70), false)
        );
        follower.beats('a', 3, 4, 80);
        assert!(follower.has_carried(3));
        // Another's handle is of no meaning, and the one that beats last is the program's.
        assert!(!follower.closed('b'));
        follower.beats('b', 0, 4, 90);
        assert!(!follower.has_carried(3) && !follower.closed('a') && follower.lives());
        assert!(follower.closed('b'));
        assert!(!follower.lives() && !follower.has_carried(0));
    }

    /// An event that is still to come cannot have been carried out.
    #[test]
    fn a_program_cannot_acknowledge_in_advance() {
        let mut follower = Follower::none();
        follower.beats('a', u64::MAX, 4, 70);
        assert!(!follower.has_carried(4));
        follower.beats('a', 4, 4, 70);
        assert!(!follower.has_carried(4));
    }

    #[test]
    fn a_request_goes_to_the_program_once_and_then_to_the_button() {
        let mut follower = Follower::none();
        let mut handover = Handover::default();
        assert_eq!(handover.step(&follower, false), Step::Press, "nobody follows");
        // It comes while the request waits: nobody watches the button.
        follower.beats('a', 0, 8, 1);
        assert_eq!(handover.step(&follower, false), Step::Give);
        handover.give(8);
        assert_eq!((handover.step(&follower, false), handover.waits()), (Step::Wait, true));
        let (mut hung, mut carried) = (handover, handover);
        assert_eq!((hung.step(&follower, true), hung.waits()), (Step::Press, false));
        assert_eq!(hung.step(&follower, false), Step::Press, "it is not given twice");
        follower.beats('a', 8, 9, 2);
        assert_eq!((carried.step(&follower, true), carried.waits()), (Step::Acknowledge, false));
        follower.closed('a');
        assert_eq!(handover.step(&follower, false), Step::Press, "it died");
    }

    #[test]
    fn a_line_crosses_as_it_was_added() {
        let ring = activity::Ring::new();
        ring.add(7, b"xenvbd: started");
        ring.add(8, &[b'x'; 2 * activity::LINE]);
        for number in [1, 2] {
            let (line, lost) = ring.from(number).unwrap();
            let line = LogLine { line, lost };
            assert_eq!(LogLine::from_bytes(&line.to_bytes()), line);
        }
        let bytes = LogLine { line: Line::new(1, 2, b"text"), lost: 3 }.to_bytes();
        assert_eq!((bytes[0], bytes[8], bytes[16], bytes[24], &bytes[32..36]), (1, 3, 2, 4, &b"text"[..]));
        // A length that no driver of the suite sends.
        let mut bytes = bytes;
        bytes[24..32].fill(0xFF);
        assert_eq!(LogLine::from_bytes(&bytes).line.text().len(), activity::LINE);
    }

    #[test]
    fn kinds_are_their_numbers() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_number(kind as u32), Some(kind));
        }
        assert_eq!((Kind::from_number(0), Kind::from_number(6)), (None, None));
    }

    proptest! {
        /// Whatever a reader asks for, what it gets and what it is told of as lost are all events but those it did not
        /// ask for.
        #[test]
        fn nothing_is_lost_silently(added in 0u64..300, from in 0u64..400) {
            let mut events = Events::new();
            for _ in 0..added {
                events.add(Kind::Status, 0, 0);
            }
            let wanted = if from > added + 1 { 1 } else { from.max(1) };
            match events.from(from) {
                Some(event) => prop_assert_eq!(wanted + event.lost, event.sequence),
                None => prop_assert_eq!(wanted, added + 1),
            }
        }
    }
}
