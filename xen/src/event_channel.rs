//! Event channels, two-level: ports as bits in the shared-info page.
//!
//! Xen sets a port's *pending* bit; if the bit was clear and the port not *masked*, it sets the bit of the port's
//! word in the vCPU's *selector*; if that was clear too, it sets the vCPU's *upcall pending* and interrupts. The
//! guest undoes it in the opposite order – upcall pending ([`Channels::acknowledge`], in the interrupt handler),
//! selector, pending bit, then the port's handler ([`Channels::dispatch`], after it) – so that an event which arrives
//! at any point between is either seen or interrupts again.

use core::fmt;
use core::mem::{offset_of, size_of};
use core::sync::atomic::{AtomicU64, Ordering};

use crate::hypercall::{self, Error, Hypercall};
use crate::wire::hypercall::{
    DOMID_SELF, EVENT_CHANNEL_OP, EVTCHNOP_ALLOC_UNBOUND, EVTCHNOP_BIND_INTERDOMAIN, EVTCHNOP_BIND_VCPU,
    EVTCHNOP_CLOSE, EVTCHNOP_SEND, EVTCHNOP_UNMASK, EvtchnAllocUnbound, EvtchnBindInterdomain,
    EvtchnBindVcpu, EvtchnPort, XENMAPSPACE_SHARED_INFO,
};
use crate::wire::shared_info::{SharedInfo, VCPUS, VcpuInfo, WORDS};
use crate::{DomainId, Frame, SharedMemory};

/// Our end of an event channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(pub u32);

impl Port {
    /// Ports of a 64-bit guest are below this number.
    pub const LIMIT: u32 = (WORDS * 64) as u32;

    /// The port's word and its bit in it. Panics beyond the limit.
    fn place(self) -> (usize, u64) {
        assert!(self.0 < Self::LIMIT);
        ((self.0 / 64) as usize, 1 << (self.0 % 64))
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "port {}", self.0)
    }
}

/// The event bits of the shared-info page, as one vCPU sees them.
#[derive(Debug)]
pub struct Channels {
    shared_info: SharedMemory,
    vcpu: usize,
}

impl Channels {
    /// Takes the mapped shared-info page; upcalls go to `vcpu`, which is 0 wherever the interrupt is a PCI line. Every
    /// port starts masked. Panics where the memory is smaller than the page or the vCPU is not below 32.
    pub fn new(shared_info: SharedMemory, vcpu: usize) -> Self {
        assert!(shared_info.len() >= size_of::<SharedInfo>() && vcpu < VCPUS);
        let channels = Self { shared_info, vcpu };
        for word in 0..WORDS {
            channels.mask_word(word).store(u64::MAX, Ordering::SeqCst);
        }
        channels
    }

    /// Interrupt handler: whether Xen wants an upcall. Withdraws the wish, which lowers a level-triggered line; the caller
    /// must then see to it that [`Channels::dispatch`] runs. Any level.
    pub fn acknowledge(&self) -> bool {
        let offset = self.vcpu * size_of::<VcpuInfo>() + offset_of!(VcpuInfo, evtchn_upcall_pending);
        self.shared_info.atomic_u8(offset).swap(0, Ordering::SeqCst) != 0
    }

    /// Calls `handler` once for each unmasked port with a pending event, lowest first. An event that arrives meanwhile
    /// is seen here or interrupts again. *Dispatch*, on one processor at a time.
    pub fn dispatch(&self, mut handler: impl FnMut(Port)) {
        let mut words = self.selector().swap(0, Ordering::SeqCst);
        while words != 0 {
            let word = words.trailing_zeros() as usize;
            words &= words - 1;
            let mask = self.mask_word(word).load(Ordering::SeqCst);
            let mut bits = self.pending_word(word).load(Ordering::SeqCst) & !mask;
            while bits != 0 {
                let bit = bits & bits.wrapping_neg();
                bits &= bits - 1;
                // Cleared before the handler looks at what the event is about: one that comes later sets it again.
                self.pending_word(word).fetch_and(!bit, Ordering::SeqCst);
                handler(Port(word as u32 * 64 + bit.trailing_zeros()));
            }
        }
    }

    /// Holds back a port's events; they stay pending. Any level.
    pub fn mask(&self, port: Port) {
        let (word, bit) = port.place();
        self.mask_word(word).fetch_or(bit, Ordering::SeqCst);
    }

    /// Lets a port's events through. One that is pending raises an upcall. Any level.
    ///
    /// # Errors
    /// Xen's answer; the port may then be masked still.
    pub fn unmask(&self, hypercall: &impl Hypercall, port: Port) -> Result<(), Error> {
        let (word, bit) = port.place();
        self.mask_word(word).fetch_and(!bit, Ordering::SeqCst);
        if self.pending_word(word).load(Ordering::SeqCst) & bit == 0 {
            return Ok(());
        }
        // An event came while the port was masked, so Xen raised nothing. It does so in its own unmask, for which the port has
        // to be masked.
        self.mask_word(word).fetch_or(bit, Ordering::SeqCst);
        let mut argument = EvtchnPort { port: port.0 };
        hypercall::with(hypercall, "EVTCHNOP_unmask", EVENT_CHANNEL_OP, EVTCHNOP_UNMASK, &mut argument)
    }

    fn selector(&self) -> &AtomicU64 {
        self.shared_info
            .atomic_u64(self.vcpu * size_of::<VcpuInfo>() + offset_of!(VcpuInfo, evtchn_pending_sel))
    }

    fn pending_word(&self, word: usize) -> &AtomicU64 {
        self.shared_info.atomic_u64(offset_of!(SharedInfo, evtchn_pending) + word * 8)
    }

    fn mask_word(&self, word: usize) -> &AtomicU64 {
        self.shared_info.atomic_u64(offset_of!(SharedInfo, evtchn_mask) + word * 8)
    }
}

/// Which ports are ours, and what goes with each: at most `N` ports with a `T`, such as a callback.
#[derive(Debug)]
pub struct Bindings<T, const N: usize> {
    ports: [Option<(Port, T)>; N],
}

/// A port that cannot be bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindError {
    /// All places are taken.
    Full {
        /// How many there are.
        places: usize,
    },
    /// The port is bound already.
    Bound(Port),
    /// No such port: 0, or not below [`Port::LIMIT`].
    NoSuchPort(Port),
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { places } => write!(f, "all {places} places for event channels are taken"),
            Self::Bound(port) => write!(f, "{port} is bound already"),
            Self::NoSuchPort(port) => write!(f, "{port} does not exist"),
        }
    }
}

impl core::error::Error for BindError {}

impl<T: Copy, const N: usize> Bindings<T, N> {
    /// No ports.
    pub const fn new() -> Self {
        Self { ports: [None; N] }
    }

    /// Binds a port. *Dispatch*.
    ///
    /// # Errors
    /// See [`BindError`].
    pub fn bind(&mut self, port: Port, value: T) -> Result<(), BindError> {
        if port.0 == 0 || port.0 >= Port::LIMIT {
            return Err(BindError::NoSuchPort(port));
        }
        if self.get(port).is_some() {
            return Err(BindError::Bound(port));
        }
        let place = self.ports.iter_mut().find(|place| place.is_none());
        *place.ok_or(BindError::Full { places: N })? = Some((port, value));
        Ok(())
    }

    /// What goes with a port. *Dispatch*.
    pub fn get(&self, port: Port) -> Option<T> {
        self.iter().find(|bound| bound.0 == port).map(|bound| bound.1)
    }

    /// Gives a port up. *Dispatch*.
    pub fn unbind(&mut self, port: Port) -> Option<T> {
        let place = self.ports.iter_mut().find(|place| place.is_some_and(|bound| bound.0 == port))?;
        place.take().map(|bound| bound.1)
    }

    /// Every bound port. *Dispatch*.
    pub fn iter(&self) -> impl Iterator<Item = (Port, T)> + '_ {
        self.ports.iter().flatten().copied()
    }
}

impl<T: Copy, const N: usize> Default for Bindings<T, N> {
    fn default() -> Self {
        Self::new()
    }
}

/// A new port that `remote` may bind to. Any level.
///
/// # Errors
/// Xen's answer.
pub fn alloc_unbound(hypercall: &impl Hypercall, remote: DomainId) -> Result<Port, Error> {
    let mut argument = EvtchnAllocUnbound { dom: DOMID_SELF, remote_dom: remote.0, port: 0 };
    hypercall::with(
        hypercall,
        "EVTCHNOP_alloc_unbound",
        EVENT_CHANNEL_OP,
        EVTCHNOP_ALLOC_UNBOUND,
        &mut argument,
    )?;
    Ok(Port(argument.port))
}

/// A new port bound to `remote`'s port, which it allocated for us. Any level.
///
/// # Errors
/// Xen's answer.
pub fn bind_interdomain(
    hypercall: &impl Hypercall,
    remote: DomainId,
    remote_port: Port,
) -> Result<Port, Error> {
    let mut argument =
        EvtchnBindInterdomain { remote_dom: remote.0, remote_port: remote_port.0, ..Default::default() };
    hypercall::with(
        hypercall,
        "EVTCHNOP_bind_interdomain",
        EVENT_CHANNEL_OP,
        EVTCHNOP_BIND_INTERDOMAIN,
        &mut argument,
    )?;
    Ok(Port(argument.local_port))
}

/// Sends a port's upcalls to a vCPU; new ports go to vCPU 0. Any level.
///
/// # Errors
/// Xen's answer.
pub fn bind_vcpu(hypercall: &impl Hypercall, port: Port, vcpu: u32) -> Result<(), Error> {
    let mut argument = EvtchnBindVcpu { port: port.0, vcpu };
    hypercall::with(hypercall, "EVTCHNOP_bind_vcpu", EVENT_CHANNEL_OP, EVTCHNOP_BIND_VCPU, &mut argument)
}

/// Closes a port. Any level.
///
/// # Errors
/// Xen's answer.
pub fn close(hypercall: &impl Hypercall, port: Port) -> Result<(), Error> {
    let mut argument = EvtchnPort { port: port.0 };
    hypercall::with(hypercall, "EVTCHNOP_close", EVENT_CHANNEL_OP, EVTCHNOP_CLOSE, &mut argument)
}

/// Notifies the other end. Any level.
///
/// # Errors
/// Xen's answer.
pub fn send(hypercall: &impl Hypercall, port: Port) -> Result<(), Error> {
    let mut argument = EvtchnPort { port: port.0 };
    hypercall::with(hypercall, "EVTCHNOP_send", EVENT_CHANNEL_OP, EVTCHNOP_SEND, &mut argument)
}

/// Makes the shared-info page appear at a guest frame. Any level.
///
/// # Errors
/// Xen's answer.
///
/// # Safety
/// As for [`hypercall::add_to_physmap`].
#[expect(unsafe_code, reason = "changes the guest's memory map")]
pub unsafe fn map_shared_info(hypercall: &impl Hypercall, frame: Frame) -> Result<(), Error> {
    // SAFETY: the caller gives the frame away.
    unsafe { hypercall::add_to_physmap(hypercall, XENMAPSPACE_SHARED_INFO, 0, frame) }
}
