//! The tripwire: a driver that is known to serve emulated disks comes into memory, or turns out to be there
//! already. That is no breach, and the guard has a census taken at once.

use core::sync::atomic::{AtomicBool, Ordering};

use alloc::vec::Vec;

use guard::Event;
use guard::tripwire::serves_emulated_disks;
use wdm::{Result, image, pool};

use crate::{log, state};

/// Has images looked at as they are loaded, from now on. PASSIVE_LEVEL, in a PV boot only.
///
/// # Errors
/// Where the system has no room for another notify routine.
pub(crate) fn set() -> Result {
    image::notify_on_load(loaded)
}

/// Judges an image that is in memory, and of which nothing has run. PASSIVE_LEVEL.
fn loaded(path: &[u16]) {
    if serves_emulated_disks(path) {
        log!("an emulated-disk driver is being loaded");
        state::tell(Event::DriverLoaded);
    }
}

/// Looks once, when PV disks have been exposed, whether such a driver is in memory already: it can start a
/// device without being loaded. PASSIVE_LEVEL.
pub(crate) fn look_at_loaded() {
    static LOOKED: AtomicBool = AtomicBool::new(false);
    if LOOKED.swap(true, Ordering::Relaxed) {
        return;
    }
    let mut found = 0;
    let looked = image::modules(|path| found += u32::from(names_one(path)));
    match looked {
        Ok(()) if found == 0 => return,
        Ok(()) => log!("emulated-disk drivers in memory: {found}"),
        // Not knowing is a reason to look, too.
        Err(status) => log!("the loaded modules cannot be listed: {status}"),
    }
    state::tell(Event::DriverLoaded);
}

/// Does the same for a path in bytes, of which only ASCII matters.
fn names_one(path: &[u8]) -> bool {
    let Ok(mut units) = pool::try_vec::<u16>(path.len()) else { return true };
    units.iter_mut().zip(path).for_each(|(unit, &byte)| *unit = byte.into());
    let units: &Vec<u16> = &units;
    serves_emulated_disks(units)
}
