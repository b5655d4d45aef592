//! The driver's `hal`, over the xen crate's fakes.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use crate::no_allocation;
use xen::fake::{self, Blkback};
use xen::{GrantRef, Hal, Port, SharedPage, grant};

/// A tick of NT's clock, the shortest time for which a thread sleeps.
const TICK: Duration = Duration::from_micros(15_625);

thread_local! {
    /// Time for which the driver has waited.
    static PAUSED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    /// The next notification does not reach the backend.
    static LOSES: Cell<bool> = const { Cell::new(false) };
    /// While the driver waits, the backend does nothing.
    static SILENT: Cell<bool> = const { Cell::new(false) };
    /// The backend maps a page of a request's as soon as references run out.
    static GUESSING: Cell<bool> = const { Cell::new(false) };
    /// The backend has answered before a notification of it returns.
    static QUICK: Cell<bool> = const { Cell::new(false) };
}

/// Has the backend do nothing from here on while the driver waits.
pub(crate) fn silence() {
    SILENT.set(true);
}

/// Loses the next notification of the backend.
pub(crate) fn lose() {
    LOSES.set(true);
}

/// Returns the time for which the driver has waited.
pub(crate) fn paused() -> Duration {
    PAUSED.get()
}

/// Has the backend answer from here on while it is notified, as where it gets the guest's processor for it.
pub(crate) fn quicken() {
    QUICK.set(true);
}

/// Has the backend map, once, one of the pages that are granted when references run out: it guesses a reference of a request
/// that has not been sent.
pub(crate) fn guess() {
    GUESSING.set(true);
}

#[derive(Clone)]
pub(crate) struct Platform {
    hal: fake::Hal,
    backend: Rc<RefCell<Blkback>>,
}

impl Platform {
    pub(crate) fn new(hal: fake::Hal, backend: Rc<RefCell<Blkback>>) -> Self {
        Self { hal, backend }
    }

    /// Lets the backend work, instead of waiting. Returns the time that it took: a whole tick of NT's clock.
    pub(crate) fn pause(&self, time: Duration) -> Duration {
        if !SILENT.get() {
            self.backend.borrow_mut().run();
        }
        let took = time.max(TICK);
        PAUSED.set(PAUSED.get() + took);
        took
    }
}

// SAFETY: forwards to the fake's own implementation.
unsafe impl Hal for Platform {
    fn grant_entries(&self) -> Option<grant::Entries> {
        self.hal.grant_entries()
    }

    fn take_references(&self, into: &mut [GrantRef]) -> usize {
        no_allocation::except(|| {
            let taken = self.hal.take_references(into);
            if taken == 0 && GUESSING.take() {
                self.backend.borrow_mut().guess();
            }
            taken
        })
    }

    fn give_references(&self, references: &[GrantRef]) {
        no_allocation::except(|| self.hal.give_references(references));
    }

    fn notify(&self, port: Port) {
        no_allocation::except(|| {
            self.hal.notify(port);
            if QUICK.get() && !LOSES.take() {
                self.backend.borrow_mut().run();
            }
        });
    }

    fn alloc_shared_page(&self) -> Option<SharedPage> {
        self.hal.alloc_shared_page()
    }

    unsafe fn free_shared_page(&self, page: SharedPage) {
        // SAFETY: the caller's promise.
        unsafe { self.hal.free_shared_page(page) }
    }

    fn log(&self, message: fmt::Arguments<'_>) {
        no_allocation::except(|| self.hal.log(message));
    }
}
