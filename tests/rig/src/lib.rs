//! Runs a guest under the real Xen, in a real dom0 of Debian 11, 12 or 13, inside qemu's software emulation: no
//! hardware virtualization, no privileges beyond unpacking packages.
//!
//! [`setup::everything`] makes everything once, from Debian's packages to a snapshot of a booted dom0.
//! [`run`] then resumes that snapshot for each [`Job`], hands the job over on a disk, creates the guest and
//! brings back an [`Outcome`]: the guest's console, Xen's messages, the guest's nodes in xenstore, and its disk images. [`plain`]
//! runs the same job in the same qemu without Xen.
//!
//! A guest that crashes or hangs is an outcome; a [`RigError`] means that the machinery failed. Whatever
//! happens to the calling process, no qemu outlives the thread that started it.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use rig::{Disk, End, Job};
//!
//! let (workspace, target) = (Path::new("."), Path::new("target"));
//! let release = rig::Release::default();
//! let files = rig::setup::everything(workspace, target, release, 1, &|line| eprintln!("{line}"))?;
//! let mut job = Job::new("pv", "target/nt/nt.elf");
//! job.cmdline = "entry=2".to_owned();
//! job.disks.push(Disk::new("target/work/disk.img", "hda"));
//! let outcome = rig::run(&files, &job)?;
//! assert_eq!(outcome.end, End::PoweredOff);
//! assert_eq!(outcome.report().verdict(), Some("clean"));
//! # Ok::<(), rig::RigError>(())
//! ```

mod assertion;
mod cache;
pub mod cache_disk;
mod command;
mod console;
mod cpio;
mod dom0;
mod error;
pub mod helper;
mod host;
mod images;
mod job;
pub mod linux;
mod machine;
mod modules;
mod ovmf;
pub mod payload;
mod plain;
mod qemu;
mod qmp;
mod release;
pub mod report;
mod run;
pub mod setup;
pub mod store;
mod workdir;

pub use error::RigError;
pub use job::{Backend, BatchBoot, Cut, Disk, End, Job, Mark, MarkResult, Outcome, PRELOADED_MARK, Progress};
pub use plain::{plain, plain_watched};
pub use release::Release;
pub use report::Report;
pub use run::{run, run_watched};
pub use setup::RigFiles;
pub use store::Store;
