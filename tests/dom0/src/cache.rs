// SPDX-License-Identifier: GPL-3.0-only
//! The loss of what a file's cache holds: the file system is shut down as xfstests does it, so that of the pages that
//! nobody has flushed those are on the disk that were written there on purpose.
#![expect(unsafe_code, reason = "calls the file system's ioctl and sync_file_range")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

/// Bytes of a page of the cache.
const PAGE: u64 = 4096;
/// `EXT4_IOC_SHUTDOWN`, `_IOR('X', 125, __u32)` (Linux: fs/ext4/ext4.h).
const SHUT_DOWN: libc::Ioctl = 0x8004_587D as libc::Ioctl;
/// `EXT4_GOING_FLAGS_NOLOGFLUSH`: at once, and nothing is written before.
const AT_ONCE: u32 = 2;

/// Writes so many of a hundred pages of a file to its disk, drawn by the seed, and shuts its file system down.
///
/// # Errors
/// The file is not there; its file system is none of ext4.
pub(crate) fn lose(path: &Path, percent: u32, seed: u64) -> io::Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    let mut state = seed;
    for page in 0..file.metadata()?.len() / PAGE {
        if draw(&mut state) % 100 < u64::from(percent) {
            write_page(&file, page)?;
        }
    }
    let mut how = AT_ONCE;
    // SAFETY: the request takes a number, which lives during the call.
    match unsafe { libc::ioctl(file.as_raw_fd(), SHUT_DOWN, &raw mut how) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Writes a page that is in the cache alone, and waits until the disk has it.
fn write_page(file: &File, page: u64) -> io::Result<()> {
    let how =
        libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    let (at, length) = ((page * PAGE) as libc::off64_t, PAGE as libc::off64_t);
    // SAFETY: the file is open.
    match unsafe { libc::sync_file_range(file.as_raw_fd(), at, length, how) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Returns the next number of a sequence (SplitMix64).
fn draw(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_the_one_of_the_header() {
        // _IOR(type, number, size): direction 2, 14 bits of size, 8 of type, 8 of number.
        let expected = 2u32 << 30 | 4 << 16 | u32::from(b'X') << 8 | 125;
        assert_eq!(SHUT_DOWN as u32, expected);
    }

    #[test]
    fn a_seed_draws_about_so_many_of_a_hundred() {
        for percent in [0, 30, 100] {
            let mut state = 7;
            let drawn = (0..10_000).filter(|_| draw(&mut state) % 100 < percent).count() as u64;
            assert!(drawn.abs_diff(percent * 100) < 200, "{drawn} of {percent}");
        }
    }
}
