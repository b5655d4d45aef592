//! Reads registry hive files: the format `regf` of `SYSTEM`, `BCD` and what `reg save` and `bcdedit /export`
//! write.
//!
//! A hive is a base block of 4096 bytes and behind it bins, each filled with cells. A cell holds a key node
//! (`nk`), a value (`vk`), a list of subkeys (`lf`, `lh`, `li`, `ri`), a list of values, a value's data, or
//! the segments of large data (`db`); they refer to each other by offsets from the end of the base block.
//! Source of the layouts: "Windows registry file format specification" (M. Suhanov), sections "Base block",
//! "Hive bin", "Cell" and those of the records.
//!
//! A file may hold anything: every offset, length and count is checked before it is used, and an [`Error`]
//! says where in the file what was expected and what was found. A hive that was not written to its end is
//! completed from its log files by [`replay`], in memory. Nothing here writes files.
//!
//! ```
//! # use hive::build::Tree;
//! # let bytes = Tree::new().with_key("Select", Tree::new().with_dword("Current", 1)).hive("ROOT");
//! let hive = hive::Hive::new(&bytes)?;
//! let select = hive.root()?.key("select")?.expect("names do not differ by case");
//! assert_eq!(select.dword("Current")?, Some(1));
//! # Ok::<(), hive::Error>(())
//! ```

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod base_block;
mod big_data;
mod bin;
#[cfg(feature = "build")]
pub mod build;
mod cell;
mod error;
mod key_node;
mod key_value;
mod name;
pub mod replay;
mod subkey_list;

pub use error::{Error, Found};
pub use key_node::Key;
pub use key_value::{Value, data_type};

use base_block::BaseBlock;
use bin::Bins;

/// A hive, whose base block and bins are checked.
#[derive(Debug)]
pub struct Hive<'a> {
    /// The whole file.
    file: &'a [u8],
    bins: Bins,
    root: u32,
}

impl<'a> Hive<'a> {
    /// Takes a hive file's bytes.
    ///
    /// # Errors
    /// It is no hive, of another version, damaged, or [has unreplayed logs](Error::is_unreplayed).
    pub fn new(file: &'a [u8]) -> Result<Hive<'a>, Error> {
        let base = BaseBlock::read(file)?;
        let bins = Bins::read(file, base.bins_size())?;
        Ok(Hive { file, bins, root: base.root() })
    }

    /// Returns the root key.
    ///
    /// # Errors
    /// Its cell is damaged.
    pub fn root(&self) -> Result<Key<'_>, Error> {
        Key::read(self, self.root)
    }

    /// Returns the key at a path of names separated by backslashes.
    ///
    /// # Errors
    /// A cell on the way is damaged.
    pub fn key(&self, path: &str) -> Result<Option<Key<'_>>, Error> {
        let mut key = self.root()?;
        for name in path.split('\\').filter(|name| !name.is_empty()) {
            match key.key(name)? {
                Some(next) => key = next,
                None => return Ok(None),
            }
        }
        Ok(Some(key))
    }
}
