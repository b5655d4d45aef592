//! The package that is installed: the drivers and their INF files in one folder.

use anyhow::{Context, Result};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::service;
use crate::{
    bail_as,
    exit::{self, Exit},
    files::Files,
    image::{Signature, is_x64_driver, is_x64_program, signature},
    inf::{Inf, Installation, installation},
};

/// The drivers, the one that the others import from first.
pub const DRIVERS: [&str; 4] = guard::start_override::SUITE;
/// The INF files; idefallback is installed with idefilter.
pub const INFS: [&str; 3] = ["idefilter", "xenpci", "xenvbd"];

pub use guard::setup_class::FILTERED;

/// A package as it was read.
#[derive(Clone, Debug)]
pub struct Package {
    /// The driver files by their names, whole.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The service's file, where the package has it.
    pub service: Option<Vec<u8>>,
    /// Effects of each INF file, in the order of [`INFS`].
    pub installations: Vec<Installation>,
    /// The version in `DriverVer`, the same in all of them.
    pub version: String,
}

impl Package {
    /// Reads the package in a folder.
    ///
    /// # Errors
    /// A file is missing or malformed, or they are of different versions.
    pub fn read(files: &dyn Files, folder: &Path) -> Result<Package> {
        Package::taken(files, folder).map_err(|error| exit::or(error, Exit::Package))
    }

    /// Returns the least that any of the drivers is signed with.
    #[must_use]
    pub fn signature(&self) -> Signature {
        self.files.values().map(|image| signature(image)).min().unwrap_or(Signature::None)
    }

    fn taken(files: &dyn Files, folder: &Path) -> Result<Package> {
        let names = files.list(folder).unwrap_or_default();
        let read = |name: &str| {
            // From a CD-ROM's image the names may be in upper case.
            let is_it = |path: &&PathBuf| path.file_name().is_some_and(|own| own.eq_ignore_ascii_case(name));
            let path = names.iter().find(is_it).cloned().unwrap_or_else(|| folder.join(name));
            files.read(&path).with_context(|| {
                format!(
                    "{} is missing or cannot be read: say where the package is by --package",
                    path.display()
                )
            })
        };
        let mut package = Package {
            files: BTreeMap::new(),
            service: None,
            installations: Vec::new(),
            version: String::new(),
        };
        for inf in INFS {
            let name = format!("{inf}.inf");
            let text = read(&name)?;
            let inf = Inf::parse(&String::from_utf8_lossy(&text)).with_context(|| name.clone())?;
            let all = installation(&inf).with_context(|| name.clone())?;
            let version = inf.list("Version", "DriverVer").get(1).copied().unwrap_or_default().to_owned();
            if !package.version.is_empty() && package.version != version {
                bail_as!(Package, "{name} is of version {version}, the others of {}", package.version);
            }
            package.version = version;
            for file in &all.files {
                let content = read(file)?;
                if !is_x64_driver(&content) {
                    bail_as!(Package, "{file} is not a driver for x64");
                }
                package.files.insert(file.clone(), content);
            }
            package.installations.push(all);
        }
        if names
            .iter()
            .any(|path| path.file_name().is_some_and(|own| own.eq_ignore_ascii_case(service::FILE)))
        {
            let program = read(service::FILE)?;
            if !is_x64_program(&program) {
                bail_as!(Package, "{} is not a program for x64", service::FILE);
            }
            package.service = Some(program);
        }
        Ok(package)
    }
}
