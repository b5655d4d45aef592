//! Disk images on the host: making one for a guest, and checking it when the guest is gone.

use crate::block::{BlockDevice, IoError, SECTOR};
use crate::check::{self, Report, check};
use crate::mbr::Mbr;
use crate::volume::Volume;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::vec::Vec;
use std::{format, string::String};
use zerocopy::IntoBytes;

/// Size of an image that is large enough for every test, in bytes.
pub const SIZE: u64 = 8 << 20;

/// An image file as a block device.
#[derive(Debug)]
pub struct ImageFile {
    file: File,
    sectors: u64,
}

impl ImageFile {
    /// Opens an image for reading, and for writing if `write`.
    pub fn open(path: &Path, write: bool) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(write).open(path)?;
        let sectors = file.metadata()?.len() / SECTOR as u64;
        Ok(Self { file, sectors })
    }
}

/// Returns an [`IoError`] of an [`io::Error`].
fn io_error(sector: u64) -> impl FnOnce(io::Error) -> IoError {
    move |error| IoError { sector, code: error.raw_os_error().unwrap_or(0) }
}

impl BlockDevice for ImageFile {
    fn sectors(&self) -> u64 {
        self.sectors
    }
    fn read(&self, sector: u64, buffer: &mut [u8]) -> Result<(), IoError> {
        self.file.read_exact_at(buffer, sector * SECTOR as u64).map_err(io_error(sector))
    }
    fn write(&mut self, sector: u64, buffer: &[u8]) -> Result<(), IoError> {
        self.file.write_all_at(buffer, sector * SECTOR as u64).map_err(io_error(sector))
    }
    fn flush(&mut self) -> Result<(), IoError> {
        self.file.sync_data().map_err(io_error(0))
    }
}

/// Makes a sparse image of `size` bytes (a multiple of 512, at least 2 MiB) with disk signature
/// `signature`, a volume named `label` and a few files on it. The volume has been mounted once, so
/// a guest's first mount has generation 2.
pub fn make_image(path: &Path, size: u64, signature: u32, label: &str) -> io::Result<()> {
    File::create(path)?.set_len(size)?;
    let mut image = ImageFile::open(path, true)?;
    fill(&mut image, signature, label).map_err(|error| io::Error::other(format!("{error}")))
}

/// Formats `disk` and puts the first files on it.
fn fill(disk: &mut impl BlockDevice, signature: u32, label: &str) -> Result<(), crate::Error> {
    crate::format(disk, signature, label)?;
    let partition = Mbr::first_partition(disk)?.ok_or(crate::Error::NoSpace)?;
    let mut volume = Volume::mount(partition)?;
    let readme = format!("Volume {label} of disk {signature:08X}. Mount it once at a time.\r\n");
    volume.write_file("readme.txt", readme.as_bytes())?;
    let lines = |n: u32| (0..n).map(|i| format!("{label} {i:06}\r\n")).collect::<String>();
    volume.write_file("system.log", lines(500).as_bytes())?;
    volume.write_file("users.dat", &(0..40_000u32).map(|i| ((i * i) >> 7) as u8).collect::<Vec<u8>>())?;
    volume.unmount()?;
    Ok(())
}

/// Adds a partition of that type and size in bytes behind the end of an image with one partition, marks it active, and
/// puts boot code before the table. Returns the partition's first byte.
pub fn add_active_partition(path: &Path, kind: u8, size: u64, code: &[u8]) -> io::Result<u64> {
    let end = std::fs::metadata(path)?.len();
    let mut image = ImageFile::open(path, true)?;
    let failed = |error| io::Error::other(format!("{error}"));
    let mut mbr = Mbr::read(&image).map_err(failed)?.ok_or_else(|| io::Error::other("no partition table"))?;
    mbr.add_active(kind, end / SECTOR as u64, size / SECTOR as u64, code)
        .ok_or_else(|| io::Error::other("no room in the first sector"))?;
    image.file.set_len(end + size)?;
    image.sectors = (end + size) / SECTOR as u64;
    image.write(0, mbr.as_bytes()).map_err(failed)?;
    Ok(end)
}

/// Checks an image without changing it.
pub fn check_image(path: &Path) -> io::Result<Report> {
    let image = ImageFile::open(path, false)?;
    check(&image).map_err(|error| io::Error::other(format!("{error}")))
}

/// Reads a file of an image's volume; `None` where there is none of this name.
pub fn read_file(path: &Path, name: &str) -> io::Result<Option<Vec<u8>>> {
    let image = ImageFile::open(path, false)?;
    check::read_file(&image, name).map_err(|error| io::Error::other(format!("{error}")))
}
