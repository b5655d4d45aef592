//! Scheduler calls, `sched.h`.

use crate::hypercall::{self, Hypercall};
use crate::wire::hypercall::{
    SCHED_OP, SCHEDOP_SHUTDOWN, SCHEDOP_SHUTDOWN_CODE, SCHEDOP_YIELD, SchedShutdown,
};

/// The reason why the domain stops (`SHUTDOWN_…`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Power off.
    PowerOff = 0,
    /// Restart.
    Reboot = 1,
    /// The guest crashed.
    Crash = 3,
}

/// Gives the rest of the time slice to others; what a polling loop should do. Any level.
pub fn yield_now(hypercall: &impl Hypercall) {
    // Nothing can be done about an error, and nothing depends on success.
    let _ = hypercall::plain(hypercall, "SCHEDOP_yield", SCHED_OP, SCHEDOP_YIELD);
}

/// `SHUTDOWN_suspend`.
const SUSPEND: u32 = 2;

/// The end of a suspend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumed {
    /// In a new domain: event channels, grants and shared info are gone, memory is as it
    /// was.
    Anew,
    /// In the domain that was to be suspended: nothing has changed.
    Cancelled,
}

/// Suspends the domain, and returns when it goes on. Any level, with interrupts disabled, every other vCPU
/// held, and on vCPU 0: where the suspend is cancelled, the toolstack puts the answer into that one's
/// register, whichever called (xc_resume.c, modify_returncode).
///
/// # Errors
/// Xen's answer; the domain was not suspended.
pub fn suspend(hypercall: &impl Hypercall) -> Result<Resumed, hypercall::Error> {
    let mut argument = SchedShutdown { reason: SUSPEND };
    // The toolstack has the call answer 1 where it lets the domain go on (xen/sched.h, SCHEDOP_shutdown).
    hypercall::with_answer(hypercall, "SCHEDOP_shutdown", SCHED_OP, SCHEDOP_SHUTDOWN, &mut argument)
        .map(|answer| if answer == 0 { Resumed::Anew } else { Resumed::Cancelled })
}

/// Stops the domain. Any level.
///
/// # Errors
/// Xen's answer.
pub fn shutdown(hypercall: &impl Hypercall, reason: Shutdown) -> Result<(), hypercall::Error> {
    let mut argument = SchedShutdown { reason: reason as u32 };
    hypercall::with(hypercall, "SCHEDOP_shutdown", SCHED_OP, SCHEDOP_SHUTDOWN, &mut argument)
}

/// Lays down the reason that Xen tells the toolstack when the domain stops next, whichever way it stops; the
/// domain goes on meanwhile. The first reason stands (xen/sched.h, `SCHEDOP_shutdown_code`). Any level.
///
/// # Errors
/// Xen's answer.
pub fn latch(hypercall: &impl Hypercall, reason: Shutdown) -> Result<(), hypercall::Error> {
    let mut argument = SchedShutdown { reason: reason as u32 };
    hypercall::with(hypercall, "SCHEDOP_shutdown_code", SCHED_OP, SCHEDOP_SHUTDOWN_CODE, &mut argument)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Hypervisor;

    #[test]
    fn commands_reach_xen() {
        let xen = Hypervisor::default();
        yield_now(&xen);
        shutdown(&xen, Shutdown::Crash).unwrap();
        assert_eq!(suspend(&xen), Ok(Resumed::Anew));
        latch(&xen, Shutdown::Reboot).unwrap();
        let seen =
            [(SCHEDOP_YIELD, 0), (SCHEDOP_SHUTDOWN, 3), (SCHEDOP_SHUTDOWN, 2), (SCHEDOP_SHUTDOWN_CODE, 1)];
        assert_eq!(*xen.scheduled.borrow(), seen);
    }
}
