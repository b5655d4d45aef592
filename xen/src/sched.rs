//! Scheduler calls, `sched.h`.

use crate::hypercall::{self, Hypercall};
use crate::wire::hypercall::{SCHED_OP, SCHEDOP_SHUTDOWN, SCHEDOP_YIELD, SchedShutdown};

/// Why the domain stops (`SHUTDOWN_…`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Power off.
    PowerOff = 0,
    /// Restart.
    Reboot = 1,
    /// Suspend; the call returns after resume, or at once if that was cancelled.
    Suspend = 2,
    /// The guest crashed.
    Crash = 3,
}

/// Gives the rest of the time slice to others; what a polling loop should do. Any level.
pub fn yield_now(hypercall: &impl Hypercall) {
    // Nothing can be done about an error, and nothing depends on success.
    let _ = hypercall::plain(hypercall, "SCHEDOP_yield", SCHED_OP, SCHEDOP_YIELD);
}

/// Stops the domain. Any level.
///
/// # Errors
/// Xen's answer.
pub fn shutdown(hypercall: &impl Hypercall, reason: Shutdown) -> Result<(), hypercall::Error> {
    let mut argument = SchedShutdown { reason: reason as u32 };
    hypercall::with(hypercall, "SCHEDOP_shutdown", SCHED_OP, SCHEDOP_SHUTDOWN, &mut argument)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Hypervisor;

    #[test]
    fn commands_reach_xen() {
        let xen = Hypervisor::default();
        yield_now(&xen);
        shutdown(&xen, Shutdown::Suspend).unwrap();
        assert_eq!(*xen.scheduled.borrow(), [(SCHEDOP_YIELD, 0), (SCHEDOP_SHUTDOWN, 2)]);
    }
}
