//! The suite as the boot loader and PnP will find it: services, driver files, filter lists, marks of
//! `StartOverride`, signatures; and its service of user mode.

use anyhow::Result;
use guard::start_override::{self, EMULATED};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

use super::{Answer, registry::Registry};
use crate::{
    files::{Disk, Files, security::lets_users_write},
    guest_files,
    hive_edit::Edit,
    image::{self, Signature},
    install::{
        package::{DRIVERS, FILTERED},
        service,
    },
    menu::{Entry, Finding, Loads},
};

/// The filter, and the driver that does its part where it cannot be loaded.
const FILTER: &str = "idefilter";
const FALLBACK: &str = "idefallback";
/// The drivers that a PV boot needs.
pub(super) const NEEDED: [&str; 3] = [FILTER, "xenpci", "xenvbd"];
/// `SERVICE_BOOT_START`.
const BOOT_START: u32 = 0;
/// `SERVICE_DISABLED`.
const DISABLED: u32 = 4;
/// `SERVICE_KERNEL_DRIVER`.
const KERNEL_DRIVER: u32 = 1;
const OURS: &str = "Xenguard";

/// Obstacle to loading a driver.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Obstacle {
    /// There is no service of its name.
    NoService,
    /// It is another vendor's.
    Foreign,
    /// `Start` is this.
    Start(Option<u32>),
    /// `Type` is this.
    Type(Option<u32>),
    /// `StartOverride` has this number.
    Override(u32),
    /// There is no file.
    NoFile(String),
    /// The file is no driver for x64.
    Damaged(String),
}

impl Obstacle {
    fn text(&self) -> String {
        match self {
            Obstacle::NoService => "not installed".to_owned(),
            Obstacle::Foreign => "another vendor's driver of that name".to_owned(),
            Obstacle::Start(Some(DISABLED)) => "disabled".to_owned(),
            Obstacle::Start(Some(start)) => format!("start type {start}"),
            Obstacle::Start(None) => "its service has no Start".to_owned(),
            Obstacle::Type(_) => "its service is none of a kernel driver".to_owned(),
            Obstacle::Override(number) => {
                format!(
                    "left out by the loader (StartOverride is {number}: Windows has not needed it of late)"
                )
            }
            Obstacle::NoFile(path) => format!("its file {path} is missing"),
            Obstacle::Damaged(path) => format!("its file {path} is no driver for x64"),
        }
    }
}

/// One driver.
#[derive(Debug)]
struct Driver {
    name: &'static str,
    obstacle: Option<Obstacle>,
    /// Its file was looked at.
    file: Option<Signature>,
    /// An ordinary user may write its file.
    is_open: bool,
}

/// Outcome of looking.
#[derive(Debug)]
pub struct Judgement {
    /// True if a PV entry boots with PV disks, as far as drivers go.
    pub ready: Answer,
    /// The drivers' state, for a reader.
    pub text: String,
    /// The same for programs: driver and state.
    pub states: Vec<(&'static str, String)>,
    /// Problems.
    pub findings: Vec<Finding>,
    /// Number of things that keep a PV entry from its drivers.
    pub obstacles: usize,
}

impl Judgement {
    /// Returns it as `--json` shows it.
    #[must_use]
    pub fn json(&self) -> Value {
        let states: serde_json::Map<_, _> =
            self.states.iter().map(|(name, state)| ((*name).to_owned(), json!(state))).collect();
        json!({ "ready": self.ready.word(), "states": states })
    }
}

/// The loader's rules that a version of Windows has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Boot drivers must be signed (NT 6.0 and later, on x64); unknown where the version is.
    pub signed: Option<bool>,
    /// Test signing does not count: Secure Boot is on.
    pub secure_boot: bool,
}

/// Looks at the suite in a control set and at its files.
///
/// # Errors
/// The registry cannot be read.
pub(crate) fn judge(
    registry: &Registry,
    set: &str,
    windows: Option<&Path>,
    rules: Rules,
    entries: &[Entry],
) -> Result<Judgement> {
    let drivers =
        DRIVERS.into_iter().map(|name| driver(registry, set, windows, name)).collect::<Result<Vec<_>>>()?;
    let of = |name: &str| drivers.iter().find(|driver| driver.name == name);
    let obstacle = |name: &str| of(name).and_then(|driver| driver.obstacle.as_ref());
    let mut lists = Vec::new();
    for class in FILTERED {
        let value = registry.value(&format!("{set}\\Control\\Class\\{class}"), "UpperFilters")?;
        let strings = value.and_then(|value| value.strings()).unwrap_or_default();
        lists.push((class, strings.iter().any(|name| name.eq_ignore_ascii_case(FILTER))));
    }
    let listed = lists.iter().filter(|(_, listed)| *listed).count();

    let mut findings = Vec::new();
    let pv_entry = entries.iter().any(|entry| entry.pv);
    let installed = listed > 0 || drivers.iter().any(|driver| driver.obstacle != Some(Obstacle::NoService));
    // A filter that a list names and that cannot be loaded stops every device of the class.
    if let (true, Some(why)) = (listed > 0, obstacle(FILTER)) {
        let rescue = obstacle(FALLBACK);
        let consequence = match (why, rescue) {
            (_, Some(rescue)) => format!(
                "and idefallback, which would take the filter out of the lists, does not load either ({}): no entry boots \
                 (0x7B)",
                rescue.text()
            ),
            (Obstacle::NoFile(_) | Obstacle::Damaged(_), None) => {
                "so that both entries boot emulated, by idefallback".to_owned()
            }
            (_, None) => "which idefallback may come too late for: perhaps no entry boots (0x7B)".to_owned(),
        };
        findings.push(Finding::wrong(format!(
            "{listed} classes name idefilter as a filter, but it does not load ({}), {consequence}. Run install again, or \
             uninstall",
            why.text()
        )));
    }
    if obstacle(FILTER).is_none() && listed < FILTERED.len() {
        let missing: Vec<_> = lists.iter().filter(|(_, listed)| !listed).map(|(class, _)| *class).collect();
        findings.push(Finding::wrong(format!(
            "idefilter is not among the filters of {}: emulated disks of that kind are not hidden, and the PV entry is \
             withheld. Run install again",
            missing.join(", ")
        )));
    }
    for driver in drivers.iter().filter(|driver| driver.name != FILTER || listed == 0) {
        let Some(why) = driver.obstacle.as_ref().filter(|_| installed) else { continue };
        let name = driver.name;
        if name == FALLBACK {
            findings.push(Finding::wrong(format!(
                "idefallback does not load ({}): if idefilter ever fails, no entry boots. Run install again",
                why.text()
            )));
            continue;
        }
        let text = format!(
            "{name} does not load ({}), so the PV entry boots emulated. Run install again",
            why.text()
        );
        let is_broken = !matches!(why, Obstacle::NoService | Obstacle::Start(_) | Obstacle::Foreign);
        if let Obstacle::Override(_) = why {
            findings.push(Finding::wrong(format!(
                "the loader leaves {name} out (StartOverride): the PV entry ends in 0x7B or boots emulated. `xenguard default \
                 pv`, `try` or `install` takes the mark away"
            )));
        } else if is_broken || installed && pv_entry && name != FILTER {
            findings.push(Finding::wrong(text));
        }
    }
    let mut obstacles = NEEDED.iter().filter(|name| obstacle(name).is_some()).count();
    obstacles += usize::from(listed < FILTERED.len());
    for driver in drivers.iter().filter(|driver| driver.is_open) {
        findings.push(Finding::wrong(format!(
            "ordinary users of the guest may write {}.sys, which runs in the kernel (an earlier version of this program left \
             it so); run install again",
            driver.name
        )));
    }
    obstacles += usize::from(signatures(&drivers, rules, entries, listed, &mut findings));
    for (name, number) in overridden(registry, set, EMULATED)? {
        findings.push(Finding::wrong(format!(
            "the loader leaves {name} out (its StartOverride is {number}, written in PV boots): an emulated entry ends in \
             0x7B. `xenguard default emulated`, `try` or `install` takes the mark away"
        )));
    }
    let unread = drivers.iter().any(|driver| driver.obstacle.is_none() && driver.file.is_none());
    let ready = match (obstacles > 0, unread) {
        (true, _) => Answer::No,
        (false, true) => Answer::Unknown,
        (false, false) => Answer::Yes,
    };
    let state = |driver: &Driver| match (&driver.obstacle, driver.file) {
        (Some(why), _) => why.text(),
        (None, None) => "boot start, its file not seen".to_owned(),
        (None, Some(_)) => "boot start".to_owned(),
    };
    let mut states: Vec<_> = drivers.iter().map(|driver| (driver.name, state(driver))).collect();
    let (service, wrong) = service_state(registry, set, windows)?;
    findings.extend(wrong.map(Finding::wrong));
    if installed || service != NOT_INSTALLED {
        states.push(("service", service));
    }
    if installed {
        states.push(("filtered_classes", format!("{listed} of {}", FILTERED.len())));
    }
    let text = if installed {
        states.iter().map(|(name, state)| format!("{name}: {state}")).collect::<Vec<_>>().join(", ")
    } else {
        "not installed".to_owned()
    };
    Ok(Judgement { ready, text, states, findings, obstacles })
}

/// Says of drivers whose signature the loader will not take; returns whether there are any.
fn signatures(
    drivers: &[Driver],
    rules: Rules,
    entries: &[Entry],
    listed: usize,
    findings: &mut Vec<Finding>,
) -> bool {
    let weakest =
        drivers.iter().filter(|driver| driver.obstacle.is_none()).filter_map(|driver| driver.file).min();
    if rules.signed != Some(true) {
        return false;
    }
    let refused = match weakest {
        Some(Signature::None) => "have no signature, which this Windows does not load".to_owned(),
        Some(Signature::Test) if rules.secure_boot => {
            "are signed for tests, which does not count while Secure Boot is on".to_owned()
        }
        Some(Signature::Test) => {
            let without: Vec<_> = entries
                .iter()
                .filter(|entry| entry.loads == Loads::Windows && entry.test_signing == Some(false))
                .map(|entry| entry.number.to_string())
                .collect();
            if without.is_empty() {
                return false;
            }
            format!("are signed for tests, and test signing is not on in entry {}", without.join(", "))
        }
        Some(Signature::Trusted) | None => return false,
    };
    let consequence = if listed > 0 {
        "idefilter is a filter that is not loaded then, so such an entry does not boot (0x7B)"
    } else {
        "they are not loaded"
    };
    findings.push(Finding::wrong(format!(
        "drivers {refused}: {consequence}. See \"Signing\" in the admin guide"
    )));
    true
}

fn driver(registry: &Registry, set: &str, windows: Option<&Path>, name: &'static str) -> Result<Driver> {
    let key = format!("{set}\\Services\\{name}");
    let none = |obstacle| Ok(Driver { name, obstacle: Some(obstacle), file: None, is_open: false });
    if registry.keys(&key)?.is_none() {
        return none(Obstacle::NoService);
    }
    let text =
        |value: &str| Ok::<_, anyhow::Error>(registry.value(&key, value)?.and_then(|value| value.text()));
    let number =
        |value: &str| Ok::<_, anyhow::Error>(registry.value(&key, value)?.and_then(|value| value.dword()));
    if text("DisplayName")?.is_some_and(|name| !name.contains(OURS)) {
        return none(Obstacle::Foreign);
    }
    let start = number("Start")?;
    if start != Some(BOOT_START) {
        return none(Obstacle::Start(start));
    }
    let kind = number("Type")?;
    if kind.is_some_and(|kind| kind != KERNEL_DRIVER) {
        return none(Obstacle::Type(kind));
    }
    if let Some((_, number)) = overridden(registry, set, &[name])?.pop() {
        return none(Obstacle::Override(number));
    }
    let Some(windows) = windows else {
        return Ok(Driver { name, obstacle: None, file: None, is_open: false });
    };
    let path = text("ImagePath")?.unwrap_or_else(|| format!("system32\\drivers\\{name}.sys"));
    let Some(file) = file_of(windows, &path)? else { return none(Obstacle::NoFile(path)) };
    let content = Disk.read(&file)?;
    if !image::is_x64_driver(&content) {
        return none(Obstacle::Damaged(path));
    }
    // Where the rights cannot be read, writing is refused; reading goes on.
    let rights = Disk.attributes(&file).ok().and_then(|attributes| attributes.security);
    let is_open = rights.is_some_and(|rights| lets_users_write(&rights));
    Ok(Driver { name, obstacle: None, file: Some(image::signature(&content)), is_open })
}

/// State of a service without a key.
const NOT_INSTALLED: &str = "not installed";

/// Returns the state of the suite's service, and what is wrong with it. No boot depends on it.
fn service_state(registry: &Registry, set: &str, windows: Option<&Path>) -> Result<(String, Option<String>)> {
    let key = format!("{set}\\Services\\{}", service::NAME);
    if registry.keys(&key)?.is_none() {
        return Ok((NOT_INSTALLED.to_owned(), None));
    }
    let start = registry.value(&key, "Start")?.and_then(|value| value.dword());
    let state = match start {
        Some(2) => "automatic start".to_owned(),
        Some(3) => "started by hand".to_owned(),
        Some(DISABLED) => "disabled".to_owned(),
        Some(other) => format!("start type {other}"),
        None => "its service has no Start".to_owned(),
    };
    let Some(windows) = windows else { return Ok((state, None)) };
    if guest_files::file(windows, &format!("System32/{}", service::FILE))?.is_none() {
        let wrong = format!(
            "the service {} has no file System32\\{}: Windows writes an error into its event log at each start. Run install \
             again",
            service::NAME,
            service::FILE
        );
        return Ok((format!("{state}, its file is missing"), Some(wrong)));
    }
    Ok((state, None))
}

/// Returns a driver's file by its `ImagePath`, which is relative to the folder of Windows, or begins with
/// `\SystemRoot`.
fn file_of(windows: &Path, path: &str) -> Result<Option<PathBuf>> {
    let path = path.trim_matches('"').replace('\\', "/");
    let start = path.trim_start_matches('/').to_ascii_lowercase();
    let relative = match start.strip_prefix("systemroot/").or_else(|| start.strip_prefix("%systemroot%/")) {
        Some(rest) => rest.to_owned(),
        None => start,
    };
    guest_files::file(windows, &relative)
}

/// Returns the services that start at boot, but that `StartOverride` has left out, with its number.
///
/// # Errors
/// The registry cannot be read.
pub(crate) fn overridden(registry: &Registry, set: &str, names: &[&str]) -> Result<Vec<(String, u32)>> {
    let mut found = Vec::new();
    for name in names {
        let marks = registry.dwords(&format!("{set}\\Services\\{name}\\StartOverride"))?.unwrap_or_default();
        if let Some((_, number)) = marks.into_iter().find(|(_, number)| *number != BOOT_START) {
            let start = registry.value(&format!("{set}\\Services\\{name}"), "Start")?;
            if start.and_then(|start| start.dword()) == Some(BOOT_START) {
                found.push(((*name).to_owned(), number));
            }
        }
    }
    Ok(found)
}

/// Returns the edits that take the marks of `StartOverride` away, of both sides, in every set that the next
/// boot may take.
///
/// # Errors
/// The registry cannot be read.
pub(crate) fn without_overrides(registry: &Registry) -> Result<Vec<Edit>> {
    let names: Vec<_> = start_override::services().collect();
    let mut edits = Vec::new();
    for set in registry.next_sets()? {
        for (name, _) in overridden(registry, &set, &names)? {
            edits.push(Edit::DeleteKey { key: format!("{set}\\Services\\{name}\\StartOverride") });
        }
    }
    Ok(edits)
}
