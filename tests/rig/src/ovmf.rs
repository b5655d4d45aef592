//! OVMF, UEFI firmware for a guest: that of Debian 11, the last of Debian's that has drivers for Xen's PV disks in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::cache::Key;
use crate::error::{FileContext, RigError};
use crate::host;
use crate::release::Release;

/// The package in the version whose drivers were looked at: later ones of the same name have none.
const PACKAGE: &str = "ovmf=2020.11-2+deb11u2";
/// The firmware's code and its empty variables in one.
const FILE: &str = "tree/usr/share/ovmf/OVMF.fd";
const SHA256: &str = "ba9568244079690d23d98c757f69f675751dc833d8941da4820e30a9c19df1ad";
const UNPACK_LIMIT: Duration = Duration::from_secs(1200);

/// The unpacked firmware.
#[derive(Clone, Debug)]
pub(crate) struct Ovmf {
    dir: PathBuf,
}

impl Ovmf {
    pub(crate) fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the file that hvmloader is given.
    pub(crate) fn file(&self) -> PathBuf {
        self.dir.join(FILE)
    }

    pub(crate) fn key() -> Key {
        Key::of(&[PACKAGE.as_bytes(), SHA256.as_bytes()])
    }

    /// Fills `part` from the archive of Debian 11.
    pub(crate) fn make(part: &Path, archive: &str, scratch: &Path) -> Result<Vec<&'static str>, RigError> {
        let suite = Release::Xen414.suite();
        host::unpack(suite, &[PACKAGE], &part.join("tree"), archive, scratch, UNPACK_LIMIT)?;
        let path = part.join(FILE);
        let file = fs::read(&path).file("read", &path)?;
        let found: String = Sha256::digest(&file).iter().map(|byte| format!("{byte:02x}")).collect();
        if found != SHA256 {
            return Err(RigError::OtherBytes {
                file: path,
                expected: format!("SHA-256 {SHA256}"),
                found: format!("SHA-256 {found}"),
            });
        }
        Ok(vec![FILE])
    }
}
