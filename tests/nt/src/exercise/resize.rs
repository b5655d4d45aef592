//! A disk grows while it is mounted.

use protocol::Ready;

use super::{ask, wait_until};
use crate::ob::namespace;
use crate::{disk, mountmgr, report};

/// Runs the exercise: dom0 grows the first disk at `ready for=resize`.
pub(super) fn run() {
    let Some((device, _)) = namespace::lookup("\\Device\\Harddisk0\\DR0") else {
        crate::ke::panicked(format_args!("there is no first disk"));
    };
    // SAFETY: the first disk's device object; nobody removes it during this exercise.
    let probe = || unsafe { disk::probe(device.cast()) };
    let (sense, before) = probe();
    report!("capacity sense={sense:#x} sectors={before}");
    ask(Ready::Resize);
    let told = core::cell::Cell::new(0);
    wait_until("a unit attention", || {
        told.set(probe().0);
        told.get() != 0
    });
    let (sense, after) = probe();
    report!("resized told={:#x} sense={sense:#x} sectors={after}", told.get());
    // The disk is as usable as before.
    mountmgr::file_test();
}
