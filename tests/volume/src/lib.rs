//! A small journaling volume that a second mount destroys.
//!
//! Under Xen a guest can reach one backing disk through two paths. A file system that mounts
//! both replays and truncates the log of a volume that is in use, and from then on two caches
//! overwrite each other. This crate is the smallest volume for which that is as true as it is
//! for NTFS, and for which it can be told afterwards, from the image alone, that it happened.
//!
//! # On disk
//! A disk holds a partition table ([`mbr`]) and one partition at sector 2048. The partition, in
//! 512-byte sectors:
//!
//! | sectors | what |
//! |---|---|
//! | 0 | [`superblock`]: geometry, generation, how far the log is checkpointed |
//! | 1–32 | [`mount_record`]s: one per mount, what it has promised and how much it has written |
//! | 33–96 | [`log`]: write-ahead log of changed file records |
//! | 97–128 | [`file_record`]s at home: name, size, blocks and their checksums |
//! | 136– | data in blocks of 4096 bytes, never overwritten in place |
//!
//! # Rules
//! A mount ([`Volume::mount`]) recovers what the last one left (`recover`), writes replayed
//! records home, takes the next generation and starts an empty log. A file is written data first,
//! then its record to the log; home locations follow lazily. [`Volume::flush`] is the promise
//! that what was written survives a crash. Any prefix of the writes, with any selection of those
//! after the last flush, is a volume that mounts with all that was promised.
//!
//! # After the fact
//! [`check()`] reads an image and says [`Verdict::Intact`], [`Verdict::Replayable`] or
//! [`Verdict::Destroyed`] with the [`Damage`] it found. A volume that was written by a mount after
//! a later mount took over is always found destroyed: each mount counts its writes in its own
//! sector before making them, and a successor notes the count it found.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;

pub mod block;
pub mod check;
mod checksum;
pub mod damage;
pub mod file_record;
mod format;
#[cfg(feature = "std")]
pub mod image;
pub mod layout;
pub mod log;
pub mod mbr;
pub mod mount_record;
mod recover;
pub mod superblock;
mod volume;

pub use block::{BlockDevice, IoError, Partition, SECTOR};
pub use check::{Report, Verdict, check};
pub use damage::Damage;
pub use format::format;
pub use volume::{Error, Volume};
