//! Files of a volume whose machine loses its power: what earlier boots have flushed is still there, and more is written.
//!
//! Each file is full of one number, its stamp. Stamps rise from file to file and from boot to boot, so that the host knows
//! from the lines `flushed` of a boot the least that a later one must find.

use alloc::format;
use alloc::string::{String, ToString};

use super::load::Load;
use super::wait_until;
use crate::fs::Mounted;
use crate::{boot, mountmgr, report};

/// The disk that is used.
const DISK: u32 = 0;
/// Threads that read from it meanwhile.
const READERS: usize = 2;
/// Files that are written in turn.
const FILES: u64 = 8;
/// Stamps in a file of two blocks.
const STAMPS: usize = 1024;

/// Runs the exercise: `rounds=<files>` files are written, each with a flush behind it.
pub(super) fn run() {
    let last = mountmgr::with_system_volume(|volume| {
        forget_boots(volume);
        (0..FILES).map(|file| kept(volume, file)).max().unwrap_or(0)
    });
    let Some(last) = last else { return };
    let load = Load::start(DISK, READERS);
    wait_until("reading", || load.done() >= 8);
    for stamp in last + 1..=last + u64::from(boot::options().rounds) {
        write(stamp);
    }
    load.end();
    let counts = load.join();
    report!("traffic disk={DISK} written={} {counts}", boot::options().rounds);
}

/// Returns the name of a file.
fn name(file: u64) -> String {
    format!("endure-{file}.dat")
}

/// Removes the files that earlier boots' tests have written: the volume has room for 32 files.
fn forget_boots(volume: &mut Mounted) {
    let own = format!("boot-{}.txt", volume.generation());
    let old: alloc::vec::Vec<_> = volume
        .files()
        .filter(|name| name.starts_with("boot-") && *name != own)
        .map(ToString::to_string)
        .collect();
    for name in old {
        if let Err(error) = volume.remove_file(&name) {
            crate::log!("endure: removing {name}: {error}");
        }
    }
}

/// Reads a file, and reports what is in it. Returns its stamp; 0 where it is not there or not whole.
fn kept(volume: &Mounted, file: u64) -> u64 {
    let (stamp, whole) = match volume.read_file(&name(file)) {
        Err(volume::Error::NotFound) => return 0,
        Err(_) => (0, false),
        Ok(content) => {
            let stamp = content.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
            (stamp, content == stamp.to_le_bytes().repeat(STAMPS))
        }
    };
    report!("kept file={file} stamp={stamp} whole={}", u8::from(whole));
    if whole { stamp } else { 0 }
}

/// Writes the file whose turn it is, and flushes.
fn write(stamp: u64) {
    let file = stamp % FILES;
    report!("written file={file} stamp={stamp}");
    let flushed = mountmgr::with_system_volume(|volume| {
        volume.write_file(&name(file), &stamp.to_le_bytes().repeat(STAMPS))?;
        volume.flush()
    });
    match flushed {
        Some(Ok(())) => report!("flushed file={file} stamp={stamp}"),
        Some(Err(error)) => crate::log!("endure: writing file {file}: {error}"),
        None => crate::log!("endure: the volume is not there"),
    }
}
