//! Free space, asked for before work that would fail half-way without it.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, bail};

use crate::command;

/// Space that a build from nothing takes, in MiB, with room to spare: measured 1,100 for the drivers, the
/// executive and this program.
const NEEDED: u64 = 2048;

/// Makes sure that the file system of `folder` has room for a build.
///
/// # Errors
/// When it has not; the message says how much is free and how much is needed.
pub(super) fn require(folder: &Path) -> Result<()> {
    if cfg!(windows) {
        return Ok(());
    }
    let report = command::output(Command::new("df").arg("-Pk").arg(folder))?;
    let free = available(&report).context("`df -Pk` answered in another form than POSIX's")?;
    if free < NEEDED {
        bail!(
            "{} has {free} MiB free, a build needs {NEEDED}: free some, or move the folder",
            folder.display()
        );
    }
    Ok(())
}

/// Returns the free space in MiB, out of `df -Pk`'s answer: a header line, then one line with the number of
/// available KiB in its fourth column.
fn available(report: &str) -> Option<u64> {
    let kib: u64 = report.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()?;
    Some(kib / 1024)
}

#[cfg(test)]
mod tests {
    use super::available;

    #[test]
    fn the_fourth_column_is_what_is_free() {
        let report =
            "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/vda 10 4 6291456 1% /\n";
        assert_eq!(available(report), Some(6144));
        assert_eq!(available("nonsense"), None);
    }
}
