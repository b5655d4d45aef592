//! A folder for what is needed for a moment.

use anyhow::{Context, Result};
use std::{
    env, fs,
    path::{Path, PathBuf},
};

use crate::bcd::Guid;

/// A folder that goes when it is no longer needed.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes it.
    ///
    /// # Errors
    /// The folder for temporary files cannot be written.
    pub fn new() -> Result<Scratch> {
        let name = format!("bootcfg-{}", Guid::random().to_string().trim_matches(['{', '}']));
        let folder = env::temp_dir().join(name);
        #[cfg_attr(windows, expect(unused_mut, reason = "Windows gives the folder its user's rights"))]
        let mut builder = fs::DirBuilder::new();
        // A SYSTEM hive holds secrets; nobody else looks in.
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Scratch(folder))
    }

    /// Returns its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is in the folder for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn nobody_else_looks_in() {
        let scratch = Scratch::new().expect("made");
        let mode = fs::metadata(scratch.path()).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
