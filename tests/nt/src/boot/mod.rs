//! Boot: the multiboot entry, processor tables, and what stands in for NT's loader.

pub(crate) mod bcd;
pub(crate) mod bootini;
mod entry;
pub(crate) mod mp_table;
pub(crate) mod multiboot;
mod options;
mod profile;
mod tar;

pub(crate) use options::Options;
pub(crate) use profile::Profile;
use spin::Once;
pub(crate) use tar::Archive;

static OPTIONS: Once<Options> = Once::new();
static ARCHIVE: Once<Archive> = Once::new();

/// Keeps the command line and the archive for everyone. Called once.
pub(crate) fn keep(options: Options, archive: Archive) {
    OPTIONS.call_once(|| options);
    ARCHIVE.call_once(|| archive);
}

/// Returns the command line's options; the defaults before they were read.
pub(crate) fn options() -> &'static Options {
    OPTIONS.call_once(Options::default)
}

/// Returns the boot archive, empty if the loader gave none.
pub(crate) fn archive() -> &'static Archive {
    ARCHIVE.call_once(|| Archive::new(&[]))
}
