//! The driver's `hal`, over the xen crate's fakes.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use crate::no_allocation;
use xen::fake::{self, Blkback};
use xen::{GrantRef, Hal, Port, SharedPage, grant};

thread_local! {
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

    /// Lets the backend work, instead of waiting.
    pub(crate) fn pause(&self, _time: Duration) {
        if !SILENT.get() {
            self.backend.borrow_mut().run();
        }
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
            if QUICK.get() {
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
