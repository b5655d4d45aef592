//! Decisions and file formats of NT's loader.
//!
//! Two programs are made of it. In a guest that is started by multiboot the host has put the files into memory, and the
//! executive (`tests/nt`) does the loader's part itself. In a guest that its firmware starts from its own disk, a loader
//! (`tests/ntldr` behind a BIOS, `tests/bootmgr` behind UEFI) finds and reads them ([`load`]).

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod archive;
pub mod bcd;
pub mod boot_ini;
pub mod control_set;
pub mod drivers;
pub mod elf;
pub mod fat;
pub mod handover;
pub mod load;
pub mod menu;
pub mod multiboot;
pub mod pe;
