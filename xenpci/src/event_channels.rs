//! Event channels: whose port is whose, and the upcall's two halves.
//!
//! The interrupt handler calls [`EventChannels::acknowledge`], its DPC [`EventChannels::drain`]. One drain serves
//! every event that is pending: notifications of both directions arrive on a ring, so an interrupt stands for no
//! message in particular.
#![allow(unsafe_code, reason = "calls the callbacks that clients registered by address")]

use alloc::vec::Vec;
use core::ffi::c_void;
use core::fmt;

use spin::Once;
use wdm::irql::AtDispatch;
use wdm::spin_lock::SpinLock;
use xen::event_channel::{self, Channels};
use xen::hypercall::{self, HypercallPage};
use xen::interface::EventCallback;
use xen::{DomainId, Port, SharedMemory};

/// Every port that there is: a device may have one for each processor.
const PORTS: usize = Port::LIMIT as usize;

/// Upcalls of a PCI interrupt line concern this vCPU's part of shared info only.
const VCPU: usize = 0;

/// Who is told of a port's events.
#[derive(Clone, Copy)]
pub struct Handler {
    callback: EventCallback,
    context: *mut c_void,
}

// SAFETY: the callback may be called from any thread by its contract, and the context is only handed to it.
unsafe impl Send for Handler {}

impl Handler {
    /// Has `callback` called with `context` from the DPC.
    ///
    /// # Safety
    /// Both stay valid, for a call at DISPATCH_LEVEL on any processor, until the port has been unbound or closed.
    pub const unsafe fn new(callback: EventCallback, context: *mut c_void) -> Self {
        Self { callback, context }
    }

    fn call(self) {
        // SAFETY: valid while bound, by `new`; the caller holds the bindings' lock, so it is bound now.
        unsafe { (self.callback)(self.context) };
    }
}

/// A port that cannot be allocated or bound.
#[derive(Clone, Copy)]
pub enum Error {
    /// Xen refused.
    Xen(hypercall::Error),
    /// It is bound already.
    Bound(Port),
    /// There is no such port.
    NoSuchPort(Port),
    /// Shared info is not there yet.
    NotReady,
    /// No such port is bound.
    Unbound(Port),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Xen(error) => write!(f, "{error}"),
            Self::Bound(port) => write!(f, "{port} is bound already"),
            Self::NoSuchPort(port) => write!(f, "{port} does not exist"),
            Self::NotReady => write!(f, "shared info is not mapped"),
            Self::Unbound(port) => write!(f, "{port} is not bound"),
        }
    }
}

impl From<hypercall::Error> for Error {
    fn from(error: hypercall::Error) -> Self {
        Self::Xen(error)
    }
}

/// Handlers by port. A port that does not exist is one that is not bound.
struct Bindings(Vec<Option<Handler>>);

impl Bindings {
    fn place(&mut self, port: Port) -> Option<&mut Option<Handler>> {
        // Port 0 is none.
        self.0.get_mut(port.0 as usize).filter(|_| port.0 != 0)
    }

    fn get(&self, port: Port) -> Option<Handler> {
        self.0.get(port.0 as usize).copied().flatten()
    }
}

/// The guest's event channels.
pub struct EventChannels {
    hypercall: HypercallPage,
    /// The bits in shared info, from the moment that the page is there. Until then no interrupt is ours.
    channels: Once<Channels>,
    /// Held while callbacks run, so that a port which has been unbound under it is quiet.
    bindings: SpinLock<Bindings>,
}

impl EventChannels {
    /// No ports, and no shared info yet.
    ///
    /// # Errors
    /// `INSUFFICIENT_RESOURCES`.
    pub fn new(hypercall: HypercallPage) -> wdm::Result<Self> {
        let mut handlers = Vec::new();
        handlers.try_reserve_exact(PORTS).map_err(|_| wdm::NtStatus::INSUFFICIENT_RESOURCES)?;
        handlers.resize(PORTS, None);
        Ok(Self { hypercall, channels: Once::new(), bindings: SpinLock::new(Bindings(handlers)) })
    }

    /// Starts over on shared info that has just been mapped or, after a resume, mapped anew: every port is masked and
    /// unbound. PASSIVE_LEVEL.
    pub fn rebuild(&self, shared_info: SharedMemory) {
        self.bindings.lock().0.fill(None);
        let channels = self.channels.call_once(|| Channels::new(shared_info, VCPU));
        for port in 0..Port::LIMIT {
            channels.mask(Port(port));
        }
    }

    /// Interrupt handler: whether Xen wants an upcall; withdraws the wish, which lowers the line. A drain must follow.
    /// Any IRQL.
    pub fn acknowledge(&self) -> bool {
        self.channels.get().is_some_and(Channels::acknowledge)
    }

    /// DPC: calls the handler of every port with a pending event. DISPATCH_LEVEL.
    pub fn drain(&self, at: &AtDispatch) {
        let Some(channels) = self.channels.get() else { return };
        let bindings = self.bindings.lock_at_dispatch(at);
        channels.dispatch(|port| {
            if let Some(handler) = bindings.get(port) {
                handler.call();
            }
        });
    }

    /// Allocates a port that `remote` may bind to, masked. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// See [`Error`]; no port is left allocated then.
    pub fn allocate(&self, remote: DomainId, handler: Handler) -> Result<Port, Error> {
        let port = event_channel::alloc_unbound(&self.hypercall, remote)?;
        self.bind(port, handler).inspect_err(|_| self.close_in_xen(port))?;
        Ok(port)
    }

    /// Binds a handler to a port that exists, such as xenstore's; it is masked. ≤ DISPATCH_LEVEL.
    ///
    /// # Errors
    /// [`Error::Bound`], [`Error::NoSuchPort`], [`Error::NotReady`].
    pub fn bind(&self, port: Port, handler: Handler) -> Result<(), Error> {
        let channels = self.channels.get().ok_or(Error::NotReady)?;
        let mut bindings = self.bindings.lock();
        let place = bindings.place(port).ok_or(Error::NoSuchPort(port))?;
        if place.is_some() {
            return Err(Error::Bound(port));
        }
        *place = Some(handler);
        channels.mask(port);
        Ok(())
    }

    /// Takes a port's handler away; when this returns the handler is not running. The port stays open, masked.
    /// ≤ DISPATCH_LEVEL, not from a handler.
    ///
    /// # Errors
    /// [`Error::Unbound`].
    pub fn unbind(&self, port: Port) -> Result<(), Error> {
        let mut bindings = self.bindings.lock();
        bindings.place(port).and_then(Option::take).ok_or(Error::Unbound(port))?;
        if let Some(channels) = self.channels.get() {
            channels.mask(port);
        }
        Ok(())
    }

    /// Unbinds and closes a port. As [`EventChannels::unbind`].
    ///
    /// # Errors
    /// [`Error::Unbound`].
    pub fn close(&self, port: Port) -> Result<(), Error> {
        self.unbind(port)?;
        self.close_in_xen(port);
        Ok(())
    }

    /// Lets a bound port's events through. ≤ DISPATCH_LEVEL.
    ///
    /// # Errors
    /// [`Error::NotReady`], [`Error::Unbound`], [`Error::Xen`].
    pub fn unmask(&self, port: Port) -> Result<(), Error> {
        let channels = self.channels.get().ok_or(Error::NotReady)?;
        if port.0 >= Port::LIMIT {
            return Err(Error::Unbound(port));
        }
        Ok(channels.unmask(&self.hypercall, port)?)
    }

    /// Notifies the other end. Any IRQL.
    ///
    /// # Errors
    /// [`Error::Xen`].
    pub fn notify(&self, port: Port) -> Result<(), Error> {
        Ok(event_channel::send(&self.hypercall, port)?)
    }

    /// Closes a port in Xen. That can only fail for a port that is not open, which is what was wanted.
    fn close_in_xen(&self, port: Port) {
        let _ = event_channel::close(&self.hypercall, port);
    }
}
