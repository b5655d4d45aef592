//! GET EVENT STATUS NOTIFICATION (MMC-5 6.6), polled, of the media class.

use core::sync::atomic::{AtomicU8, Ordering};

use zerocopy::byteorder::big_endian::U16;
use zerocopy::{Immutable, IntoBytes, Unaligned};

use crate::reply::Reply;

/// The media class, as a number and as a bit of requests and of what is supported.
const MEDIA: u8 = 4;
const MEDIA_BIT: u8 = 1 << MEDIA;
/// No event of a class that was asked for is available.
const NO_EVENT_AVAILABLE: u8 = 0x80;

const NO_CHANGE: u8 = 0;
const NEW_MEDIA: u8 = 2;
const MEDIA_REMOVAL: u8 = 3;

/// The latest event since it was last asked for; only that one counts.
#[derive(Debug)]
pub(super) struct Events(AtomicU8);

#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    /// Bytes behind this field.
    length: U16,
    class: u8,
    supported: u8,
}
const _: () = assert!(size_of::<Header>() == 4);

/// The media class's event (MMC-5 table 311).
#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct Media {
    code: u8,
    /// 1 the tray is open, 2 a medium is in.
    status: u8,
    first_slot: u8,
    last_slot: u8,
}
const _: () = assert!(size_of::<Media>() == 4);

impl Events {
    pub(super) const fn new() -> Self {
        Self(AtomicU8::new(NO_CHANGE))
    }

    pub(super) fn arrived(&self) {
        self.0.store(NEW_MEDIA, Ordering::Release);
    }

    pub(super) fn removed(&self) {
        self.0.store(MEDIA_REMOVAL, Ordering::Release);
    }

    /// Returns the answer to a request for these classes; an event is told once.
    pub(super) fn read(&self, classes: u8, present: bool, open: bool) -> Reply {
        if classes & MEDIA_BIT == 0 {
            return Reply::of(&Header {
                length: U16::new(2),
                class: NO_EVENT_AVAILABLE,
                supported: MEDIA_BIT,
            });
        }
        let mut reply = Reply::of(&Header { length: U16::new(6), class: MEDIA, supported: MEDIA_BIT });
        reply.push(&Media {
            code: self.0.swap(NO_CHANGE, Ordering::AcqRel),
            status: u8::from(open) | u8::from(present) << 1,
            first_slot: 0,
            last_slot: 0,
        });
        reply
    }
}
