//! `prune`: removes old backups.

use anyhow::Context;
use serde_json::json;
use std::path::PathBuf;

use super::Outcome;
use crate::{
    exit::Exit,
    files::{Disk, Files},
    output::Tone,
    replace,
    session::Session,
};

/// Removes all backups but the first one, which is the state before bootcfg, and the last `keep`.
pub(super) fn run(session: &mut Session, keep: usize) -> Outcome {
    let place = session.place()?;
    let system = session.system(&place);
    session.refuse_hibernated(&place)?;
    let mut lists = vec![place.backups()?];
    if let Some(hive) = system.hive() {
        let hive = Disk.resolve(hive).with_context(|| format!("cannot find {}", hive.display()))?;
        lists.push(
            replace::backups(&Disk, &hive)
                .with_context(|| format!("cannot list beside {}", hive.display()))?,
        );
    }
    let old: Vec<PathBuf> = lists.into_iter().flat_map(|list| superfluous(list, keep)).collect();
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
    let _lock = place.lock()?;
    for path in &old {
        Disk.remove(path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    session.output.say(Tone::Good, &format!("{} backups are removed", old.len()));
    Ok((Exit::Done, json!({ "changed": true, "removed": names })))
}

fn superfluous(mut list: Vec<(u32, PathBuf)>, keep: usize) -> Vec<PathBuf> {
    list.truncate(list.len().saturating_sub(keep));
    list.into_iter().skip(1).map(|(_, path)| path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_ones_stay() {
        let list = |count: u32| (1..=count).map(|n| (n, PathBuf::from(n.to_string()))).collect();
        assert_eq!(superfluous(list(5), 2), [PathBuf::from("2"), PathBuf::from("3")]);
        assert!(superfluous(list(3), 2).is_empty());
        assert!(superfluous(list(1), 0).is_empty());
        assert_eq!(superfluous(list(2), 0), [PathBuf::from("2")]);
    }
}
