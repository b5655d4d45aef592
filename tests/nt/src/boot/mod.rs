//! Boot: the loader's entry, its information, and processor tables.

mod entry;
pub(crate) mod mp_table;
pub(crate) mod multiboot;
mod options;
mod profile;

pub(crate) use options::Options;
pub(crate) use profile::Profile;

use osloader::archive::Archive;
use spin::Once;

static OPTIONS: Once<Options> = Once::new();
static ARCHIVE: Once<Archive<'static>> = Once::new();

/// Keeps the command line and the archive for everyone. Called once.
pub(crate) fn keep(options: Options, archive: Archive<'static>) {
    OPTIONS.call_once(|| options);
    ARCHIVE.call_once(|| archive);
}

/// Returns the command line's options; the defaults before they were read.
pub(crate) fn options() -> &'static Options {
    OPTIONS.call_once(Options::default)
}

/// Returns the boot archive, empty if the loader gave none.
pub(crate) fn archive() -> &'static Archive<'static> {
    ARCHIVE.call_once(|| Archive::new(&[]))
}
