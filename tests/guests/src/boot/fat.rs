//! A guest's FAT system volume, edited from dom0 as an admin without a mount does it: mtools takes boot.ini
//! out, `bootcfg` edits it, mtools puts it back with its attributes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::{command, layout::Layout};

/// A volume of that size, in sectors of 512 bytes.
const SECTORS: &str = "4096";
/// The attributes that `mattrib` shows for a file that is hidden, of the system and read-only.
const ATTRIBUTES: &str = "SHR";

/// Returns the boot.ini of a FAT volume in `folder` whose PV entry `bootcfg` added.
///
/// # Errors
/// A program is missing or fails, or the volume has not what was put there.
pub(super) fn edited_boot_ini(layout: &Layout, folder: &Path, boot_ini: &[u8]) -> Result<Vec<u8>> {
    let volume = Volume(folder.join("system.fat"));
    let outside = folder.join("boot.ini");
    volume.run("mformat", &["-C", "-T", SECTORS, "::"])?;
    fs::write(&outside, boot_ini)?;
    volume.put(&outside)?;

    volume.take(&outside)?;
    // The host tests have built it already.
    command::output(
        Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--package", "bootcfg"])
            .current_dir(layout.root()),
    )?;
    let bootcfg = layout.target().join("debug/xenguard");
    command::output(Command::new(&bootcfg).arg("--boot-ini").arg(&outside).arg("add"))?;
    volume.put(&outside)?;

    fs::remove_file(&outside)?;
    volume.take(&outside)?;
    let shown = volume.run("mattrib", &["::/boot.ini"])?;
    let attributes: String = shown.split("::").next().unwrap_or_default().split_whitespace().collect();
    ensure!(
        attributes.ends_with(ATTRIBUTES),
        "boot.ini has the attributes {attributes}, expected {ATTRIBUTES}"
    );
    fs::read(&outside).with_context(|| format!("cannot read {}", outside.display()))
}

/// A FAT image.
struct Volume(PathBuf);

impl Volume {
    /// Puts boot.ini in place, hidden, of the system and read-only, as Windows keeps it.
    fn put(&self, file: &Path) -> Result<()> {
        // mcopy asks before it replaces a read-only file; there is none yet the first time.
        let _ = self.run("mattrib", &["-r", "-h", "-s", "::/boot.ini"]);
        self.run("mcopy", &["-o", &file.display().to_string(), "::/boot.ini"])?;
        self.run("mattrib", &["+r", "+h", "+s", "::/boot.ini"]).map(drop)
    }

    fn take(&self, file: &Path) -> Result<()> {
        self.run("mcopy", &["-n", "::/boot.ini", &file.display().to_string()]).map(drop)
    }

    fn run(&self, tool: &str, arguments: &[&str]) -> Result<String> {
        command::output(Command::new(tool).arg("-i").arg(&self.0).args(arguments))
    }
}
