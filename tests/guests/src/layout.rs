//! Folders of the workspace and of what is built.

use std::path::{Path, PathBuf};

/// The folders of one copy of the workspace.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
    /// The folder of stand-ins for parts of the toolchain, which do not depend on the workspace.
    toolchain: PathBuf,
}

impl Layout {
    /// Returns the workspace this program was built from.
    pub fn here() -> Self {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        // This package is tests/guests.
        Self::at(package.ancestors().nth(2).unwrap_or(package))
    }

    /// Returns a workspace at `root`, an absolute path, on its own.
    fn at(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        Self { toolchain: root.join("target/cross"), root }
    }

    /// Returns a copy of this workspace at `root`, an absolute path: it shares what completes the toolchain.
    pub fn copy_at(&self, root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), toolchain: self.toolchain.clone() }
    }

    /// Returns the workspace folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the folder of everything built.
    pub fn target(&self) -> PathBuf {
        self.root.join("target")
    }

    /// Returns the drivers as they ship: `.sys`, `.pdb`, INF files.
    pub fn dist(&self) -> PathBuf {
        self.root.join("dist")
    }

    /// Returns the folder that the tests boot from: the executive and the deliberately wrong driver.
    pub fn nt(&self) -> PathBuf {
        self.target().join("nt")
    }

    /// Returns the sources of what the cross build needs, in the repository.
    pub fn cross_sources(&self) -> PathBuf {
        self.root.join("cross")
    }

    /// Returns the folder of the cross build's needs, made by `setup`.
    pub fn cross(&self) -> PathBuf {
        self.target().join("cross")
    }

    /// Returns the stand-in for an installed WDK: headers and import libraries.
    pub fn wdk(&self) -> PathBuf {
        self.cross().join("wdk")
    }

    /// Returns the directory source that stands for crates.io in a cross build.
    pub fn crates(&self) -> PathBuf {
        self.cross().join("crates")
    }

    /// Returns the cargo configuration of a cross build.
    pub fn cargo_config(&self) -> PathBuf {
        self.cross().join("config.toml")
    }

    /// Returns the standard library's source, where core and alloc are built from it.
    pub fn rust_source(&self) -> PathBuf {
        self.toolchain.join("rust-src")
    }

    /// Returns the folder of core and alloc for targets that the toolchain does not have.
    pub fn sysroot(&self) -> PathBuf {
        self.toolchain.join("sysroot")
    }
}
