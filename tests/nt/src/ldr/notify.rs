//! Notification of drivers when images are loaded (WDK, "PsSetLoadImageNotifyRoutine").

use crate::ke::Lock;
use crate::nt::*;
use crate::verifier::balanced;
use crate::{io, layout};

/// `IMAGE_INFO`.
#[repr(C)]
pub(crate) struct ImageInfo {
    properties: u32,
    image_base: Pvoid,
    image_selector: u32,
    image_size: usize,
    image_section_number: u32,
}
layout!(ImageInfo, 0x28, image_base @ 8, image_size @ 0x18, image_section_number @ 0x20);

/// `ImageAddressingMode` = `IMAGE_ADDRESSING_MODE_32BIT` (bits 0–7), which is also that of 64-bit images;
/// `SystemModeImage` (bit 8).
const SYSTEM_IMAGE: u32 = 3 | 1 << 8;

/// `PLOAD_IMAGE_NOTIFY_ROUTINE`.
pub(crate) type NotifyRoutine =
    unsafe extern "win64" fn(name: *mut UnicodeString, process: Handle, info: *mut ImageInfo);

/// Largest number of routines (before NT 6.3).
const MAXIMUM: usize = 8;

static ROUTINES: Lock<[Option<NotifyRoutine>; MAXIMUM]> = Lock::new([None; MAXIMUM]);

/// `PsSetLoadImageNotifyRoutine`. IRQL `PASSIVE_LEVEL`.
///
/// # Safety
/// `routine` stays callable until it is removed.
pub(crate) unsafe extern "win64" fn PsSetLoadImageNotifyRoutine(routine: NotifyRoutine) -> NtStatus {
    let mut routines = ROUTINES.lock();
    match routines.iter_mut().find(|slot| slot.is_none()) {
        Some(slot) => {
            *slot = Some(routine);
            status::SUCCESS
        }
        None => status::INSUFFICIENT_RESOURCES,
    }
}

/// `PsRemoveLoadImageNotifyRoutine`. IRQL `PASSIVE_LEVEL`.
///
/// # Safety
/// `routine` is a function.
pub(crate) unsafe extern "win64" fn PsRemoveLoadImageNotifyRoutine(routine: NotifyRoutine) -> NtStatus {
    let is_it = |slot: &&mut Option<NotifyRoutine>| slot.is_some_and(|r| r as usize == routine as usize);
    match ROUTINES.lock().iter_mut().find(is_it) {
        Some(slot) => {
            *slot = None;
            status::SUCCESS
        }
        None => status::PROCEDURE_NOT_FOUND,
    }
}

/// Tells everyone of a driver image that is in memory and of which nothing has run, in the thread that loads
/// it. The process is 0 for a driver. IRQL `PASSIVE_LEVEL`.
pub(crate) fn loaded(path: &str, base: usize, size: usize) {
    let routines = *ROUTINES.lock();
    for routine in routines.into_iter().flatten() {
        let mut name = io::driver::permanent_string(path);
        let mut info = ImageInfo {
            properties: SYSTEM_IMAGE,
            image_base: base as Pvoid,
            image_selector: 0,
            image_size: size,
            image_section_number: 0,
        };
        balanced("load image notification", routine as usize, || {
            // SAFETY: its driver keeps it callable; the arguments outlive the call.
            unsafe { routine(&raw mut name, core::ptr::null_mut(), &raw mut info) }
        });
    }
}

/// Returns true if a routine inside of an image is registered.
pub(crate) fn registered_within(start: usize, end: usize) -> bool {
    ROUTINES.lock().iter().flatten().any(|routine| (start..end).contains(&(*routine as usize)))
}
