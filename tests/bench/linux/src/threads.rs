//! Queues that work at once, each on a thread and a processor of its own.

use std::io;
use std::panic::resume_unwind;
use std::thread;

use bench::{Run, Task};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::ring::Ring;

/// Runs a task on every queue: on the first by this thread, which is bound to processor 0, on each other by a thread that
/// is bound to the next.
///
/// # Errors
/// There are fewer processors than queues.
pub(crate) fn drive(rings: &mut [Ring], task: &Task) -> io::Result<Run> {
    let Some((own, others)) = rings.split_first_mut() else { return Ok(Run::default()) };
    thread::scope(|scope| {
        let others: Vec<_> = (1..)
            .zip(others)
            .map(|(processor, ring)| scope.spawn(move || bind(processor).map(|()| bench::drive(ring, task))))
            .collect();
        let run = bench::drive(own, task);
        others
            .into_iter()
            .try_fold(run, |run, other| Ok(run + other.join().unwrap_or_else(|panic| resume_unwind(panic))?))
    })
}

/// Binds this thread to a processor.
///
/// # Errors
/// There is no such processor.
pub(crate) fn bind(processor: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(processor);
    sched_setaffinity(None, &set).map_err(|error| io::Error::other(format!("processor {processor}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_that_is_not_there_is_an_error() {
        let error = bind(CpuSet::MAX_CPU - 1).expect_err("so many processors");
        assert!(error.to_string().starts_with("processor 1023: "), "{error}");
    }
}
