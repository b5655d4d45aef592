//! Taking out what is left of another suite, on a volume that no Windows is using.
//!
//! What is taken out of the registry is planned here, as a pure function of the hive: filters out of every
//! list of classes and of devices, then the services, the devices' bindings, the suite's buses. A file goes
//! only when nothing in the edited hive names it; it is not deleted but renamed, so that it can come back.

use anyhow::{Context, Result};
use hive::{Hive, Key, data_type};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::edits::{all_sets, keys, multi};
use crate::{
    bail_as,
    files::{Disk, Files},
    guest_files,
    hive_edit::Edit,
    inf::Inf,
    suites,
    system::raw_value::RawValue,
};

/// A file that is set aside gets this behind its name.
pub const ASIDE: &str = ".removed";

/// Drivers of emulated controllers, as pairs of which both must start: a system that boots emulated has one.
const EMULATED: [&[&str]; 5] =
    [&["intelide", "atapi"], &["pciide", "atapi"], &["msahci"], &["storahci"], &["stornvme"]];
const CRITICAL: &str = "Control\\CriticalDeviceDatabase";
const FILTER_LISTS: [&str; 2] = ["UpperFilters", "LowerFilters"];
/// `SERVICE_KERNEL_DRIVER`.
const KERNEL_DRIVER: u32 = 1;

/// Keys, values and files to take out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the registry, in the order in which they are made.
    pub edits: Vec<Edit>,
    /// The names of drivers that nothing refers to then.
    pub drivers: BTreeSet<String>,
    /// Notes for the admin: what is left as it is, and why.
    pub notes: Vec<String>,
    /// The suites of which something is there.
    pub suites: BTreeSet<&'static str>,
}

/// Plans it.
///
/// # Errors
/// The hive is damaged; or no driver of an emulated controller would start at boot, so that the system would
/// boot no more.
pub fn plan(hive: &Hive<'_>) -> Result<Plan> {
    let mut plan = Plan::default();
    let sets = all_sets(hive)?;
    let mut gone = BTreeSet::new();
    for set in &sets {
        let found = Found::of(hive, set, &mut plan)?;
        found.filters(&mut plan)?;
        found.devices(&mut plan)?;
        found.services(&mut plan)?;
        gone.extend(found.drivers);
    }
    if !plan.edits.is_empty() {
        refuse_without_emulated(hive, &sets)?;
    }
    // A file stays while a service of another name has it.
    for set in &sets {
        for service in keys(hive, &format!("{set}\\Services"))? {
            let Some(path) = service.text("ImagePath")? else { continue };
            let file = file_stem(&path);
            let stays = !gone.contains(&service.name().to_ascii_lowercase());
            if stays && gone.remove(&file) {
                plan.notes
                    .push(format!("{file}.sys stays: the service {} has it as its file", service.name()));
            }
        }
    }
    plan.drivers = gone;
    plan.notes.sort();
    plan.notes.dedup();
    plan.edits = merged(plan.edits);
    // Values before keys: a key may go with all its values.
    plan.edits.sort_by_key(|edit| match edit {
        Edit::DeleteValues { .. } => 0,
        Edit::Set { .. } => 1,
        Edit::DeleteKey { .. } => 2,
    });
    Ok(plan)
}

/// Returns the edits, with one for all values that a key loses: taking values away rewrites the others as
/// they were.
fn merged(edits: Vec<Edit>) -> Vec<Edit> {
    let mut merged: Vec<Edit> = Vec::new();
    for edit in edits {
        if let Edit::DeleteValues { key, names } = &edit
            && let Some(Edit::DeleteValues { names: all, .. }) = merged
                .iter_mut()
                .find(|other| matches!(other, Edit::DeleteValues { key: own, .. } if own == key))
        {
            all.extend(names.iter().cloned());
        } else {
            merged.push(edit);
        }
    }
    merged
}

/// Parts of other suites in a control set.
struct Found<'a> {
    hive: &'a Hive<'a>,
    set: &'a str,
    /// Drivers' services that go, in lower case.
    drivers: BTreeSet<String>,
    /// Services of user mode that go.
    programs: BTreeSet<String>,
    /// Drivers that must not be touched: this suite's, or of an unknown maker.
    kept: BTreeSet<String>,
}

impl<'a> Found<'a> {
    fn of(hive: &'a Hive<'a>, set: &'a str, plan: &mut Plan) -> Result<Found<'a>> {
        let mut found =
            Found { hive, set, drivers: BTreeSet::new(), programs: BTreeSet::new(), kept: BTreeSet::new() };
        for service in keys(hive, &format!("{set}\\Services"))? {
            let name = service.name().to_ascii_lowercase();
            let path = service.text("ImagePath")?;
            if let Some(suite) = suites::of_driver(&name) {
                let ours = service.text("DisplayName")?.is_some_and(|name| name.contains("Xenguard"));
                let file = path.as_deref().map_or_else(|| name.clone(), file_stem);
                if ours {
                    found.kept.insert(name);
                } else if service.dword("Type")?.is_some_and(|kind| kind != KERNEL_DRIVER) || file != name {
                    plan.notes.push(format!(
                        "the service {} stays: it is not the driver of {} that has this name (its file is {})",
                        service.name(),
                        suite.name,
                        path.unwrap_or_default()
                    ));
                    found.kept.insert(name);
                } else {
                    plan.suites.insert(suite.name);
                    found.drivers.insert(name);
                }
            } else if let Some(suite) = suites::of_service(&name)
                && path
                    .is_some_and(|path| path.to_ascii_lowercase().contains("xen") || name.starts_with("pvvx"))
            {
                plan.suites.insert(suite.name);
                found.programs.insert(service.name().to_owned());
            }
        }
        Ok(found)
    }

    /// Returns true if a filter of another suite: also one whose service is gone already.
    fn is_filter(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        suites::of_driver(&name).is_some() && !self.kept.contains(&name)
    }

    fn filters(&self, plan: &mut Plan) -> Result<()> {
        for class in keys(self.hive, &format!("{}\\Control\\Class", self.set))? {
            let key = format!("{}\\Control\\Class\\{}", self.set, class.name());
            self.without_filters(&class, &key, plan)?;
        }
        Ok(())
    }

    fn without_filters(&self, holder: &Key<'_>, key: &str, plan: &mut Plan) -> Result<()> {
        for list in FILTER_LISTS {
            let Some(value) = holder.value(list)? else { continue };
            let raw = RawValue { kind: value.data_type(), data: value.data()?.into_owned() };
            let Some(old) = raw.strings() else { continue };
            let new: Vec<String> = old.iter().filter(|filter| !self.is_filter(filter)).cloned().collect();
            if new.len() == old.len() {
                continue;
            }
            let suites =
                old.iter().filter(|filter| self.is_filter(filter)).filter_map(|name| suites::of_driver(name));
            plan.suites.extend(suites.map(|suite| suite.name));
            plan.edits.push(if new.is_empty() {
                Edit::DeleteValues { key: key.to_owned(), names: vec![list.to_owned()] }
            } else {
                let (kind, data) = (data_type::MULTI_SZ, multi(&new));
                Edit::Set { key: key.to_owned(), name: list.to_owned(), kind, data }
            });
        }
        Ok(())
    }

    fn devices(&self, plan: &mut Plan) -> Result<()> {
        let goes = |service: &str| self.drivers.contains(&service.to_ascii_lowercase());
        let path = format!("{}\\Enum", self.set);
        for bus in keys(self.hive, &path)? {
            if let Some(suite) = suites::of_bus(bus.name()) {
                plan.suites.insert(suite.name);
                plan.edits.push(Edit::DeleteKey { key: format!("{path}\\{}", bus.name()) });
                continue;
            }
            for device in bus.keys()? {
                let device = device?;
                for instance in device.keys()? {
                    let instance = instance?;
                    let key = format!("{path}\\{}\\{}\\{}", bus.name(), device.name(), instance.name());
                    self.without_filters(&instance, &key, plan)?;
                    if instance.text("Service")?.is_some_and(|service| goes(&service)) {
                        let mut names = Vec::new();
                        for name in ["Service", "ClassGUID", "Class", "Driver", "Security"] {
                            if instance.value(name)?.is_some() {
                                names.push(name.to_owned());
                            }
                        }
                        plan.edits.push(Edit::DeleteValues { key, names });
                    }
                }
            }
        }
        for entry in keys(self.hive, &format!("{}\\{CRITICAL}", self.set))? {
            if entry.text("Service")?.is_some_and(|service| goes(&service)) {
                plan.edits
                    .push(Edit::DeleteKey { key: format!("{}\\{CRITICAL}\\{}", self.set, entry.name()) });
            }
        }
        Ok(())
    }

    fn services(&self, plan: &mut Plan) -> Result<()> {
        let services = format!("{}\\Services", self.set);
        for name in self.drivers.iter().chain(&self.programs) {
            let source = format!("{services}\\EventLog\\System\\{name}");
            if self.hive.key(&source)?.is_some() {
                plan.edits.push(Edit::DeleteKey { key: source });
            }
            plan.edits.push(Edit::DeleteKey { key: format!("{services}\\{name}") });
        }
        // In a boot with the other suite's disks these had none, and Windows has left them out since.
        if !self.drivers.is_empty() {
            for name in EMULATED.iter().flat_map(|drivers| drivers.iter()).collect::<BTreeSet<_>>() {
                let key = format!("{services}\\{name}\\StartOverride");
                if self.hive.key(&key)?.is_some() {
                    plan.edits.push(Edit::DeleteKey { key });
                }
            }
        }
        Ok(())
    }
}

/// Refuses a system without drivers for emulated disks. One that has only booted from the other suite's disks
/// may have no driver left for emulated ones.
fn refuse_without_emulated(hive: &Hive<'_>, sets: &[String]) -> Result<()> {
    for set in sets {
        let starts = |name: &&str| -> bool {
            let key = hive.key(&format!("{set}\\Services\\{name}"));
            matches!(key, Ok(Some(key)) if key.dword("Start").is_ok_and(|start| start == Some(0)))
        };
        if hive.key(&format!("{set}\\Services"))?.is_some()
            && !EMULATED.iter().any(|drivers| drivers.iter().all(&starts))
        {
            bail_as!(
                Refused,
                "in {set} no driver of an emulated disk controller starts at boot (atapi with intelide or pciide, msahci, \
                 storahci, stornvme): without the other suite this system would not boot (0x7B). Set Start of the one that \
                 the guest's controller needs to 0 first"
            );
        }
    }
    Ok(())
}

/// Returns the name of a driver's file, in lower case and without `.sys`.
fn file_stem(path: &str) -> String {
    let name = path.trim_matches('"').rsplit(['\\', '/']).next().unwrap_or_default().to_ascii_lowercase();
    name.strip_suffix(".sys").map_or(name.clone(), str::to_owned)
}

/// A package of another suite in the driver store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// `oem<n>.inf`.
    pub inf: String,
    /// The suite.
    pub suite: &'static str,
    /// Its files and folders: the INF file, its compiled form, its folder in the repository.
    pub paths: Vec<PathBuf>,
}

/// Returns the packages of other suites in the driver store of a Windows that is not running.
///
/// # Errors
/// A folder cannot be read.
pub fn stored(windows: &Path) -> Result<Vec<Stored>> {
    let Some(folder) = guest_files::folder(windows, "INF")? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for path in listed(&folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        if !(name.starts_with("oem") && name.ends_with(".inf")) {
            continue;
        }
        let content = Disk.read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let Some(suite) = suite_of(&text_of(&content)) else { continue };
        let mut paths = vec![path.clone()];
        paths.extend(guest_files::file(&folder, &name.replace(".inf", ".pnf"))?);
        paths.extend(in_repository(windows, &content)?);
        found.push(Stored { inf: name, suite, paths });
    }
    found.sort_by(|one, other| one.inf.cmp(&other.inf));
    Ok(found)
}

/// Returns the suite whose drivers an INF file installs.
fn suite_of(text: &str) -> Option<&'static str> {
    let inf = Inf::parse(text).ok()?;
    if inf.value("Version", "Provider") == Some("Xenguard") {
        return None;
    }
    let files = inf.lines("SourceDisksFiles").iter().chain(inf.lines("SourceDisksFiles.amd64"));
    let suites: Vec<_> = files
        .filter_map(|line| line.key.as_deref())
        .filter(|file| file.to_ascii_lowercase().ends_with(".sys"))
        .filter_map(|file| suites::of_driver(&file_stem(file)))
        .collect();
    suites.first().map(|suite| suite.name)
}

/// INF files are in UTF-16 with a byte order mark, or in a code page.
fn text_of(content: &[u8]) -> String {
    match content {
        [0xff, 0xfe, rest @ ..] => {
            let units: Vec<u16> =
                rest.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
            String::from_utf16_lossy(&units)
        }
        _ => String::from_utf8_lossy(content).into_owned(),
    }
}

/// Returns the folder in the repository that holds an INF file of this content.
fn in_repository(windows: &Path, content: &[u8]) -> Result<Option<PathBuf>> {
    let mut place = windows.to_owned();
    for name in ["System32", "DriverStore", "FileRepository"] {
        match guest_files::folder(&place, name)? {
            Some(folder) => place = folder,
            None => return Ok(None),
        }
    }
    for package in listed(&place)? {
        let name = package.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        // The folder is called by its INF file, the architecture and a hash.
        let Some((inf, _)) = name.split_once(".inf_").map(|(stem, rest)| (format!("{stem}.inf"), rest))
        else {
            continue;
        };
        if let Some(file) = guest_files::file(&package, &inf)?
            && Disk.read(&file).is_ok_and(|own| own == content)
        {
            return Ok(Some(package));
        }
    }
    Ok(None)
}

fn listed(folder: &Path) -> Result<Vec<PathBuf>> {
    let cannot = || format!("cannot look into {}", folder.display());
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(cannot)? {
        paths.push(entry.with_context(cannot)?.path());
    }
    paths.sort();
    Ok(paths)
}
