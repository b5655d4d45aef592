//! The loader: driver files from the boot archive into memory, linked to the executive and each other.

pub(crate) mod exports;
pub(crate) mod gate;
mod image;
pub(crate) mod modules;
pub(crate) mod notify;
mod other_build;
mod place;

pub(crate) use exports::{Export, MmGetSystemRoutineAddress};
pub(crate) use image::*;
pub(crate) use modules::ZwQuerySystemInformation;
pub(crate) use notify::{PsRemoveLoadImageNotifyRoutine, PsSetLoadImageNotifyRoutine};
pub(crate) use place::{Place, executive, print_stack};

unsafe extern "C" {
    static rodata_start: u8;
}

/// Returns the executive's code.
pub(crate) fn text() -> core::ops::Range<usize> {
    executive().start..(&raw const rodata_start) as usize
}
