//! The loader: driver files from the boot archive into memory, linked to the executive and each other.

pub mod exports;
pub mod gate;
mod image;
pub mod modules;
pub mod notify;
mod pe;
mod place;

pub use exports::{Export, MmGetSystemRoutineAddress};
pub use image::*;
pub use modules::ZwQuerySystemInformation;
pub use notify::{PsRemoveLoadImageNotifyRoutine, PsSetLoadImageNotifyRoutine};
pub use place::{Place, executive, print_stack};

unsafe extern "C" {
    static rodata_start: u8;
}

/// Returns the executive's code.
pub fn text() -> core::ops::Range<usize> {
    executive().start..(&raw const rodata_start) as usize
}
