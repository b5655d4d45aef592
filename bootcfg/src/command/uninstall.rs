//! `uninstall`: the registry first, then the boot entries, then the files.

use serde_json::json;

use super::{
    Outcome,
    install::{Offline, show},
    remove,
};
use crate::{
    exit::Exit,
    find,
    install::{edits, live, package::DRIVERS},
    lock::Lock,
    output::Tone,
    session::Session,
    system::System,
};

pub fn run(session: &mut Session) -> Outcome {
    session.confirm("Remove the Xenguard drivers and every PV entry?")?;
    // Asked once.
    session.global.yes = true;
    // The volume with the boot files may be another one.
    let has_entries = match session.place() {
        Ok(_) => true,
        Err(error) => {
            session.output.warn(format!(
                "the boot entries are not touched ({error:#}); a PV entry that is left boots emulated"
            ));
            false
        }
    };
    let Some(root) = session.global.root.clone() else {
        return run_live(session, has_entries);
    };
    let windows = Offline::below(&root)?;
    System::below(&root).refuse_offline_edit_of_hibernated(session.global.dry_run)?;
    if let Some(line) = windows.content.told(&windows.hive) {
        session.output.warn(line);
    }
    let hive = windows.parsed()?;
    let edits = edits::uninstall(&hive)?;
    let mut names = Vec::new();
    for driver in DRIVERS {
        let found = find::file(&windows.drivers, &format!("{driver}.sys"))?;
        names.extend(found.and_then(|path| path.file_name().map(|name| name.to_string_lossy().into_owned())));
    }
    // Without its service a file of that name is another vendor's, or was left by an uninstallation that
    // broke off.
    let keep = edits::namesakes(&hive)?;
    names.retain(|name| !keep.iter().any(|other| name.eq_ignore_ascii_case(&format!("{other}.sys"))));
    let facts = json!({ "files": names, "edits": edits.edits.len() });
    if session.global.dry_run {
        show(session, &edits);
        for name in &names {
            session
                .output
                .say(Tone::Plain, &format!("would remove {}", windows.drivers.join(name).display()));
        }
        if has_entries {
            remove::run(session, None, true)?;
        }
        return Ok((Exit::Done, facts));
    }
    let lock = Lock::take(&windows.hive)?;
    let kept = windows.target().uninstall(&edits, &names, || {
        if has_entries {
            remove::run(session, None, true)?;
        }
        Ok(())
    })?;
    drop(lock);
    session.output.say(Tone::Good, "Xenguard is removed; every boot is emulated");
    if let Some(kept) = kept {
        session.output.say(Tone::Faint, &format!("The old SYSTEM hive is kept as {}", kept.display()));
    }
    Ok((Exit::Done, facts))
}

fn run_live(session: &mut Session, has_entries: bool) -> Outcome {
    let commands = live::Commands::of_system(session)?;
    if session.global.dry_run {
        for line in commands.uninstall_lines()? {
            session.output.say(Tone::Plain, &format!("would run {line}"));
        }
        return Ok((Exit::Done, json!({})));
    }
    commands.uninstall(|| {
        if has_entries {
            remove::run(session, None, true)?;
        }
        Ok(())
    })?;
    session.output.say(
        Tone::Good,
        "Xenguard is removed; restart, and the driver files go: every boot is emulated from then on",
    );
    Ok((Exit::Done, json!({ "restart": true })))
}
