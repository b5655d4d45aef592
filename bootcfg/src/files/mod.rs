//! Every file operation that a change of a boot configuration is made of, behind one small trait: a test
//! makes each of them fail, or stops at it, and looks at what is left.

mod disk;
#[cfg(test)]
pub(crate) mod model;
pub mod security;

#[cfg(unix)]
pub use disk::restrict;
pub use disk::{Disk, leads_away, modified};

use std::{
    io,
    path::{Path, PathBuf},
};

/// The attributes of a file that must outlive its replacement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// `FILE_ATTRIBUTE_READONLY`, `_HIDDEN`, `_SYSTEM` and `_ARCHIVE`; of these a Unix file system that is
    /// not FAT or NTFS has only the first.
    pub dos: u32,
    /// Mode, owner and group, where there are such things.
    pub unix: Option<(u32, u32, u32)>,
    /// The security descriptor of a file on NTFS, self-relative.
    pub security: Option<Vec<u8>>,
}

impl Attributes {
    /// `FILE_ATTRIBUTE_READONLY`.
    pub const READ_ONLY: u32 = 1;
    /// `FILE_ATTRIBUTE_HIDDEN`.
    pub const HIDDEN: u32 = 2;
    /// `FILE_ATTRIBUTE_SYSTEM`.
    pub const SYSTEM: u32 = 4;
    /// `FILE_ATTRIBUTE_ARCHIVE`.
    pub const ARCHIVE: u32 = 0x20;
    /// All of them.
    pub const DOS: u32 = Self::READ_ONLY | Self::HIDDEN | Self::SYSTEM | Self::ARCHIVE;

    /// Returns the same, but writable.
    #[must_use]
    pub fn writable(&self) -> Attributes {
        let unix = self.unix.map(|(mode, owner, group)| (mode | 0o200, owner, group));
        Attributes { dos: self.dos & !Self::READ_ONLY, unix, security: self.security.clone() }
    }

    /// Returns the attributes of a copy: who may read and write it is as here, and it is an ordinary file.
    #[must_use]
    pub fn of_copy(&self) -> Attributes {
        Attributes { dos: Self::ARCHIVE, ..self.writable() }
    }

    /// Returns true if a write is refused.
    #[must_use]
    pub const fn is_read_only(&self) -> bool {
        self.dos & Self::READ_ONLY != 0
    }
}

/// The file operations.
pub trait Files {
    /// Returns the path behind all symbolic links.
    fn resolve(&self, path: &Path) -> io::Result<PathBuf>;
    /// Returns the whole content of a regular file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Returns the attributes.
    fn attributes(&self, path: &Path) -> io::Result<Attributes>;
    /// Sets the attributes.
    fn set_attributes(&self, path: &Path, attributes: &Attributes) -> io::Result<()>;
    /// Makes a new file with this content; fails where one of the name exists.
    fn create(&self, path: &Path, content: &[u8]) -> io::Result<()>;
    /// Returns when the file's content is on the disk.
    fn flush(&self, path: &Path) -> io::Result<()>;
    /// Gives a file the name of another, which goes, in one step.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file, a read-only one too. Of a link the link goes, and nothing is followed.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Returns when the names in the file's folder are on the disk.
    fn flush_folder(&self, path: &Path) -> io::Result<()>;
    /// Lists the files in a folder.
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>>;
}
