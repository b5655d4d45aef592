//! The package, held against what others read in it: osslsigncode, openssl, unzip, sha256sum.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use super::{BILL, CATALOG, Package, archive::hex, authenticode, sign};
use crate::{command, folder::remove_folder};

/// Every driver is signed, alone and by the catalog; a driver that was changed, and a catalog that was, are
/// refused.
pub fn signatures(package: &Package, signer: &sign::Signer, work: &Path) -> Result<()> {
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

/// Another reader of ASN.1 finds the hash of each member in the catalog, and of nothing else.
pub fn catalog(package: &Package, work: &Path) -> Result<()> {
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

/// Other tools unpack the archive and find every file as its checksum says.
pub fn archive(package: &Package, path: &Path, work: &Path) -> Result<()> {
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

/// `make` gives the same bytes twice.
pub fn reproducible(make: impl Fn() -> Result<Vec<u8>>) -> Result<()> {
    let (one, other) = (make()?, make()?);
    if one != other {
        let at = one.iter().zip(&other).position(|(a, b)| a != b).unwrap_or(one.len().min(other.len()));
        bail!("two packages of {} and {} bytes differ from byte {at} on", one.len(), other.len());
    }
    Ok(())
}

/// The package's files in a folder of their own.
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
