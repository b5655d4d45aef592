//! Holds every built driver to the rules of its loader and of this project.

mod image;
mod messages;
mod rules;
mod version;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fmt, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use guard::{Reason, message};
use guests::{
    built::{FOR_TESTS, SHIPPED},
    checksum,
};

use crate::{folder::sorted_entries, layout::Layout, setup::Toolchain};
use image::Image;
use rules::RULES;

/// A breach of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The driver's name.
    pub driver: String,
    /// The rule's name.
    pub rule: &'static str,
    /// The values that were found and expected.
    pub detail: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.sys: {}: {}", self.driver, self.rule, self.detail)
    }
}

/// Names that may be imported, by the library that exports them, in lower case.
type Allowed = BTreeMap<String, BTreeSet<String>>;

/// A built driver, and what it is held against.
#[derive(Clone, Debug)]
struct Driver {
    /// Without `.sys`.
    name: String,
    /// The version that its resource must give.
    version: String,
    /// The messages that its message table must hold.
    messages: BTreeMap<u32, String>,
    /// The image's bytes.
    sys: Vec<u8>,
    /// The symbol file's bytes.
    pdb: Vec<u8>,
    /// Out of the module definition files in cross/.
    allowed: Allowed,
    /// Folders of the machine it was built on.
    build_paths: Vec<String>,
}

/// Findings of the check about one driver.
struct Report {
    name: String,
    size: usize,
    sections: Vec<String>,
    imports: usize,
    exports: usize,
    findings: Vec<Finding>,
}

impl Driver {
    fn check(&self) -> Report {
        let finding = |rule, detail| Finding { driver: self.name.clone(), rule, detail };
        let mut report = Report {
            name: self.name.clone(),
            size: self.sys.len(),
            sections: vec![],
            imports: 0,
            exports: 0,
            findings: vec![],
        };
        match Image::parse(&self.sys) {
            Err(error) => report.findings.push(finding("format", format!("{error:#}"))),
            Ok(image) => {
                report.sections = image.sections.iter().map(|section| section.name.clone()).collect();
                report.imports = image.imports.len();
                report.exports = image.exports.len();
                for (rule, check) in RULES {
                    report
                        .findings
                        .extend(check(self, &image).into_iter().map(|detail| finding(rule, detail)));
                }
            }
        }
        report
    }
}

/// Returns the imports of an image, as `library!name`; `#` stands for an import without a name.
///
/// # Errors
/// It is no 64-bit image.
pub fn imports(image: &[u8]) -> Result<Vec<String>> {
    let imports = Image::parse(image)?.imports.into_iter();
    Ok(imports
        .map(|import| format!("{}!{}", import.library, import.name.as_deref().unwrap_or("#")))
        .collect())
}

/// Checks every driver of this workspace's last build: each one's name and the breaches found in it.
///
/// # Errors
/// When a driver has not been built, or the lists in `cross/` cannot be read. A breach is no error.
pub fn check_all() -> Result<Vec<(String, Vec<String>)>> {
    let named = |report: Report| (report.name, report.findings.iter().map(Finding::to_string).collect());
    Ok(reports(&Layout::here())?.into_iter().map(named).collect())
}

/// Checks every driver of this workspace's last build, and prints one table.
///
/// # Errors
/// As [`check_all`], and when any rule is broken.
pub fn check() -> Result<()> {
    let reports = reports(&Layout::here())?;
    println!(
        "{:<14} {:>8}  {:>7}  {:>7}  {:<12}  sections",
        "driver", "bytes", "imports", "exports", "rules"
    );
    for report in &reports {
        let broken: BTreeSet<_> = report.findings.iter().map(|finding| finding.rule).collect();
        let verdict = if broken.is_empty() {
            format!("{} kept", RULES.len())
        } else {
            format!("{} BROKEN", broken.len())
        };
        println!(
            "{:<14} {:>8}  {:>7}  {:>7}  {verdict:<12}  {}",
            format!("{}.sys", report.name),
            report.size,
            report.imports,
            report.exports,
            report.sections.join(" ")
        );
    }
    let findings: Vec<_> = reports.iter().flat_map(|report| &report.findings).collect();
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        bail!("{} breach(es) of the rules for drivers", findings.len());
    }
    Ok(())
}

fn reports(layout: &Layout) -> Result<Vec<Report>> {
    let sources = layout.cross_sources();
    let mut allowed = allowed(&sources)?;
    allowed.extend(self::allowed(&sources.join("exports"))?);
    let build_paths = build_paths(layout)?;
    let places = SHIPPED
        .iter()
        .map(|name| (name, layout.dist()))
        .chain(FOR_TESTS.iter().map(|name| (name, layout.nt())));
    places
        .map(|(name, folder)| {
            let read = |kind: &str| {
                let path = folder.join(format!("{name}.{kind}"));
                fs::read(&path)
                    .with_context(|| format!("cannot read {}: run `cargo xtask build`", path.display()))
            };
            let driver = Driver {
                name: (*name).to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                messages: Reason::ALL
                    .iter()
                    .map(|&reason| (message::code(reason), message::Text(reason).to_string()))
                    .collect(),
                sys: read("sys")?,
                pdb: read("pdb")?,
                allowed: allowed.clone(),
                build_paths: build_paths.clone(),
            };
            Ok(driver.check())
        })
        .collect()
}

/// Returns the names in each module definition file of `folder`, by its library.
fn allowed(folder: &Path) -> Result<Allowed> {
    let mut allowed = Allowed::new();
    for path in
        sorted_entries(folder)?.into_iter().filter(|path| path.extension().is_some_and(|e| e == "def"))
    {
        let text = fs::read_to_string(&path)?;
        let (library, names) =
            definitions(&text).with_context(|| format!("{} has no LIBRARY line", path.display()))?;
        allowed.insert(library.to_ascii_lowercase(), names);
    }
    Ok(allowed)
}

/// Returns the library and the names of a module definition file.
fn definitions(text: &str) -> Option<(&str, BTreeSet<String>)> {
    let mut lines =
        text.lines().filter_map(|line| line.split(';').next()).filter(|line| !line.trim().is_empty());
    let library = lines.next()?.strip_prefix("LIBRARY ")?.trim();
    let names = lines.skip(1).filter_map(|line| Some(line.split_whitespace().next()?.to_owned()));
    Some((library, names.collect()))
}

/// Folders whose paths must not be in what is built.
fn build_paths(layout: &Layout) -> Result<Vec<String>> {
    let mut paths =
        vec![layout.root().to_owned(), Toolchain::ask()?.sysroot().clone(), env::temp_dir().join("rustc")];
    for variable in ["HOME", "CARGO_HOME"] {
        // With the slash at its end: /root alone is not telling enough.
        paths.extend(env::var_os(variable).map(|folder| PathBuf::from(folder).join("")));
    }
    Ok(paths.iter().map(|path| path.to_string_lossy().into_owned()).collect())
}
