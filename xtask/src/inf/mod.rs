//! Holds the INF files to the rules of setup and of this project.
//!
//! No linter for INF files runs outside of Windows; InfVerif and its like are for whoever releases a signed
//! package.

mod registry;
mod rules;
mod sections;
mod services;

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path};

use anyhow::{Context, Result, bail};
use bootcfg::inf::{Inf, Line};

use crate::layout::Layout;
use guests::built::INFS;
use rules::RULES;

/// A package: one INF file.
#[derive(Clone, Debug)]
struct Package {
    /// The name of its first driver, which is the file's without `.inf`.
    name: String,
    /// The file as it stands.
    text: String,
    /// The file, read.
    inf: Inf,
}

/// All packages, and what they are held against.
#[derive(Clone, Debug)]
struct Suite {
    /// `major.minor.patch`.
    version: String,
    /// In the order of [`INFS`].
    packages: Vec<Package>,
    /// Lines that could not be read.
    unread: Vec<String>,
}

impl Package {
    /// Returns the sections that install on x64: `DefaultInstall`, and those that the models name.
    fn install_sections(&self) -> Vec<String> {
        let default =
            self.inf.sections().iter().filter(|s| s.name.eq_ignore_ascii_case("DefaultInstall.NTamd64"));
        let mut names: Vec<_> = default.map(|section| section.name.clone()).collect();
        for model in self.models() {
            let name = format!("{}.NTamd64", model.field(0).unwrap_or_default());
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Returns the lines of the models sections.
    fn models(&self) -> Vec<&Line> {
        let makers = self.inf.lines("Manufacturer").iter();
        let names = makers.map(|maker| format!("{}.NTamd64", maker.field(0).unwrap_or_default()));
        names.flat_map(|name| self.inf.lines(&name)).collect()
    }

    /// Returns the `AddService` lines of the install sections.
    fn services(&self) -> Vec<&Line> {
        let sections = self.install_sections().into_iter();
        sections
            .flat_map(|name| self.inf.lines(&format!("{name}.Services")))
            .filter(|line| line.has_key("AddService"))
            .collect()
    }

    /// Returns the lines of the sections that `directive` of `section` names.
    fn listed(&self, section: &str, directive: &str) -> Vec<&Line> {
        self.inf.list(section, directive).into_iter().flat_map(|list| self.inf.lines(list)).collect()
    }
}

impl Suite {
    /// Reads the files of a folder.
    fn read(folder: &Path) -> Result<Suite> {
        let text = |name: &&str| {
            let path = folder.join(format!("{name}.inf"));
            let text =
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            Ok(((*name).to_owned(), text))
        };
        let texts = INFS.iter().map(text).collect::<Result<Vec<_>>>()?;
        Ok(Self::of(texts, env!("CARGO_PKG_VERSION")))
    }

    fn of(texts: Vec<(String, String)>, version: &str) -> Suite {
        let mut suite = Suite { version: version.to_owned(), packages: Vec::new(), unread: Vec::new() };
        for (name, text) in texts {
            match Inf::parse(&text) {
                Ok(inf) => suite.packages.push(Package { name, text, inf }),
                Err(error) => suite.unread.push(format!("{name}.inf: syntax: {error:#}")),
            }
        }
        suite
    }

    /// Returns every breach: file, rule, and what was found.
    fn check(&self) -> Vec<String> {
        let mut findings = self.unread.clone();
        for package in &self.packages {
            for rule in RULES {
                let found = (rule.check)(self, package).into_iter();
                findings.extend(found.map(|detail| format!("{}.inf: {}: {detail}", package.name, rule.name)));
            }
        }
        findings
    }
}

/// Checks the INF files of this workspace.
///
/// # Errors
/// A file is missing, or breaks a rule; the message has all breaches.
pub fn check(layout: &Layout) -> Result<()> {
    let findings = Suite::read(&layout.root().join("inf"))?.check();
    if findings.is_empty() { Ok(()) } else { bail!("{}", findings.join("\n")) }
}

/// Checks the INF files of this workspace and says how many rules they keep.
///
/// # Errors
/// As [`check`].
pub fn run() -> Result<()> {
    check(&Layout::here())?;
    println!("{} INF files keep {} rules", INFS.len(), RULES.len());
    Ok(())
}

/// Returns the rules, one paragraph each.
#[must_use]
pub fn help() -> String {
    let mut text = "Rules:".to_owned();
    for rule in RULES {
        // Writing to a string does not fail.
        let _ = write!(text, "\n  {:<18} {}", rule.name, rule.what);
    }
    text
}

/// Returns a line for each thing that is in `found` and not in `allowed`.
fn outside<'a>(found: impl IntoIterator<Item = &'a str>, allowed: &[&str], what: &str) -> Vec<String> {
    let known = |text: &str| allowed.iter().any(|known| known.eq_ignore_ascii_case(text));
    let unknown: BTreeSet<_> = found.into_iter().filter(|text| !known(text)).collect();
    unknown.into_iter().map(|text| format!("{what}: {text}")).collect()
}
