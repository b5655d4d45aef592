//! Components of the binaries: the crates linked into them, as cargo resolves them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::date::Date;
use crate::{command, folder::sorted_entries, layout::Layout};

/// Beginnings of the names of licence texts.
const LICENCE_FILES: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE"];

/// The supplier of what this workspace makes.
const SUPPLIER: &str = "The Xenguard project";

/// A crate.
#[derive(Clone, Debug)]
pub(super) struct Component {
    name: String,
    version: String,
    /// An SPDX expression.
    licence: String,
    /// The registry's checksum; none for those of this workspace.
    checksum: Option<String>,
    folder: PathBuf,
    /// Names and versions of the crates that it links.
    links: BTreeSet<String>,
}

impl Component {
    fn reference(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }
}

/// Returns the crates linked into `packages` when they are built for `target`, in the order of their names.
///
/// # Errors
/// cargo fails, or a crate names no licence.
pub(super) fn of(layout: &Layout, packages: &[&str], target: &str) -> Result<Vec<Component>> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version", "1", "--locked", "--filter-platform", target]);
    let text = command::output(cargo.current_dir(layout.root()))?;
    let metadata: Value = serde_json::from_str(&text)?;
    let checksums = checksums(&fs::read_to_string(layout.root().join("Cargo.lock"))?);
    let described: BTreeMap<&str, &Value> =
        array(&metadata["packages"]).iter().map(|package| (text_of(&package["id"]), package)).collect();
    let nodes: BTreeMap<&str, &Value> =
        array(&metadata["resolve"]["nodes"]).iter().map(|node| (text_of(&node["id"]), node)).collect();

    let mut waiting: Vec<&str> = described
        .iter()
        .filter(|(_, package)| package["source"].is_null() && packages.contains(&text_of(&package["name"])))
        .map(|(id, _)| *id)
        .collect();
    ensure!(waiting.len() == packages.len(), "cargo does not know all of {packages:?}");
    let mut components = BTreeMap::new();
    while let Some(id) = waiting.pop() {
        let package = described.get(id).with_context(|| format!("cargo describes no {id}"))?;
        if components.contains_key(id) {
            continue;
        }
        let linked = linked(nodes[id]).filter(|id| !is_macro(described[id]));
        let linked: Vec<&str> = linked.collect();
        let (name, version) = (text_of(&package["name"]), text_of(&package["version"]));
        let licence = package["license"].as_str().with_context(|| format!("{name} names no licence"))?;
        let manifest = Path::new(text_of(&package["manifest_path"]));
        let name_of = |id: &&str| {
            let package = described[id];
            format!("{}@{}", text_of(&package["name"]), text_of(&package["version"]))
        };
        components.insert(
            id,
            Component {
                name: name.to_owned(),
                version: version.to_owned(),
                // The older way to write it.
                licence: licence.replace('/', " OR "),
                checksum: checksums.get(&format!("{name}@{version}")).cloned(),
                folder: manifest.parent().context("a manifest in no folder")?.to_owned(),
                links: linked.iter().map(name_of).collect(),
            },
        );
        waiting.extend(linked);
    }
    let mut components: Vec<_> = components.into_values().collect();
    components.sort_by_key(Component::reference);
    Ok(components)
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Returns the packages that a node links: its dependencies that are neither of builds nor of tests.
fn linked(node: &Value) -> impl Iterator<Item = &str> {
    let normal =
        |dependency: &&Value| array(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
    array(&node["deps"]).iter().filter(normal).map(|dependency| text_of(&dependency["pkg"]))
}

fn is_macro(package: &Value) -> bool {
    array(&package["targets"])
        .iter()
        .any(|target| array(&target["kind"]).iter().any(|kind| kind == "proc-macro"))
}

/// Returns the checksums of a lock file, by name and version.
fn checksums(lock: &str) -> BTreeMap<String, String> {
    let value = |block: &str, key: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
        line.map(|text| text.trim_matches('"').to_owned())
    };
    let blocks = lock.split("[[package]]");
    blocks
        .filter_map(|block| {
            let (name, version) = (value(block, "name")?, value(block, "version")?);
            Some((format!("{name}@{version}"), value(block, "checksum")?))
        })
        .collect()
}

/// A part of binaries that no crate is: Rust's own libraries, and the headers that bindings are made from.
#[derive(Clone, Debug)]
pub(super) struct Base {
    name: &'static str,
    version: String,
    /// An SPDX expression, or a name where SPDX has none.
    licence: std::result::Result<&'static str, &'static str>,
    /// Ends of the names of the binaries that it is in.
    ends: &'static [&'static str],
}

impl Base {
    fn reference(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    fn licence(&self) -> Value {
        match self.licence {
            Ok(expression) => json!({ "expression": expression }),
            Err(name) => json!({ "license": { "name": name } }),
        }
    }

    fn is_in(&self, file: &str) -> bool {
        let is_program = !file.contains('@') && !file.ends_with(".sys");
        !file.contains('@')
            && self.ends.iter().any(|end| if end.is_empty() { is_program } else { file.ends_with(end) })
    }
}

/// Returns the parts of the binaries beside crates.
///
/// # Errors
/// The compiler does not say its version.
pub(super) fn bases() -> Result<Vec<Base>> {
    let text = command::output(Command::new("rustc").arg("--version"))?;
    let rust = text.split(' ').nth(1).context("rustc does not say its version")?.to_owned();
    let of_rust = |name, ends| Base { name, version: rust.clone(), licence: Ok("MIT OR Apache-2.0"), ends };
    // Where dpkg is not, the version is that of the machine that is built on.
    let mut dpkg = Command::new("dpkg-query");
    let headers = command::output(dpkg.args(["-W", "-f", "${Version}", "mingw-w64-common"]));
    Ok(vec![
        of_rust("rust-core", &[".sys", ""]),
        of_rust("rust-alloc", &[".sys", ""]),
        of_rust("rust-compiler_builtins", &[".sys", ""]),
        of_rust("rust-std", &[""]),
        Base {
            name: "mingw-w64-headers",
            version: headers.ok().filter(|text| !text.is_empty()).unwrap_or_else(|| "unknown".to_owned()),
            licence: Err("mingw-w64: public domain, and ZPL-2.1 for parts"),
            ends: &[".sys"],
        },
    ])
}

/// Returns a serial number that equal binaries give again: a name-based UUID (RFC 9562, version 8) of their
/// hashes.
fn serial_number(version: &str, binaries: &[(String, String)]) -> String {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    hash.update(version);
    for (file, content) in binaries {
        hash.update(file);
        hash.update(content);
    }
    let mut bytes = hash.finalize()[..16].to_vec();
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = super::archive::hex(&bytes);
    format!("urn:uuid:{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// Returns the bill of materials, CycloneDX 1.5: the shipped binaries with their hashes, the crates in them,
/// who links whom.
pub(super) fn bill(
    version: &str,
    date: Date,
    binaries: &[(String, String)],
    crates: &BTreeMap<String, Vec<Component>>,
    bases: &[Base],
) -> String {
    let mut components = Vec::new();
    let mut links = Vec::new();
    let mut known = BTreeSet::new();
    for (file, hash) in binaries {
        let kind = if file.ends_with(".sys") { "device-driver" } else { "application" };
        components.push(json!({
            "type": kind, "bom-ref": file, "name": file, "version": version,
            "hashes": [{ "alg": "SHA-256", "content": hash }],
            "licenses": [{ "expression": "MIT OR Apache-2.0" }],
        }));
        let inside: Vec<_> = crates.get(file).into_iter().flatten().map(Component::reference).collect();
        links.push(json!({ "ref": file, "dependsOn": inside }));
    }
    for component in crates.values().flatten() {
        let reference = component.reference();
        if !known.insert(reference.clone()) {
            continue;
        }
        let mut entry = json!({
            "type": "library", "bom-ref": reference, "name": component.name, "version": component.version,
            "licenses": [{ "expression": component.licence }],
        });
        match &component.checksum {
            Some(checksum) => {
                entry["purl"] = json!(format!("pkg:cargo/{reference}"));
                entry["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
            }
            // One of this workspace, which no registry has.
            None => {
                entry["purl"] = json!(format!("pkg:generic/xenguard/{reference}"));
                entry["supplier"] = json!({ "name": SUPPLIER });
            }
        }
        components.push(entry);
        links.push(json!({ "ref": reference, "dependsOn": component.links }));
    }
    for base in bases {
        components.push(json!({
            "type": "library", "bom-ref": base.reference(), "name": base.name, "version": base.version,
            "licenses": [base.licence()], "purl": format!("pkg:generic/{}", base.reference()),
        }));
        links.push(json!({ "ref": base.reference(), "dependsOn": [] }));
    }
    for link in &mut links {
        let Some(file) = link["ref"].as_str() else { continue };
        let of_it: Vec<_> = bases.iter().filter(|base| base.is_in(file)).map(Base::reference).collect();
        if let Some(depends) = link["dependsOn"].as_array_mut() {
            depends.extend(of_it.into_iter().map(Value::from));
        }
    }
    let files: Vec<_> = binaries.iter().map(|(file, _)| file.clone()).collect();
    links.push(json!({ "ref": "xenguard", "dependsOn": files }));
    let bill = json!({
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "serialNumber": serial_number(version, binaries),
        "metadata": {
            "timestamp": date.iso(),
            "supplier": { "name": SUPPLIER },
            "component": { "type": "application", "bom-ref": "xenguard", "name": "xenguard", "version": version,
                           "licenses": [{ "expression": "MIT OR Apache-2.0" }] },
        },
        "components": components,
        "dependencies": links,
    });
    format!("{bill:#}\n")
}

/// Returns the licence texts of the crates that are not this workspace's: path in the package and content.
///
/// # Errors
/// A file cannot be read. A crate without a text is one that its licence expression alone stands for.
pub(super) fn licence_texts(crates: &BTreeMap<String, Vec<Component>>) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut texts = BTreeMap::new();
    for component in crates.values().flatten().filter(|component| component.checksum.is_some()) {
        for path in sorted_entries(&component.folder)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let upper = name.to_ascii_uppercase();
            if path.is_file() && LICENCE_FILES.iter().any(|start| upper.starts_with(start)) {
                let place = format!("licences/{}-{}/{name}", component.name, component.version);
                texts.insert(place, fs::read(&path)?);
            }
        }
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_is_made_of_what_it_links() {
        let crates = of(&Layout::here(), &["xenvbd"], "x86_64-pc-windows-msvc").unwrap();
        let has = |name: &str| crates.iter().any(|component| component.name == name);
        assert!(
            has("xenvbd") && has("guard") && has("xen") && has("wdm") && has("wdk-sys") && has("zerocopy")
        );
        assert!(!has("wdk-build") && !has("zerocopy-derive") && !has("proptest") && !has("xtask"));
        let own = crates.iter().find(|component| component.name == "guard").unwrap();
        assert_eq!(own.checksum, None);
        let foreign = crates.iter().find(|component| component.name == "wdk-sys").unwrap();
        assert_eq!(foreign.checksum.as_ref().map(String::len), Some(64));
    }

    #[test]
    fn the_bill_names_every_crate_and_only_known_references() {
        let crates = of(&Layout::here(), &["idefilter"], "x86_64-pc-windows-msvc").unwrap();
        let binaries = [("idefilter.sys".to_owned(), "00".repeat(32))];
        let date = Date { year: 2026, month: 11, day: 21 };
        let inside = BTreeMap::from([("idefilter.sys".to_owned(), crates.clone())]);
        let bases = bases().unwrap();
        let text = bill("1.2.3", date, &binaries, &inside, &bases);
        assert_eq!(text, bill("1.2.3", date, &binaries, &inside, &bases), "reproducible");
        let bill: Value = serde_json::from_str(&text).unwrap();
        let names: BTreeSet<&str> =
            array(&bill["components"]).iter().map(|component| text_of(&component["bom-ref"])).collect();
        assert_eq!(names.len(), crates.len() + 1 + bases.len());
        let number = text_of(&bill["serialNumber"]);
        assert!(number.starts_with("urn:uuid:") && number.len() == 45 && &number[23..24] == "8", "{number}");
        let other = [("idefilter.sys".to_owned(), "01".repeat(32))];
        assert_ne!(serial_number("1.2.3", &binaries), serial_number("1.2.3", &other));
        let purl = |name: &str| {
            let found = array(&bill["components"]).iter().find(|component| component["name"] == name);
            found.map(|component| text_of(&component["purl"]).to_owned()).unwrap_or_default()
        };
        assert!(purl("guard").starts_with("pkg:generic/xenguard/guard@"), "{}", purl("guard"));
        assert!(purl("wdk-sys").starts_with("pkg:cargo/wdk-sys@"));
        let driver = array(&bill["dependencies"]).iter().find(|link| link["ref"] == "idefilter.sys").unwrap();
        let links = |start: &str| array(&driver["dependsOn"]).iter().any(|to| text_of(to).starts_with(start));
        assert!(links("rust-core@") && links("mingw-w64-headers@") && !links("rust-std@"), "{driver}");
        for link in array(&bill["dependencies"]) {
            assert!(names.contains(text_of(&link["ref"])) || link["ref"] == "xenguard");
            assert!(array(&link["dependsOn"]).iter().all(|to| names.contains(text_of(to))), "{link}");
        }
    }
}
