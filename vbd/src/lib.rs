//! The I/O path of a PV disk, without an operating system: SRBs to ring requests and back.
//!
//! # Three names for three things
//! One command of the system passes through three forms, and each form has one name throughout:
//!
//! | name | type | made by | ends when |
//! |---|---|---|---|
//! | *SRB* | [`Srb`], a SCSI request block | the port driver, Storport | the miniport completes it with an [`Answer`] |
//! | *request* | [`Request`], one for each SRB that reaches the disk | this crate, in the SRB's extension | its SRB is completed |
//! | *ring request* | [`xen::blkif::Request`] and its kin, one slot of the ring | [`xen::blkif::Transfer`] | the backend's *response* is taken in |
//!
//! A request does its work in steps: a write with FUA is the data, then a flush; an UNMAP is one discard after
//! the other. Each step is a [`xen::blkif::Transfer`], which cuts it into as many ring requests as it needs
//! and puts their completions together again.
//!
//! # Modules
//! | module | content |
//! |---|---|
//! | [`srb`] | the trait that an SRB has, and how one ends |
//! | `answer` | the answer of a refusal or a failure |
//! | [`request`] | one SRB on its way |
//! | [`list`] | lists of requests, linked through the requests |
//! | [`queue`] | one ring of a disk with the requests that wait for it |
//! | [`memory`] | the system's memory, where data is copied to and from it |
//! | [`mod@unit`] | the disk as a logical unit, and what of that may change |
//! | [`target_id`] | which target id a vbd's disk has |
//! | `fake` | SRBs of a test (feature `fake`) |
//! | `fuzz` | fuzz targets (feature `fake`) |
//!
//! What a SCSI command means is in the crate `scsi`, the ring is in `xen`. Nothing here allocates once a disk
//! is connected, and nothing waits, but [`Queue::read_now`].
#![no_std]

#[cfg(feature = "fake")]
extern crate std;

mod answer;
#[cfg(feature = "fake")]
pub mod fake;
#[cfg(feature = "fake")]
pub mod fuzz;
pub mod list;
pub mod memory;
pub mod queue;
pub mod request;
pub mod srb;
pub mod target_id;
pub mod unit;

pub use list::Ended;
pub use memory::Window;
pub use queue::{Counters, MAXIMUM_TRANSFER, Queue, ReadError, read_now};
pub use request::{Request, Terms};
pub use srb::{Answer, Srb};
pub use unit::Unit;
