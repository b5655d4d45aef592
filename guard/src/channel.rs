//! The interface of xenpci's device for programs: control codes, layouts, and the queue of events.
//!
//! A program asks for the first event with a sequence number that it has not seen; where there is none yet, the
//! request waits. So the driver keeps nothing of its readers: each has its own number, and sees by it how many
//! events it has missed.

/// The GUID of this channel's device interface: {6F1C2A34-5B0D-4E9B-9A77-3D1E8C5A4B10}.
pub const INTERFACE: u128 = 0x6F1C_2A34_5B0D_4E9B_9A77_3D1E_8C5A_4B10;

/// Returns a control code: FILE_DEVICE_UNKNOWN, METHOD_BUFFERED, FILE_READ_ACCESS.
const fn code(function: u32) -> u32 {
    0x22 << 16 | 1 << 14 | function << 2
}

/// Answers with a [`Version`].
pub const GET_VERSION: u32 = code(0x800);
/// Answers with a [`crate::abi::Status`].
pub const GET_STATUS: u32 = code(0x801);
/// Takes a sequence number (8 bytes, little endian) and answers with an [`Event`], at once or later.
pub const GET_EVENT: u32 = code(0x802);

/// The version of this file's layouts and meanings.
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

    /// Adds an event, in the place of the oldest one.
    pub fn add(&mut self, kind: Kind, value: u32, time: u64) {
        let event = Event { sequence: self.next, lost: 0, time, kind: kind as u32, value };
        self.kept[(self.next % KEPT as u64) as usize] = event;
        self.next += 1;
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
