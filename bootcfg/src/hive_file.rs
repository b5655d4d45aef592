//! Reading a hive's file together with the log files beside it.
//!
//! A Windows that crashed, or was destroyed from outside, leaves its hives dirty: what it changed last is in
//! `<hive>.LOG1`, `.LOG2` or `.LOG` only. What is read here is the hive as the next loader will see it.

use anyhow::{Context, Result};
use hive::replay::{self, ReplayError};
use std::path::{Path, PathBuf};

use crate::{bail_as, files::Files, guest_files, replace};

/// The log files' endings, in the order in which the loader tries them.
const LOGS: [&str; 3] = [".LOG1", ".LOG2", ".LOG"];

/// A hive's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HiveFile {
    /// The file's bytes, which may be those of a dirty hive.
    pub raw: Vec<u8>,
    /// The hive with its log files replayed; equal to `raw` where it was clean.
    pub content: Vec<u8>,
    /// The names of the log files that were replayed.
    pub replayed: Vec<String>,
}

impl HiveFile {
    /// Reads a hive, and its log files where it is dirty.
    ///
    /// # Errors
    /// The file cannot be read, is no hive, or is dirty and none of its log files fits.
    pub fn read(files: &dyn Files, path: &Path) -> Result<HiveFile> {
        let raw = files.read(path).with_context(|| format!("cannot read {}", path.display()))?;
        // What is no hive is told by its reader, with the same words as ever.
        if !replay::is_dirty(&raw).unwrap_or(false) {
            return Ok(HiveFile { content: raw.clone(), raw, replayed: Vec::new() });
        }
        let logs = log_files(files, path)?;
        let contents: Vec<&[u8]> = logs.iter().map(|(_, content)| content.as_slice()).collect();
        match replay::replay(&raw, &contents) {
            Ok(replayed) => {
                let names = replayed.logs.iter().map(|&log| logs[log].0.clone()).collect();
                Ok(HiveFile { content: replayed.hive, raw, replayed: names })
            }
            Err(ReplayError::NoLogFits { sequences: (primary, secondary), reasons }) => {
                let mut why: Vec<String> =
                    reasons.iter().map(|(log, fault)| format!("{}: {fault}", logs[*log].0)).collect();
                if logs.is_empty() {
                    why.push("there is no log file beside it".to_owned());
                }
                bail_as!(
                    Unusable,
                    "{} was not written to its end (sequence numbers {primary} and {secondary}), and what its log files \
                     hold does not complete it: {}. Boot Windows and shut it down cleanly. If it does not boot, see \
                     \"The SYSTEM hive is dirty\" in the admin guide",
                    path.display(),
                    why.join("; ")
                )
            }
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    /// Returns a hive that is clean.
    #[must_use]
    pub fn clean(content: Vec<u8>) -> HiveFile {
        HiveFile { raw: content.clone(), content, replayed: Vec::new() }
    }

    /// Returns the sentence for the user about what was replayed.
    #[must_use]
    pub fn replay_note(&self, path: &Path) -> Option<String> {
        (!self.replayed.is_empty()).then(|| {
            format!(
                "{} was not written to its end; it is read with {} replayed, as Windows would at its next start",
                path.display(),
                self.replayed.join(" and ")
            )
        })
    }

    /// Replaces the hive by `new`; returns where the old one is kept. Of a dirty hive two backups are made:
    /// the file as it was, and as the last one the hive with its log files replayed, which needs none.
    ///
    /// # Errors
    /// The file changed since it was read, or a step failed.
    pub fn replace(&self, files: &dyn Files, path: &Path, new: &[u8]) -> Result<PathBuf> {
        if self.replayed.is_empty() {
            return replace::replace(files, path, &self.raw, new);
        }
        let resolved = files.resolve(path).with_context(|| format!("cannot find {}", path.display()))?;
        let attributes = files
            .attributes(&resolved)
            .with_context(|| format!("cannot read the attributes of {}", path.display()))?;
        replace::backup(files, &resolved, &self.raw, &attributes)?;
        replace::replace_keeping(files, path, &self.raw, &self.content, new)
    }
}

/// Returns the log files beside a hive, with their names.
fn log_files(files: &dyn Files, hive: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let name = hive.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let folder = hive.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut logs = Vec::new();
    for ending in LOGS {
        let Some(path) = guest_files::file(folder, &format!("{name}{ending}"))? else { continue };
        let content = files.read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        logs.push((name, content));
    }
    Ok(logs)
}
