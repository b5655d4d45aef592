//! The domain's PV disks as xenstore tells of them before a boot is decided: [`survey`] looks at every vbd, whether
//! its backend is ready, whether the boot disk is among them, and whether two of them have one backing.
//!
//! [`survey`] writes nothing; [`has_room`] tries whether the domain may make the nodes that a disk needs, and takes them
//! away again. Both work over any [`Store`]: over a polled connection in idefilter's DriverEntry, over a tree
//! of nodes in the explorer (`tests/explore`), which holds it against configurations of toolstacks.
//!
//! Begin with [`survey`]. What it answers is judged by [`guard::decision`]; the nodes of one vbd are read by
//! [`xen::blkif::XenbusDevice`].

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::vec::Vec;
use core::fmt;

use guard::backing::{self, Backing};
use guard::boot_disk::Places;
use guard::census::{Own, Pair, compare};
use guard::decision::PvDisks;
use guard::sharing::Sharing;
use xen::blkif::{EMULATED_BLOCK, Kind, XenbusDevice};
use xen::store::{self, Errno, PAYLOAD_BUFFER, Store, path::PathBuf};
use xen::xenbus::State;

/// Folder of the domain's vbds.
const VBDS: &str = "device/vbd";

/// A reason why the disks cannot be read, or not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Xenstore failed.
    Store(store::Error),
    /// A vbd's nodes are not as they must be.
    Vbd(xen::blkif::Error),
    /// No memory for what is read.
    NoMemory,
    /// A disk's backend is not ready; it may become so.
    Backend {
        /// Number of the virtual device.
        device: u32,
        /// Its backend's state, as io/xenbus.h numbers them.
        state: u32,
    },
    /// A disk's blocks are not those of the emulated disk that stands for it.
    Blocks {
        /// Number of the virtual device.
        device: u32,
        /// Bytes of its blocks.
        bytes: u64,
    },
    /// The domain may not make the nodes of a disk: its quota is used up.
    Full,
    /// Two vbds have one backing, one of them may write to it, and an emulated boot has it once.
    Shared {
        /// Numbers of the virtual devices.
        devices: [u32; 2],
    },
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

impl From<xen::blkif::Error> for Failure {
    fn from(error: xen::blkif::Error) -> Self {
        Self::Vbd(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Vbd(error) => error.fmt(f),
            Self::NoMemory => f.write_str("out of memory"),
            Self::Backend { device, state } => write!(f, "the backend of vbd {device} is in state {state}"),
            Self::Blocks { device, bytes } => {
                write!(
                    f,
                    "vbd {device} has blocks of {bytes} bytes, and its emulated disk of {EMULATED_BLOCK}"
                )
            }
            Self::Full => f.write_str("the domain may make no more nodes of xenstore"),
            Self::Shared { devices: [one, other] } => {
                write!(f, "vbds {one} and {other} stand for the same storage")
            }
        }
    }
}

impl core::error::Error for Failure {}

/// Looks at every vbd of type disk, and whether it, or a CD-ROM drive, has the backing of another. `firmware` is
/// asked how many disks the BIOS found. *Passive*.
///
/// # Errors
/// See [`Failure`]. Of several the first vbd's counts, but two that share count after it, and a backend that is not
/// ready counts last.
pub fn survey(store: &mut impl Store, firmware: impl FnOnce() -> Option<u8>) -> Result<PvDisks, Failure> {
    let root = PathBuf::new(VBDS)?;
    let mut names = buffer()?;
    let names = match store.directory(&root, &mut names) {
        Ok(names) => names,
        Err(error) if error.is_missing() => return Ok(PvDisks::None),
        Err(error) => return Err(error.into()),
    };

    // One vbd alone shares with nobody.
    let compared = names.clone().nth(1).is_some();
    let mut value = buffer()?;
    let mut backings = Vec::new();
    let mut disks = 0;
    let mut places = Places::default();
    let mut sharing = Sharing::default();
    let mut lagging = None;
    for name in names {
        let xenbus = match XenbusDevice::open(store, &root.join(name)?) {
            Err(error) if error.is_no_device() => continue,
            xenbus => xenbus?,
        };
        let device = xenbus.vbd().device;
        if compared && matches!(xenbus.vbd().kind, Kind::Disk | Kind::Cdrom) {
            let own = Own { identity: None, backing: read_backing(store, &xenbus, &mut value)? };
            let emulated = xenbus.vbd().kind == Kind::Disk && device.is_emulated();
            let shares = |(_, _, other): &&(u32, bool, Own)| compare(&own, other) == Pair::Shared;
            for (other, other_emulated, _) in backings.iter().filter(shares) {
                sharing.add([*other, device.0], emulated && *other_emulated);
            }
            backings.try_reserve(1).map_err(|_| Failure::NoMemory)?;
            backings.push((device.0, emulated, own));
        }
        if xenbus.vbd().kind != Kind::Disk {
            continue;
        }
        disks += 1;
        places.add(device.place());
        let state = xenbus.backend_state(store)?;
        if device.is_emulated() {
            // A backend that says so only when it is connected is asked again by xenvbd, before a disk is shown. One
            // that says something else than a number is not waited for: xenvbd could not serve its disk.
            let blocks = store::read_optional(store, &xenbus.backend_path().join("sector-size")?)?;
            if let Some(bytes) = blocks
                && bytes != u64::from(EMULATED_BLOCK)
            {
                return Err(Failure::Blocks { device: device.0, bytes });
            }
        }
        let ready = match state {
            State::InitWait | State::Initialised | State::Connected => true,
            // The firmware had it, and has let go of it: a backend that stays online begins anew with xenvbd.
            State::Closing | State::Closed => is_online(store, &xenbus)?,
            _ => false,
        };
        if !ready {
            lagging = Some(Failure::Backend { device: device.0, state: state as u32 });
        }
    }
    if let Some(devices) = sharing.objection() {
        return Err(Failure::Shared { devices });
    }
    match (disks, places.have_boot_disk(firmware()), lagging) {
        (0, ..) => Ok(PvDisks::None),
        (_, false, _) => Ok(PvDisks::BootDiskMissing),
        (_, true, Some(lagging)) => Err(lagging),
        (disks, true, None) => Ok(PvDisks::Ready(disks)),
    }
}

/// Folder of the nodes that are tried; its parent is there in every domain.
const ROOM: &str = "data/xenguard-room";
/// Names of the nodes that are tried, a letter each. They are about as many as a disk of one queue has, and what xenpci tells
/// of the boot before it. A disk of more queues may still find no room.
const NODES: &str = "abcdefghijklmnopqrstuvwx";

/// Tries whether the domain may make as many nodes as a disk needs, and takes them away again. *Passive*.
///
/// # Errors
/// [`Failure::Full`] where its quota does not allow them, and [`Failure::Store`] where xenstore does not answer. Another
/// refusal is none: it says nothing of a disk's folder.
pub fn has_room(store: &mut impl Store) -> Result<(), Failure> {
    let folder = PathBuf::new(ROOM)?;
    let mut found = Ok(());
    for name in NODES.split_inclusive(|_| true) {
        let node = folder.join(name)?;
        match store.write(&node, b"") {
            Ok(()) => {}
            Err(store::Error::Refused(Errno::NoSpace | Errno::Quota)) => {
                found = Err(Failure::Full);
                break;
            }
            Err(store::Error::Refused(_)) => break,
            Err(error) => return Err(error.into()),
        }
    }
    match store.remove(&folder) {
        // What stays takes room, and does no harm.
        Ok(()) | Err(store::Error::Refused(_)) => found,
        Err(error) => Err(error.into()),
    }
}

/// Reads the storage behind a vbd from its backend's nodes. `value` takes a value at a time. *Passive*.
///
/// # Errors
/// What xenstore answers.
pub fn read_backing(
    store: &mut impl Store,
    xenbus: &XenbusDevice,
    value: &mut [u8],
) -> Result<Backing, xen::blkif::Error> {
    let mut backing = Backing::new(xenbus.vbd().backend_domain.0, xenbus.backend());
    xenbus.backend_values(store, &backing::NODES, value, |node, value| backing.learn(node, value))?;
    Ok(backing)
}

/// Returns true if the toolstack wants a backend to be there.
fn is_online(store: &mut impl Store, xenbus: &XenbusDevice) -> Result<bool, Failure> {
    let path = xenbus.backend_path().join("online")?;
    Ok(store::read_optional(store, &path)? == Some(1))
}

/// Returns room for the largest answer.
fn buffer() -> Result<Vec<u8>, Failure> {
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(PAYLOAD_BUFFER).map_err(|_| Failure::NoMemory)?;
    buffer.resize(PAYLOAD_BUFFER, 0);
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::borrow::ToOwned;
    use std::collections::BTreeSet;
    use std::string::String;

    use xen::store::Names;

    use super::*;

    /// A store in which the domain may make so many nodes more.
    struct Limited {
        left: usize,
        refusal: Errno,
        nodes: BTreeSet<String>,
        most: usize,
    }

    impl Limited {
        fn new(left: usize, refusal: Errno) -> Self {
            Self { left, refusal, nodes: ["data".to_owned()].into(), most: 0 }
        }
    }

    impl Store for Limited {
        fn read<'b>(&mut self, _: &str, _: &'b mut [u8]) -> Result<&'b [u8], store::Error> {
            Err(store::Error::Refused(Errno::NoEntry))
        }

        fn write(&mut self, path: &str, _: &[u8]) -> Result<(), store::Error> {
            // Parents that are not there are made, too.
            let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
            for node in ends.map(|end| &path[..end]) {
                if self.nodes.contains(node) {
                    continue;
                }
                // All but `data`, which the toolstack has made.
                if self.nodes.len() > self.left {
                    return Err(store::Error::Refused(self.refusal));
                }
                self.nodes.insert(node.to_owned());
                self.most = self.most.max(self.nodes.len() - 1);
            }
            Ok(())
        }

        fn remove(&mut self, path: &str) -> Result<(), store::Error> {
            let before = self.nodes.len();
            self.nodes.retain(|node| !node.starts_with(path));
            if before == self.nodes.len() { Err(store::Error::Refused(Errno::NoEntry)) } else { Ok(()) }
        }

        fn directory<'b>(&mut self, _: &str, _: &'b mut [u8]) -> Result<Names<'b>, store::Error> {
            Err(store::Error::Refused(Errno::NoEntry))
        }
    }

    #[test]
    fn a_quota_that_is_used_up_is_found_and_nothing_stays() {
        for (left, refusal) in (0..30).flat_map(|left| [(left, Errno::NoSpace), (left, Errno::Quota)]) {
            let mut store = Limited::new(left, refusal);
            // The folder is one, too.
            let expected = if left <= NODES.len() { Err(Failure::Full) } else { Ok(()) };
            assert_eq!(has_room(&mut store), expected, "room for {left}");
            assert_eq!(store.nodes, ["data".to_owned()].into(), "room for {left}");
            assert_eq!(store.most, left.min(NODES.len() + 1));
        }
    }

    /// A toolstack that does not let the guest write below `data` says nothing of the disk's folder.
    #[test]
    fn another_refusal_is_no_objection() {
        assert_eq!(has_room(&mut Limited::new(0, Errno::Access)), Ok(()));
    }
}
