// SPDX-License-Identifier: GPL-3.0-only
//! The device model's log of a guest, where the guard's stop is told (idefilter, `state.rs`): a stopped guest
//! cannot write to xenstore any more.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::text::{clean, code_of};

/// Number of bytes at a log's end that are looked at.
const TAIL: u64 = 256 << 10;

/// Beginning of a line of a stop, after whatever the device model puts before it.
const STOP: &str = "xenguard: stop 0x0058454e ";

/// A stop of the guard's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stop {
    /// The code of the reason.
    pub reason: u32,
    /// The PV driver's disks.
    pub own: u32,
    /// The system's disks.
    pub enumerated: u32,
    /// The guest's words, cleaned.
    pub text: String,
}

/// Ends of a log's name behind the guest's: the second is of a guest that came by migration, which has this name until it
/// runs (xl: `migrate_receive`).
const ENDS: [&str; 2] = [".log", "--incoming.log"];

/// Returns the stop in the log of the guest of this name; `None` where there is none, or no log. The toolstack begins a
/// new log with each domain, which it made `started` seconds after 1970-01-01 UTC. A log that was last written before is
/// of an earlier domain: a guest that comes by migration leaves the log of its name as it is.
pub(crate) fn stop_of(logs: &Path, name: &str, started: Option<u64>) -> Option<Stop> {
    // A name is the toolstack's, which has no slash in it; nothing else is opened.
    if name.is_empty() || name.contains('/') || name == ".." {
        return None;
    }
    let started = SystemTime::UNIX_EPOCH + Duration::from_secs(started.unwrap_or(0));
    ENDS.iter().find_map(|end| stop_in(&logs.join(format!("qemu-dm-{name}{end}")), started))
}

/// Returns the last stop in a log that was written since.
fn stop_in(log: &Path, started: SystemTime) -> Option<Stop> {
    let mut file = File::open(log).ok()?;
    let about = file.metadata().ok()?;
    if about.modified().is_ok_and(|written| written < started) {
        return None;
    }
    file.seek(SeekFrom::Start(about.len().saturating_sub(TAIL))).ok()?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes).ok()?;
    String::from_utf8_lossy(&bytes).lines().rev().find_map(parse)
}

/// Reads `… xenguard: stop 0x0058454e reason=0x50 own=1 enumerated=2: <text>`.
fn parse(line: &str) -> Option<Stop> {
    let at = line.to_ascii_lowercase().find(STOP)? + STOP.len();
    let (numbers, text) = line.get(at..)?.split_once(": ")?;
    let field = |name: &str| numbers.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    Some(Stop {
        reason: code_of(field("reason")?)?,
        own: field("own")?.parse().ok()?,
        enumerated: field("enumerated")?.parse().ok()?,
        text: clean(text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "xen_platform_log xen platform: xenguard: stop 0x0058454e reason=0x50 own=1 enumerated=2: \
                        an emulated disk and its PV counterpart are both present";

    #[test]
    fn a_stop_is_read() {
        let stop = parse(LINE).unwrap();
        assert_eq!((stop.reason, stop.own, stop.enumerated), (0x50, 1, 2));
        assert!(stop.text.starts_with("an emulated disk and"));
    }

    #[test]
    fn other_lines_are_not_stops() {
        for line in [
            "",
            "xenguard: stop",
            "xenguard: stop 0x0058454e reason=50 own=1 enumerated=2: x",
            "xenguard: stop 0x0058454e reason=0x50 own=1: x",
            "xenguard: stop 0x0058454e reason=0x50 own=1 enumerated=2",
            "xenguard: stopped before a disk could be mounted twice",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }

    #[test]
    fn the_last_stop_of_a_log_counts_and_names_stay_in_the_folder() {
        let folder = std::env::temp_dir().join(format!("xenguard-dom0-log-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let later = LINE.replace("0x50", "0x54");
        let filler = "x\n".repeat(TAIL as usize);
        std::fs::write(folder.join("qemu-dm-g.log"), format!("{filler}{LINE}\n{later}\nend\n")).unwrap();
        assert_eq!(stop_of(&folder, "g", None).map(|stop| stop.reason), Some(0x54));
        assert_eq!(stop_of(&folder, "h", None), None);
        assert_eq!(stop_of(&folder.join("sub"), "../g", None), None);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_log_of_an_earlier_domain_tells_nothing() {
        const STARTED: u64 = 1_700_000_000;
        let folder = std::env::temp_dir().join(format!("xenguard-dom0-earlier-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let write = |name: &str, text: &str, seconds: u64| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
        };
        let reason = || stop_of(&folder, "g", Some(STARTED)).map(|stop| stop.reason);
        write("qemu-dm-g.log", LINE, STARTED - 1);
        assert_eq!(reason(), None);
        write("qemu-dm-g--incoming.log", &LINE.replace("0x50", "0x54"), STARTED + 9);
        assert_eq!(reason(), Some(0x54));
        write("qemu-dm-g.log", LINE, STARTED);
        assert_eq!(reason(), Some(0x50));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
