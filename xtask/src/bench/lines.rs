//! Report lines of the benchmark.

use anyhow::{Context, Result};
use bench::Workload;
use rig::{Report, report::Line};

/// Returns a number of a line.
///
/// # Errors
/// The line has no such number.
pub(super) fn number(line: &Line, key: &str) -> Result<u64> {
    line.number(key).with_context(|| format!("expected {key}=<number> in `{} {}`", line.kind, line.text))
}

/// Returns the workload of a line.
///
/// # Errors
/// The line names none.
pub(super) fn workload(line: &Line) -> Result<&'static Workload> {
    let name = line.get("workload").unwrap_or_default();
    Workload::named(name).with_context(|| format!("`{name}` is not a workload"))
}

/// Returns each workload that was run, with the most requests of one run of it.
///
/// # Errors
/// A line is not understood.
pub(super) fn longest(report: &Report) -> Result<Vec<(&'static Workload, u64)>> {
    report.all(bench::line::KIND).map(|line| Ok((workload(line)?, number(line, "requests")?))).collect()
}
