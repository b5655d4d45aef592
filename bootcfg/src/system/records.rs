//! The records that boots leave in the registry (`guard::last_boot`), and the crash dump of one that the guard
//! stopped, which could leave none.

use std::{fs::File, io::Read, path::Path};

use guard::{
    crash_dump::{self, Stopped},
    last_boot::{self, End, LastBoot},
};
use serde_json::{Value, json};

use super::registry::Registry;
use crate::guest_files;

/// Key of the records.
const PARAMETERS: &str = "Services\\idefilter\\Parameters";
/// Key of the crash dump's settings.
const CRASH_CONTROL: &str = "Control\\CrashControl";
/// The page file, beside the folder of Windows: NT copies the dump out of it in the next boot.
const PAGE_FILE: &str = "pagefile.sys";

/// The boots that are over and left a record.
#[derive(Clone, Copy, Debug, Default)]
pub struct Records {
    /// The last one.
    pub last: Option<LastBoot>,
    /// The one before; of a system that runs it is not kept.
    pub before: Option<LastBoot>,
}

impl Records {
    /// Reads them. `root` is the mounted volume, and `windows` the folder of Windows.
    pub(super) fn read(registry: &Registry, root: Option<&Path>, windows: Option<&Path>) -> Records {
        let record = |name| {
            let value = registry.of_last(PARAMETERS, name).ok()??;
            LastBoot::parse(&value.data)
        };
        let (last, before) = if registry.is_running() {
            (record(last_boot::LAST), None)
        } else {
            (record(last_boot::THIS), record(last_boot::LAST))
        };
        let last = last.map(|last| with_dump(last, dumps(registry, root, windows)));
        Records { last, before }
    }

    /// Returns them as `--json` shows them.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({ "last": self.last.map(|boot| record(&boot)), "before": self.before.map(|boot| record(&boot)) })
    }
}

/// Returns a record as `--json` shows it.
fn record(boot: &LastBoot) -> Value {
    let status = &boot.status;
    let counts = (status.counted != 0).then(|| {
        json!({ "own": status.own, "ours": status.ours, "alias": status.alias, "foreign": status.foreign })
    });
    let stop = match boot.end {
        End::Stopped(stop) => {
            json!({ "reason": stop.reason.code(), "own": stop.own, "enumerated": stop.enumerated })
        }
        End::Unknown | End::InOrder => Value::Null,
    };
    json!({
        "mode": boot.mode(),
        "end": boot.end(),
        "phase": boot.phase(),
        "reason": status.reason,
        "counts": counts,
        "stop": stop,
        "started": boot.started,
        "uptime": boot.uptime,
        "text": boot.to_string(),
    })
}

/// Returns the record with its end, where a crash dump has it.
fn with_dump(boot: LastBoot, dumps: impl Iterator<Item = Stopped>) -> LastBoot {
    if boot.end != End::Unknown || !boot.is_pv() {
        return boot;
    }
    let stopped = dumps.filter(|stopped| stopped.ends(boot.started)).last();
    LastBoot { end: stopped.map_or(boot.end, |stopped| End::Stopped(stopped.stop)), ..boot }
}

/// Returns the stops whose dumps are there: of the file that NT copies a dump to, then of the page file.
fn dumps(registry: &Registry, root: Option<&Path>, windows: Option<&Path>) -> impl Iterator<Item = Stopped> {
    let named = registry.text(CRASH_CONTROL, "DumpFile").ok().flatten();
    let below = named.as_deref().map_or(Some(crash_dump::FILE), |path| {
        let (start, rest) = path.split_at_checked(crash_dump::SYSTEM_ROOT.len())?;
        start.eq_ignore_ascii_case(crash_dump::SYSTEM_ROOT).then(|| rest.trim_start_matches('\\'))
    });
    let copied = below
        .zip(windows)
        .and_then(|(path, windows)| guest_files::file(windows, &path.replace('\\', "/")).ok().flatten());
    let page_file = root.and_then(|root| guest_files::file(root, PAGE_FILE).ok().flatten());
    [copied, page_file].into_iter().flatten().filter_map(|path| {
        let mut head = Vec::new();
        // A file that cannot be read, such as the page file of a system that runs, has no dump to tell of.
        File::open(path).ok()?.take(crash_dump::SIZE as u64).read_to_end(&mut head).ok()?;
        Stopped::parse(&head)
    })
}

#[cfg(test)]
mod tests {
    use guard::{
        Reason,
        abi::{PhaseNumber, Status},
        machine::BugCheck,
    };
    use hive::build::Tree;

    use super::*;

    const STARTED: u64 = 1_800_000_000;
    const STOP: BugCheck = BugCheck { reason: Reason::AliasExposed, own: 1, enumerated: 2 };

    fn boot(phase: PhaseNumber, end: End) -> LastBoot {
        LastBoot {
            started: STARTED,
            uptime: 12,
            end,
            status: Status { phase, reason: 1, ..Status::default() },
        }
    }

    /// Returns a dump of a stop by the guard, so many seconds after the start.
    fn dump(after: u64) -> Vec<u8> {
        let mut bytes = vec![0; crash_dump::SIZE];
        bytes[..8].copy_from_slice(b"PAGEDU64");
        bytes[0x38..0x3C].copy_from_slice(&guard::machine::BUGCHECK_CODE.to_le_bytes());
        for (n, parameter) in [0x50u64, 1, 2].iter().enumerate() {
            bytes[0x40 + 8 * n..][..8].copy_from_slice(&parameter.to_le_bytes());
        }
        let time = (STARTED + after + 11_644_473_600) * 10_000_000;
        bytes[0xFA8..].copy_from_slice(&time.to_le_bytes());
        bytes
    }

    /// Writes a volume with these records and files, and reads what it tells.
    fn read(values: &[(&str, LastBoot)], files: &[(&str, &[u8])]) -> Records {
        let folder = tempfile::tempdir().expect("a folder");
        let mut parameters = Tree::new();
        for (name, boot) in values {
            parameters = parameters.with_binary(name, &boot.to_bytes());
        }
        let tree = Tree::new()
            .with_key("Select", Tree::new().with_dword("Current", 1).with_dword("Default", 1))
            .with_key("ControlSet001\\Services\\idefilter\\Parameters", parameters);
        let config = folder.path().join("Windows/System32/config");
        std::fs::create_dir_all(&config).expect("made");
        std::fs::write(config.join("SYSTEM"), tree.hive("SYSTEM")).expect("written");
        for (name, bytes) in files {
            std::fs::write(folder.path().join(name), bytes).expect("written");
        }
        let registry = Registry::below(folder.path(), "Windows");
        Records::read(&registry, Some(folder.path()), Some(&folder.path().join("Windows")))
    }

    #[test]
    fn both_boots_are_told_offline() {
        let stopped = boot(PhaseNumber::EXPOSED, End::Stopped(STOP));
        let in_order = boot(PhaseNumber::EMULATED, End::InOrder);
        let records = read(&[(last_boot::THIS, in_order), (last_boot::LAST, stopped)], &[]);
        assert_eq!((records.last, records.before), (Some(in_order), Some(stopped)));
        let json = records.json();
        assert_eq!(json["last"]["end"], "in-order");
        assert_eq!(json["before"]["stop"], json!({ "reason": 0x50, "own": 1, "enumerated": 2 }));
        let none = read(&[], &[]);
        assert_eq!((none.last, none.before), (None, None));
    }

    #[test]
    fn a_dump_says_how_the_last_boot_was_stopped() {
        let pv = boot(PhaseNumber::EXPOSED, End::Unknown);
        let end =
            |boot, files: &[(&str, &[u8])]| read(&[(last_boot::THIS, boot)], files).last.map(|boot| boot.end);
        let (dump, old) = (dump(12), dump(0));
        let mut older = old;
        // Two days before.
        let time = (STARTED - 172_800 + 11_644_473_600) * 10_000_000;
        older[0xFA8..].copy_from_slice(&time.to_le_bytes());
        assert_eq!(end(pv, &[("pagefile.sys", &dump)]), Some(End::Stopped(STOP)));
        assert_eq!(end(pv, &[("Windows/memory.dmp", &dump)]), Some(End::Stopped(STOP)));
        assert_eq!(end(pv, &[("Windows/MEMORY.DMP", &older)]), Some(End::Unknown));
        assert_eq!(end(pv, &[("pagefile.sys", &dump[..100])]), Some(End::Unknown));
        // A boot that ended in order was not stopped, whatever lies there; nor was an emulated one.
        let in_order = LastBoot { end: End::InOrder, ..pv };
        assert_eq!(end(in_order, &[("pagefile.sys", &dump)]), Some(End::InOrder));
        let emulated = boot(PhaseNumber::EMULATED, End::Unknown);
        assert_eq!(end(emulated, &[("pagefile.sys", &dump)]), Some(End::Unknown));
    }
}
