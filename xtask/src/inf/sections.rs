//! Rules about sections, strings and files.

use std::collections::BTreeSet;

use super::{Package, Suite, outside};
use guests::built::SHIPPED;

/// Sections that setup itself looks for.
const ROOTS: [&str; 6] =
    ["Version", "DestinationDirs", "SourceDisksNames", "SourceDisksFiles", "Manufacturer", "Strings"];
/// The same, with their decoration.
const DECORATED_ROOTS: [&str; 2] = ["DefaultInstall", "DefaultUninstall"];
/// A section that uninstalling names.
const REMOVE_FILE: &str = ".RemoveFile.NTamd64";
/// A section that installing names.
const COPY_FILE: &str = ".CopyFile.NTamd64";
const DECORATION: &str = ".NTamd64";
/// The words that follow an install section's name.
const PARTS: [&str; 2] = [".Services", ".HW"];

/// Directives of an install section and of its parts, with the fields that name further sections.
const DIRECTIVES: [(&str, &[usize]); 8] = [
    ("CopyFiles", &[0, 1, 2, 3]),
    ("DelFiles", &[0, 1, 2, 3]),
    ("AddReg", &[0, 1, 2, 3]),
    ("DelReg", &[0, 1, 2, 3]),
    ("AddService", &[2, 3]),
    ("DelService", &[]),
    ("CopyINF", &[]),
    ("LegacyUninstall", &[]),
];
/// Directives of a service's section that name no section.
const SERVICE: [&str; 6] =
    ["DisplayName", "ServiceType", "StartType", "ErrorControl", "LoadOrderGroup", "ServiceBinary"];

pub(super) fn strings(_: &Suite, package: &Package) -> Vec<String> {
    // A string that is missing is found by the reader: see the rule `syntax`.
    let lines = package.inf.sections().iter().flat_map(|section| &section.lines);
    let used: BTreeSet<String> =
        lines.flat_map(|line| &line.tokens).map(|token| token.to_ascii_lowercase()).collect();
    let unused = package.inf.string_names().filter(|name| !used.contains(*name));
    unused.map(|name| format!("nothing uses %{name}%")).collect()
}

/// Returns the sections that are named from somewhere, by setup or by the file.
fn named(package: &Package) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = ROOTS.iter().map(|name| (*name).to_owned()).collect();
    let mut install: Vec<String> = DECORATED_ROOTS.iter().map(|name| format!("{name}{DECORATION}")).collect();
    for maker in package.inf.lines("Manufacturer") {
        names.insert(format!("{}{DECORATION}", maker.field(0).unwrap_or_default()));
    }
    let models = package.models().into_iter().filter_map(|model| model.field(0));
    install.extend(models.map(|name| format!("{name}{DECORATION}")));
    let own = package.inf.sections().iter().map(|section| section.name.clone());
    install.extend(own.filter(|name| name.ends_with(REMOVE_FILE) || name.ends_with(COPY_FILE)));
    for name in install {
        names.extend(PARTS.iter().map(|part| format!("{name}{part}")));
        names.insert(name);
    }
    for line in package.inf.sections().iter().flat_map(|section| &section.lines) {
        let directive = DIRECTIVES.iter().find(|(directive, _)| line.has_key(directive));
        for at in directive.map_or(&[][..], |(_, fields)| fields) {
            names.extend(line.field(*at).map(str::to_owned));
        }
    }
    names.into_iter().map(|name| name.to_ascii_lowercase()).collect()
}

pub(super) fn references(_: &Suite, package: &Package) -> Vec<String> {
    let named = named(package);
    let mut breaches = Vec::new();
    for section in package.inf.sections() {
        if section.heads != 1 {
            breaches.push(format!("[{}] has {} heads", section.name, section.heads));
        }
        if !named.contains(&section.name.to_ascii_lowercase()) {
            breaches.push(format!("nothing names [{}] (line {})", section.name, section.number));
        }
    }
    // What setup or a model's name could stand for need not be there; what a directive names must.
    for line in package.inf.sections().iter().flat_map(|section| &section.lines) {
        let directive = DIRECTIVES.iter().find(|(directive, _)| line.has_key(directive));
        for name in directive.map_or(&[][..], |(_, fields)| fields).iter().filter_map(|&at| line.field(at)) {
            if package.inf.section(name).is_none() {
                breaches.push(format!("line {}: there is no section [{name}]", line.number));
            }
        }
    }
    breaches
}

pub(super) fn architecture(_: &Suite, package: &Package) -> Vec<String> {
    let mut breaches = Vec::new();
    for maker in package.inf.lines("Manufacturer") {
        let (models, decorations) =
            (maker.field(0).unwrap_or_default(), maker.fields.get(1..).unwrap_or_default());
        if decorations != ["NTamd64"] {
            breaches.push(format!("[Manufacturer] decorates {models} as {decorations:?}, not as NTamd64"));
        }
        if package.inf.lines(&format!("{models}{DECORATION}")).is_empty() {
            breaches.push(format!("there are no models in [{models}{DECORATION}]"));
        }
    }
    for install in package.install_sections() {
        if package.inf.section(&install).is_none() {
            breaches.push(format!("there is no section [{install}]"));
        }
        if let Some(plain) = install.strip_suffix(DECORATION).and_then(|plain| package.inf.section(plain)) {
            breaches.push(format!("[{}] would install on any architecture", plain.name));
        }
    }
    if package.install_sections().is_empty() {
        breaches.push("nothing installs on x64".to_owned());
    }
    breaches
}

pub(super) fn directives(_: &Suite, package: &Package) -> Vec<String> {
    let mut breaches = Vec::new();
    let known: Vec<_> = DIRECTIVES.iter().map(|(directive, _)| *directive).collect();
    for name in install_like(package) {
        let keys = package.inf.lines(&name).iter().map(|line| line.key.as_deref().unwrap_or("(none)"));
        breaches.extend(outside(keys, &known, &format!("[{name}]")));
    }
    for line in package.services() {
        let Some(name) = line.field(2) else { continue };
        let keys = package.inf.lines(name).iter().map(|line| line.key.as_deref().unwrap_or("(none)"));
        breaches.extend(outside(keys, &[&SERVICE[..], &["AddReg"]].concat(), &format!("[{name}]")));
    }
    breaches
}

/// Returns the install sections, the uninstall sections and their parts.
fn install_like(package: &Package) -> Vec<String> {
    let mut names = package.install_sections();
    names.extend(
        package
            .inf
            .sections()
            .iter()
            .map(|section| section.name.clone())
            .filter(|name| name.starts_with("DefaultUninstall") || name.ends_with(REMOVE_FILE)),
    );
    let parts: Vec<_> =
        names.iter().flat_map(|name| PARTS.iter().map(move |part| format!("{name}{part}"))).collect();
    names.extend(parts);
    names
}

pub(super) fn files(_: &Suite, package: &Package) -> Vec<String> {
    let mut breaches = Vec::new();
    let drivers: Vec<String> = SHIPPED.iter().map(|name| format!("{name}.sys")).collect();
    let install = package.install_sections().into_iter();
    let copied: BTreeSet<&str> = install
        .flat_map(|section| package.listed(&section, "CopyFiles"))
        .filter_map(|line| line.field(0))
        .collect();
    let listed = package.inf.lines("SourceDisksFiles");
    for file in &copied {
        if !drivers.iter().any(|driver| driver == file) {
            breaches.push(format!("{file} is no driver of the suite"));
        }
        if !listed.iter().any(|line| line.has_key(file)) {
            breaches.push(format!("{file} is not in [SourceDisksFiles]"));
        }
    }
    let own = format!("{}.sys", package.name);
    if !copied.contains(own.as_str()) {
        breaches.push(format!("{own} is not copied"));
    }
    for line in listed {
        let (file, disk) = (line.key.as_deref().unwrap_or_default(), line.field(0).unwrap_or_default());
        if !copied.contains(file) {
            breaches.push(format!("{file} is in [SourceDisksFiles] and not copied"));
        }
        if let Some(folder) = line.field(1) {
            breaches
                .push(format!("{file} is looked for in the subfolder {folder}, which the package has not"));
        }
        match package.inf.lines("SourceDisksNames").iter().find(|line| line.has_key(disk)) {
            None => breaches.push(format!("{file} is on disk {disk:?}, which is not in [SourceDisksNames]")),
            Some(disk) => {
                // description, tag or cabinet, unused, path
                if let Some(folder) = disk.field(3) {
                    breaches.push(format!(
                        "{file} is on a disk in the folder {folder}, which the package has not"
                    ));
                }
                if let Some(cabinet) = disk.field(1) {
                    breaches.push(format!("{file} is in {cabinet}, which the package has not"));
                }
            }
        }
    }
    breaches
}

pub(super) fn destination(_: &Suite, package: &Package) -> Vec<String> {
    // The drivers import from each other, and the loader looks for imports in System32\drivers: not in the
    // driver store (dirid 13), where each package has a folder of its own.
    let mut breaches = Vec::new();
    let destinations = package.inf.lines("DestinationDirs");
    if !destinations.iter().any(|line| line.has_key("DefaultDestDir")) {
        breaches.push("no DefaultDestDir".to_owned());
    }
    for line in destinations {
        if line.fields != ["12"] {
            let list = line.key.as_deref().unwrap_or_default();
            breaches.push(format!("{list} goes to {:?}, not to dirid 12", line.fields));
        }
    }
    for service in package.services() {
        let (name, section) = (service.field(0).unwrap_or_default(), service.field(2).unwrap_or_default());
        let (binary, wanted) =
            (package.inf.value(section, "ServiceBinary").unwrap_or_default(), format!("%12%\\{name}.sys"));
        if binary != wanted {
            breaches.push(format!("[{section}]: ServiceBinary is {binary:?}, not {wanted}"));
        }
    }
    breaches
}
