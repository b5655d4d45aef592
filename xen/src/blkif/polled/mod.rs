//! A disk without interrupts, threads or memory from elsewhere: how a crash dump is written.
//!
//! The system that had the disk has stopped, and whoever writes now is a fresh copy of the driver that knows
//! nothing of it. What the copy may do stands in xenstore: a frontend whose disk the running system has
//! *shown* has the node [`TARGET`], with the target id that the disk has there. Only such a disk is
//! connected, and only when it is asked for ([`find`]): a disk that is not shown may be reached by another
//! path, and is nobody's to write to.
//!
//! [`Polled::connect`] ends the earlier session first (Closing, Closed), by which the backend lets go of its
//! rings and of what was in flight there, and then begins one of its own with a ring of one page. Data is
//! copied through pages of the frontend's own, so nothing of the system's memory is ever granted.
//!
//! Every wait calls the caller's `pause`, which lets a moment pass and answers `false` when time is up.

use core::fmt::{self, Write};

use super::transfer::{Memory, Source, Transfer};
use super::xenbus_device::Text;
use super::{
    Arrived, Config, Disk, Error, Event, Failure, Frontend, Kind, Operation, Outcome, QueueOffer,
    XenbusDevice,
};
use crate::store::{self, Names, Store, path::PathBuf};
use crate::xenbus::State;
use crate::{DomainId, Hal, PAGE_SIZE, Port, SharedMemory, hypercall};

/// Folder of the guest's vbds.
pub const VBDS: &str = "device/vbd";
/// The frontend's node that holds the target id at which its disk is shown; missing where it is not shown.
pub const TARGET: &str = "xenguard-target";

/// Most bytes of names of vbds that [`find`] takes.
pub const NAMES: usize = 4096;

/// The one page of ring, and the pages that data goes through.
const CONFIG: Config = Config { ring_order: 0, segments: 11, indirect: 0, pool: 8, persistent: false };

/// Pages that a connection holds: the ring and those for data.
pub const PAGES: usize = 1 + CONFIG.pool as usize;

/// Says of a connected disk that it is shown at a target id. *Passive*.
///
/// # Errors
/// What the store answers.
pub fn publish(store: &mut impl Store, folder: &str, target: u8) -> Result<(), store::Error> {
    let mut text = Text::<3>::default();
    // Three digits at most.
    let _ = write!(text, "{target}");
    store.write(&PathBuf::new(folder)?.join(TARGET)?, text.as_str().as_bytes())
}

/// Takes back what [`publish`] said. *Passive*.
///
/// # Errors
/// What the store answers; that it was not said is none.
pub fn withdraw(store: &mut impl Store, folder: &str) -> Result<(), store::Error> {
    match store.remove(&PathBuf::new(folder)?.join(TARGET)?) {
        Err(error) if error.is_missing() => Ok(()),
        other => other,
    }
}

/// Finds the folder of the vbd that the running system shows at a target id and is connected to; `None` where
/// there is none. Nothing is written.
///
/// # Errors
/// What the store answers.
pub fn find(
    store: &mut impl Store,
    names: &mut [u8; NAMES],
    target: u8,
) -> Result<Option<PathBuf>, store::Error> {
    search(store, names, |shown| shown == u64::from(target))
}

/// Returns true if the running system shows any disk: it is a boot from PV disks. Nothing is written.
///
/// # Errors
/// What the store answers.
pub fn any_shown(store: &mut impl Store, names: &mut [u8; NAMES]) -> Result<bool, store::Error> {
    Ok(search(store, names, |_| true)?.is_some())
}

fn search(
    store: &mut impl Store,
    names: &mut [u8; NAMES],
    wanted: impl Fn(u64) -> bool,
) -> Result<Option<PathBuf>, store::Error> {
    let root = PathBuf::new(VBDS)?;
    let names: Names<'_> = match store.directory(&root, names) {
        Ok(names) => names,
        Err(error) if error.is_missing() => return Ok(None),
        Err(error) => return Err(error),
    };
    for name in names {
        let folder = root.join(name)?;
        let shown = match store::read_optional(store, &folder.join(TARGET)?) {
            // What is no number is no leave.
            Err(store::Error::Value) => None,
            other => other?,
        };
        if shown.is_some_and(&wanted) && store::read_state(store, &folder.join("state")?)? == State::Connected
        {
            return Ok(Some(folder));
        }
    }
    Ok(None)
}

/// The reason why there is no connection, or a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// The frontend failed.
    Blkif(Error),
    /// The vbd is no disk.
    NoDisk,
    /// No event channel.
    NoPort(hypercall::Error),
    /// The request came back with a failure.
    Request(Failure),
    /// Time was up, for this.
    TimedOut(&'static str),
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blkif(error) => write!(f, "{error}"),
            Self::NoDisk => write!(f, "the vbd is not of type disk"),
            Self::NoPort(error) => write!(f, "{error}"),
            Self::Request(failure) => write!(f, "{failure}"),
            Self::TimedOut(what) => write!(f, "time is up: {what}"),
        }
    }
}

impl core::error::Error for Failed {}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Blkif(error)
    }
}

/// Data of a request.
#[derive(Debug)]
pub enum Data<'a> {
    /// To be read, as many bytes as there are: whole sectors.
    Read(&'a mut [u8]),
    /// To be written.
    Write(&'a [u8]),
}

/// A connected disk.
#[derive(Debug)]
pub struct Polled<H: Hal> {
    xenbus: XenbusDevice,
    frontend: Frontend<H>,
    disk: Disk,
}

impl<H: Hal + Clone> Polled<H> {
    /// Connects the vbd at `folder`, whoever was connected before. `port` makes an event channel that the
    /// domain may bind to; nobody listens on it.
    ///
    /// # Errors
    /// See [`Failed`]. A backend that is in the way of an earlier session's end is waited for as long as
    /// `pause` allows.
    pub fn connect(
        hal: H,
        store: &mut impl Store,
        folder: &str,
        port: impl FnOnce(DomainId) -> Result<Port, hypercall::Error>,
        pause: &mut impl FnMut() -> bool,
    ) -> Result<Self, Failed> {
        let mut xenbus = XenbusDevice::open(store, folder)?;
        if xenbus.vbd().kind != Kind::Disk {
            return Err(Failed::NoDisk);
        }
        let port = port(xenbus.vbd().backend_domain).map_err(Failed::NoPort)?;
        let mut offered: Option<Frontend<H>> = None;
        loop {
            match xenbus.advance(store)? {
                Event::Wanted(_) => {
                    // Asked a second time where the backend began anew: it has forgotten what it was offered.
                    drop(offered.take());
                    let frontend = Frontend::new(hal.clone(), xenbus.vbd(), CONFIG)?;
                    let queue = QueueOffer { ring: frontend.ring(), port };
                    xenbus.publish(store, false, &[queue])?;
                    offered = Some(frontend);
                    continue;
                }
                Event::Connected(disk) => {
                    let mut frontend = offered.ok_or(Error::NotConnected)?;
                    frontend.connect(port, disk);
                    return Ok(Self { xenbus, frontend, disk });
                }
                // A backend that cannot take the new ring before the last request of the old one has ended
                // gives up and closes: it is asked again.
                Event::Stop => xenbus.close(store)?,
                Event::Closed => xenbus.reopen(store)?,
                Event::Waiting | Event::Unchanged(_) => {}
            }
            if !pause() {
                return Err(Failed::TimedOut("the backend's handshake"));
            }
        }
    }

    /// Returns the disk.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Returns the vbd.
    pub fn xenbus(&self) -> &XenbusDevice {
        &self.xenbus
    }

    /// Reads or writes at a sector of 512 bytes, and waits.
    ///
    /// # Errors
    /// See [`Failed`]. After [`Failed::TimedOut`] nothing more is sent.
    pub fn transfer(
        &mut self,
        sector: u64,
        data: Data<'_>,
        pause: &mut impl FnMut() -> bool,
    ) -> Result<(), Failed> {
        match data {
            Data::Read(into) => {
                let transfer = Transfer::copied(TAG, Operation::Read, sector, into.len() as u64);
                self.wait(transfer, Memory::None, pause, &mut |arrived| {
                    let end = arrived.offset + arrived.length;
                    if let Some(place) = into.get_mut(arrived.offset..end) {
                        arrived.memory.copy_out(0, place);
                    }
                })
            }
            Data::Write(from) => {
                let transfer = Transfer::copied(TAG, Operation::Write, sector, from.len() as u64);
                self.wait(transfer, Memory::Copied(&Bytes(from)), pause, &mut |_| ())
            }
        }
    }

    /// Makes durable what was written. Where the backend has no flush, or its device refuses one, there is no other way
    /// to do so, and nothing is left to do.
    ///
    /// # Errors
    /// As [`Polled::transfer`].
    pub fn flush(&mut self, pause: &mut impl FnMut() -> bool) -> Result<(), Failed> {
        match self.wait(Transfer::flush(TAG), Memory::None, pause, &mut |_| ()) {
            Err(Failed::Blkif(Error::FlushUnsupported) | Failed::Request(Failure::NotSupported)) => Ok(()),
            other => other,
        }
    }

    fn wait(
        &mut self,
        mut transfer: Transfer,
        memory: Memory<'_>,
        pause: &mut impl FnMut() -> bool,
        arrived: &mut impl FnMut(Arrived<'_>),
    ) -> Result<(), Failed> {
        loop {
            if transfer.is_partial() {
                transfer.submit(&mut self.frontend, memory)?;
                self.frontend.push();
            }
            while let Some(completion) = self.frontend.take(arrived) {
                if let Some(Outcome { result, .. }) = transfer.complete(&completion) {
                    return result.map_err(Failed::Request);
                }
            }
            if !pause() {
                // Its answer may come later, and is nobody's then.
                self.frontend.disconnect();
                while self.frontend.take(&mut |_| ()).is_some() {}
                return Err(Failed::TimedOut("a request"));
            }
        }
    }

    /// Ends the session, so that another can begin, and takes the pages back.
    ///
    /// # Errors
    /// See [`Failed`]; pages that the backend keeps stay granted.
    pub fn close(self, store: &mut impl Store, pause: &mut impl FnMut() -> bool) -> Result<(), Failed> {
        let Self { mut xenbus, frontend, .. } = self;
        xenbus.close(store)?;
        while xenbus.advance(store)? != Event::Closed {
            if !pause() {
                return Err(Failed::TimedOut("the backend's end"));
            }
        }
        drop(frontend);
        Ok(())
    }
}

/// There is one request at a time.
const TAG: usize = 0;

struct Bytes<'a>(&'a [u8]);

impl Source for Bytes<'_> {
    fn fill(&self, offset: usize, length: usize, page: &SharedMemory) {
        debug_assert!(length <= PAGE_SIZE);
        if let Some(bytes) = self.0.get(offset..offset + length) {
            page.copy_in(0, bytes);
        }
    }
}

#[cfg(test)]
mod tests;
