//! `dist/xenguard-<version>.zip`: what an admin gets.
//!
//! Drivers, INF files, catalog, `bootcfg`, scripts, licences, bill of materials, checksums. Without
//! signatures it is the same bytes from the same sources; signatures hold the time and, with RSA-PSS or a
//! token, chance.

mod archive;
mod authenticode;
mod catalog;
mod check;
mod components;
mod date;
mod sign;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use bootcfg::inf::{Inf, installation};
use guests::built::{INFS, SHIPPED};
use sha2::{Digest, Sha256};

use crate::{
    build,
    folder::remove_folder,
    layout::Layout,
    program,
    setup::{self, DRIVER_TARGET},
    step::step,
};
use archive::{Files, hex, zip};
use components::Component;
use date::Date;
pub use sign::Signer;

/// The catalog's name, as the INF files have it.
const CATALOG: &str = "xenguard.cat";
/// The certificate that test machines must trust.
const TEST_CERTIFICATE: &str = "xenguard-test.cer";

/// How a package is signed.
#[derive(Clone, Debug)]
pub enum Signing {
    /// By a generated certificate, for test machines.
    Test,
    /// By the admin's own.
    Own(Signer),
    /// Not at all.
    None,
}

/// A package: its folder's name, its files, and its date.
#[derive(Clone, Debug)]
struct Package {
    name: String,
    files: Files,
    date: Date,
    /// The crates in each binary.
    crates: BTreeMap<String, Vec<Component>>,
}

/// Where the bill of materials is.
const BILL: &str = "sbom.cdx.json";

/// Builds what ships, makes the package, and checks it.
///
/// # Errors
/// A step failed, or the package is not what it must be.
pub fn run(signing: &Signing) -> Result<()> {
    let layout = Layout::here();
    setup::packaging()?;
    build::drivers()?;
    program::build(&layout)?;
    let path = make(&layout, signing)?;
    println!("{}", path.display());
    Ok(())
}

/// Makes and checks the package of what was built, and returns its path.
///
/// # Errors
/// As [`run`].
pub fn make(layout: &Layout, signing: &Signing) -> Result<PathBuf> {
    setup::packaging()?;
    let mut package = step("package: contents", || contents(layout))?;
    let work = layout.target().join("package");
    if let Some(signer) = signer(signing, &work)? {
        step("package: signatures", || sign(&mut package, &signer, matches!(signing, Signing::Test), &work))?;
        step("package: check of the signatures", || check::signatures(&package, &signer, &work))?;
    }
    check::catalog(&package, &work)?;
    let path = layout.dist().join(format!("{}.zip", package.name));
    fs::write(&path, package.pack()?).with_context(|| format!("cannot write {}", path.display()))?;
    check::archive(&package, &path, &work)?;
    Ok(path)
}

/// Makes two packages without signatures and compares them; then a test-signed one, which checks itself.
///
/// # Errors
/// They differ, or a check fails.
pub fn test(layout: &Layout) -> Result<()> {
    setup::packaging()?;
    program::build(layout)?;
    check::reproducible(|| contents(layout)?.pack())?;
    make(layout, &Signing::Test).map(|_| ())
}

fn signer(signing: &Signing, work: &Path) -> Result<Option<Signer>> {
    Ok(match signing {
        Signing::Test => Some(Signer::for_tests(&work.join("test-signing"))?),
        Signing::Own(signer) => Some(signer.clone()),
        Signing::None => None,
    })
}

impl Package {
    /// All files: those that are as signing left them, the bill of materials with their hashes, and the
    /// checksums.
    fn complete(&self) -> Files {
        let mut files = self.files.clone();
        let hashes: Vec<_> =
            self.crates.keys().map(|file| (file.clone(), hex(&Sha256::digest(&self.files[file])))).collect();
        let bill = components::bill(env!("CARGO_PKG_VERSION"), self.date, &hashes, &self.crates);
        files.insert(BILL.to_owned(), bill.into_bytes());
        let sums = archive::sums(&files);
        files.insert("SHA256SUMS".to_owned(), sums.into_bytes());
        files
    }

    /// The archive.
    fn pack(&self) -> Result<Vec<u8>> {
        zip(&self.name, &self.complete(), self.date)
    }
}

/// Everything but signatures, the bill of materials and checksums.
fn contents(layout: &Layout) -> Result<Package> {
    let mut files = Files::new();
    let mut hardware_ids = Vec::new();
    let mut date = None;
    for name in SHIPPED {
        let file = format!("{name}.sys");
        files.insert(file.clone(), read(&layout.dist().join(&file))?);
        files.insert(format!("symbols/{name}.pdb"), read(&layout.dist().join(format!("{name}.pdb")))?);
    }
    for name in INFS {
        let file = format!("{name}.inf");
        files.insert(file.clone(), read(&layout.dist().join(&file))?);
        let inf = Inf::parse(&String::from_utf8_lossy(&files[&format!("{name}.inf")]))?;
        hardware_ids.extend(installation(&inf)?.devices.into_iter().map(|device| device.id));
        date = Some(Date::of(&inf)?);
    }
    let date = date.context("no driver ships")?;
    let members: Vec<(&str, &[u8])> = files
        .iter()
        .filter(|(path, _)| path.ends_with(".sys") || path.ends_with(".inf"))
        .map(|(path, contents)| (path.as_str(), contents.as_slice()))
        .collect();
    let catalog = catalog::of(&members, &hardware_ids, date)?;
    files.insert(CATALOG.to_owned(), catalog);

    for script in ["install.cmd", "uninstall.cmd"] {
        files.insert(script.to_owned(), read(&layout.root().join("inf").join(script))?);
    }
    for (place, source) in [
        ("admin-guide.md", "docs/admin-guide.md"),
        ("licences/LICENSE-MIT", "LICENSE-MIT"),
        ("licences/LICENSE-APACHE", "LICENSE-APACHE"),
    ] {
        files.insert(place.to_owned(), read(&layout.root().join(source))?);
    }
    for (program, _) in programs(layout) {
        files.insert(program.to_owned(), read(&layout.dist().join(program))?);
    }
    let crates = crates(layout)?;
    files.extend(components::licence_texts(&crates)?);
    Ok(Package { name: format!("xenguard-{}", env!("CARGO_PKG_VERSION")), files, date, crates })
}

/// The programs that were built, and the target each is for.
fn programs(layout: &Layout) -> impl Iterator<Item = (&'static str, &'static str)> {
    let built = [("bootcfg.exe", DRIVER_TARGET), ("bootcfg", "x86_64-unknown-linux-gnu")];
    let dist = layout.dist();
    built.into_iter().filter(move |(program, _)| dist.join(program).exists())
}

/// The crates in each binary that ships.
fn crates(layout: &Layout) -> Result<BTreeMap<String, Vec<Component>>> {
    let mut crates = BTreeMap::new();
    for name in SHIPPED {
        crates.insert(format!("{name}.sys"), components::of(layout, &[name], DRIVER_TARGET)?);
    }
    for (program, target) in programs(layout) {
        crates.insert(program.to_owned(), components::of(layout, &["bootcfg"], target)?);
    }
    Ok(crates)
}

/// Signs the drivers, then the catalog: the hashes in it leave signatures out.
fn sign(package: &mut Package, signer: &Signer, test: bool, work: &Path) -> Result<()> {
    let folder = work.join("signing");
    remove_folder(&folder)?;
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let names: Vec<String> = package
        .files
        .keys()
        .filter(|path| path.ends_with(".sys") || path.ends_with(".exe") || *path == CATALOG)
        .cloned()
        .collect();
    for name in names {
        let (plain, signed) = (folder.join(format!("{name}.plain")), folder.join(&name));
        fs::write(&plain, &package.files[&name])?;
        signer.sign(&plain, &signed)?;
        package.files.insert(name, read(&signed)?);
    }
    if test {
        let certificate = signer.certificate_der(&folder.join(TEST_CERTIFICATE))?;
        package.files.insert(TEST_CERTIFICATE.to_owned(), certificate);
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}; run cargo xtask build first", path.display()))
}
