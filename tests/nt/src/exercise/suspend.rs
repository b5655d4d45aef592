//! The guest is saved and restored, with requests on their way.

use core::arch::x86_64::__cpuid;

use protocol::Ready;

use super::load::Load;
use super::{ask, wait_until};
use crate::{mountmgr, report};

/// The disk that is used meanwhile.
const DISK: u32 = 0;
/// Threads that read from it.
const READERS: usize = 4;
/// Reads after which the readers are believed to go on.
const READS_AFTER: u32 = 64;

/// Runs the exercise: dom0 saves and restores the guest at `ready for=suspend`.
pub(super) fn run() {
    let (domain, load) = (domain(), Load::start(DISK, READERS));
    wait_until("reading", || load.done() >= 32);
    ask(Ready::Suspend);
    // Files, with a flush behind each, before, during and after.
    let written = mountmgr::write_while(DISK, || self::domain() == domain);
    let before = load.done();
    report!("resumed disk={DISK} written={written} read={before}");
    wait_until("reading after it", || load.done() >= before + READS_AFTER);
    load.end();
    let counts = load.join();
    report!("traffic disk={DISK} written={written} {counts}");
}

/// Returns the number of the domain this runs in, which is another one after a restore (Xen:
/// arch-x86/cpuid.h, leaf 4, ecx).
pub(super) fn domain() -> u32 {
    /// `XEN_HVM_CPUID_DOMID_PRESENT`.
    const PRESENT: u32 = 1 << 4;
    let leaf = __cpuid(0x4000_0004);
    if leaf.eax & PRESENT == 0 { u32::MAX } else { leaf.ecx }
}
