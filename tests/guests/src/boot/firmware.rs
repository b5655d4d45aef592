//! A machine that its firmware starts from its own disk: the first disk has the system volume, in FAT, behind the
//! volume that every guest mounts.
//!
//! `bootcfg` installs the suite on the system volume, as it does in a machine's life. What the loader
//! (`tests/osloader`) finds there is what it left.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::Path,
};

use anyhow::{Context, Result, ensure};
use protocol::Version;
use rig::Job;

use super::{BOOT_INI, Folder, Suite, entry_word};
use crate::{
    built::{self, read},
    layout::Layout,
    lifecycle::{
        self,
        volume::{Loader, SIZE, SystemVolume},
    },
    scenario::{Entry, Start},
};

/// The words of the executive's command line, which a machine that is started by its firmware has none of.
const WORDS: &str = "words.txt";
/// The executive, which stands for NT's kernel.
const EXECUTIVE: &str = "WINDOWS/system32/nt.elf";
/// The fields of a FAT boot sector that formatting writes.
const FIELDS: std::ops::Range<usize> = 3..62;

/// Returns the system volume of a machine with this loader whose images are in `folder`.
fn system(folder: &Folder, loader: Loader) -> SystemVolume {
    SystemVolume::at(&folder.image(0), volume::image::SIZE, &folder.path("."), loader)
}

/// Returns the loader of a version.
pub(super) fn loader(start: Start, version: Version) -> Loader {
    match (start, version) {
        (Start::Uefi, _) => Loader::Efi,
        (_, Version::Nt52) => Loader::BootIni,
        _ => Loader::Bcd,
    }
}

/// Makes the first disk one that the firmware starts, with the suite installed, and does to its files what has become of
/// them since.
pub(super) fn install(layout: &Layout, folder: &Folder, loader: Loader, suite: Suite<'_>) -> Result<()> {
    let system = system(folder, loader);
    if loader == Loader::Efi {
        add_partition(folder, volume::mbr::TYPE_EFI, &[])?;
        system.format(BOOT_INI, &[])?;
        let file = layout.nt().join(built::BOOT_MANAGER_FILE);
        system.put_in_folder(lifecycle::volume::EFI_APPLICATION, &file)?;
    } else {
        let code = read(&layout.nt().join(built::MASTER_BOOT_RECORD))?;
        let first = add_partition(folder, volume::mbr::TYPE_FAT16, &code)?;
        let file = layout.nt().join(built::LOADER_FILE);
        system.format(BOOT_INI, &[(lifecycle::volume::LOADER, &file)])?;
        put_boot_sector(&folder.image(0), first, &read(&layout.nt().join(built::BOOT_SECTOR))?)?;
    }
    let package = lifecycle::package(layout, folder, false, loader != Loader::BootIni)?;
    system.bootcfg(&["install", "--package", &package])?;
    suite.gone.iter().try_for_each(|file| system.delete_driver(file))?;
    suite.damaged.iter().try_for_each(|file| system.damage_driver(file))?;
    system.put(EXECUTIVE, &layout.nt().join(format!("{}.elf", built::EXECUTIVE)))
}

/// Adds the partition of the system volume to the first disk; its first byte.
fn add_partition(folder: &Folder, kind: u8, code: &[u8]) -> Result<u64> {
    let image = folder.image(0);
    let first = volume::image::add_active_partition(&image, kind, SIZE, code)
        .with_context(|| format!("cannot add a partition to {}", image.display()))?;
    ensure!(first == volume::image::SIZE, "the system volume begins at {first}");
    Ok(first)
}

/// Puts boot code into a volume's first sector, around the fields of its format.
fn put_boot_sector(image: &Path, first: u64, code: &[u8]) -> Result<()> {
    /// Behind the code is the sector's signature.
    const CODE: usize = 510;
    ensure!(code.len() > FIELDS.end && code.len() <= CODE, "the boot sector's code is {} bytes", code.len());
    let file = File::options().write(true).open(image)?;
    file.write_all_at(&code[..FIELDS.start], first)?;
    file.write_all_at(&code[FIELDS.end..], first + FIELDS.end as u64)?;
    Ok(())
}

/// Returns a job that has the firmware start the first disk. `registry` changes the hive before, as lines of a .reg
/// file.
pub(super) fn job(folder: &Folder, loader: Loader, entry: Entry, registry: &str) -> Result<Job> {
    system(folder, loader).write_registry(registry)?;
    let mut job = Job { uefi: loader == Loader::Efi, ..Job::from_disk(folder.name()) };
    job.cmdline = entry_word(entry).to_string();
    Ok(job)
}

/// Puts the words where the loader finds them.
pub(super) fn put_words(folder: &Folder, loader: Loader, words: &str) -> Result<()> {
    let file = folder.path(WORDS);
    fs::write(&file, words).with_context(|| format!("cannot write {}", file.display()))?;
    system(folder, loader).put(WORDS, &file)
}
