//! `clean`: takes out what is left of another suite of PV drivers, on a volume that no Windows is using.

use anyhow::{Context, Result};
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    Outcome,
    install::{Offline, show},
};
use crate::{
    bail_as,
    exit::Exit,
    guest_files,
    install::{
        clean::{self, ASIDE, Stored},
        edits::Edits,
    },
    lock::Lock,
    output::Tone,
    session::{self, Session},
    system::System,
};

pub(super) fn run(session: &mut Session) -> Outcome {
    let Some(root) = session.global.root.clone() else {
        bail_as!(
            Usage,
            "`clean` works on a volume that no Windows is using: say --root DIR (from dom0, or in WinPE or WinRE). In the \
             running Windows use the other suite's own uninstaller first"
        );
    };
    let entries = match session.place().and_then(|place| place.read()) {
        Ok(read) => read.configuration.menu().entries(),
        // The boot files may be on another volume.
        Err(_) => Vec::new(),
    };
    let windows = Offline::below(&root, &session.folder_of(&root, &entries, session::usual(&entries))?)?;
    let system = System::below(&root, Ok(&windows.folder));
    session.refuse_hibernated_system(&system)?;
    if let Some(line) = windows.content.replay_note(&windows.hive) {
        session.output.warn(line);
    }
    let plan = clean::plan(&windows.parsed()?)?;
    let folder =
        windows.drivers.parent().and_then(Path::parent).context("drivers in no folder of Windows")?;
    let mut files = Vec::new();
    for driver in &plan.drivers {
        files.extend(guest_files::file(&windows.drivers, &format!("{driver}.sys"))?);
    }
    let stored = clean::stored(folder)?;
    // From Windows 8 on the store has an index of its own, which only Windows' tools keep.
    let has_index = windows.parsed()?.key("DriverDatabase")?.is_some()
        || guest_files::file(folder, "System32/config/DRIVERS")?.is_some();

    for note in &plan.notes {
        session.output.warn(note.clone());
    }
    let mut suites = plan.suites.clone();
    suites.extend(stored.iter().map(|package| package.suite));
    let facts = json!({
        "suites": suites, "edits": plan.edits.len(), "files": shown(&files),
        "driver_store": stored.iter().map(|package| &package.inf).collect::<Vec<_>>(),
        "driver_store_left": has_index,
    });
    if suites.is_empty() {
        session.output.say(Tone::Good, "Nothing of another suite is left");
        return Ok((Exit::Done, facts));
    }
    if session.global.dry_run {
        show(session, &Edits { edits: plan.edits, warnings: Vec::new() });
        let of_store = stored.iter().filter(|_| !has_index).flat_map(|package| &package.paths);
        for path in files.iter().chain(of_store) {
            session.output.say(Tone::Plain, &format!("would rename {} to …{ASIDE}", path.display()));
        }
        say_of_index(session, &stored, has_index, &root);
        return Ok((Exit::Done, facts));
    }
    let names: Vec<_> = suites.iter().copied().collect();
    session.confirm(&format!("Take out what is left of {}?", names.join(" and ")))?;
    session.look_again(&system)?;
    let lock = Lock::take(&windows.hive)?;
    let edits = Edits { edits: plan.edits, warnings: Vec::new() };
    let kept = windows.target().uninstall(&edits, &[], || Ok(()), || Ok(()))?;
    drop(lock);
    if !has_index {
        files.extend(stored.iter().flat_map(|package| package.paths.clone()));
    }
    for path in &files {
        set_aside(path)?;
    }
    session.output.say(Tone::Good, &format!("What was left of {} is taken out", names.join(" and ")));
    if !files.is_empty() {
        session.output.say(Tone::Faint, &format!("Its files are kept, with {ASIDE} behind their names"));
    }
    if let Some(kept) = kept {
        session.output.kept("The old SYSTEM hive", &kept);
    }
    say_of_index(session, &stored, has_index, &root);
    Ok((Exit::Done, facts))
}

/// Names the packages that are left to Windows' own tool.
fn say_of_index(session: &Session, stored: &[Stored], has_index: bool, root: &Path) {
    for package in stored.iter().filter(|_| has_index) {
        session.output.say(
            Tone::Attention,
            &format!(
                "{} ({}) stays in the driver store, whose index only Windows keeps: in WinPE `dism /image:{} /remove-driver \
                 /driver:{}`, or in the guest `pnputil -d {}`",
                package.inf,
                package.suite,
                root.display(),
                package.inf,
                package.inf
            ),
        );
    }
}

/// Renames a file or folder, under the first name that is free.
fn set_aside(path: &Path) -> Result<()> {
    let free = (0..1000).map(|number| {
        let mut name = path.as_os_str().to_owned();
        name.push(if number == 0 { ASIDE.to_owned() } else { format!("{ASIDE}{number}") });
        PathBuf::from(name)
    });
    let to = free.into_iter().find(|to| fs::symlink_metadata(to).is_err()).context("no name is free")?;
    fs::rename(path, &to).with_context(|| {
        format!(
            "{} cannot be renamed. Nothing in the registry refers to it any more: run clean again, or delete it by hand",
            path.display()
        )
    })
}

fn shown(paths: &[PathBuf]) -> Vec<String> {
    paths.iter().map(|path| path.display().to_string()).collect()
}
