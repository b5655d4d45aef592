//! Everything in the registry and among the drivers' files that keeps a system from booting (0x7B), or from
//! taking this suite: looked at before anything is installed.
//!
//! Sources of the causes: Microsoft's troubleshooting article of stop error 7B (missing or disabled boot
//! drivers, class filters whose service is gone), what rescue tools of others look at (Start, StartOverride,
//! filters, SAN policy), and the sources of other suites' own cleaning tools.

use anyhow::Result;
use guard::setup_class;
use std::{collections::BTreeSet, path::Path};

use super::registry::Registry;
use crate::{guest_files, menu::Finding, suites};

/// Classes whose devices stand on the way to the boot disk, with what they are called.
const CLASSES: [(&str, &str); 5] = [
    (setup_class::SYSTEM, "System"),
    (setup_class::HDC, "IDE controllers"),
    (setup_class::SCSI_ADAPTER, "storage controllers"),
    (setup_class::DISK_DRIVE, "disks"),
    (setup_class::VOLUME, "volumes"),
];
/// The classes among them whose devices are controllers.
const CONTROLLERS: [&str; 2] = [setup_class::HDC, setup_class::SCSI_ADAPTER];
/// Buses whose devices are there when a system boots. Others' leftovers are found by nobody.
const BUSES: [&str; 6] = ["PCI", "ACPI", "ACPI_HAL", "IDE", "SCSI", "STORAGE"];
/// Drivers without which no Windows finds its volume, where they are registered at all.
const CORE: [&str; 8] = ["acpi", "pci", "disk", "partmgr", "mountmgr", "volmgr", "ftdisk", "volsnap"];
/// Drivers of storage controllers that Windows brings along.
const INBOX: [&str; 20] = [
    "intelide",
    "pciide",
    "atapi",
    "pciidex",
    "msahci",
    "storahci",
    "stornvme",
    "lsi_scsi",
    "lsi_sas",
    "lsi_sas2",
    "lsi_sas2i",
    "lsi_sas3i",
    "symc8xx",
    "sym_hi",
    "sym_u3",
    "megasas",
    "iastorv",
    "iastorav",
    "spaceport",
    "vhdmp",
];
/// The Xen platform device.
const PLATFORM: [&str; 2] = ["VEN_5853&DEV_0001", "VEN_5853&DEV_0002"];
/// `SERVICE_BOOT_START`.
const BOOT_START: u32 = 0;
/// `SERVICE_DISABLED`.
const DISABLED: u32 = 4;

/// Looks at a control set; files are those below the folder of Windows, where it is at hand.
///
/// # Errors
/// The registry cannot be read.
pub(super) fn survey(registry: &Registry, set: &str, windows: Option<&Path>) -> Result<Vec<Finding>> {
    let look = Look { registry, set, windows };
    let mut findings = Vec::new();
    findings.extend(look.architecture()?);
    findings.extend(look.core()?);
    findings.extend(look.class_filters()?);
    findings.extend(look.devices()?);
    findings.extend(look.other_suites()?);
    findings.extend(look.overrides()?);
    findings.extend(look.san_policy()?);
    Ok(findings)
}

struct Look<'a> {
    registry: &'a Registry,
    set: &'a str,
    windows: Option<&'a Path>,
}

/// Known facts of a service.
struct Service {
    start: Option<u32>,
    /// Its file is not where the service says; only of drivers, and only where files are at hand.
    missing: Option<String>,
}

impl Look<'_> {
    fn keys(&self, key: &str) -> Result<Vec<String>> {
        Ok(self.registry.keys(&format!("{}\\{key}", self.set))?.unwrap_or_default())
    }

    fn text(&self, key: &str, name: &str) -> Result<Option<String>> {
        Ok(self.registry.value(&format!("{}\\{key}", self.set), name)?.and_then(|value| value.text()))
    }

    fn dword(&self, key: &str, name: &str) -> Result<Option<u32>> {
        Ok(self.registry.value(&format!("{}\\{key}", self.set), name)?.and_then(|value| value.dword()))
    }

    fn strings(&self, key: &str, name: &str) -> Result<Vec<String>> {
        let value = self.registry.value(&format!("{}\\{key}", self.set), name)?;
        Ok(value.and_then(|value| value.strings()).unwrap_or_default())
    }

    /// Returns a service; `None` where no key has its name.
    fn service(&self, name: &str) -> Result<Option<Service>> {
        let key = format!("Services\\{name}");
        if self.registry.keys(&format!("{}\\{key}", self.set))?.is_none() {
            return Ok(None);
        }
        let path = self.text(&key, "ImagePath")?.unwrap_or_else(|| format!("system32\\drivers\\{name}.sys"));
        let missing = match self.windows {
            Some(windows) if is_missing(windows, &path) => Some(path),
            _ => None,
        };
        Ok(Some(Service { start: self.dword(&key, "Start")?, missing }))
    }

    /// Returns true if a driver is of this suite: GPLPV has some of the same names.
    fn is_ours(&self, service: &str) -> Result<bool> {
        let name = self.text(&format!("Services\\{service}"), "DisplayName")?;
        Ok(name.is_some_and(|name| name.contains("Xenguard")))
    }

    fn architecture(&self) -> Result<Option<Finding>> {
        let key = "Control\\Session Manager\\Environment";
        Ok(match self.text(key, "PROCESSOR_ARCHITECTURE")?.as_deref() {
            Some("AMD64") => None,
            Some(other) => Some(Finding::wrong(format!(
                "this Windows is for {other}: the drivers are for x64 (AMD64) only, and install refuses"
            ))),
            None => Some(Finding::note("the architecture is not known (no PROCESSOR_ARCHITECTURE)")),
        })
    }

    fn core(&self) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        for name in CORE {
            let Some(service) = self.service(name)? else { continue };
            if service.start != Some(BOOT_START) && !(name == "volsnap" && service.start != Some(DISABLED)) {
                findings.push(Finding::wrong(format!(
                    "{name} does not start at boot (Start is {}): no entry boots (0x7B). Set Services\\{name}\\Start to 0",
                    shown(service.start)
                )));
            }
            if let Some(path) = service.missing {
                findings.push(Finding::wrong(format!(
                    "the file of {name}, {path}, is missing: no entry boots (0x7B)"
                )));
            }
        }
        for name in ["disk", "partmgr", "mountmgr", "pci"] {
            if self.service(name)?.is_none() {
                findings.push(Finding::wrong(format!(
                    "the service {name} has no key below Services: no entry boots (0x7B)"
                )));
            }
        }
        Ok(findings)
    }

    fn class_filters(&self) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        for (class, name) in CLASSES {
            let key = format!("Control\\Class\\{class}");
            for list in ["UpperFilters", "LowerFilters"] {
                for filter in self.strings(&key, list)? {
                    findings
                        .extend(self.filter(&filter, &format!("{list} of the class of {name} ({class})"))?);
                }
            }
        }
        Ok(findings)
    }

    /// Returns a filter that cannot be loaded stops the devices that it is a filter of.
    fn filter(&self, filter: &str, place: &str) -> Result<Option<Finding>> {
        // What becomes of this suite's own filter is judged with its drivers.
        if filter.eq_ignore_ascii_case("idefilter") {
            return Ok(None);
        }
        let why = match self.service(filter)? {
            None => "has no service".to_owned(),
            Some(Service { start: Some(DISABLED), .. }) => "is disabled".to_owned(),
            Some(Service { missing: Some(path), .. }) => format!("has no file {path}"),
            Some(_) => return Ok(None),
        };
        let remedy = match suites::of_driver(filter) {
            Some(suite) => format!("it is of {}: `xenguard clean` takes it out", suite.name),
            None => format!("take it out of {place}, or put it back"),
        };
        Ok(Some(Finding::wrong(format!(
            "the filter {filter} in {place} {why}: its devices do not start (0x7B); {remedy}"
        ))))
    }

    /// Devices on the way to the boot disk: their services, and the filters of each.
    fn devices(&self) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        let mut third_party = BTreeSet::new();
        for bus in BUSES {
            for device in self.keys(&format!("Enum\\{bus}"))? {
                for instance in self.keys(&format!("Enum\\{bus}\\{device}"))? {
                    let id = format!("{bus}\\{device}\\{instance}");
                    findings.extend(self.device(&id, &mut third_party)?);
                }
            }
        }
        findings.extend(third_party.into_iter().map(|service: String| {
            Finding::note(format!(
                "a storage controller is driven by {service}, which Windows does not bring along: disks behind it are \
                 neither hidden nor counted as emulated"
            ))
        }));
        Ok(findings)
    }

    fn device(&self, id: &str, third_party: &mut BTreeSet<String>) -> Result<Vec<Finding>> {
        let key = format!("Enum\\{id}");
        let mut findings = Vec::new();
        let service = self.text(&key, "Service")?.filter(|service| !service.is_empty());
        let upper = id.to_ascii_uppercase();
        if PLATFORM.iter().any(|platform| upper.starts_with(&format!("PCI\\{platform}"))) {
            findings.push(match &service {
                None => Finding::note("the Xen platform device has no driver: it is free"),
                Some(service) if self.is_ours(service)? => {
                    Finding::note("the Xen platform device is driven by this suite's xenpci")
                }
                Some(service) => Finding::wrong(format!(
                    "the Xen platform device is driven by {service}{}: uninstall that first (`xenguard clean` shows what is \
                     left of it)",
                    suites::of_driver(service).map_or(String::new(), |suite| format!(" of {}", suite.name))
                )),
            });
            return Ok(findings);
        }
        let class = self.text(&key, "ClassGUID")?.unwrap_or_default();
        if !CLASSES.iter().any(|(guid, _)| guid.eq_ignore_ascii_case(&class)) {
            return Ok(findings);
        }
        for list in ["UpperFilters", "LowerFilters"] {
            for filter in self.strings(&key, list)? {
                findings.extend(self.filter(&filter, &format!("{list} of {id}"))?);
            }
        }
        let Some(service) = service else { return Ok(findings) };
        let is_controller =
            id.starts_with("PCI\\") && CONTROLLERS.iter().any(|own| own.eq_ignore_ascii_case(&class));
        match self.service(&service)? {
            None => findings.push(Finding::wrong(format!(
                "{id} is driven by {service}, which has no key below Services: if the boot disk is behind it, no entry \
                 boots (0x7B)"
            ))),
            Some(Service { missing: Some(path), .. }) => findings.push(Finding::wrong(format!(
                "{id} is driven by {service}, whose file {path} is missing: if the boot disk is behind it, no entry boots \
                 (0x7B)"
            ))),
            Some(Service { start, .. }) if is_controller && start != Some(BOOT_START) => {
                findings.push(Finding::wrong(format!(
                    "the storage controller {id} is driven by {service}, which does not start at boot (Start is {}): if the \
                     boot disk is behind it, no entry boots (0x7B)",
                    shown(start)
                )));
            }
            Some(_) => {}
        }
        if is_controller && !INBOX.iter().any(|own| own.eq_ignore_ascii_case(&service)) {
            third_party.insert(service);
        }
        Ok(findings)
    }

    fn other_suites(&self) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        for suite in suites::SUITES {
            let mut enabled = Vec::new();
            for name in suite.drivers {
                if self.is_ours(name)? {
                    continue;
                }
                if self.service(name)?.is_some_and(|service| service.start != Some(DISABLED)) {
                    enabled.push(*name);
                }
            }
            if !enabled.is_empty() {
                findings.push(Finding::wrong(format!(
                    "drivers of {} are installed ({}): two suites would drive the same disks, and a PV boot is refused. \
                     Uninstall that suite; `xenguard clean` takes out what is left of it",
                    suite.name,
                    enabled.join(", ")
                )));
            }
        }
        Ok(findings)
    }

    /// Boot drivers that the loader leaves out, other than those that are judged with the suite.
    fn overrides(&self) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        for name in self.keys("Services")? {
            let key = format!("{}\\Services\\{name}\\StartOverride", self.set);
            let Some(marks) = self.registry.dwords(&key)? else { continue };
            let Some((_, mark)) = marks.into_iter().find(|(_, mark)| *mark != BOOT_START) else { continue };
            let starts = self.dword(&format!("Services\\{name}"), "Start")? == Some(BOOT_START);
            if starts && CORE.iter().any(|own| own.eq_ignore_ascii_case(&name)) {
                findings.push(Finding::wrong(format!(
                    "the loader leaves {name} out (StartOverride is {mark}): no entry boots (0x7B). Remove the key \
                     Services\\{name}\\StartOverride"
                )));
            }
        }
        Ok(findings)
    }

    /// Windows Server keeps disks that it sees for the first time offline on some buses: a PV disk is such a
    /// one. Source of the numbers: `VDS_SAN_POLICY` in vds.h.
    fn san_policy(&self) -> Result<Option<Finding>> {
        Ok(self.dword("Services\\partmgr\\Parameters", "SanPolicy")?.and_then(|policy| {
            let what = match policy {
                2 => "keeps new disks on shared buses offline (OfflineShared)",
                3 => "keeps new disks offline (OfflineAll)",
                4 => "keeps new internal disks offline (OfflineInternal)",
                _ => return None,
            };
            Some(Finding::note(format!(
                "the SAN policy {what}: data disks may be offline in the first PV boot; `diskpart`: san policy=OnlineAll"
            )))
        }))
    }
}

fn shown(start: Option<u32>) -> String {
    start.map_or_else(|| "not set".to_owned(), |start| start.to_string())
}

/// Says whether a driver's `ImagePath` names no file. A path to another place than the folder of Windows is
/// not looked at.
fn is_missing(windows: &Path, path: &str) -> bool {
    let lower = path.trim_matches('"').replace('\\', "/").to_ascii_lowercase();
    let lower = lower.trim_start_matches('/');
    let relative = ["systemroot/", "%systemroot%/"]
        .iter()
        .find_map(|start| lower.strip_prefix(start))
        .or_else(|| lower.starts_with("system32/").then_some(lower));
    relative.is_some_and(|relative| matches!(guest_files::file(windows, relative), Ok(None)))
}
