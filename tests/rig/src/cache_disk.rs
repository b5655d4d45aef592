//! The disk behind a cache that loses its power (`tests/rig/dom0/cache.sh`).

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use crate::command::Tool;
use crate::error::{FileContext, RigError};
use crate::host;

/// Bytes of it: room for a guest's disk, which it holds as a file.
const SIZE: u64 = 32 << 20;
const LIMIT: Duration = Duration::from_secs(60);

/// Makes the image: an empty file system of ext4, without a journal, which would write of its own accord.
///
/// # Errors
/// mke2fs is not there, or fails.
pub fn make(path: &Path) -> Result<(), RigError> {
    File::create(path).and_then(|file| file.set_len(SIZE)).file("create", path)?;
    let log = path.with_extension("log");
    Tool::plain(host::find("mke2fs").unwrap_or_else(|| "mke2fs".into()), &log)
        .args(["-q", "-F", "-t", "ext4", "-b", "4096", "-O", "^has_journal", "-m", "0"])
        .arg(path)
        .run(LIMIT)?;
    fs::remove_file(&log).file("remove", &log)
}
