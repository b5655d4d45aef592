//! `uninstall`: the registry first, then the boot entries, then the files.

use serde_json::json;

use super::{
    Outcome,
    install::{Offline, show},
    remove,
};
use crate::{
    exit::Exit,
    guest_files,
    install::{
        edits, live,
        package::{DRIVERS, INFS},
    },
    lock::Lock,
    output::Tone,
    place::Place,
    session::{self, Session},
    system::{System, suite},
};
use std::path::Path;

pub(super) fn run(session: &mut Session) -> Outcome {
    session.confirm("Remove the Xenguard drivers and every PV entry?")?;
    // Asked once.
    session.global.yes = true;
    // The volume with the boot files may be another one.
    let place = match session.place() {
        Ok(place) => Some(place),
        Err(error) => {
            session.output.warn(format!(
                "the boot entries are not touched ({error:#}); a PV entry that is left boots emulated"
            ));
            None
        }
    };
    let Some(root) = session.global.root.clone() else {
        return run_live(session, place.as_ref());
    };
    // A menu that is damaged does not keep the drivers in.
    let entries = match place.as_ref().map(Place::read) {
        Some(Ok(read)) => read.configuration.menu().entries(),
        Some(Err(error)) => {
            session.output.warn(format!("the boot entries are not touched: {error:#}"));
            Vec::new()
        }
        None => Vec::new(),
    };
    let mut place = place.filter(|_| !entries.is_empty());
    let windows = Offline::below(&root, &session.folder_of(&root, &entries, session::usual(&entries))?)?;
    let system = System::below(&root, Ok(&windows.folder));
    session.refuse_hibernated_system(&system)?;
    if let Some(line) = windows.content.replay_note(&windows.hive) {
        session.output.warn(line);
    }
    let hive = windows.parsed()?;
    let mut edits = edits::uninstall(&hive)?;
    // From now on every boot needs the drivers of the emulated controllers.
    let marks = suite::without_overrides(system.registry())?;
    edits
        .edits
        .extend(marks.into_iter().filter(|mark| !edits::covers(&edits.edits, mark)).collect::<Vec<_>>());
    let mut paths = Vec::new();
    // Without its service a file of that name is another vendor's, or was left by an uninstallation that
    // broke off.
    let keep = edits::namesakes(&hive)?;
    if !keep.is_empty() && !edits::has_ours(&hive)? {
        session.output.warn(entries_of_others(&keep));
        place = None;
    }
    for driver in DRIVERS.into_iter().filter(|driver| !keep.contains(driver)) {
        paths.extend(guest_files::file(&windows.drivers, &format!("{driver}.sys"))?);
    }
    paths.extend(windows.service()?);
    let names: Vec<_> = paths
        .iter()
        .filter_map(|path| path.file_name().map(|name| name.to_string_lossy().into_owned()))
        .collect();
    let mut facts = json!({ "files": names, "edits": edits.edits.len() });
    if session.global.dry_run {
        show(session, &edits);
        for path in &paths {
            session.output.say(Tone::Plain, &format!("would remove {}", path.display()));
        }
        if let Some(place) = &place {
            remove::of_windows(session, place, None, true, Some(&windows.folder))?;
        }
        return Ok((Exit::Done, facts));
    }
    let lock = Lock::take(&windows.hive)?;
    let before = place.as_ref().map(Place::raw).transpose()?;
    let remove = || {
        if let Some(place) = &place {
            remove::of_windows(session, place, None, true, Some(&windows.folder))?;
        }
        Ok(())
    };
    let bring_back = || match (&place, &before) {
        (Some(place), Some(before)) => place.put_back(before),
        _ => Ok(()),
    };
    let kept = windows.target().uninstall(&edits, &paths, remove, bring_back)?;
    drop(lock);
    let stored = stored_packages(&root, &windows.folder);
    if !keep.is_empty() {
        session.output.say(Tone::Good, &format!("Xenguard is removed; {}", stays(&keep)));
    } else if stored.is_empty() {
        session.output.say(Tone::Good, "Xenguard is removed; every boot is emulated");
    } else {
        session
            .output
            .say(Tone::Good, "Xenguard's drivers, services and filters are removed; every boot is emulated");
    }
    if !stored.is_empty() {
        session.output.warn(format!(
            "Windows' driver store still has {}: at the next start PnP installs them again on the Xen platform device, \
             without the filter, so without PV disks. Run uninstall.cmd in the guest then, or pnputil /delete-driver",
            stored.join(", ")
        ));
    }
    if let Some(kept) = &kept {
        session.output.kept("The old SYSTEM hive", kept);
    }
    facts["changed"] = json!(kept.is_some() || !names.is_empty());
    facts["backup"] = json!(kept.map(|path| path.display().to_string()));
    facts["driver_store"] = json!(stored);
    Ok((Exit::Done, facts))
}

/// Returns the note that another suite's drivers, which have names of ours, stay.
fn stays(names: &[&str]) -> String {
    let (verb, end) = if names.len() == 1 { ("is", "stays") } else { ("are", "stay") };
    format!("{} {verb} another vendor's, and {end}", names.join(" and "))
}

/// Returns the note that the PV entries are left to a suite that may have made them.
fn entries_of_others(names: &[&str]) -> String {
    format!(
        "the PV entries are not touched: {}. Its suite may use /GPLPV, too, and no driver of Xenguard is registered here; \
         `remove --all` takes the entries out",
        stays(names)
    )
}

/// Returns the packages of this suite in the driver store, by the names of their folders.
fn stored_packages(root: &Path, windows: &str) -> Vec<String> {
    let Some(store) = guest_files::path(root, &format!("{windows}/System32/DriverStore/FileRepository"))
    else {
        return Vec::new();
    };
    let entries = std::fs::read_dir(store).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let is_ours = |name: &String| {
        let name = name.to_ascii_lowercase();
        INFS.iter().any(|inf| name.starts_with(&format!("{inf}.inf_")))
    };
    let mut ours: Vec<_> = names.filter(is_ours).collect();
    ours.sort();
    ours
}

fn run_live(session: &mut Session, place: Option<&Place>) -> Outcome {
    let commands = live::Commands::of_system(session)?;
    let (others, alone) = commands.namesakes()?;
    let place = if alone && !others.is_empty() {
        session.output.warn(entries_of_others(&others));
        None
    } else {
        place
    };
    // A menu that keeps its PV entry is told before the filter is out; one that is damaged does not keep the drivers in.
    let place = match place.map(|place| (place, place.read())) {
        Some((place, Ok(read))) => {
            let mut tried = read.configuration;
            remove::removed(tried.menu_mut(), None, true, None)?;
            Some(place)
        }
        Some((_, Err(error))) => {
            session.output.warn(format!(
                "the boot entries are not touched ({error:#}); a PV entry that is left boots emulated"
            ));
            None
        }
        None => None,
    };
    if session.global.dry_run {
        for line in commands.uninstall_lines()? {
            session.output.say(Tone::Plain, &format!("would run {line}"));
        }
        if let Some(place) = place {
            remove::of_windows(session, place, None, true, None)?;
        }
        return Ok((Exit::Done, json!({})));
    }
    let system = System::running(session.global.registry.as_deref());
    let left = commands.uninstall(|| {
        if let Some(place) = place {
            remove::of_windows(session, place, None, true, None)?;
        }
        Ok(())
    })?;
    for left in &left {
        session.output.say(Tone::Plain, &format!("Still there, and nothing refers to it: {left}"));
    }
    // From now on every boot needs the drivers of the emulated controllers.
    system.prepare(&mut session.output, session.global.dry_run)?;
    let then =
        if others.is_empty() { "every boot is emulated from then on".to_owned() } else { stays(&others) };
    let files = if left.is_empty() {
        ""
    } else {
        ". Files that are named above and still there after it may be deleted"
    };
    session.output.say(Tone::Good, &format!("Xenguard is removed; restart: {then}{files}"));
    Ok((Exit::Done, json!({ "changed": true, "restart": true, "left": left })))
}
