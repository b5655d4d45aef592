//! The driver's `hal`, over the xen crate's fakes.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use crate::no_allocation;
use xen::fake::{self, Blkback};
use xen::{Access, DomainId, Frame, GrantRef, Hal, Port, SharedPage, grant};

thread_local! {
    /// While the driver waits, the backend does nothing.
    static SILENT: Cell<bool> = const { Cell::new(false) };
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
    fn grant_access(&self, domain: DomainId, frame: Frame, access: Access) -> Result<GrantRef, grant::Error> {
        no_allocation::except(|| self.hal.grant_access(domain, frame, access))
    }

    fn end_access(&self, reference: GrantRef) -> Result<(), grant::Error> {
        no_allocation::except(|| self.hal.end_access(reference))
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
