//! The client that is called around a suspend.
#![expect(unsafe_code, reason = "calls the callback that a client registered by address")]

use core::ffi::c_void;

use wdm::mutex::{Guard, Mutex};
use xenpci_interface::SuspendCallback;

/// A client that is called around a suspend.
#[derive(Clone, Copy)]
pub(crate) struct Client {
    callback: SuspendCallback,
    context: *mut c_void,
}

// SAFETY: the callback may be called from any thread by its contract, and the context is only handed to it.
unsafe impl Send for Client {}

impl Client {
    /// # Safety
    /// Both stay valid, for a call at PASSIVE_LEVEL, until [`Clients::unregister`] has returned.
    pub(crate) const unsafe fn new(callback: SuspendCallback, context: *mut c_void) -> Self {
        Self { callback, context }
    }

    /// Tells the client of a phase. Returns true if it agrees. PASSIVE_LEVEL.
    pub(crate) fn call(self, phase: u32) -> bool {
        // SAFETY: valid while registered, by `new`; the caller holds the registration.
        unsafe { (self.callback)(self.context, phase) == 0 }
    }
}

/// The one client, or none. The lock is held during a suspend.
pub(crate) struct Clients(Mutex<Option<Client>>);

impl Clients {
    /// Makes a list without clients. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// `INSUFFICIENT_RESOURCES`.
    pub(crate) fn new() -> wdm::Result<Self> {
        Mutex::new(None).map(Self)
    }

    /// Registers the client; whether there was none. PASSIVE_LEVEL.
    pub(crate) fn register(&self, client: Client) -> bool {
        let mut place = self.0.lock();
        let free = place.is_none();
        *place = place.or(Some(client));
        free
    }

    /// Returns the client, which stays registered while the lock is held. PASSIVE_LEVEL.
    pub(crate) fn lock(&self) -> Guard<'_, Option<Client>> {
        self.0.lock()
    }

    /// Takes it away; it is not running any more. PASSIVE_LEVEL.
    pub(crate) fn unregister(&self) {
        *self.0.lock() = None;
    }
}
