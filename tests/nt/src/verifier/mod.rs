//! The verifier: watches drivers as Driver Verifier does and stops at the first broken rule.

mod balance;
pub(crate) mod irp;
pub(crate) mod leaks;
mod violation;

use core::fmt::{self, Write};

pub(crate) use balance::balanced;
pub(crate) use violation::Violation;

use crate::ke::{self, trap};

/// `DRIVER_VERIFIER_DETECTED_VIOLATION`.
const BUGCHECK: u32 = 0xC4;

/// Details joined by commas, so that they are one value of a report line.
struct Joined<'a>(fmt::Arguments<'a>);

struct Joiner<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Joiner<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| self.0.write_char(if c == ' ' { ',' } else { c }))
    }
}

impl fmt::Display for Joined<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(Joiner(f), "{}", self.0)
    }
}

/// Reports a violation and stops. `detail` is `key=value` pairs.
pub(crate) fn violation(violation: Violation, detail: fmt::Arguments) -> ! {
    crate::report!("violation name={} detail={}", violation.name(), Joined(detail));
    ke::KeBugCheckEx(BUGCHECK, violation as usize, 0, 0, 0)
}

/// Reports like [`violation`], for one found by an exception.
pub(crate) fn report_fault(violation: Violation, frame: &trap::Frame, detail: fmt::Arguments) -> ! {
    crate::report!(
        "violation name={} detail={},at={}",
        violation.name(),
        Joined(detail),
        crate::ldr::Place(frame.rip as usize)
    );
    trap::describe(frame);
    ke::bugcheck(BUGCHECK, violation as usize, frame.rip as usize, 0, 0)
}
