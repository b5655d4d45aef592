//! Checks of what a boot leaves behind: its record in the registry, its nodes in xenstore.

use std::fs;

use anyhow::{Context, Result};
use bootcfg::{
    hive_edit,
    system::{Records, System},
};
use guard::{
    Reason,
    abi::PhaseNumber,
    host,
    last_boot::{End, LastBoot},
    message,
};
use hive::build::Tree;
use protocol::{Fault, Line, Word};
use rig::Store;

use super::every::{ends_in_order, mounted};
use crate::{
    check::{Check, Differences, Seen},
    lifecycle::registration,
    scenario::{Ending, Machine, Scenario},
};

/// Returns the record that a line of digits is.
fn parse(digits: &str) -> Option<LastBoot> {
    let bytes: Option<Vec<u8>> = digits
        .as_bytes()
        .chunks_exact(2)
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    LastBoot::parse(&bytes?)
}

/// Returns true if the drivers of the boot have their memory and their registry.
pub(super) fn is_whole(scenario: &Scenario) -> bool {
    !scenario.words.contains(&Word::Fault(Fault::StarveIdefilter))
}

/// Looks at the record in the registry of a boot that ends in order. The executive refuses writes from the last chance
/// on, so that one that is told then is none.
pub(super) fn record(seen: &Seen<'_>, found: &mut Differences) {
    let (scenario, expect) = (seen.scenario, &seen.scenario.expect);
    if !ends_in_order(scenario) || !is_whole(scenario) || expect.decision == Reason::Unsealed {
        return;
    }
    let line = seen.lines(Line::Record).next();
    for (key, what) in [
        ("shutdown-ms", "the shutdown is soon over"),
        ("last-chance-ms", "the last chance of the shutdown is soon over"),
    ] {
        let milliseconds = line.and_then(|line| line.number(key));
        // Without a volume of the system's the executive has whoever writes to it wait.
        found.holds(what, mounted(scenario) == 0 || milliseconds.is_some_and(|taken| taken < 4000));
    }
    // A thread that looks again and again takes a processor from the guest. After a resume xenstore is told everything anew,
    // and a change of a backend's has each disk's nodes read.
    let rest = seen.lines(Line::Rest).next();
    let number = |key| rest.and_then(|line| line.number(key)).unwrap_or(u64::MAX);
    found.holds("drivers' threads rest", number("waits") <= 400 + 64 * expect.pv as u64);
    let record = line.and_then(|line| parse(line.get("hex")?));
    if scenario.words.contains(&Word::Fault(Fault::RegistryFull)) {
        return found.same("a record in a registry that takes none", record, None);
    }
    let Some(LastBoot { end, status, started, .. }) = record else {
        return found.holds("a record of the boot in the registry", false);
    };
    found.same("the record's end", end, End::InOrder);
    found.holds("the record's time", started > 1_700_000_000);
    if expect.pv > 0 {
        found.same("the record's phase", status.phase, PhaseNumber::EXPOSED);
        found.same("the record's reason", status.reason, Reason::PvSelected.code());
        found.holds("the record's census", status.counted == 1 && status.alias == 0 && status.ours > 0);
    } else if expect.decision != Reason::PvSelected {
        found.same("the record's phase", status.phase, PhaseNumber::EMULATED);
        found.same("the record's reason", status.reason, expect.decision.code());
    }
}

/// Returns a node of the guard's folder, in whichever domain the guest ended.
fn node<'a>(store: &'a Store, name: &'a str) -> Option<&'a str> {
    let path = format!("/{}/{name}", host::STATE);
    store.named(name).find(|(node, _)| node.ends_with(&path)).map(|(_, value)| value)
}

/// Looks at the nodes that the host finds of a guest that has ended.
pub(super) fn nodes(seen: &Seen<'_>, found: &mut Differences) {
    let (scenario, expect) = (seen.scenario, &seen.scenario.expect);
    let Some(store) = &seen.boot.outcome.store_end else { return };
    // Without its second thread xenpci tells the host nothing.
    if scenario.machine != Machine::Xen || scenario.words.contains(&Word::Fault(Fault::NoSecondThread)) {
        return;
    }
    let last = node(store, "last").map(str::to_owned);
    let begins = |text: &str| last.as_deref().is_some_and(|last| last.starts_with(text));
    let told = |found: &mut Differences, nodes: &[(&str, Option<&str>)]| {
        for (name, expected) in nodes {
            found.same(&format!("{}/{name}", host::STATE), node(store, name), *expected);
        }
    };
    let other = |name: &'static str| {
        store.named(name.rsplit('/').next().unwrap_or_default()).find(move |(path, _)| path.ends_with(name))
    };
    if let Some((reason, own, enumerated)) = expect.stop {
        let line =
            format!("end=stopped mode=pv reason={:#x} own={own} enumerated={enumerated} ", reason.code());
        found.holds(&format!("the host's last word of a stop, {last:?}, begins with {line}"), begins(&line));
        let reason = format!("{:#x}", reason.code());
        told(found, &[("phase", Some("stopped")), ("reason", Some(&reason))]);
    } else if matches!(
        expect.ending,
        Ending::Crash(_) | Ending::CrashEarly(_) | Ending::Kept | Ending::PowerCut
    ) {
        found.same("the host's last word of a boot that says none", last.as_deref(), None);
    } else if expect.pv > 0 && scenario.fault != Some(Fault::PlatformLost) {
        if scenario.last_word {
            let line = "end=in-order mode=pv reason=0x1 phase=exposed ";
            found.holds(&format!("the host's last word, {last:?}, begins with {line}"), begins(line));
        }
        told(found, &[("phase", Some("exposed")), ("mode", Some("pv")), ("reason", Some("0x1"))]);
        for (name, value) in [("/feature/hotplug/vbd", "1"), ("/attr/PVAddons/Installed", "1")] {
            found.same(name, other(name).map(|(_, value)| value), Some(value));
        }
        for (name, driver) in [("/drivers/0", "Xenguard XENPCI "), ("/drivers/1", "Xenguard XENVBD ")] {
            found.holds(name, other(name).is_some_and(|(_, value)| value.starts_with(driver)));
        }
    } else if expect.decision == Reason::NotSelected && !scenario.last_word {
        told(found, &[("phase", None), ("last", None)]);
    } else if expect.decision == Reason::NotSelected {
        told(found, &[("phase", Some("emulated")), ("mode", Some("emulated")), ("reason", Some("0x10"))]);
        if scenario.fault == Some(Fault::PlatformLost) {
            told(found, &[("last", None)]);
        } else {
            let line = "end=in-order mode=emulated reason=0x10 phase=emulated ";
            found.holds(&format!("the host's last word, {last:?}, begins with {line}"), begins(line));
        }
        told(found, &[("own", None)]);
        for name in ["/drivers/0", "/feature/hotplug/vbd", "/attr/PVAddons/Installed"] {
            found.same(name, other(name), None);
        }
    }
}

/// Returns true if a line is of an entry of the event log that says how the boot before was stopped.
pub(super) fn is_of_the_boot_before(line: &rig::report::Line) -> bool {
    line.is("code", &format!("{:#x}", message::code(Reason::LastBootStopped)))
}

/// Looks for such an entry, which belongs in no boot but one after a stop.
pub(super) fn boot_before(seen: &Seen<'_>, found: &mut Differences) {
    if !seen.scenario.logged.contains(&Reason::LastBootStopped) {
        found.same("entries of a stop of the boot before", entries(seen, ""), 0);
    }
}

/// Returns how many entries of the event log say that the last boot was stopped as this text says.
fn entries(seen: &Seen<'_>, text: &str) -> usize {
    seen.lines(Line::Event).filter(|line| is_of_the_boot_before(line) && line.text.contains(text)).count()
}

/// See `what`.
pub(crate) const TOLD: Check = Check {
    what: "an entry in the event log, and `xenguard status` offline, say how the guard stopped the last boot",
    run: |seen, found| {
        found.same("entries of the stop", entries(seen, "reason%200x50,"), 1);
        found.same("dumps that NT copied", seen.said_dump("copied="), 1);
        match offline(&seen.boot.registry) {
            Ok((records, told)) => {
                let end = records.before.map(|boot| boot.end());
                found.same("the record of the boot before", end, Some("stopped"));
                let last = records.last.map(|boot| (boot.mode(), boot.end()));
                found.same("the record of the boot", last, Some(("emulated", "in-order")));
                let words = "stopped by the guard: reason 0x50, an emulated disk";
                found.holds(&format!("{words} is in {told:?}"), told.contains(words));
            }
            Err(error) => found.same("the registry that the boot left", format!("{error:#}"), String::new()),
        }
    },
};

/// See `what`.
pub(crate) const TOLD_ONCE: Check = Check {
    what: "a stop is told once: the boot after the next says nothing of it",
    run: |seen, found| {
        found.same("entries of a stop", entries(seen, ""), 0);
        let before = offline(&seen.boot.registry).map(|(records, _)| records.before.map(|boot| boot.end()));
        found.same("the record of the boot before", before.ok().flatten(), Some("in-order"));
    },
};

/// Returns what `xenguard status` tells of a volume whose hive has this in it.
fn offline(registry: &str) -> Result<(Records, String)> {
    let empty = Tree::new()
        .with_key("Select", Tree::new().with_dword("Current", 1).with_dword("Default", 1))
        .with_key("ControlSet001\\Services\\idefilter\\Parameters", Tree::new())
        .hive("SYSTEM");
    let edits = registration::edits(registry, &hive::Hive::new(&empty)?)?;
    let hive = hive_edit::edit_copy(&empty, &edits)?;
    let volume = tempfile::tempdir().context("cannot make a folder")?;
    let config = volume.path().join("WINDOWS/system32/config");
    fs::create_dir_all(&config).with_context(|| format!("cannot make {}", config.display()))?;
    fs::write(config.join("SYSTEM"), hive)?;
    let system = System::below(volume.path(), Ok("WINDOWS"));
    let told = system.facts(&[]).into_iter().map(|fact| format!("{}: {}\n", fact.name, fact.text)).collect();
    Ok((system.records(), told))
}
