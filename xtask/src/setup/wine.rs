//! Wine, for the tests that use it.

use anyhow::Result;

use super::packages::{self, Package};

/// Debian 12's: 64 bits only, no recommendations.
const PACKAGES: &[Package] = &[("wine64", "/usr/lib/wine/wine64"), ("wine", "/usr/bin/wine")];

/// Installs Wine where it is missing.
///
/// # Errors
/// As for every package.
pub fn ensure() -> Result<()> {
    packages::ensure(PACKAGES)
}
