//! A vbd of type cdrom: the drive, and what xenstore says of its medium.
//!
//! The block protocol has no removable media. What a frontend can see of a change is in the backend's folder:
//! the node `params` names the medium, and `xl cd-eject` and `xl cd-insert` rewrite it; some backends also
//! write `media-present`. A backend goes on serving what it had when it was connected (qemu's does, whatever
//! `params` says later), so a medium of another name is one that cannot be read: the drive is empty then,
//! until the old name is back or the backend is another one. Only drives whose emulated twin is hidden are
//! shown: [`are_shown`].

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use guard::abi::PolicyNumber;
use scsi::{Outcome, SerialNumber};
use wdm::mutex::Mutex;
use wdm::{debug_print, pool};
use xen::blkif::{Disk, VirtualDevice};
use xen::store::path::PathBuf;
use xen::store::{self, Store, read_optional};

use crate::DRIVER;
use crate::hal::{Error, Platform};

/// The node of the frontend's in which dom0 can see that the guest has ejected the medium.
const EJECTED: &str = "ejected";
/// The node of the backend's that names the medium.
const PARAMS: &str = "params";
/// The node in which some backends say whether there is one.
const MEDIA_PRESENT: &str = "media-present";
/// Longest name of a medium that is told from another.
const LONGEST_NAME: usize = 1024;

/// Returns true if vbds of type cdrom are shown: where the controllers are hidden, and with them the emulated
/// drives. With another policy the emulated drive is used, and its vbd is left alone. Any IRQL.
pub(crate) fn are_shown() -> bool {
    guard_client::status().is_some_and(|status| status.policy == PolicyNumber::CONTROLLERS)
}

/// A drive.
pub(crate) struct Drive {
    drive: scsi::cdrom::Drive,
    /// Name of the medium that the backend was connected with.
    connected_with: Mutex<Vec<u8>>,
    /// The last value of the node [`EJECTED`].
    reported: AtomicBool,
}

impl Drive {
    /// Returns the drive of a backend that has been connected. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// No memory.
    pub(crate) fn new(
        platform: Platform,
        backend: &PathBuf,
        disk: &Disk,
        serial: SerialNumber,
    ) -> Result<Self, Error> {
        Ok(Self {
            drive: scsi::cdrom::Drive::new(disk.sectors, serial),
            connected_with: Mutex::new(name(platform, backend)?)?,
            reported: AtomicBool::new(false),
        })
    }

    /// Returns the outcome of a command. ≤ DISPATCH_LEVEL.
    pub(crate) fn execute(&self, cdb: &[u8]) -> Outcome {
        self.drive.execute(cdb)
    }

    /// Returns true if dom0 has to be told that the medium was ejected or loaded. Any IRQL.
    pub(crate) fn has_news(&self) -> bool {
        self.drive.is_ejected() != self.reported.load(Ordering::Relaxed)
    }

    /// Reports it in xenstore. PASSIVE_LEVEL.
    pub(crate) fn tell(&self, platform: Platform, device: VirtualDevice) {
        let ejected = self.drive.is_ejected();
        if ejected == self.reported.swap(ejected, Ordering::Relaxed) {
            return;
        }
        let value: &[u8] = if ejected { b"1" } else { b"0" };
        let mut store = platform;
        let path = PathBuf::new(Platform::folder(device).as_str()).and_then(|folder| folder.join(EJECTED));
        if let Err(error) = path.and_then(|path| store.write(&path, value)) {
            debug_print!(DRIVER, "disk {}: {EJECTED} cannot be written: {error}", device.0);
        }
    }

    /// Looks at the backend's nodes, which may have changed. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// What xenstore answers.
    pub(crate) fn look(&self, platform: Platform, backend: &PathBuf, disk: &Disk) -> Result<(), Error> {
        let mut store = platform;
        let there = read_optional(&mut store, &backend.join(MEDIA_PRESENT)?)? != Some(0)
            && *self.connected_with.lock() == name(platform, backend)?;
        self.drive.set_medium(if there { disk.sectors } else { 0 }, false);
        Ok(())
    }

    /// Takes another backend in the place of the one that was. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// What xenstore answers.
    pub(crate) fn reconnected(
        &self,
        platform: Platform,
        backend: &PathBuf,
        disk: &Disk,
    ) -> Result<(), Error> {
        let name = name(platform, backend)?;
        let another = {
            let mut connected_with = self.connected_with.lock();
            let another = *connected_with != name;
            *connected_with = name;
            another
        };
        self.drive.set_medium(disk.sectors, another);
        Ok(())
    }
}

/// Returns the name of the medium; empty where there is none.
fn name(platform: Platform, backend: &PathBuf) -> Result<Vec<u8>, Error> {
    let mut store = platform;
    let mut name = pool::try_vec::<u8>(LONGEST_NAME).map_err(|_| Error::NO_MEMORY)?;
    let length = match store.read(&backend.join(PARAMS)?, &mut name) {
        Ok(value) => value.len(),
        // Missing, or none of the guest's business.
        Err(store::Error::Refused(_)) => 0,
        Err(error) => return Err(error.into()),
    };
    name.truncate(length);
    Ok(name)
}
