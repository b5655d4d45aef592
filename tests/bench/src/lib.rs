//! The benchmark's work on a disk, the same for every contender: the workloads, the loop that keeps a queue
//! full, the contents of each block, the measurement of time, and the line that reports a run.
//!
//! The contenders are the NT executive (emulated IDE and xenvbd) and a Linux program (a Linux guest's
//! xen-blkfront, and dom0 on the bare device). Each gives an [`Engine`]; all else is shared, so that what
//! differs is what is compared.
#![no_std]

pub mod block;
pub mod drive;
pub mod line;
pub mod runstate;
pub mod workload;

pub use drive::{Engine, Run, Task, drive};
pub use runstate::{RunState, Spent};
pub use workload::{ALL, Workload};

/// A CPUID leaf that means nothing to anyone. Xen intercepts CPUID, so this leaf stands in its trace: with
/// bit 0 set where a run begins, clear where it ends, and the workload's number above.
pub const MARK_LEAF: u32 = 0x5847_0000;

/// Leaves of the beginning and the end of the workload with this index in [`ALL`].
pub const fn marks(workload: u32) -> (u32, u32) {
    (MARK_LEAF | workload << 1 | 1, MARK_LEAF | workload << 1)
}

/// Executes CPUID with this leaf, for the mark it leaves in Xen's trace.
#[cfg(target_arch = "x86_64")]
pub fn mark(leaf: u32) {
    core::hint::black_box(core::arch::x86_64::__cpuid(leaf));
}
