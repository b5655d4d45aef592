//! The package, held against what others read in it: osslsigncode, openssl, unzip, sha256sum.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use super::{
    BILL, CATALOG, INFS, Package, SHIPPED,
    archive::{Files, hex},
    authenticode, sign, submission,
};
use crate::{command, folder::remove_folder, layout::Layout};

/// Checks that every driver is signed, alone and by the catalog; a driver that was changed, and a catalog
/// that was, are refused.
pub(super) fn signatures(package: &Package, signer: &sign::Signer, work: &Path) -> Result<()> {
    let folder = unpacked(package, work)?;
    let (root, catalog) = (&signer.certificate, folder.join(CATALOG));
    sign::verify(&catalog, root, None)?;
    for name in package.files.keys().filter(|path| path.ends_with(".sys") && !path.contains('/')) {
        let driver = folder.join(name);
        sign::verify(&driver, root, None)?;
        sign::verify(&driver, root, Some(&catalog))?;
        // A byte of the code, behind the headers.
        let mut changed = package.files[name].clone();
        changed[0x600] ^= 1;
        let broken = folder.join(format!("changed-{name}"));
        fs::write(&broken, changed)?;
        for with in [None, Some(catalog.as_path())] {
            ensure!(sign::verify(&broken, root, with).is_err(), "a changed {name} passed, catalog: {with:?}");
        }
    }
    Ok(())
}

/// Checks that another reader of ASN.1 finds the hash of each member in the catalog, and of nothing else.
pub(super) fn catalog(package: &Package, work: &Path) -> Result<()> {
    let folder = unpacked(package, work)?;
    let mut openssl = Command::new("openssl");
    openssl.args(["asn1parse", "-inform", "DER", "-in"]).arg(folder.join(CATALOG));
    let parsed = command::output(&mut openssl)?;
    ensure!(
        parsed.contains("pkcs7-signedData") && parsed.contains("1.3.6.1.4.1.311.10.1"),
        "no signed trust list"
    );
    let has = |hash: &[u8]| parsed.contains(&format!("[HEX DUMP]:{}", hex(hash).to_ascii_uppercase()));
    for (path, contents) in &package.files {
        if path.ends_with(".sys") {
            ensure!(has(&authenticode::digest(contents)?), "{path} is not in the catalog");
        } else if path.ends_with(".inf") {
            ensure!(has(&Sha256::digest(contents)), "{path} is not in the catalog");
        }
    }
    ensure!(!has(&Sha256::digest(b"")), "the check finds what is not there");
    Ok(())
}

/// Checks that other tools unpack the archive and find every file as its checksum says.
pub(super) fn archive(package: &Package, path: &Path, work: &Path) -> Result<()> {
    let folder = work.join("unzipped");
    remove_folder(&folder)?;
    command::output(Command::new("unzip").arg("-q").arg(path).arg("-d").arg(&folder))?;
    let inside = folder.join(&package.name);
    command::output(
        Command::new("sha256sum").args(["--strict", "--quiet", "-c", "SHA256SUMS"]).current_dir(&inside),
    )?;
    let sums = fs::read_to_string(inside.join("SHA256SUMS"))?;
    let files = package.complete();
    ensure!(sums.lines().count() == files.len() - 1, "SHA256SUMS has not every file");
    let bill: serde_json::Value = serde_json::from_slice(&files[BILL])?;
    for driver in guests::built::SHIPPED {
        let file = format!("{driver}.sys");
        let entry = bill["components"].as_array().and_then(|all| all.iter().find(|c| c["name"] == *file));
        let hash = entry.and_then(|entry| entry["hashes"][0]["content"].as_str());
        let actual = hex(&Sha256::digest(fs::read(inside.join(&file))?));
        ensure!(
            hash == Some(actual.as_str()),
            "the bill of materials has {file} as {hash:?}, and it is {actual}"
        );
    }
    Ok(())
}

/// Checks that another reader of cabinets finds every file as it was put in, in one folder.
pub(super) fn cabinet(package: &Package, cabinet: &[u8], work: &Path) -> Result<()> {
    let folder = work.join("cabinet");
    remove_folder(&folder)?;
    fs::create_dir_all(&folder)?;
    let path = folder.join("x.cab");
    fs::write(&path, cabinet)?;
    command::output(Command::new("cabextract").args(["-q", "-d"]).arg(&folder).arg(&path))?;
    let mut inside = 0;
    for entry in fs::read_dir(folder.join("xenguard")).context("the cabinet lacks its folder")? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let own = package.files.get(&name).or_else(|| package.files.get(&format!("symbols/{name}")));
        ensure!(own == Some(&fs::read(entry.path())?), "{name} is another one in the cabinet");
        inside += 1;
    }
    // A driver with its symbols each, the INF files, the catalog.
    let wanted = 2 * SHIPPED.len() + INFS.len() + 1;
    ensure!(inside == wanted, "the cabinet has {inside} files, not {wanted}");
    Ok(())
}

/// Checks that a package that comes back signed is taken over; one in which a driver, an INF file or the
/// catalog is another one, or from which a file is missing, is refused.
pub(super) fn returned(layout: &Layout) -> Result<()> {
    let plain = super::contents(layout)?;
    let mut signed = plain.clone();
    let work = layout.target().join("package");
    let signer = sign::Signer::for_tests(&work.join("test-signing"))?;
    super::sign(&mut signed, &signer, false, &work)?;
    cabinet(&plain, &submission::cabinet(&plain)?, &work)?;
    let come_back = |change: &dyn Fn(&mut Files)| -> Result<()> {
        let goes = |path: &String| path.ends_with(".sys") || path.ends_with(".inf") || *path == CATALOG;
        let mut files: Files =
            signed.files.iter().filter(|(path, _)| goes(path)).map(|(p, c)| (p.clone(), c.clone())).collect();
        change(&mut files);
        submission::take_over(&mut plain.clone(), &super::archive::zip("drivers", &files, plain.date)?)
    };
    come_back(&|_| ())?;
    let change = |name: &'static str, at: usize| {
        move |files: &mut Files| {
            if let Some(content) = files.get_mut(name) {
                content[at] ^= 1;
            }
        }
    };
    ensure!(come_back(&change("xenvbd.sys", 0x600)).is_err(), "another driver was taken over");
    ensure!(come_back(&change("xenvbd.inf", 40)).is_err(), "another INF file was taken over");
    for missing in ["xenpci.sys", "xenpci.inf", CATALOG] {
        let without = |files: &mut Files| drop(files.remove(missing));
        ensure!(come_back(&without).is_err(), "a package without {missing} was taken over");
    }
    let unsigned =
        |files: &mut Files| drop(files.insert("xenpci.sys".into(), plain.files["xenpci.sys"].clone()));
    ensure!(come_back(&unsigned).is_err(), "an unsigned driver was taken over");
    let more = |files: &mut Files| drop(files.insert("more.sys".into(), plain.files["xenpci.sys"].clone()));
    ensure!(come_back(&more).is_err(), "a driver that was not submitted was taken over");
    let other = |files: &mut Files| drop(files.insert(CATALOG.into(), vec![0; 4000]));
    ensure!(come_back(&other).is_err(), "a catalog that stands for nothing was taken over");
    Ok(())
}

/// Checks that `make` gives the same bytes twice.
pub(super) fn reproducible(make: impl Fn() -> Result<Vec<u8>>) -> Result<()> {
    let (one, other) = (make()?, make()?);
    if one != other {
        let at = one.iter().zip(&other).position(|(a, b)| a != b).unwrap_or(one.len().min(other.len()));
        bail!("two packages of {} and {} bytes differ from byte {at} on", one.len(), other.len());
    }
    Ok(())
}

/// Returns the package's files in a folder of their own.
fn unpacked(package: &Package, work: &Path) -> Result<PathBuf> {
    let folder = work.join("files");
    remove_folder(&folder)?;
    for (path, contents) in &package.files {
        let place = folder.join(path);
        fs::create_dir_all(place.parent().context("a file in no folder")?)?;
        fs::write(&place, contents).with_context(|| format!("cannot write {}", place.display()))?;
    }
    Ok(folder)
}
