//! Progress: one line per step, with its time.

use std::time::Instant;

use anyhow::{Context, Result};

/// Runs `work` and prints `name` with the time it took; a failure names the step.
pub fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    let value = work().with_context(|| name.to_owned())?;
    println!("{name:<44} {:>7.1} s", started.elapsed().as_secs_f32());
    Ok(value)
}
