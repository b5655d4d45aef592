//! The files that a build leaves for the guests.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::layout::Layout;

/// The drivers that ship.
pub const SHIPPED: &[&str] = &["idefilter", "idefallback", "xenpci", "xenvbd"];
/// Their INF files; idefallback is installed with idefilter.
pub const INFS: &[&str] = &["idefilter", "xenpci", "xenvbd"];
/// The drivers that are built for tests only.
pub const FOR_TESTS: &[&str] = &["wrong", "testbus"];
/// The NT executive's package.
pub const EXECUTIVE: &str = "nt";
/// The package of its loader.
pub const LOADER: &str = "ntldr";
/// The loader as a file of a system volume, in the folder of the executive.
pub const LOADER_FILE: &str = "ntldr";
/// Boot code for a disk's first sector.
pub const MASTER_BOOT_RECORD: &str = "mbr.bin";
/// The first sector of a system volume, without the fields that formatting writes.
pub const BOOT_SECTOR: &str = "boot.bin";

/// The package of the boot manager that UEFI starts.
pub const BOOT_MANAGER: &str = "bootmgr";
/// The boot manager's file.
pub const BOOT_MANAGER_FILE: &str = "bootmgr.efi";
/// The files that a machine is started with, of the folder of the executive.
pub const STARTED: &[&str] =
    &["nt.elf", "ntldr.elf", LOADER_FILE, MASTER_BOOT_RECORD, BOOT_SECTOR, BOOT_MANAGER_FILE];

/// Reads a built file.
///
/// # Errors
/// The file cannot be read; the error says how to build it.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}; run cargo xtask build first", path.display()))
}

/// Returns the first eight hexadecimal digits of the SHA-256 of the drivers' files, one behind the other. The build is
/// reproducible: the same sources have the same digits on every machine.
///
/// # Errors
/// A file cannot be read.
pub fn digest(layout: &Layout) -> Result<String> {
    let mut all = Sha256::new();
    for driver in SHIPPED {
        all.update(read(&layout.dist().join(format!("{driver}.sys")))?);
    }
    Ok(all.finalize()[..4].iter().map(|byte| format!("{byte:02x}")).collect())
}
