//! dom0 attaches a vbd that must not be connected.

use protocol::Ready;

use super::{ask, wait_until};
use crate::disk::foreign;
use crate::io::error_log;
use crate::ob::namespace;

/// The reason, and so the event, of a vbd that was refused because of its backing.
const REFUSED: u8 = 0x62;

/// Runs the exercise: dom0 attaches a second vbd over a disk's backing; the event log must come to say that it was refused. A
/// second disk gets a partition table first.
pub(super) fn run() {
    if namespace::lookup("\\Device\\Harddisk1\\DR1").is_some() {
        foreign::sign(1, foreign::OTHER_SIGNATURE);
    }
    ask(Ready::Attach);
    wait_until("a refused vbd in the event log", || error_log::written(REFUSED) > 0);
    crate::pnp::settle();
}
