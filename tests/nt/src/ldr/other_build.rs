//! Calls of the guard as a xenpci of another build makes them: its import of `XenguardEvent` leads here.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use protocol::OtherBuild;

use crate::boot;

/// The caller whose build is another, and the routine.
const CALLER: &str = "xenpci";
const ROUTINE: &str = "XenguardEvent";

/// Words of an event, of which the first is the version, the second the kind.
const WORDS: usize = 9;
/// The kind of the event by which xenvbd says that PV disks appear.
const EXPOSED: u32 = 2;
/// A kind that no version knows.
const UNKNOWN: u32 = 99;

/// The address of the guard's routine.
static GUARD: AtomicUsize = AtomicUsize::new(0);

/// Returns the address for the import table of a driver's file: that of the routine, or of what stands before it.
pub(super) fn import(file: &str, routine: &str, address: usize) -> usize {
    let by = file.rsplit_once('.').map_or(file, |(name, _)| name);
    if boot::options().other_build.is_none() || !by.eq_ignore_ascii_case(CALLER) || routine != ROUTINE {
        return address;
    }
    GUARD.store(address, Ordering::Relaxed);
    call as *const () as usize
}

/// Passes an event on, with the difference of the other build.
unsafe extern "win64" fn call(event: *const [u32; WORDS]) -> u64 {
    static CALLED: AtomicBool = AtomicBool::new(false);

    // SAFETY: the caller passes an event, and the address is that of the guard's routine, set by `import`.
    unsafe {
        let mut event = *event;
        match boot::options().other_build {
            Some(OtherBuild::Version) => event[0] += 1,
            Some(OtherBuild::Kind) => event[1] = UNKNOWN,
            Some(OtherBuild::Unasked) if !CALLED.swap(true, Ordering::Relaxed) => event[1] = EXPOSED,
            Some(OtherBuild::Unasked) | None => {}
        }
        let guard: unsafe extern "win64" fn(*const [u32; WORDS]) -> u64 =
            core::mem::transmute(GUARD.load(Ordering::Relaxed));
        guard(&raw const event)
    }
}
