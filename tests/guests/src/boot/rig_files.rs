//! Makes the rig ready: dom0's helper built, Xen in qemu set up.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    thread,
};

use anyhow::Result;
use rig::{Release, RigFiles};

use crate::{layout::Layout, step::step};

/// Rigs at the same time: one more than a small machine has processors, since a guest's life is partly waiting. With five,
/// emulated boots took five times as long, and came to their limits of time.
pub const AT_ONCE: usize = 3;

/// Does some work with each item, on so many threads; returns when all is done.
pub fn each<T: Send>(threads: usize, items: impl IntoIterator<Item = T>, work: impl Fn(T) + Sync) {
    let queue = Mutex::new(items.into_iter().collect::<VecDeque<T>>());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(item) = next else { break };
                    work(item);
                }
            });
        }
    });
}

/// Builds dom0's helper and makes the rig's files, or finds them in the cache.
///
/// # Errors
/// Each names the step and what to do about it.
pub fn ensure(layout: &Layout, release: Release) -> Result<RigFiles> {
    ensure_with(layout, release, 1)
}

/// Does the same as [`ensure`] for a machine with so many processors, the first of which is dom0's.
///
/// # Errors
/// As [`ensure`].
pub fn ensure_with(layout: &Layout, release: Release, processors: u32) -> Result<RigFiles> {
    let helper = step("build dom0's helper", || Ok(rig::helper::build(layout.root(), &layout.target())?))?;
    let title = match processors {
        1 => format!("Xen {release} in qemu"),
        _ => format!("Xen {release} in qemu with {processors} processors"),
    };
    step(&title, || {
        let say = |line: &str| println!("  {line}");
        Ok(rig::setup::ensure(&layout.target(), &helper, release, processors, &say)?)
    })
}
