//! The way to Microsoft's signature: the cabinet that Partner Center takes, and what comes back from there.
//!
//! Sources: "Attestation sign Windows drivers" (each driver in a folder of the cabinet, with INF, symbols and
//! catalog; no files at its top; the cabinet signed by the submitter) and the format of directives files in
//! the Cabinet SDK.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    io::{Cursor, Read, Write},
};

use anyhow::{Context, Result, bail, ensure};
use cab::{CabinetBuilder, CompressionType};
use sha2::{Digest, Sha256};
use time::{OffsetDateTime, PrimitiveDateTime};

use super::{CATALOG, Package, authenticode};

/// The folder in the cabinet.
const FOLDER: &str = "xenguard";

/// Returns the files that are submitted: drivers, INF files, symbols, catalog; by their names in the folder.
fn submitted(package: &Package) -> Vec<(String, &[u8])> {
    let all = package.files.iter().filter_map(|(path, content)| {
        let name = path.strip_prefix("symbols/").unwrap_or(path);
        let goes = [".sys", ".inf", ".pdb", ".cat"].iter().any(|end| name.ends_with(end));
        (goes && !name.contains('/')).then(|| (name.to_owned(), content.as_slice()))
    });
    all.collect()
}

/// Returns the cabinet. Equal packages give equal bytes.
///
/// # Errors
/// The date cannot be held, or a file is too large.
pub(super) fn cabinet(package: &Package) -> Result<Vec<u8>> {
    let seconds = i64::try_from(package.date.since_epoch().as_secs())?;
    let date = OffsetDateTime::from_unix_timestamp(seconds)?;
    let files = submitted(package);
    let mut builder = CabinetBuilder::new();
    let folder = builder.add_folder(CompressionType::MsZip);
    for (name, _) in &files {
        folder
            .add_file(format!("{FOLDER}\\{name}"))
            .set_datetime(PrimitiveDateTime::new(date.date(), date.time()));
    }
    let mut writer = builder.build(Cursor::new(Vec::new()))?;
    for (name, content) in files {
        let mut file = writer.next_file()?.with_context(|| format!("the cabinet has no place for {name}"))?;
        file.write_all(content)?;
    }
    Ok(writer.finish()?.into_inner())
}

/// Directives for makecab, which makes such a cabinet on Windows from the unpacked zip.
pub(super) fn directives(package: &Package) -> String {
    let mut text = String::from(".OPTION EXPLICIT\r\n");
    let settings = [
        ("CabinetNameTemplate", format!("{}-submission.cab", package.name)),
        ("CabinetFileCountThreshold", "0".to_owned()),
        ("FolderFileCountThreshold", "0".to_owned()),
        ("FolderSizeThreshold", "0".to_owned()),
        ("MaxCabinetSize", "0".to_owned()),
        ("MaxDiskFileCount", "0".to_owned()),
        ("MaxDiskSize", "0".to_owned()),
        ("CompressionType", "MSZIP".to_owned()),
        ("Cabinet", "on".to_owned()),
        ("Compress", "on".to_owned()),
        ("DestinationDir", FOLDER.to_owned()),
    ];
    for (name, value) in settings {
        // Writing to a String does not fail.
        let _ = write!(text, ".Set {name}={value}\r\n");
    }
    for (name, _) in submitted(package) {
        let place = if name.ends_with(".pdb") { format!("symbols\\{name}") } else { name };
        let _ = write!(text, "{place}\r\n");
    }
    text
}

/// Takes over what Microsoft returned: its signatures are on the drivers and its catalog stands for ours. All
/// else must be what was submitted, by the reproducible build: a driver's hash without its signature, an INF
/// file's bytes.
///
/// # Errors
/// A file is missing, is one too many, or is another one; or the catalog does not stand for a file.
pub(super) fn take_over(package: &mut Package, returned: &[u8]) -> Result<()> {
    let mut archive =
        zip::ZipArchive::new(Cursor::new(returned)).context("what was returned is no zip archive")?;
    let wanted: BTreeSet<String> = submitted(package)
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| name.ends_with(".sys") || name.ends_with(".inf") || name == CATALOG)
        .collect();
    let mut found = BTreeSet::new();
    for index in 0..archive.len() {
        let mut file = archive.by_index(index)?;
        if file.is_dir() {
            continue;
        }
        let path = file.name().replace('\\', "/");
        let name = path.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        match name.rsplit_once('.').map(|(_, end)| end) {
            // Symbols may come back; those of the build are as good.
            Some("pdb" | "txt") => continue,
            _ if !wanted.contains(&name) => bail!("{path} came back, and was not submitted"),
            _ if !found.insert(name.clone()) => bail!("{path} came back twice"),
            Some("sys") => {
                let own = authenticode::digest(&package.files[&name])?;
                let theirs = authenticode::digest(&content).with_context(|| path.clone())?;
                ensure!(own == theirs, "{path} is not the driver that these sources give");
                ensure!(is_signed(&content), "{path} came back without a signature");
            }
            Some("inf") => ensure!(
                content == package.files[&name],
                "{path} is not the INF file that was submitted ({} and {} bytes)",
                content.len(),
                package.files[&name].len()
            ),
            _ => {}
        }
        package.files.insert(name, content);
    }
    if let Some(missing) = wanted.difference(&found).next() {
        bail!("{missing} did not come back");
    }
    let catalog = &package.files[CATALOG];
    let stands_for = |hash: &[u8]| catalog.windows(hash.len()).any(|bytes| bytes == hash);
    for name in &wanted {
        let content = &package.files[name];
        let good = match name.rsplit_once('.').map(|(_, end)| end) {
            Some("sys") => stands_for(&authenticode::digest(content)?),
            Some("inf") => stands_for(&Sha256::digest(content)),
            _ => true,
        };
        ensure!(good, "the catalog that came back does not stand for {name}");
    }
    Ok(())
}

/// Returns true if the image has a certificate table.
fn is_signed(image: &[u8]) -> bool {
    authenticode::certificates(image).is_ok_and(|table| !table.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::{
        archive::{self, Files},
        authenticode::tests::image,
        date::Date,
    };
    use std::collections::BTreeMap;

    const DATE: Date = Date { year: 2026, month: 11, day: 21 };

    /// Returns a package of two drivers.
    fn package() -> Package {
        let mut files = Files::new();
        for (name, length) in [("one", 8), ("two", 16)] {
            files.insert(format!("{name}.sys"), image(length, false));
            files.insert(format!("{name}.inf"), format!("; {name}").into_bytes());
            files.insert(format!("symbols/{name}.pdb"), vec![b'p'; length]);
        }
        files.insert(CATALOG.to_owned(), b"ours".to_vec());
        files.insert("licences/x-1/LICENSE.inf".to_owned(), b"no".to_vec());
        files.insert("bootcfg.exe".to_owned(), b"no".to_vec());
        Package {
            name: "xenguard-1".to_owned(),
            files,
            date: DATE,
            crates: BTreeMap::new(),
            bases: Vec::new(),
        }
    }

    /// Returns the package that comes back for it, with a change.
    fn returned(change: impl FnOnce(&mut Files)) -> Result<Package> {
        let mut package = package();
        let mut files = Files::new();
        let mut catalog = b"theirs".to_vec();
        for (name, length) in [("one", 8), ("two", 16)] {
            let (driver, inf) = (image(length, true), format!("; {name}").into_bytes());
            catalog.extend(authenticode::digest(&driver)?);
            catalog.extend(Sha256::digest(&inf));
            files.insert(format!("drivers/{name}.sys"), driver);
            files.insert(format!("drivers/{name}.inf"), inf);
        }
        files.insert(format!("drivers/{CATALOG}"), catalog);
        change(&mut files);
        take_over(&mut package, &archive::zip("x", &files, DATE)?)?;
        Ok(package)
    }

    #[test]
    fn a_cabinet_has_one_folder_with_all_that_is_submitted() {
        let bytes = cabinet(&package()).unwrap();
        assert_eq!(bytes, cabinet(&package()).unwrap(), "reproducible");
        let mut read = cab::Cabinet::new(Cursor::new(bytes)).unwrap();
        let names: Vec<String> = read
            .folder_entries()
            .flat_map(|folder| folder.file_entries())
            .map(|file| file.name().to_owned())
            .collect();
        let wanted = ["one.inf", "one.sys", "one.pdb", "two.pdb", "two.inf", "two.sys", CATALOG];
        assert_eq!(names.len(), wanted.len(), "{names:?}");
        for name in wanted {
            let mut content = Vec::new();
            read.read_file(&format!("xenguard\\{name}")).unwrap().read_to_end(&mut content).unwrap();
            let package = package();
            let own = package.files.get(name).or_else(|| package.files.get(&format!("symbols/{name}")));
            assert_eq!(own, Some(&content), "{name}");
        }
        let text = directives(&package());
        assert!(text.contains("symbols\\one.pdb\r\n") && text.contains("\r\none.sys\r\n"), "{text}");
    }

    #[test]
    fn only_what_was_submitted_is_taken_over() {
        let taken = returned(|_| ()).unwrap();
        assert!(is_signed(&taken.files["one.sys"]) && taken.files[CATALOG].starts_with(b"theirs"));
        assert!(taken.files.contains_key("symbols/one.pdb"), "what does not come back stays");
        let refused = |change: &dyn Fn(&mut Files), reason: &str| {
            let error = returned(|files| change(files)).unwrap_err();
            assert!(format!("{error:#}").contains(reason), "{error:#}");
        };
        refused(&|files| files.get_mut("drivers/two.sys").unwrap()[0x201] ^= 1, "not the driver");
        refused(&|files| files.get_mut("drivers/two.inf").unwrap().push(b' '), "not the INF file");
        refused(&|files| drop(files.remove("drivers/one.inf")), "one.inf did not come back");
        refused(
            &|files| drop(files.insert("drivers/one.sys".into(), image(8, false))),
            "without a signature",
        );
        refused(&|files| drop(files.insert("drivers/three.sys".into(), image(8, true))), "not submitted");
        refused(&|files| drop(files.insert("more/one.sys".into(), image(8, true))), "came back twice");
        refused(
            &|files| drop(files.insert(format!("drivers/{CATALOG}"), vec![0; 200])),
            "does not stand for",
        );
        assert!(take_over(&mut package(), b"no zip").is_err());
    }
}
