//! The system stops while requests are on their way.

use core::ptr::null_mut;

use super::load::Load;
use super::wait_until;
use crate::nt::*;
use crate::ob::namespace;
use crate::{io, ke, mountmgr, ob, report, storport};

const DISK: u32 = 0;
/// Threads that read.
const READERS: usize = 6;
/// Reads after which it is time.
const READS: u32 = 64;
const MANUALLY_INITIATED_CRASH: u32 = 0xE2;

/// The exercise: readers and a writer, and a bugcheck that finds at least one request with the miniport.
pub fn run() {
    let Some((device, _)) = namespace::lookup("\\Device\\Harddisk0\\DR0") else {
        ke::panicked(format_args!("there is no first disk"));
    };
    let load = Load::start(DISK, READERS);
    // SAFETY: the thread ends with the system.
    let writer = unsafe { ke::thread::create(write, null_mut(), ke::thread::NORMAL_PRIORITY, 0) };
    writer.expect("a writer");
    wait_until("reading", || load.done() >= READS);
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
