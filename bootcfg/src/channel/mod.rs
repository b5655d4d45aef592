//! xenpci's channel to programs (`guard::channel`): its device is found and opened, and control codes are sent.
//!
//! `log` reads by it, and the service of the crate `svc` follows the toolstack's requests by it.

#[cfg(windows)]
pub mod device;
#[cfg(windows)]
pub mod event;

use std::{io, time::Duration};

use guard::{channel::LogLine, record};

/// A channel for reading the guard's record and the activity log.
///
/// An error of the kind [`io::ErrorKind::Unsupported`] means that the driver does not know the request.
pub trait Channel {
    /// Returns the guard's record.
    ///
    /// # Errors
    /// The answer of Windows.
    fn record(&mut self) -> io::Result<[u8; record::SIZE]>;

    /// Returns the first line of the activity log from a number on; `None` where none comes within the limit. Without a
    /// limit it waits until one comes.
    ///
    /// # Errors
    /// The answer of Windows.
    fn line(&mut self, from: u64, limit: Option<Duration>) -> io::Result<Option<LogLine>>;
}

/// Opens the channel of the running Windows for reading; `None` where no device offers it.
///
/// # Errors
/// The answer of Windows.
#[cfg(windows)]
pub fn open() -> io::Result<Option<Box<dyn Channel>>> {
    let device = device::Device::open(std::fs::OpenOptions::new().read(true))?;
    Ok(device.map(|device| Box::new(device) as Box<dyn Channel>))
}

/// Answers that no Windows runs here.
///
/// # Errors
/// Always.
#[cfg(not(windows))]
pub fn open() -> io::Result<Option<Box<dyn Channel>>> {
    Err(io::ErrorKind::Unsupported.into())
}
