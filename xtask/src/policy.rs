//! Holds every crate that the lock file names to `deny.toml`: its licence, and where it comes from.
//!
//! cargo-deny does the same and more. To build it would take longer than all host tests, so that the tests
//! read its file themselves, by the crate `spdx`, which cargo-deny uses too; where cargo-deny is installed it
//! is run beside. Advisories need a database from the network and are left to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use spdx::{Expression, LicenseReq, Licensee};

use crate::{command, layout::Layout};

/// The only registry.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// The licences and sources that `deny.toml` allows.
struct Policy {
    allow: Vec<Licensee>,
    /// By the names of crates.
    exceptions: BTreeMap<String, Vec<Licensee>>,
}

/// Holds the workspace and all that it depends on to the policy.
///
/// # Errors
/// A crate breaches it, or it cannot be read.
pub(crate) fn check(layout: &Layout) -> Result<()> {
    let path = layout.root().join("deny.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let policy = Policy::parse(&text)?;
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version", "1", "--locked"]).current_dir(layout.root());
    let metadata: Value = serde_json::from_str(&command::output(&mut cargo)?)?;
    let mut breaches = Vec::new();
    let mut seen = BTreeSet::new();
    for package in metadata["packages"].as_array().context("cargo lists no packages")? {
        let text = |key: &str| package[key].as_str();
        let name = text("name").context("a package without a name")?;
        seen.insert(name.to_owned());
        breaches.extend(policy.breach(name, text("license"), text("source")));
    }
    let idle = policy.exceptions.keys().filter(|name| !seen.contains(*name));
    breaches.extend(idle.map(|name| format!("deny.toml has an exception for {name}, which is not there")));
    if !breaches.is_empty() {
        bail!("{}", breaches.join("\n"));
    }
    if Command::new("cargo-deny").arg("--version").output().is_ok_and(|output| output.status.success()) {
        let mut deny = Command::new("cargo-deny");
        deny.args(["--offline", "check", "licenses", "bans", "sources"]).current_dir(layout.root());
        command::run(&mut deny)?;
    }
    Ok(())
}

impl Policy {
    /// Reads the two lists of `[licenses]`.
    fn parse(text: &str) -> Result<Policy> {
        let licences = text.split("[licenses]").nth(1).context("deny.toml has no [licenses]")?;
        let licences = licences.split("\n[").next().unwrap_or_default();
        let mut policy = Policy { allow: Vec::new(), exceptions: BTreeMap::new() };
        let mut list = None;
        for line in licences.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            if let Some(name) = line.strip_suffix("= [") {
                list = Some(name.trim());
            } else if line == "]" {
                list = None;
            } else {
                match (list, &quoted(line)[..]) {
                    (Some("allow"), [licence]) => policy.allow.push(licensee(licence)?),
                    (Some("exceptions"), [name, licences @ ..]) if line.starts_with("{ crate =") => {
                        let licences = licences.iter().map(|text| licensee(text)).collect::<Result<_>>()?;
                        policy.exceptions.insert((*name).to_owned(), licences);
                    }
                    _ => bail!("deny.toml: `{line}` is not understood here; a line of a list is expected"),
                }
            }
        }
        Ok(policy)
    }

    fn breach(&self, name: &str, licence: Option<&str>, source: Option<&str>) -> Option<String> {
        if source.is_some_and(|source| source != CRATES_IO) {
            return Some(format!("{name} comes from {}, not from crates.io", source.unwrap_or_default()));
        }
        let Some(licence) = licence else { return Some(format!("{name} names no licence")) };
        // The older way to write OR.
        let expression = match Expression::parse(&licence.replace('/', " OR ")) {
            Ok(expression) => expression,
            Err(error) => {
                return Some(format!("{name}: `{licence}` is no licence expression: {}", error.reason));
            }
        };
        let more = self.exceptions.get(name);
        let is_allowed = |wanted: &LicenseReq| {
            self.allow.iter().chain(more.into_iter().flatten()).any(|own| own.satisfies(wanted))
        };
        (!expression.evaluate(is_allowed))
            .then(|| format!("{name} is under {licence}, which deny.toml does not allow"))
    }
}

/// Returns the texts in quotes.
fn quoted(line: &str) -> Vec<&str> {
    line.split('"').skip(1).step_by(2).collect()
}

fn licensee(text: &str) -> Result<Licensee> {
    Licensee::parse(text).map_err(|error| anyhow::anyhow!("deny.toml: {text}: {}", error.reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_allowed_is_named() {
        let text = "[licenses]\nallow = [\n    \"MIT\",\n    \"Apache-2.0 WITH LLVM-exception\",\n]\n\
                    exceptions = [\n    { crate = \"a\", allow = [\"GPL-3.0-only\"] },\n]\n[bans]\n";
        let policy = Policy::parse(text).unwrap();
        let of = |name, licence| policy.breach(name, Some(licence), Some(CRATES_IO));
        for good in
            ["MIT", "MIT OR GPL-3.0-only", "MIT/Zlib", "Apache-2.0 WITH LLVM-exception", "(MIT OR ISC)"]
        {
            assert_eq!(of("b", good), None);
        }
        for bad in ["GPL-3.0-only", "Apache-2.0", "MIT AND ISC", "Whatever"] {
            assert!(of("b", bad).is_some(), "{bad}");
        }
        assert_eq!(of("a", "GPL-3.0-only"), None);
        assert!(policy.breach("b", None, None).is_some());
        assert!(policy.breach("b", Some("MIT"), Some("git+https://example.org/x")).is_some());
        assert!(Policy::parse("[licenses]\nallow = [\"MIT\"]\n").is_err(), "a form that is not read");
    }
}
