//! Counts of the work that drivers have the system do for the guard. With `inject=count` on the command line
//! ([`crate::inject`]) a line `work at=<moment>` says how much it was up to then. `cargo xtask cost` reads
//! them.

use core::sync::atomic::{AtomicU64, Ordering};

use protocol::Plan;

use crate::inject::{self, Kind};
use crate::{boot, report};

/// Something that is counted.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Makes counts of nothing.
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds to it. Any IRQL.
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// Returns their number.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Lists of device interfaces that drivers asked for: one for each census.
pub(crate) static LISTED: Counter = Counter::new();
/// Devices that drivers opened by name: each disk that a census looks at.
pub(crate) static OPENED: Counter = Counter::new();
/// Microseconds in drivers' routines that hear of device interfaces: where censuses at arrivals are taken.
pub(crate) static NOTIFIED: Counter = Counter::new();

/// Reports what was done up to now.
pub(crate) fn report(moment: &str) {
    if boot::options().inject != Some(Plan::Count) {
        return;
    }
    let (store, hypercall) = (inject::count(Kind::Store), inject::count(Kind::Hypercall));
    let (listed, opened, notified) = (LISTED.get(), OPENED.get(), NOTIFIED.get());
    report!(
        "work at={moment} store={store} hypercall={hypercall} listed={listed} opened={opened} notified={notified}"
    );
}
