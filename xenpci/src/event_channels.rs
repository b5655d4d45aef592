//! Event channels: whose port is whose, and the upcall's two halves.
//!
//! A processor's interrupt handler calls [`EventChannels::acknowledge`], its DPC [`EventChannels::drain`].
//! One drain serves every event of the processor's ports that is pending: notifications of both directions
//! arrive on a ring, so an interrupt stands for no message in particular.
//!
//! Each port belongs to a processor, whose upcall serves it: to the one that its client asked for, where that
//! has an interrupt of its own, or else to the first.
#![expect(unsafe_code, reason = "calls the callbacks that clients registered by address")]

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ffi::c_void;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use spin::Once;
use wdm::irql::AtDispatch;
use wdm::spin_lock::SpinLock;
use wdm::{pool, time};
use xen::event_channel::{self, Channels, Vcpu};
use xen::hypercall::{self, VmCall};
use xen::{DomainId, Port, SharedMemory};
use xenpci_interface::EventCallback;

/// Ports in a word of pending bits.
const WORD: usize = 64;

/// The client that is told of a port's events.
#[derive(Clone, Copy)]
pub(crate) struct Handler {
    callback: EventCallback,
    context: *mut c_void,
}

// SAFETY: the callback may be called from any thread by its contract, and the context is only handed to it.
unsafe impl Send for Handler {}

impl Handler {
    /// Has `callback` called with `context` from the DPC.
    ///
    /// # Safety
    /// Both stay valid, for a call at DISPATCH_LEVEL on any processor, until the port has been unbound or
    /// closed.
    pub(crate) const unsafe fn new(callback: EventCallback, context: *mut c_void) -> Self {
        Self { callback, context }
    }

    fn call(self) {
        // SAFETY: valid while bound, by `new`; the caller holds the bindings' lock, so it is bound now.
        unsafe { (self.callback)(self.context) };
    }
}

/// A port that cannot be allocated or bound.
#[derive(Clone, Copy)]
pub(crate) enum Error {
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
    /// Memory has run out.
    NoMemory,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Xen(error) => write!(f, "{error}"),
            Self::Bound(port) => write!(f, "{port} is bound already"),
            Self::NoSuchPort(port) => write!(f, "{port} does not exist"),
            Self::NotReady => write!(f, "shared info is not mapped"),
            Self::Unbound(port) => write!(f, "{port} is not bound"),
            Self::NoMemory => write!(f, "memory has run out"),
        }
    }
}

impl From<hypercall::Error> for Error {
    fn from(error: hypercall::Error) -> Self {
        Self::Xen(error)
    }
}

/// Handlers of 64 ports.
type Handlers = [Option<Handler>; WORD];

/// A processor's handlers by port. A port that does not exist is one that is not bound.
struct Bindings(Vec<Option<Box<Handlers>>>);

impl Bindings {
    fn get(&self, port: Port) -> Option<Handler> {
        let word = self.0.get(port.0 as usize / WORD)?.as_ref()?;
        word[port.0 as usize % WORD]
    }

    /// Binds a port that is below the limit, and free.
    fn insert(&mut self, port: Port, handler: Handler) -> Result<(), Error> {
        let word = &mut self.0[port.0 as usize / WORD];
        if word.is_none() {
            *word = Some(pool::try_box([None; WORD]).map_err(|_| Error::NoMemory)?);
        }
        if let Some(word) = word {
            word[port.0 as usize % WORD] = Some(handler);
        }
        Ok(())
    }

    fn take(&mut self, port: Port) -> Option<Handler> {
        self.0.get_mut(port.0 as usize / WORD)?.as_mut()?[port.0 as usize % WORD].take()
    }

    fn clear(&mut self) {
        self.0.iter_mut().flatten().for_each(|word| word.fill(None));
    }
}

/// A processor, and what it serves.
struct Processor {
    vcpu: Vcpu,
    /// It has an interrupt of its own.
    own_vector: AtomicBool,
    /// Held while callbacks run, so that a port which has been unbound under it is quiet. Two processors'
    /// are never held together.
    bindings: SpinLock<Bindings>,
}

/// The guest's event channels.
pub(crate) struct EventChannels {
    hypercall: VmCall,
    /// The bits in shared info, from the moment that the page is there. Until then no interrupt is ours.
    channels: Once<Channels>,
    /// By NT's number; never empty.
    processors: Vec<Processor>,
    /// Shared info may not be there: see [`EventChannels::ignore`].
    ignoring: AtomicBool,
    /// Ports that were masked by [`EventChannels::be_deaf`].
    deaf: [AtomicU64; Port::LIMIT as usize / WORD],
}

impl EventChannels {
    /// Makes event channels without ports and without shared info. `vcpus` has Xen's number of each processor
    /// that may have an interrupt of its own, by NT's number; the first is vCPU 0.
    ///
    /// # Errors
    /// `INSUFFICIENT_RESOURCES`.
    pub(crate) fn new(hypercall: VmCall, vcpus: &[usize]) -> wdm::Result<Self> {
        let no_memory = |_| wdm::NtStatus::INSUFFICIENT_RESOURCES;
        let mut processors = Vec::new();
        processors.try_reserve_exact(vcpus.len()).map_err(no_memory)?;
        for &vcpu in vcpus {
            let mut words = Vec::new();
            words.try_reserve_exact(Port::LIMIT as usize / WORD).map_err(no_memory)?;
            words.resize_with(Port::LIMIT as usize / WORD, || None);
            processors.push(Processor {
                vcpu: Vcpu::new(vcpu),
                own_vector: AtomicBool::new(false),
                bindings: SpinLock::new(Bindings(words)),
            });
        }
        let deaf = [const { AtomicU64::new(0) }; Port::LIMIT as usize / WORD];
        Ok(Self { hypercall, channels: Once::new(), processors, ignoring: AtomicBool::new(false), deaf })
    }

    /// Starts over on shared info that has just been mapped or, after a resume, mapped anew: every port is
    /// masked and unbound, and no processor has an interrupt of its own. PASSIVE_LEVEL.
    pub(crate) fn rebuild(&self, shared_info: SharedMemory) {
        for processor in &self.processors {
            processor.bindings.lock().clear();
            processor.own_vector.store(false, Ordering::Release);
        }
        // What was masked in another domain is nothing of this one's.
        self.deaf.iter().for_each(|word| word.store(0, Ordering::Release));
        let channels = self.channels.call_once(|| Channels::new(shared_info));
        for port in (0..Port::LIMIT).map(Port) {
            channels.mask(port);
            self.processors.iter().for_each(|processor| processor.vcpu.remove(port));
        }
    }

    /// Returns the number of processors that may have an interrupt of their own.
    pub(crate) const fn processors(&self) -> usize {
        self.processors.len()
    }

    /// Returns Xen's number of a processor.
    pub(crate) fn vcpu(&self, processor: usize) -> Option<u32> {
        self.processors.get(processor).map(|processor| processor.vcpu.number())
    }

    /// Sets whether a processor has an interrupt of its own, by which ports of clients that ask for it are
    /// served from now on. Any IRQL.
    pub(crate) fn set_own_vector(&self, processor: usize, own: bool) {
        if let Some(processor) = self.processors.get(processor) {
            processor.own_vector.store(own, Ordering::Release);
        }
    }

    /// Returns true if a processor has an interrupt of its own. Any IRQL.
    pub(crate) fn has_own_vector(&self, processor: usize) -> bool {
        self.processors.get(processor).is_some_and(|processor| processor.own_vector.load(Ordering::Acquire))
    }

    /// Acknowledges an interrupt of a processor. Returns true if Xen wants an upcall of it; withdraws the
    /// wish, which lowers the line. A drain must follow. Any IRQL.
    pub(crate) fn acknowledge(&self, processor: usize) -> bool {
        if self.ignoring.load(Ordering::Acquire) {
            return false;
        }
        let processor = self.processors.get(processor);
        processor.is_some_and(|it| self.channels.get().is_some_and(|channels| channels.acknowledge(&it.vcpu)))
    }

    /// Takes no interrupt for Xen's until [`EventChannels::attend`]: the memory may come back in a domain that has no
    /// shared info yet. [`EventChannels::be_deaf`] comes first, so that none is raised any more. ≤ DISPATCH_LEVEL.
    pub(crate) fn ignore(&self) {
        self.ignoring.store(true, Ordering::SeqCst);
    }

    /// Takes interrupts for Xen's again; shared info is there. Where it is the same as before, every processor's ports are
    /// to be drained: Xen raises nothing for events that were acknowledged, and not drained. ≤ DISPATCH_LEVEL.
    pub(crate) fn attend(&self) {
        self.ignoring.store(false, Ordering::SeqCst);
    }

    /// Calls the handler of every port of the processor's with a pending event, in a DPC. DISPATCH_LEVEL.
    pub(crate) fn drain(&self, processor: usize, at: &AtDispatch) {
        let (Some(channels), Some(processor)) = (self.channels.get(), self.processors.get(processor)) else {
            return;
        };
        let bindings = processor.bindings.lock_at_dispatch(at);
        channels.dispatch(&processor.vcpu, |port| {
            if let Some(handler) = bindings.get(port) {
                handler.call();
            }
        });
    }

    /// Returns the processor that serves a client which asks for `processor`.
    fn serving(&self, processor: usize) -> &Processor {
        let own = self.processors.get(processor).filter(|it| it.own_vector.load(Ordering::Acquire));
        own.unwrap_or(&self.processors[0])
    }

    /// Allocates a port that `remote` may bind to, masked, to be served by `processor` where that has an
    /// interrupt of its own. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// See [`Error`]; no port is left allocated then.
    pub(crate) fn allocate(
        &self,
        remote: DomainId,
        processor: usize,
        handler: Handler,
    ) -> Result<Port, Error> {
        let port = event_channel::alloc_unbound(&self.hypercall, remote)?;
        let serving = self.serving(processor);
        // A new port is vCPU 0's.
        let bound = match serving.vcpu.number() {
            0 => Ok(()),
            _ => event_channel::bind_vcpu(&self.hypercall, port, &serving.vcpu).map_err(Error::Xen),
        };
        bound.and_then(|()| self.bind_to(serving, port, handler)).inspect_err(|_| self.close_in_xen(port))?;
        Ok(port)
    }

    /// Binds a handler to a port that exists, such as xenstore's, and that Xen tells vCPU 0 of; it is masked.
    /// ≤ DISPATCH_LEVEL.
    ///
    /// # Errors
    /// [`Error::Bound`], [`Error::NoSuchPort`], [`Error::NotReady`], [`Error::NoMemory`].
    pub(crate) fn bind(&self, port: Port, handler: Handler) -> Result<(), Error> {
        self.bind_to(&self.processors[0], port, handler)
    }

    fn bind_to(&self, processor: &Processor, port: Port, handler: Handler) -> Result<(), Error> {
        let channels = self.channels.get().ok_or(Error::NotReady)?;
        // Port 0 is none.
        if port.0 == 0 || port.0 >= Port::LIMIT {
            return Err(Error::NoSuchPort(port));
        }
        if self.processors.iter().any(|it| it.bindings.lock().get(port).is_some()) {
            return Err(Error::Bound(port));
        }
        processor.bindings.lock().insert(port, handler)?;
        channels.mask(port);
        processor.vcpu.add(port);
        Ok(())
    }

    /// Takes a port's handler away; when this returns the handler is not running. The port stays open,
    /// masked. ≤ DISPATCH_LEVEL, not from a handler.
    ///
    /// # Errors
    /// [`Error::Unbound`].
    pub(crate) fn unbind(&self, port: Port) -> Result<(), Error> {
        let taken = self.processors.iter().find(|it| it.bindings.lock().take(port).is_some());
        let processor = taken.ok_or(Error::Unbound(port))?;
        processor.vcpu.remove(port);
        if let Some(channels) = self.channels.get() {
            channels.mask(port);
        }
        Ok(())
    }

    /// Raises an event for a processor, through a port of its own: whether `seen` says within a second that
    /// it has come. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// See [`Error`].
    pub(crate) fn reaches(&self, processor: usize, seen: impl FnMut() -> bool) -> Result<bool, Error> {
        unsafe extern "system" fn nothing(_: *mut c_void) {}
        let it = self.processors.get(processor).ok_or(Error::NotReady)?;
        let port = event_channel::bind_ipi(&self.hypercall, &it.vcpu)?;
        // SAFETY: the callback does nothing.
        let handler = unsafe { Handler::new(nothing, core::ptr::null_mut()) };
        self.bind_to(it, port, handler).inspect_err(|_| self.close_in_xen(port))?;
        let sent = self.unmask(port).and_then(|()| self.notify(port));
        let came = sent.map(|()| time::within_a_second(seen));
        self.close(port)?;
        came
    }

    /// Unbinds and closes a port. As [`EventChannels::unbind`].
    ///
    /// # Errors
    /// [`Error::Unbound`].
    pub(crate) fn close(&self, port: Port) -> Result<(), Error> {
        self.unbind(port)?;
        self.close_in_xen(port);
        Ok(())
    }

    /// Holds a port's events back. ≤ DISPATCH_LEVEL.
    pub(crate) fn mask(&self, port: Port) {
        if let Some(channels) = self.channels.get().filter(|_| port.0 < Port::LIMIT) {
            channels.mask(port);
        }
    }

    /// Lets a bound port's events through. ≤ DISPATCH_LEVEL.
    ///
    /// # Errors
    /// [`Error::NotReady`], [`Error::Unbound`], [`Error::Xen`].
    pub(crate) fn unmask(&self, port: Port) -> Result<(), Error> {
        let channels = self.channels.get().ok_or(Error::NotReady)?;
        if port.0 >= Port::LIMIT {
            return Err(Error::Unbound(port));
        }
        Ok(channels.unmask(&self.hypercall, port)?)
    }

    /// Masks every bound port that is not, until [`EventChannels::listen`]. A client that unmasks one meanwhile has its
    /// events. What was raised before is acknowledged, and not drained: Xen since f5d0279839b5 (2022-12) raises it again when a
    /// local APIC is enabled, and that may be firmware's doing, which acknowledges nothing. The ports stay pending.
    /// ≤ DISPATCH_LEVEL.
    pub(crate) fn be_deaf(&self) {
        let Some(channels) = self.channels.get() else { return };
        for processor in &self.processors {
            let bindings = processor.bindings.lock();
            for port in (0..Port::LIMIT).map(Port) {
                if bindings.get(port).is_some() && channels.mask(port) {
                    self.deaf[port.0 as usize / WORD].fetch_or(1 << (port.0 % 64), Ordering::AcqRel);
                }
            }
        }
        // Nothing is raised any more.
        self.processors.iter().for_each(|processor| {
            channels.acknowledge(&processor.vcpu);
        });
    }

    /// Unmasks what [`EventChannels::be_deaf`] masked; Xen raises what came meanwhile. ≤ DISPATCH_LEVEL.
    ///
    /// # Errors
    /// Of the last port that stays masked, see [`Error`].
    pub(crate) fn listen(&self) -> Result<(), Error> {
        let mut done = Ok(());
        for port in (0..Port::LIMIT).map(Port) {
            let bit = 1 << (port.0 % 64);
            if self.deaf[port.0 as usize / WORD].fetch_and(!bit, Ordering::AcqRel) & bit != 0 {
                done = self.unmask(port).and(done);
            }
        }
        done
    }

    /// Notifies the other end. Any IRQL.
    ///
    /// # Errors
    /// [`Error::Xen`].
    pub(crate) fn notify(&self, port: Port) -> Result<(), Error> {
        Ok(event_channel::send(&self.hypercall, port)?)
    }

    /// Closes a port in Xen. That can only fail for a port that is not open, which is what was wanted.
    fn close_in_xen(&self, port: Port) {
        let _ = event_channel::close(&self.hypercall, port);
    }
}
