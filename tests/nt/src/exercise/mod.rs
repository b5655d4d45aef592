//! Longer exercises of a running system, one by its name on the command line (`exercise=<name>`). Where dom0
//! has to do something, the guest says so in a `ready for=<what>` line and waits until it sees the effect.

mod activity;
mod asked;
mod cdrom;
mod copy;
mod crash;
mod endure;
mod functions;
mod hibernate;
mod hostile;
mod hotplug;
mod hours;
mod kinds;
mod load;
mod outage;
mod random;
mod reader;
mod refused;
mod resize;
mod service;
mod sleep;
mod suspend;
mod traffic;
mod usage;
mod verified;

use protocol::{Exercise, Ready};

use crate::{ke, report};

/// Time that the effect of something that dom0 does may take, in milliseconds.
const PATIENCE: u64 = 120_000;
/// Time between two looks for it.
const LOOK: u64 = 100;

/// Runs an exercise. PASSIVE_LEVEL, in a system that is up.
pub(crate) fn run(exercise: Exercise) {
    match exercise {
        Exercise::Activity => activity::run(),
        Exercise::Asked => asked::run(),
        Exercise::AskedAgain => asked::again(),
        Exercise::AskedByAcpi => asked::by_acpi(),
        Exercise::Cdrom => cdrom::run(),
        Exercise::Clock => suspend::with_another_clock(),
        Exercise::Copy => copy::run(),
        Exercise::Crash => crash::run(),
        Exercise::CrashDead => crash::run_dead(),
        Exercise::Detach => hotplug::detach(),
        Exercise::DetachInUse => hotplug::detach_in_use(),
        Exercise::Endure => endure::run(),
        Exercise::Functions => functions::run(),
        Exercise::Hibernate => hibernate::here(),
        Exercise::HibernateElsewhere => hibernate::elsewhere(),
        Exercise::HibernateKept => hibernate::kept(),
        Exercise::HibernateUnprepared => hibernate::unprepared(),
        Exercise::HibernateUnserved => hibernate::unserved(),
        Exercise::Hostile => hostile::run(),
        Exercise::Hotplug => hotplug::run(),
        Exercise::Hours => hours::run(),
        Exercise::Kinds => kinds::run(),
        Exercise::Outage => outage::run(),
        Exercise::Reader => reader::run(),
        Exercise::Service => service::run(),
        Exercise::Refused => refused::run(),
        Exercise::Resize => resize::run(),
        Exercise::Sleep => sleep::run(),
        Exercise::Suspend => suspend::run(),
        Exercise::Traffic => traffic::run(),
        Exercise::Usage => usage::run(),
    }
}

/// Asks dom0 for something.
pub(crate) fn ask(what: Ready) {
    report!("ready for={what}");
}

/// Asks dom0 for something in a cycle, or for the time of this number.
fn ask_in(cycle: u32, what: Ready) {
    // The time ends the number, so that 1 is not found in 12.
    report!("ready for={what} cycle={cycle} us={}", ke::clock::interrupt_time() / 10);
}

/// Waits until `seen`; the system stops if that takes too long, and says for what it waited.
pub(crate) fn wait_until(what: &str, seen: impl Fn() -> bool) {
    if !is_seen(PATIENCE, seen) {
        ke::panicked(format_args!("{what} did not come to be in {} s", PATIENCE / 1000));
    }
}

/// Returns true once something is seen, and false if it is not within a time in milliseconds. PASSIVE_LEVEL.
fn is_seen(within: u64, seen: impl Fn() -> bool) -> bool {
    for _ in 0..within / LOOK {
        if seen() {
            return true;
        }
        ke::delay(LOOK);
    }
    false
}
