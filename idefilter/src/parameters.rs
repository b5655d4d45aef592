//! The driver's parameters in the registry.

use wdm::registry::{self, Key};
use wdm::utf16;

/// Opens the key `Parameters` below this driver's service key. PASSIVE_LEVEL.
///
/// # Errors
/// `OBJECT_NAME_NOT_FOUND` where there is none.
pub(crate) fn open() -> wdm::Result<Key> {
    Key::open(registry::SERVICES)?.open_below(utf16!("idefilter"))?.open_below(utf16!("Parameters"))
}

/// Opens the same key for writing, and makes it where there is none. PASSIVE_LEVEL.
///
/// # Errors
/// Errors of the registry.
pub(crate) fn open_for_write() -> wdm::Result<Key> {
    Key::open(registry::SERVICES)?.open_below(utf16!("idefilter"))?.create_below(utf16!("Parameters"), false)
}
