//! Requests of the toolstack in `control/shutdown`, and the nodes `control/feature-*` by which the guest says
//! which it serves (Xen: docs/misc/xenstore-paths.pandoc).
//!
//! A request is acknowledged by emptying the node, and only when it is going to be carried out: one that stays
//! tells the toolstack that nobody follows. Powering off and rebooting are given to the service, where it says that it
//! follows ([`channel`]), and press the power button ([`button`]) where it does not or does not carry them out. NT
//! then shuts down in order and powers off, since its buttons know no reboot; so that the toolstack starts the
//! guest again, Xen is told before the power goes which reason it is to give.
//!
//! [`button`]: crate::button
//! [`channel`]: crate::channel

use core::sync::atomic::{AtomicBool, Ordering};

use wdm::debug_print;
use xen::store::{self, Store as _};

use crate::DRIVER;
use crate::button::Button;
use crate::platform::Platform;

/// The node by which the toolstack asks.
pub(crate) const NODE: &str = "control/shutdown";

/// The node by which the guest says that it serves `poweroff` and `halt`.
const POWER_OFF: &str = "control/feature-poweroff";
/// The node by which the guest says that it serves `reboot`.
const REBOOT: &str = "control/feature-reboot";
/// The node by which the guest says that it serves `suspend`.
const SUSPEND: &str = "control/feature-suspend";

/// A request of the toolstack.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// `poweroff` and `halt`.
    PowerOff,
    /// `reboot`.
    Reboot,
    /// `suspend`.
    Suspend,
}

impl Request {
    /// Returns the request in the node, if there is one that is known. PASSIVE_LEVEL; waits for xenstore.
    pub(crate) fn read(platform: &Platform) -> Option<Self> {
        let mut buffer = [0; 16];
        platform.store().request(|store| match store.read(NODE, &mut buffer) {
            Ok(b"poweroff" | b"halt") => Some(Self::PowerOff),
            Ok(b"reboot") => Some(Self::Reboot),
            Ok(b"suspend") => Some(Self::Suspend),
            _ => None,
        })?
    }
}

/// Acknowledges a request to suspend. Returns true if it was still there, and the toolstack has been told that it is going to
/// be carried out; one that has waited for too long takes its request back, and nobody would resume the guest then.
/// PASSIVE_LEVEL; waits for xenstore.
///
/// # Errors
/// What xenstore answers.
pub(crate) fn acknowledge_suspend(platform: &Platform) -> Result<bool, store::Error> {
    // Others who write to the guest's nodes make it collide.
    const ATTEMPTS: u32 = 10;
    let mut buffer = [0; 16];
    let acknowledged = platform.store().request(|store| {
        store.transact(ATTEMPTS, |store| {
            let asked = store.read(NODE, &mut buffer)? == b"suspend";
            if asked {
                store.write(NODE, b"")?;
            }
            Ok(asked)
        })
    });
    acknowledged.unwrap_or(Ok(false))
}

/// The reason that Xen is to tell the toolstack when the guest powers off.
pub(crate) struct Ending(AtomicBool);

impl Ending {
    /// Makes an ending by power off, as NT does it.
    pub(crate) const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Returns true if the last request was for a reboot. Any IRQL.
    pub(crate) fn is_reboot(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The features that the toolstack has been told. It belongs to the thread that serves the node.
#[derive(Default)]
pub(crate) struct Features {
    /// The value of `control/feature-suspend`, once written.
    suspend: Option<bool>,
    /// The value of the two others, once written.
    button: Option<bool>,
    /// A request that nobody follows was said.
    unheard: bool,
}

impl Features {
    /// Tells the toolstack what is served now, as far as it has not been told. PASSIVE_LEVEL; waits for
    /// xenstore.
    pub(crate) fn tell(&mut self, platform: &Platform, suspends: bool, watched: bool) {
        let value = |served: bool| if served { b"1" } else { b"0" };
        let write = |node: &str, served: bool| {
            let written = platform.store().request(|store| store.write(node, value(served)));
            if !matches!(written, Some(Ok(()))) {
                // Tried again with the next change: nothing of the guest depends on it.
                debug_print!(DRIVER, "{node} cannot be written");
            }
            matches!(written, Some(Ok(())))
        };
        if self.suspend != Some(suspends) && write(SUSPEND, suspends) {
            self.suspend = Some(suspends);
        }
        if self.button != Some(watched) && write(POWER_OFF, watched) && write(REBOOT, watched) {
            self.button = Some(watched);
            if watched {
                debug_print!(DRIVER, "the toolstack's requests to power off and to reboot are served");
            }
        }
    }

    /// Forgets what the toolstack was told: the guest is in another domain.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Acknowledges a request to power off or to reboot that a program has carried out. PASSIVE_LEVEL; waits for
    /// xenstore.
    pub(crate) fn followed(&mut self, platform: &Platform, ending: &Ending, reboot: bool) {
        let what = if reboot { "reboot" } else { "power off" };
        if acknowledge(platform, ending, reboot) {
            self.unheard = false;
            debug_print!(DRIVER, "asked to {what}: the service carries it out");
        }
    }

    /// Carries out a request to power off or to reboot, or leaves it in its node. PASSIVE_LEVEL; waits for
    /// xenstore.
    pub(crate) fn press(&mut self, platform: &Platform, button: &Button, ending: &Ending, reboot: bool) {
        let acknowledge = || acknowledge(platform, ending, reboot);
        let what = if reboot { "reboot" } else { "power off" };
        if button.press(acknowledge) {
            self.unheard = false;
            debug_print!(DRIVER, "asked to {what}: the power button is pressed");
        } else if !self.unheard {
            self.unheard = true;
            debug_print!(DRIVER, "asked to {what}: not acknowledged, nobody watches the power button");
        }
    }
}

/// Acknowledges a request, and lays down which way the guest is to end. Returns whether xenstore has taken the
/// acknowledgement. PASSIVE_LEVEL; waits for xenstore.
fn acknowledge(platform: &Platform, ending: &Ending, reboot: bool) -> bool {
    // Before NT hears of it: it may be fast.
    ending.0.store(reboot, Ordering::Release);
    matches!(platform.store().request(|store| store.write(NODE, b"")), Some(Ok(())))
}
