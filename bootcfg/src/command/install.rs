//! `install`: the drivers in, the PV entry added, the default as it was.

use anyhow::{Context, Result};
use hive::Hive;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

use super::{Outcome, add};
use crate::{
    exit::Exit,
    files::{Disk, Files},
    find,
    hive_file::HiveFile,
    install::{
        edits::{self, Edit, Edits},
        live,
        offline::{Target, through_hivex},
        package::Package,
    },
    lock::Lock,
    output::Tone,
    session::Session,
    system::System,
    told,
};

/// Where Windows is on its volume.
const WINDOWS: [&str; 2] = ["Windows", "WINNT"];

pub fn run(session: &mut Session, package: Option<&Path>, no_entry: bool) -> Outcome {
    let folder = package.map_or_else(own_folder, |path| Ok(path.to_owned()))?;
    let package = Package::read(&Disk, &folder)?;
    let Some(root) = session.global.root.clone() else {
        return run_live(session, &folder, &package, no_entry);
    };
    let windows = Offline::below(&root)?;
    System::below(&root).refuse_offline_edit_of_hibernated(session.global.dry_run)?;
    if !no_entry {
        // Found before anything is changed.
        session.place()?;
    }
    if let Some(line) = windows.content.told(&windows.hive) {
        session.output.warn(line);
    }
    let edits = edits::install(&windows.parsed()?, &package)?;
    for warning in &edits.warnings {
        session.output.warn(warning.clone());
    }
    let mut facts = json!({
        "version": package.version, "files": package.files.keys().collect::<Vec<_>>(), "edits": edits.edits.len(),
    });
    if session.global.dry_run {
        for name in package.files.keys() {
            session.output.say(Tone::Plain, &format!("would write {}", windows.drivers.join(name).display()));
        }
        show(session, &edits);
        if !no_entry {
            facts["entry"] = add::run(session, None, None)?.1;
        }
        return Ok((Exit::Done, facts));
    }
    let lock = Lock::take(&windows.hive)?;
    let mut entry = Value::Null;
    let kept = windows.target().install(&package, &edits, || {
        // `add` may edit the hive too.
        drop(lock);
        if !no_entry {
            entry = add::run(session, None, None)?.1;
        }
        Ok(())
    })?;
    facts["entry"] = entry;
    facts["backup"] = json!(kept.as_ref().map(|path| path.display().to_string()));
    session.output.say(
        Tone::Good,
        &format!(
            "Xenguard {} is installed; the default entry is as it was, and boots emulated",
            package.version
        ),
    );
    if let Some(kept) = kept {
        session.output.say(Tone::Faint, &format!("The old SYSTEM hive is kept as {}", kept.display()));
    }
    Ok((Exit::Done, facts))
}

fn run_live(session: &mut Session, folder: &Path, package: &Package, no_entry: bool) -> Outcome {
    let commands = live::Commands::of_system(session)?;
    let folder = Disk.resolve(folder).with_context(|| format!("cannot find {}", folder.display()))?;
    if session.global.dry_run {
        for line in commands.install_lines(&folder) {
            session.output.say(Tone::Plain, &format!("would run {line}"));
        }
        return Ok((Exit::Done, json!({ "version": package.version })));
    }
    let mut entry = Value::Null;
    let restart = commands.install(&folder, || {
        if !no_entry {
            entry = add::run(session, None, None)?.1;
        }
        Ok(())
    })?;
    session.output.say(
        Tone::Good,
        &format!(
            "Xenguard {} is installed; the default entry is as it was, and boots emulated",
            package.version
        ),
    );
    if restart {
        session.output.say(
            Tone::Plain,
            "Files that are in use are replaced at the next start: restart once before a PV boot",
        );
    }
    Ok((Exit::Done, json!({ "version": package.version, "entry": entry, "restart": restart })))
}

/// Lists the edits.
pub(super) fn show(session: &Session, edits: &Edits) {
    for edit in &edits.edits {
        let line = match edit {
            Edit::Set { key, name, .. } => format!("would set {key}\\{name}"),
            Edit::DeleteValues { key, names } => format!("would remove {} from {key}", names.join(", ")),
            Edit::DeleteKey { key } => format!("would remove {key}"),
        };
        session.output.say(Tone::Plain, &line);
    }
}

/// The folder that this program lies in, as it does in the package.
fn own_folder() -> Result<PathBuf> {
    let program = std::env::current_exe().context("this program's own folder is not known; say --package")?;
    program.parent().map(Path::to_owned).context("this program is in no folder; say --package")
}

/// A Windows on a mounted volume.
pub(super) struct Offline {
    pub drivers: PathBuf,
    pub hive: PathBuf,
    pub content: HiveFile,
}

impl Offline {
    pub fn below(root: &Path) -> Result<Offline> {
        for windows in WINDOWS {
            let Some(hive) = find::file(root, &format!("{windows}/System32/config/SYSTEM"))? else {
                continue;
            };
            let system32 = hive.parent().and_then(Path::parent).context("a hive in no folder")?;
            let Some(drivers) = find::folder(system32, "drivers")? else {
                told!(Unusable, "{} has no folder drivers", system32.display())
            };
            let content = HiveFile::read(&Disk, &hive)?;
            return Ok(Offline { drivers, hive, content });
        }
        told!(
            Unusable,
            "{} has no Windows/System32/config/SYSTEM: is it the volume that Windows is on?",
            root.display()
        )
    }

    /// The SYSTEM hive.
    ///
    /// # Errors
    /// It is damaged; the message names the file.
    pub fn parsed(&self) -> Result<Hive<'_>> {
        Hive::new(&self.content.content).with_context(|| self.hive.display().to_string())
    }

    pub fn target(&self) -> Target<'_> {
        Target {
            files: &Disk,
            edit: &through_hivex,
            drivers: &self.drivers,
            hive: &self.hive,
            content: &self.content,
        }
    }
}
