//! The system stops while requests are on their way.

use core::cell::Cell;
use core::ptr::null_mut;

use protocol::Ready;

use super::load::Load;
use super::{ask, wait_until};
use crate::nt::*;
use crate::ob::namespace;
use crate::{io, ke, mountmgr, ob, report, storport};

const DISK: u32 = 0;
/// Threads that read.
const READERS: usize = 6;
/// Reads after which it is time.
const READS: u32 = 64;
/// Time without an answer after which the backend is believed to be gone, in units of 100 ns.
const SILENCE: u64 = 30_000_000;
const MANUALLY_INITIATED_CRASH: u32 = 0xE2;

/// Runs the exercise: readers and a writer, and a bugcheck that finds at least one request with the miniport.
pub(super) fn run() {
    crash_after(|load| wait_until("reading", || load.done() >= READS));
}

/// Runs the exercise: the same, after dom0 has taken the disk's backend away at `ready for=outage`, and
/// nothing has been answered for a while.
pub(super) fn run_dead() {
    crash_after(|load| {
        wait_until("reading", || load.done() >= READS);
        ask(Ready::Outage);
        let (last, since) = (Cell::new(0), Cell::new(0));
        wait_until("the end of reading", || {
            if last.replace(load.done()) != load.done() {
                since.set(ke::clock::interrupt_time());
            }
            ke::clock::interrupt_time() - since.get() > SILENCE
        });
    });
}

fn crash_after(ready: impl FnOnce(&Load)) {
    let Some((device, _)) = namespace::lookup("\\Device\\Harddisk0\\DR0") else {
        ke::panicked(format_args!("there is no first disk"));
    };
    let load = Load::start(DISK, READERS);
    // SAFETY: the thread ends with the system.
    let writer = unsafe { ke::thread::create(write, null_mut(), ke::thread::NORMAL_PRIORITY, 0) };
    writer.expect("a writer");
    ready(&load);
    // SAFETY: the first disk's device object; nobody removes it here.
    let pdo = unsafe {
        let pdo = io::IoGetDeviceAttachmentBaseRef(device.cast());
        ob::dereference(pdo.cast());
        pdo
    };
    loop {
        let level = ke::KeRaiseIrqlToDpcLevel();
        // SAFETY: as above.
        let requests = unsafe { storport::in_flight(pdo) };
        if requests > 0 {
            report!("crash inflight={requests}");
            ke::KeBugCheckEx(MANUALLY_INITIATED_CRASH, 0, 0, 0, 0);
        }
        ke::KeLowerIrql(level);
    }
}

unsafe extern "win64" fn write(_context: Pvoid) {
    mountmgr::write_while(DISK, || true);
}
