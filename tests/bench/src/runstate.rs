//! Time of a virtual processor by state, as Xen itself counts it. Xen is asked before and after a run. That
//! gives the run's length and its cost by the same clock for every kind of guest.

/// `__HYPERVISOR_vcpu_op` (Xen: public/xen.h).
pub const HYPERVISOR_VCPU_OP: u64 = 24;
/// `VCPUOP_get_runstate_info` (Xen: public/vcpu.h).
pub const GET_RUNSTATE_INFO: u64 = 4;

/// `struct vcpu_runstate_info` (Xen: public/vcpu.h). Times are nanoseconds since the virtual processor was
/// made.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunState {
    /// `RUNSTATE_`: the state now, which is running for whoever asks.
    pub state: i32,
    _padding: u32,
    /// Xen's time when it was entered.
    pub entered: u64,
    /// On a processor, with what the hypervisor did on its behalf.
    pub running: u64,
    /// Wanting one.
    pub runnable: u64,
    /// Halted.
    pub blocked: u64,
    /// Not to be run.
    pub offline: u64,
}
const _: () = assert!(size_of::<RunState>() == 48);

/// Time between two [`RunState`]s by state, in nanoseconds: of one virtual processor, or of several together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Time that passed; of several, by the first one's count.
    pub elapsed: u64,
    /// On a processor.
    pub busy: u64,
    /// Wanting one that another domain had.
    pub waiting: u64,
}

impl RunState {
    /// Returns the time between `earlier` and this.
    pub fn since(&self, earlier: &Self) -> Spent {
        let total = |at: &Self| at.running + at.runnable + at.blocked + at.offline;
        Spent {
            elapsed: total(self).saturating_sub(total(earlier)),
            busy: self.running.saturating_sub(earlier.running),
            waiting: self.runnable.saturating_sub(earlier.runnable),
        }
    }
}

impl Spent {
    /// Returns the time of several virtual processors from one moment to another.
    pub fn of_all(before: &[RunState], after: &[RunState]) -> Self {
        let add = |all: Self, one: Self| Self {
            busy: all.busy + one.busy,
            waiting: all.waiting + one.waiting,
            ..all
        };
        after.iter().zip(before).map(|(after, before)| after.since(before)).reduce(add).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elapsed_time_is_the_sum_of_all_states() {
        let before = RunState { running: 10, runnable: 20, blocked: 30, ..RunState::default() };
        let after = RunState { running: 15, runnable: 22, blocked: 130, offline: 1, ..RunState::default() };
        assert_eq!(after.since(&before), Spent { elapsed: 108, busy: 5, waiting: 2 });
    }

    #[test]
    fn processors_share_the_length_of_a_run() {
        let state =
            |running, runnable, blocked| RunState { running, runnable, blocked, ..RunState::default() };
        let before = [state(1000, 0, 0), state(5, 5, 5)];
        let after = [state(1060, 10, 30), state(35, 6, 75)];
        assert_eq!(Spent::of_all(&before, &after), Spent { elapsed: 100, busy: 90, waiting: 11 });
    }
}
