//! Nodes of the guest in xenstore that the host reads: the guard's state below `data/xenguard`, and those by
//! which toolstacks take a guest for one with PV drivers (`drivers/<n>`, `feature/hotplug/vbd`,
//! `attr/PVAddons`).
//!
//! Nothing of the guest depends on it. It is written by a thread that waits for xenstore, at each change and
//! again in a new domain; a store that refuses is asked again at the next change.

use core::fmt::{self, Write};

use guard::abi::{PhaseNumber, Status};
use guard::crash_dump;
use guard::host::{self, State};
use wdm::debug_print;
use wdm::time;
use xen::store::path::PathBuf;
use xen::store::{Error, Store};

use crate::DRIVER;

/// The version in numbers, as toolstacks read it of every suite.
const VERSION: [(&str, &str); 4] = [
    ("attr/PVAddons/MajorVersion", env!("CARGO_PKG_VERSION_MAJOR")),
    ("attr/PVAddons/MinorVersion", env!("CARGO_PKG_VERSION_MINOR")),
    ("attr/PVAddons/MicroVersion", env!("CARGO_PKG_VERSION_PATCH")),
    ("attr/PVAddons/BuildVersion", "0"),
];
/// Says that the numbers above are there.
const INSTALLED: &str = "attr/PVAddons/Installed";

/// The node of xenpci, with vendor, driver and version.
const XENPCI: (&str, &str) = ("drivers/0", concat!("Xenguard XENPCI ", env!("CARGO_PKG_VERSION"), ".0"));
/// The node of xenvbd, with vendor, driver and version.
const XENVBD: (&str, &str) = ("drivers/1", concat!("Xenguard XENVBD ", env!("CARGO_PKG_VERSION"), ".0"));
/// The guest takes disks that come while it runs.
const HOTPLUG: &str = "feature/hotplug/vbd";
/// XAPI reads a guest's nodes again when this one is written.
const UPDATED: &str = "data/updated";

/// The state that the host has been told.
#[derive(Default)]
pub(crate) struct Published {
    state: Option<State>,
    /// It refused: said once.
    refused: bool,
    /// The time in the service's node, where there is the node.
    service: Option<u64>,
}

impl Published {
    /// Tells the host how things stand, where it does not know. `serves` says whether xenstore's requests are
    /// served ([`crate::control`]), that is whether this suite runs the platform. PASSIVE_LEVEL; waits for
    /// xenstore.
    pub(crate) fn tell(&mut self, store: &mut (impl Store + ?Sized), status: Status, serves: bool) {
        if self.state.is_some_and(|state| state.status == status) {
            return;
        }
        let state = State { status, since: crash_dump::unix_time(time::system_time()) };
        match write(store, &state, serves) {
            Ok(()) => (self.state, self.refused) = (Some(state), false),
            Err(error) if !self.refused => {
                self.refused = true;
                debug_print!(DRIVER, "the host cannot be told of the guard's state: {error}");
            }
            Err(_) => {}
        }
    }

    /// Tells the host of the last heartbeat of the program that follows its requests, or that there is none. A store
    /// that refuses is asked again with the next one. PASSIVE_LEVEL; waits for xenstore.
    pub(crate) fn tell_of_service(&mut self, store: &mut (impl Store + ?Sized), beat: Option<u64>) {
        let beat = beat.map(crash_dump::unix_time);
        if self.service == beat {
            return;
        }
        let told =
            PathBuf::new(host::STATE).and_then(|folder| folder.join(host::SERVICE)).and_then(
                |node| match beat {
                    Some(seconds) => store.write(&node, Text::of(format_args!("{seconds}")).as_bytes()),
                    None => store.remove(&node),
                },
            );
        if told.is_ok() {
            self.service = beat;
        }
    }

    /// Forgets what the host was told: the guest is in another domain.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Withdraws the drivers' nodes: they do not run any more. PASSIVE_LEVEL; waits for xenstore.
    pub(crate) fn withdraw(&mut self, store: &mut (impl Store + ?Sized)) {
        self.tell_of_service(store, None);
        if self.state.take().is_some() {
            for node in [HOTPLUG, XENVBD.0, XENPCI.0] {
                // What stays is of no harm, and the domain is about to end.
                let _ = store.remove(node);
            }
        }
    }
}

/// Writes everything.
fn write(store: &mut (impl Store + ?Sized), state: &State, serves: bool) -> Result<(), Error> {
    let folder = PathBuf::new(host::STATE)?;
    state.nodes(|name, value| store.write(&folder.join(name)?, Text::of(value).as_bytes()))?;
    if !serves {
        return Ok(());
    }
    for (node, value) in VERSION {
        store.write(node, value.as_bytes())?;
    }
    store.write(INSTALLED, b"1")?;
    store.write(XENPCI.0, XENPCI.1.as_bytes())?;
    if state.status.phase == PhaseNumber::EXPOSED {
        store.write(XENVBD.0, XENVBD.1.as_bytes())?;
        store.write(HOTPLUG, b"1")?;
    }
    store.write(UPDATED, b"1")
}

/// A value put together without allocation. What does not fit is cut off.
pub(crate) struct Text {
    bytes: [u8; 192],
    length: usize,
}

impl Text {
    /// Puts it together.
    pub(crate) fn of(value: fmt::Arguments<'_>) -> Self {
        let mut text = Self { bytes: [0; 192], length: 0 };
        // Cutting off is no error.
        let _ = text.write_fmt(value);
        text
    }

    /// Returns its bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = &mut self.bytes[self.length..];
        let length = text.len().min(room.len());
        room[..length].copy_from_slice(&text.as_bytes()[..length]);
        self.length += length;
        Ok(())
    }
}
