//! `prune`: removes old backups.

use anyhow::{Context, Result};
use hive::replay;
use serde_json::json;
use std::path::{Path, PathBuf};

use super::Outcome;
use crate::{
    exit::Exit,
    files::{Disk, Files},
    output::Tone,
    place::Place,
    replace,
    session::Session,
    system::System,
};

/// Removes all backups but the first one, which is the state before bootcfg, and the last `keep`. Of a dirty hive the
/// first one needs its log files, which do not stay as they were, so that the replayed one behind it is kept, too.
pub(super) fn run(session: &mut Session, keep: usize) -> Outcome {
    let place = session.place()?;
    let system = session.system(&place);
    session.refuse_hibernated(&place)?;
    let old = all_superfluous(&place, &system, keep)?;
    let names: Vec<_> = old.iter().map(|path| path.display().to_string()).collect();
    if old.is_empty() {
        session.output.say(Tone::Good, "There are no more backups than that");
        return Ok((Exit::Done, json!({ "removed": names })));
    }
    for name in &names {
        let word = if session.global.dry_run { "would remove" } else { "removing" };
        session.output.say(Tone::Plain, &format!("{word} {name}"));
    }
    if session.global.dry_run {
        return Ok((Exit::Done, json!({ "removed": names })));
    }
    session.confirm(&format!("Remove {} backups?", old.len()))?;
    session.look_again(&system)?;
    let _lock = place.lock()?;
    if all_superfluous(&place, &system, keep)? != old {
        return Err(place.changed_meanwhile());
    }
    for path in &old {
        Disk.remove(path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    session.output.say(Tone::Good, &format!("{} backups are removed", old.len()));
    Ok((Exit::Done, json!({ "changed": true, "removed": names })))
}

/// Returns the backups of the boot configuration and of the SYSTEM hive that may go.
fn all_superfluous(place: &Place, system: &System, keep: usize) -> Result<Vec<PathBuf>> {
    let is_boot_ini = matches!(place, Place::BootIni(..));
    // Of a store, and of a hive, the first one that is clean stays.
    let mut old = superfluous(place.backups()?, keep, |file| is_boot_ini || is_clean(file));
    if let Some(hive) = system.hive() {
        let hive = Disk.resolve(hive).with_context(|| format!("cannot find {}", hive.display()))?;
        let list = replace::backups(&Disk, &hive)
            .with_context(|| format!("cannot list beside {}", hive.display()))?;
        old.extend(superfluous(list, keep, is_clean));
    }
    Ok(old)
}

/// Returns the backups that may go: those behind the first one that is clean, but for the last `keep`.
fn superfluous(list: Vec<(u32, PathBuf)>, keep: usize, is_clean: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let end = list.len().saturating_sub(keep);
    let first = list.iter().take(end).position(|(_, path)| is_clean(path)).map_or(end, |first| first + 1);
    list.into_iter().take(end).skip(first).map(|(_, path)| path).collect()
}

/// Returns true if a backup of a hive can be read without log files.
fn is_clean(file: &Path) -> bool {
    Disk.read(file).is_ok_and(|bytes| matches!(replay::is_dirty(&bytes), Ok(false)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_ones_stay() {
        let list = |count: u32| (1..=count).map(|n| (n, PathBuf::from(n.to_string()))).collect();
        let all_clean = |_: &Path| true;
        assert_eq!(superfluous(list(5), 2, all_clean), [PathBuf::from("2"), PathBuf::from("3")]);
        assert!(superfluous(list(3), 2, all_clean).is_empty());
        assert!(superfluous(list(1), 0, all_clean).is_empty());
        assert_eq!(superfluous(list(2), 0, all_clean), [PathBuf::from("2")]);
        // The first two are dirty.
        let later = |path: &Path| path > Path::new("2");
        assert_eq!(superfluous(list(5), 1, later), [PathBuf::from("4")]);
        assert!(superfluous(list(5), 0, |_| false).is_empty());
    }
}
