//! A driver routine leaves the IRQL and the spin locks as it found them.

use super::{Violation, violation};
use crate::ke::{irql, spinlock};
use crate::ldr::Place;

/// Runs a driver's routine and checks that it returns at the IRQL it was called at, holding as many spin
/// locks as before. `kind` names what it is in reports, `routine` is its address.
pub(crate) fn balanced<T>(kind: &str, routine: usize, run: impl FnOnce() -> T) -> T {
    let (level, locks) = (irql::current(), spinlock::held());
    let result = run();
    let (now, locks_now) = (irql::current(), spinlock::held());
    if locks_now != locks {
        violation(
            Violation::SpinLockLeaked,
            format_args!("routine={kind}:{} before={locks} after={locks_now}", Place(routine)),
        );
    }
    if now != level {
        violation(
            Violation::IrqlNotRestored,
            format_args!("routine={kind}:{} before={level} after={now}", Place(routine)),
        );
    }
    result
}
