//! Signing and its check, by osslsigncode.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

use crate::command;

/// The signer of a package.
#[derive(Clone, Debug)]
pub struct Signer {
    /// The certificate, with those of its chain behind it (PEM).
    pub certificate: PathBuf,
    /// The private key: a file, or the id of one in the token of `module`.
    pub key: String,
    /// A PKCS#11 module that holds the key.
    pub module: Option<PathBuf>,
    /// The address of a timestamp server (RFC 3161).
    pub timestamp: Option<String>,
}

impl Signer {
    /// Returns a certificate generated once and kept in `folder`: for test machines only.
    ///
    /// # Errors
    /// openssl fails.
    pub fn for_tests(folder: &Path) -> Result<Signer> {
        let (certificate, key) = (folder.join("test.crt.pem"), folder.join("test.key.pem"));
        if !(certificate.exists() && key.exists()) {
            fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
            let mut openssl = Command::new("openssl");
            openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-sha256", "-nodes", "-days", "3650"]);
            openssl.args(["-subj", "/CN=Xenguard test signing, not for production"]);
            for extension in [
                "basicConstraints=critical,CA:FALSE",
                "keyUsage=critical,digitalSignature",
                "extendedKeyUsage=critical,codeSigning",
            ] {
                openssl.args(["-addext", extension]);
            }
            command::output(openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate))?;
        }
        Ok(Signer { certificate, key: key.to_string_lossy().into_owned(), module: None, timestamp: None })
    }

    /// Signs a driver or a catalog.
    ///
    /// # Errors
    /// osslsigncode fails.
    pub fn sign(&self, file: &Path, signed: &Path) -> Result<()> {
        let mut tool = Command::new("osslsigncode");
        tool.arg("sign");
        if let Some(module) = &self.module {
            tool.arg("-pkcs11module").arg(module);
        }
        tool.arg("-certs").arg(&self.certificate).arg("-key").arg(&self.key);
        tool.args(["-h", "sha256", "-n", "Xenguard"]);
        if let Some(server) = &self.timestamp {
            tool.args(["-ts", server]);
        }
        command::output(tool.arg("-in").arg(file).arg("-out").arg(signed)).map(|_| ())
    }

    /// Returns the certificate in DER, for Windows' certificate store.
    ///
    /// # Errors
    /// openssl fails.
    pub fn certificate_der(&self, to: &Path) -> Result<Vec<u8>> {
        let mut openssl = Command::new("openssl");
        openssl.args(["x509", "-outform", "DER", "-in"]).arg(&self.certificate).arg("-out").arg(to);
        command::output(&mut openssl)?;
        fs::read(to).with_context(|| format!("cannot read {}", to.display()))
    }
}

/// Checks a signed file against a root certificate; with a catalog, that the catalog is signed and has the
/// file's hash.
///
/// # Errors
/// osslsigncode is not content; the message has its reasons.
pub(super) fn verify(file: &Path, root: &Path, catalog: Option<&Path>) -> Result<()> {
    let mut tool = Command::new("osslsigncode");
    tool.arg("verify").arg("-CAfile").arg(root);
    if let Some(catalog) = catalog {
        tool.arg("-catalog").arg(catalog);
    }
    let output = tool.arg("-in").arg(file).output().context("osslsigncode does not start")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("{}: osslsigncode verify failed\n{}", file.display(), text.trim());
    }
    // The last line sums up; its wording depends on the version, the word does not.
    ensure!(text.contains("Succeeded") || text.contains("ok"), "osslsigncode says: {}", text.trim());
    Ok(())
}
