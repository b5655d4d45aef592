//! The report line of a run.

use core::fmt::{self, Display};

use crate::drive::Run;
use crate::runstate::Spent;
use crate::workload::Workload;

/// Kind of the line, its first word after the prefix.
pub const KIND: &str = "bench";
/// Kind of the line that says that the timed runs are done and Xen's trace is to be switched on.
pub const TRACE_KIND: &str = "bench-trace";
/// Kind of the line that says that the traced runs are done.
pub const TRACED_KIND: &str = "bench-traced";

/// Kind of a run of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// The first, whose time counts for nothing: caches are cold, and the emulator translates what runs
    /// first.
    Warm,
    /// A timed one, from 0.
    Timed(u32),
    /// One that Xen traces.
    Traced,
}

impl Pass {
    /// Returns the passes before the traced one, in order.
    pub fn measured(runs: u32) -> impl Iterator<Item = Self> {
        core::iter::once(Self::Warm).chain((0..runs).map(Self::Timed))
    }
}

/// A run of a workload; prints as `bench workload=… run=… …`.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// The workload that was run.
    pub workload: &'static Workload,
    /// Kind of the run.
    pub pass: Pass,
    /// Its result.
    pub run: Run,
    /// The time that it took.
    pub spent: Spent,
}

impl Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { workload, pass, run, spent } = self;
        write!(f, "{KIND} workload={} run=", workload.name)?;
        match pass {
            Pass::Warm => f.write_str("warm")?,
            Pass::Timed(number) => write!(f, "{number}")?,
            Pass::Traced => f.write_str("traced")?,
        }
        write!(f, " requests={} errors={}", run.requests, run.errors)?;
        write!(f, " elapsed_ns={} busy_ns={} waiting_ns={}", spent.elapsed, spent.busy, spent.waiting)
    }
}
