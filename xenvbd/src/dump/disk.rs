//! The one disk that is written to, and what becomes of each request.

use alloc::boxed::Box;
use alloc::vec::Vec;

use scsi::{Action, Cache, Extent, Lun, Outcome, Sense};
use vbd::Answer;
use wdm::{NtStatus, pool};
use xen::blkif::polled::{self, Data, Failed, Polled};
use xen::store;

use super::platform::{Platform, Store};
use super::port_driver::say;
use crate::srb::{Function, Srb};

/// Time that a backend may take to end the earlier session and begin ours, in seconds.
pub(super) const HANDSHAKE_SECONDS: u32 = 30;
/// Time that a request may take, in seconds.
pub(super) const REQUEST_SECONDS: u32 = 30;

/// Most bytes of a request.
pub(super) const MAXIMUM_TRANSFER: u32 = 64 << 10;

/// The target that requests go to.
enum Disk {
    /// No request has named one yet.
    None,
    /// Connected.
    Open { target: usize, polled: Box<Polled<&'static Platform>>, lun: Lun },
    /// It could not be connected, or has failed: nothing more is tried.
    Failed,
}

/// The copy's adapter.
pub(super) struct Adapter {
    platform: &'static Platform,
    store: Store,
    names: Vec<u8>,
    disk: Disk,
}

/// The reason why a disk is not reached.
#[derive(Debug)]
enum Closed {
    NotShown,
    Store(store::Error),
    Frontend(Failed),
    Unsuitable,
    NoMemory(NtStatus),
}

impl core::fmt::Display for Closed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NotShown => write!(f, "this boot shows no disk there"),
            Self::Store(error) => write!(f, "{error}"),
            Self::Frontend(failed) => write!(f, "{failed}"),
            Self::Unsuitable => write!(f, "not a disk that is served"),
            Self::NoMemory(status) => write!(f, "out of memory: {status}"),
        }
    }
}

impl Adapter {
    /// Returns an adapter with no disk connected.
    ///
    /// # Errors
    /// No memory.
    pub(super) fn new(platform: &'static Platform, store: Store) -> wdm::Result<Self> {
        Ok(Self { platform, store, names: pool::try_vec(polled::NAMES)?, disk: Disk::None })
    }

    /// Carries a request out, waits for it, and says what became of it; the data is in the SRB's buffer.
    pub(super) fn execute(&mut self, srb: &mut Srb) -> Answer {
        match srb.function() {
            // Restrictions: "Miniport drivers should disregard requests to reset the bus".
            Function::Reset | Function::Power => return Answer::Done { transferred: 0 },
            Function::Pnp { .. } | Function::Other => return Answer::InvalidRequest,
            Function::ExecuteScsi | Function::Flush => {}
        }
        let Some(target) = srb.target().filter(|_| srb.lun() == 0) else { return Answer::NoDevice };
        if let Disk::None = self.disk {
            self.disk = match self.open(target) {
                Ok((polled, lun)) => {
                    say(format_args!("target {target}: connected, {} sectors", lun.sectors));
                    Disk::Open { target, polled, lun }
                }
                Err(closed) => {
                    say(format_args!("target {target}: {closed}"));
                    Disk::Failed
                }
            };
        }
        let outcome = match &self.disk {
            Disk::Open { target: open, lun, .. } if *open == target => match srb.function() {
                Function::Flush => lun.flush(),
                _ => lun.execute(srb.cdb()),
            },
            // Only one disk is anybody's to write to.
            _ => return Answer::NoDevice,
        };
        match outcome {
            Outcome::Good(reply) => Answer::Done { transferred: srb.reply(reply.as_bytes()) },
            Outcome::Refused(sense) => Answer::Sense(sense),
            Outcome::Act(action) => self.act(srb, action),
        }
    }

    /// Takes over the disk that the running system shows at a target id.
    fn open(&mut self, target: usize) -> Result<(Box<Polled<&'static Platform>>, Lun), Closed> {
        let id = u8::try_from(target).map_err(|_| Closed::NotShown)?;
        let names = self.names.as_mut_slice().try_into().map_err(|_| Closed::NotShown)?;
        let folder = polled::find(&mut self.store, names, id).map_err(Closed::Store)?;
        let folder = folder.ok_or(Closed::NotShown)?;
        let platform = self.platform;
        let mut wait = platform.wait(HANDSHAKE_SECONDS);
        let port = |domain| platform.port(domain);
        let polled = Polled::connect(platform, &mut self.store, &folder, port, &mut || wait.pause());
        let polled = polled.map_err(Closed::Frontend)?;
        let serial = scsi::SerialNumber::local(polled.xenbus().vbd().device.0);
        let lun = vbd::unit::unit(polled.disk(), false, serial).map_err(|_| Closed::Unsuitable)?;
        // The writer of a dump asks for a flush at the end whatever the disk says, and takes a refusal for a failure.
        let cache = if lun.cache == Cache::NoFlush { Cache::Gone } else { lun.cache };
        let lun = Lun { maximum_transfer: MAXIMUM_TRANSFER, discard: None, cache, ..lun };
        Ok((pool::try_box(polled).map_err(Closed::NoMemory)?, lun))
    }

    /// Does the work on the medium.
    fn act(&mut self, srb: &mut Srb, action: Action) -> Answer {
        let Disk::Open { target, polled, .. } = &mut self.disk else { return Answer::NoDevice };
        let target = *target;
        let mut wait = self.platform.wait(REQUEST_SECONDS);
        let mut pause = || wait.pause();
        let (done, transferred) = match action {
            Action::Read { extent } => {
                let Some(into) = buffer(srb, extent) else { return Answer::InvalidRequest };
                (polled.transfer(extent.sector, Data::Read(into), &mut pause), extent.bytes())
            }
            Action::Write { extent, flush_after } => {
                let Some(from) = buffer(srb, extent) else { return Answer::InvalidRequest };
                let written = polled.transfer(extent.sector, Data::Write(from), &mut pause);
                let flushed =
                    written.and_then(|()| if flush_after { polled.flush(&mut pause) } else { Ok(()) });
                (flushed, extent.bytes())
            }
            Action::Flush => (polled.flush(&mut pause), 0),
            // Nobody verifies or unmaps here.
            Action::Verify { .. } | Action::Unmap { .. } => return Answer::Sense(Sense::INVALID_OPCODE),
        };
        match done {
            Ok(()) => Answer::Done { transferred: transferred as u32 },
            Err(failed) => {
                say(format_args!("target {target}: {failed}"));
                if matches!(failed, Failed::TimedOut(_)) {
                    self.disk = Disk::Failed;
                }
                match action {
                    Action::Write { .. } | Action::Flush => Answer::Sense(Sense::WRITE_ERROR),
                    _ => Answer::Sense(Sense::READ_ERROR),
                }
            }
        }
    }
}

/// Returns the SRB's buffer, if it is as long as what is to be moved.
fn buffer(srb: &mut Srb, extent: Extent) -> Option<&mut [u8]> {
    let bytes = usize::try_from(extent.bytes()).ok().filter(|bytes| *bytes <= MAXIMUM_TRANSFER as usize)?;
    srb.bytes_mut(bytes)
}
