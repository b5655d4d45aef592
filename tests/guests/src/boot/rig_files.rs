//! Makes the rig ready: dom0's helper built, Xen in qemu set up.

use anyhow::Result;
use rig::{Release, RigFiles};

use crate::{layout::Layout, step::step};

/// Rigs at the same time in a long run on two processors: a guest's life is mostly waiting, and one rig uses two fifths of
/// a processor.
pub const AT_ONCE: usize = 5;

/// Builds dom0's helper and makes the rig's files, or finds them in the cache.
///
/// # Errors
/// Each names the step and what to do about it.
pub fn ensure(layout: &Layout, release: Release) -> Result<RigFiles> {
    let helper = step("build dom0's helper", || Ok(rig::helper::build(layout.root(), &layout.target())?))?;
    let title = format!("Xen {release} in qemu");
    step(&title, || Ok(rig::setup::ensure(&layout.target(), &helper, release, &|line| println!("  {line}"))?))
}
