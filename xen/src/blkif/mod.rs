//! Block frontend, `io/blkif.h`.
//!
//! Three parts, by where they may wait:
//!
//! - [`XenbusDevice`] (*passive*) is the talk over xenstore: who the backend is, the handshake, what the disk is
//!   like.
//! - [`Frontend`] (*dispatch*, one caller at a time for each) is the ring: requests out, completions back.
//! - [`Transfer`] (*dispatch*) cuts one read or write of any size into ring requests and puts the completions
//!   together again.
//!
//! [`polled`] puts them together for one who cannot wait for anything: the writer of a crash dump.
//!
//! The backend is not trusted: see [`Fault`] for what it may get wrong. After a fault nothing more is sent to
//! it, and every request comes back exactly once, with an error.
//!
//! Sectors are 512 bytes throughout, whatever the backend's `sector-size`.
//!
//! ```
//! use xen::blkif::{Config, Event, Frontend, XenbusDevice, Operation, QueueOffer, Request, Segment};
//! use xen::{Port, fake};
//!
//! # fn main() -> Result<(), xen::blkif::Error> {
//! let world = fake::World::new();
//! let mut backend = fake::Blkback::new(&world, "device/vbd/768", 2048);
//!
//! // Passive: find the backend, offer a ring, wait until both ends are connected.
//! let mut store = world.store();
//! let mut xenbus = XenbusDevice::open(&mut store, "device/vbd/768")?;
//! let mut frontend = Frontend::new(world.hal(), xenbus.vbd(), Config::SMALL)?;
//! let port = Port(7);
//! let disk = loop {
//!     match xenbus.advance(&mut store)? {
//!         Event::Wanted(features) => {
//!             let queue = QueueOffer { ring: frontend.ring(), port };
//!             xenbus.publish(&mut store, false, &[queue])?;
//!         }
//!         Event::Connected(disk) => break disk,
//!         _ => backend.negotiate(),
//!     }
//! };
//! assert_eq!(disk.sectors, 2048);
//! frontend.connect(port, disk);
//!
//! // Dispatch: write one page, then flush.
//! let page = world.page_of(b"hello");
//! let segment = Segment { frame: page, first_sector: 0, last_sector: 7 };
//! frontend.submit(&Request { tag: 1, operation: Operation::Write, sector: 64, segments: &[segment] })?;
//! frontend.submit(&Request { tag: 2, operation: Operation::Flush, sector: 0, segments: &[] })?;
//! frontend.push();
//! backend.run();
//! for tag in [1, 2] {
//!     let done = frontend.poll().unwrap();
//!     assert_eq!((done.tag, done.result), (tag, Ok(())));
//! }
//! assert!(frontend.poll().is_none());
//! assert_eq!(&backend.sectors()[64 * 512..][..5], b"hello");
//! # Ok(())
//! # }
//! ```

mod disk;
mod error;
mod features;
mod frontend;
mod indirect;
pub mod polled;
mod pool;
mod transfer;
mod vbd;
mod xenbus_device;

pub use crate::wire::blkif::MAX_SEGMENTS;
pub use disk::{Discard, Disk, FlushMethod};
pub use error::{Error, Failure, Fault};
pub use features::{Config, Features};
pub use frontend::{Arrived, Completion, Copied, Frontend, Operation, Request, Segment};
pub use transfer::{Element, Memory, Outcome, Progress, ScatterList, Source, Transfer};
pub use vbd::{EMULATED_BLOCK, Kind, Vbd, VirtualDevice};
pub use xenbus_device::{Connected, Event, QueueOffer, XenbusDevice};

/// Most segments of an indirect request.
pub const MAX_INDIRECT_SEGMENTS: usize =
    crate::wire::blkif::MAX_INDIRECT_PAGES * crate::wire::blkif::SEGMENTS_PER_PAGE;
/// Bytes of a sector, the unit of the protocol.
pub const SECTOR_SIZE: u32 = 512;
/// Sectors of a page.
pub const SECTORS_PER_PAGE: u8 = 8;
