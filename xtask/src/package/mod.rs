//! `dist/xenguard-<version>.zip`: what an admin gets.
//!
//! Drivers, INF files, catalog, `bootcfg`, the service, scripts, licences, bill of materials, checksums. Without
//! signatures it is the same bytes from the same sources; signatures hold the time and, with RSA-PSS or a
//! token, chance.

mod archive;
mod authenticode;
mod catalog;
mod check;
mod components;
mod date;
mod sign;
mod submission;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use bootcfg::inf::{Inf, installation};
use guests::built::{INFS, SHIPPED};
use sha2::{Digest, Sha256};

use crate::{
    build, command,
    folder::remove_folder,
    layout::Layout,
    program,
    setup::{self, DRIVER_TARGET},
    step::step,
};
use archive::{Files, hex, zip};
use components::{Base, Component};
use date::Date;
pub use sign::Signer;

/// The catalog's name, as the INF files have it.
const CATALOG: &str = "xenguard.cat";
/// The certificate that test machines must trust.
const TEST_CERTIFICATE: &str = "xenguard-test.cer";

/// The way to sign a package.
#[derive(Clone, Debug)]
pub enum Signing {
    /// By a generated certificate, for test machines.
    Test,
    /// By the admin's own.
    Own(Signer),
    /// Not at all.
    None,
}

/// Work on a package beside making it.
#[derive(Clone, Debug, Default)]
pub struct Extra {
    /// The cabinet for Partner Center is made, too.
    pub submission: bool,
    /// The folder with what came back from there, which is taken over.
    pub returned: Option<PathBuf>,
}

/// A package: its folder's name, its files, and its date.
#[derive(Clone, Debug)]
struct Package {
    name: String,
    files: Files,
    date: Date,
    /// The crates in each binary.
    crates: BTreeMap<String, Vec<Component>>,
    /// The other parts of the binaries.
    bases: Vec<Base>,
}

/// Name of the bill of materials.
const BILL: &str = "sbom.cdx.json";

/// Builds what ships, makes the package, and checks it.
///
/// # Errors
/// A step failed, or the package is not what it must be.
pub fn run(signing: &Signing, extra: &Extra) -> Result<()> {
    let layout = Layout::here();
    release(&layout)?;
    setup::packaging()?;
    build::drivers()?;
    program::build(&layout)?;
    if extra.submission {
        for path in submit(&layout, signing)? {
            println!("{}", path.display());
        }
    }
    if let Some(returned) = &extra.returned {
        println!("{}", finish(&layout, returned)?.display());
    } else {
        println!("{}", make(&layout, signing)?.display());
    }
    Ok(())
}

/// Checks that the changelog tells of this version, and that a commit that has a tag has this version's.
fn release(layout: &Layout) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let log = layout.root().join("CHANGELOG.md");
    let text = fs::read_to_string(&log).with_context(|| format!("cannot read {}", log.display()))?;
    ensure!(text.contains(&format!("## [{version}]")), "CHANGELOG.md has no section [{version}]");
    let mut git = Command::new("git");
    git.args(["tag", "--points-at", "HEAD"]).current_dir(layout.root());
    // Sources without a repository have no tag.
    let tags = command::output(&mut git).unwrap_or_default();
    let of_versions: Vec<&str> = tags.lines().filter(|tag| tag.starts_with('v')).collect();
    ensure!(
        of_versions.is_empty() || of_versions.contains(&format!("v{version}").as_str()),
        "this commit has the tag {}, and the version is {version}: change one of them",
        of_versions.join(", ")
    );
    Ok(())
}

/// Makes what Partner Center takes: a cabinet of the drivers as they were built, signed only as a whole, and
/// directives by which makecab makes it on Windows. Returns their paths.
fn submit(layout: &Layout, signing: &Signing) -> Result<Vec<PathBuf>> {
    let work = layout.target().join("package");
    let package = step("package: contents", || contents(layout))?;
    let cabinet = layout.dist().join(format!("{}-submission.cab", package.name));
    let plain = submission::cabinet(&package)?;
    check::cabinet(&package, &plain, &work)?;
    fs::write(&cabinet, plain).with_context(|| format!("cannot write {}", cabinet.display()))?;
    if let Signing::Own(signer) = signing {
        let unsigned = work.join("submission.cab");
        fs::rename(&cabinet, &unsigned).or_else(|_| fs::copy(&cabinet, &unsigned).map(|_| ()))?;
        signer.sign(&unsigned, &cabinet)?;
    }
    let directives = cabinet.with_extension("ddf");
    fs::write(&directives, submission::directives(&package))
        .with_context(|| format!("cannot write {}", directives.display()))?;
    Ok(vec![cabinet, directives])
}

/// Makes the package of what was built and of what came back with Microsoft's signatures.
fn finish(layout: &Layout, returned: &Path) -> Result<PathBuf> {
    let work = layout.target().join("package");
    let content = fs::read(returned).with_context(|| format!("cannot read {}", returned.display()))?;
    let mut package = step("package: contents", || contents(layout))?;
    submission::take_over(&mut package, &content).with_context(|| returned.display().to_string())?;
    let path = layout.dist().join(format!("{}.zip", package.name));
    fs::write(&path, package.pack()?).with_context(|| format!("cannot write {}", path.display()))?;
    check::archive(&package, &path, &work)?;
    Ok(path)
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
    release(layout)?;
    check::reproducible(|| contents(layout)?.pack())?;
    check::reproducible(|| submission::cabinet(&contents(layout)?))?;
    check::returned(layout)?;
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
    /// Returns all files: those that are as signing left them, the bill of materials with their hashes, and
    /// the checksums.
    fn complete(&self) -> Files {
        let mut files = self.files.clone();
        let hashes: Vec<_> =
            self.crates.keys().map(|file| (file.clone(), hex(&Sha256::digest(&self.files[file])))).collect();
        let bill = components::bill(env!("CARGO_PKG_VERSION"), self.date, &hashes, &self.crates, &self.bases);
        files.insert(BILL.to_owned(), bill.into_bytes());
        let sums = archive::sums(&files);
        files.insert("SHA256SUMS".to_owned(), sums.into_bytes());
        files
    }

    /// Returns the archive.
    fn pack(&self) -> Result<Vec<u8>> {
        zip(&self.name, &self.complete(), self.date)
    }
}

/// Returns everything but signatures, the bill of materials and checksums.
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

    for script in SCRIPTS {
        files.insert(script.to_owned(), read(&layout.root().join("inf").join(script))?);
    }
    for (place, source) in PAPERS
        .iter()
        .map(|paper| (*paper, *paper))
        .chain([("licences/LICENSE-MIT", "LICENSE-MIT"), ("licences/LICENSE-APACHE", "LICENSE-APACHE")])
    {
        let mut text = read(&layout.root().join(source))?;
        if place.ends_with(".md") {
            // Older Windows' Notepad knows no other line ends.
            text = String::from_utf8(text)?.replace("\r\n", "\n").replace('\n', "\r\n").into_bytes();
        }
        files.insert(place.to_owned(), text);
    }
    for (program, ..) in programs(layout) {
        files.insert(program.to_owned(), read(&layout.dist().join(program))?);
    }
    let crates = crates(layout)?;
    files.extend(components::licence_texts(&crates)?);
    let name = format!("xenguard-{}", env!("CARGO_PKG_VERSION"));
    Ok(Package { name, files, date, crates, bases: components::bases()? })
}

/// The scripts in the zip, whose sources stand beside the INF files.
const SCRIPTS: [&str; 2] = ["install.cmd", "uninstall.cmd"];

/// The documents in the zip, which have the same paths in the sources.
pub(crate) const PAPERS: &[&str] = &[
    "CHANGELOG.md",
    "docs/admin-guide.md",
    // The line that a stop writes names it by this path.
    "docs/bugcheck.md",
    "docs/bootcfg.md",
    "docs/bootcfg.schema.json",
    "docs/not-run.md",
];

/// Returns the programs that were built, the crate that each is of, and the target that it is for.
fn programs(layout: &Layout) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let built = [
        ("xenguard.exe", "bootcfg", DRIVER_TARGET),
        ("xenguard", "bootcfg", "x86_64-unknown-linux-gnu"),
        // The old name, for one version.
        ("bootcfg.exe", "bootcfg", DRIVER_TARGET),
        ("bootcfg", "bootcfg", "x86_64-unknown-linux-gnu"),
        (program::SERVICE, "svc", DRIVER_TARGET),
    ];
    let dist = layout.dist();
    built.into_iter().filter(move |(program, ..)| dist.join(program).exists())
}

/// Returns the crates in each binary that ships.
fn crates(layout: &Layout) -> Result<BTreeMap<String, Vec<Component>>> {
    let mut crates = BTreeMap::new();
    for name in SHIPPED {
        crates.insert(format!("{name}.sys"), components::of(layout, &[name], DRIVER_TARGET)?);
    }
    for (program, package, target) in programs(layout) {
        crates.insert(program.to_owned(), components::of(layout, &[package], target)?);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_asks_nothing_of_reg_before_it_knows_that_reg_answers() {
        for script in SCRIPTS {
            let text = fs::read_to_string(Layout::here().root().join("inf").join(script)).unwrap();
            let mut lines = text.lines().skip_while(|line| !line.contains("reg query"));
            assert_eq!(lines.next(), Some(r"reg query HKLM\SYSTEM\Select /v Current >nul 2>&1"), "{script}");
            assert_eq!(lines.next(), Some(r#"if not "%errorlevel%"=="0" ("#), "{script}");
            assert!(
                lines.by_ref().take_while(|line| *line != ")").any(|line| line.contains("exit /b")),
                "{script}"
            );
        }
    }
}
