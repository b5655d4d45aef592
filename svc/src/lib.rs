//! The service of the suite: it carries out the toolstack's requests to power off and to reboot by Windows' own
//! shutdown, tells of events in the event log and in a file, takes marks of StartOverride away when it starts and when
//! it stops, and says that it lives. Everything but that works without it.
//!
//! | modules | content |
//! |---|---|
//! | [`run`], [`reading`] | what it does, over traits |
//! | [`message`], [`log`] | what it says, and its file |
//! | `windows` | Windows behind those traits, and the service manager |

#![deny(unsafe_code)]

pub mod log;
pub mod message;
pub mod reading;
pub mod run;
#[cfg(windows)]
pub mod windows;

/// Name of the service, of its source in the event log, and of its file without `.exe`.
pub const NAME: &str = "xenguard-svc";
