//! Event channels, two-level: ports as bits in the shared-info page.
//!
//! Xen sets a port's *pending* bit; if the bit was clear and the port not *masked*, it sets the bit of the
//! port's word in the vCPU's *selector*; if that was clear too, it sets the vCPU's *upcall pending* and
//! interrupts. The guest undoes it in the opposite order – upcall pending ([`Channels::acknowledge`], in the
//! interrupt handler), selector, pending bit, then the port's handler ([`Channels::dispatch`], after it) – so
//! that an event which arrives at any point between is either seen or interrupts again.

use core::fmt;
use core::mem::{offset_of, size_of};
use core::sync::atomic::{AtomicU64, Ordering};

use crate::hypercall::{self, Error, Hypercall};
use crate::wire::hypercall::{
    DOMID_SELF, EVENT_CHANNEL_OP, EVTCHNOP_ALLOC_UNBOUND, EVTCHNOP_BIND_INTERDOMAIN, EVTCHNOP_BIND_IPI,
    EVTCHNOP_BIND_VCPU, EVTCHNOP_CLOSE, EVTCHNOP_SEND, EVTCHNOP_UNMASK, EvtchnAllocUnbound,
    EvtchnBindInterdomain, EvtchnPair, EvtchnPort, XENMAPSPACE_SHARED_INFO,
};
use crate::wire::shared_info::{SharedInfo, VCPUS, VcpuInfo, WORDS};
use crate::{DomainId, Frame, SharedMemory};

/// Our end of an event channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(pub u32);

impl Port {
    /// Ports of a 64-bit guest are below this number.
    pub const LIMIT: u32 = (WORDS * 64) as u32;

    /// Returns the port's word and its bit in it. Panics beyond the limit.
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

/// One vCPU, and the ports whose events it is told of.
///
/// The pending bits are the domain's, so that a word that one vCPU is told of may hold bits of ports that are
/// bound to another one.
#[derive(Debug)]
pub struct Vcpu {
    number: usize,
    ports: [AtomicU64; WORDS],
}

impl Vcpu {
    /// Number that is above every processor with an entry in the shared-info page.
    pub const LIMIT: usize = VCPUS;

    /// Makes a processor without ports. Panics where the number is not below the limit.
    pub const fn new(number: usize) -> Self {
        assert!(number < Self::LIMIT);
        Self { number, ports: [const { AtomicU64::new(0) }; WORDS] }
    }

    /// Returns its number.
    pub const fn number(&self) -> u32 {
        self.number as u32
    }

    /// Serves a port, which is masked, from now on. Any level.
    pub fn add(&self, port: Port) {
        let (word, bit) = port.place();
        self.ports[word].fetch_or(bit, Ordering::SeqCst);
    }

    /// Serves it no more. Any level.
    pub fn remove(&self, port: Port) {
        let (word, bit) = port.place();
        self.ports[word].fetch_and(!bit, Ordering::SeqCst);
    }
}

/// The event bits of the shared-info page.
#[derive(Debug)]
pub struct Channels {
    shared_info: SharedMemory,
}

impl Channels {
    /// Takes the mapped shared-info page. Every port starts masked. Panics where the memory is smaller than
    /// the page.
    pub fn new(shared_info: SharedMemory) -> Self {
        assert!(shared_info.len() >= size_of::<SharedInfo>());
        let channels = Self { shared_info };
        for word in 0..WORDS {
            channels.mask_word(word).store(u64::MAX, Ordering::SeqCst);
        }
        channels
    }

    /// Acknowledges an interrupt. Returns true if Xen wants an upcall of this vCPU, which is 0 wherever the
    /// interrupt is a PCI line. Withdraws the wish, which lowers a level-triggered line; the caller must then
    /// see to it that [`Channels::dispatch`] runs. Any level.
    pub fn acknowledge(&self, vcpu: &Vcpu) -> bool {
        let offset = vcpu.number * size_of::<VcpuInfo>() + offset_of!(VcpuInfo, evtchn_upcall_pending);
        self.shared_info.atomic_u8(offset).swap(0, Ordering::SeqCst) != 0
    }

    /// Calls `handler` once for each unmasked port of the vCPU's with a pending event, lowest first. An event
    /// that arrives meanwhile is seen here or interrupts again. *Dispatch*, for each vCPU on one
    /// processor at a time.
    pub fn dispatch(&self, vcpu: &Vcpu, mut handler: impl FnMut(Port)) {
        let mut words = self.selector(vcpu).swap(0, Ordering::SeqCst);
        while words != 0 {
            let word = words.trailing_zeros() as usize;
            words &= words - 1;
            let mask = self.mask_word(word).load(Ordering::SeqCst);
            let own = vcpu.ports[word].load(Ordering::SeqCst);
            let mut bits = self.pending_word(word).load(Ordering::SeqCst) & own & !mask;
            while bits != 0 {
                let bit = bits & bits.wrapping_neg();
                bits &= bits - 1;
                // Cleared before the handler looks at what the event is about: one that comes later sets it
                // again.
                self.pending_word(word).fetch_and(!bit, Ordering::SeqCst);
                handler(Port(word as u32 * 64 + bit.trailing_zeros()));
            }
        }
    }

    /// Holds back a port's events; they stay pending. Returns true if they were let through. Any level.
    pub fn mask(&self, port: Port) -> bool {
        let (word, bit) = port.place();
        self.mask_word(word).fetch_or(bit, Ordering::SeqCst) & bit == 0
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
        // An event came while the port was masked, so Xen raised nothing. It does so in its own unmask, for
        // which the port has to be masked.
        self.mask_word(word).fetch_or(bit, Ordering::SeqCst);
        let mut argument = EvtchnPort { port: port.0 };
        hypercall::with(hypercall, "EVTCHNOP_unmask", EVENT_CHANNEL_OP, EVTCHNOP_UNMASK, &mut argument)
    }

    /// Returns true if this driver, or an earlier [`Channels::new`] in this domain, has the page before it:
    /// every port that was never unmasked is masked. Device memory without a page of Xen's behind it reads as
    /// all zeroes or all ones. Nothing is written. Any level.
    pub fn are_in(page: &SharedMemory) -> bool {
        let first: VcpuInfo = page.read(0);
        let last = page.atomic_u64(offset_of!(SharedInfo, evtchn_mask) + (WORDS - 1) * 8);
        first.pad == [0; 6] && last.load(Ordering::SeqCst) == u64::MAX
    }

    /// Returns true if a port's events are held back, in the page of [`Channels::are_in`]. Nothing is
    /// written. Any level.
    pub fn is_masked_in(page: &SharedMemory, port: Port) -> bool {
        if port.0 >= Port::LIMIT {
            return false;
        }
        let (word, bit) = port.place();
        page.atomic_u64(offset_of!(SharedInfo, evtchn_mask) + word * 8).load(Ordering::SeqCst) & bit != 0
    }

    fn selector(&self, vcpu: &Vcpu) -> &AtomicU64 {
        self.shared_info
            .atomic_u64(vcpu.number * size_of::<VcpuInfo>() + offset_of!(VcpuInfo, evtchn_pending_sel))
    }

    fn pending_word(&self, word: usize) -> &AtomicU64 {
        self.shared_info.atomic_u64(offset_of!(SharedInfo, evtchn_pending) + word * 8)
    }

    fn mask_word(&self, word: usize) -> &AtomicU64 {
        self.shared_info.atomic_u64(offset_of!(SharedInfo, evtchn_mask) + word * 8)
    }
}

/// Allocates a new port that `remote` may bind to. Any level.
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

/// Allocates a new port, bound to `remote`'s port, which it allocated for us. Any level.
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

/// Allocates a new port of this domain's own, by which one processor tells `vcpu` of something. Any level.
///
/// # Errors
/// Xen's answer.
pub fn bind_ipi(hypercall: &impl Hypercall, vcpu: &Vcpu) -> Result<Port, Error> {
    let mut argument = EvtchnPair(vcpu.number(), 0);
    hypercall::with(hypercall, "EVTCHNOP_bind_ipi", EVENT_CHANNEL_OP, EVTCHNOP_BIND_IPI, &mut argument)?;
    Ok(Port(argument.1))
}

/// Has `vcpu` told of a port's events, which is masked and has none pending; before that it is vCPU 0. Any
/// level.
///
/// # Errors
/// Xen's answer.
pub fn bind_vcpu(hypercall: &impl Hypercall, port: Port, vcpu: &Vcpu) -> Result<(), Error> {
    let mut argument = EvtchnPair(port.0, vcpu.number());
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

#[cfg(test)]
mod tests {
    use core::sync::atomic::{AtomicBool, AtomicU32};
    use std::vec::Vec;

    use super::*;
    use crate::fake::{Hypervisor, Memory};

    const PENDING: usize = 2048;
    const MASK: usize = 2560;

    /// Does what Xen does when an event is sent (`evtchn_2l_set_pending`). Returns true if it raises an
    /// upcall.
    fn raise(page: &SharedMemory, port: u32) -> bool {
        let (word, bit) = (port as usize / 64, 1 << (port % 64));
        let new = page.atomic_u64(PENDING + word * 8).fetch_or(bit, Ordering::SeqCst) & bit == 0;
        let masked = page.atomic_u64(MASK + word * 8).load(Ordering::SeqCst) & bit != 0;
        if !new || masked || page.atomic_u64(8).fetch_or(1 << word, Ordering::SeqCst) & 1 << word != 0 {
            return false;
        }
        page.atomic_u8(0).store(1, Ordering::SeqCst);
        true
    }

    /// Returns a vCPU that serves every port.
    fn all(number: usize) -> Vcpu {
        let vcpu = Vcpu::new(number);
        (0..Port::LIMIT).for_each(|port| vcpu.add(Port(port)));
        vcpu
    }

    fn dispatched(channels: &Channels, vcpu: &Vcpu) -> Vec<u32> {
        let mut ports = Vec::new();
        channels.dispatch(vcpu, |port| ports.push(port.0));
        ports
    }

    fn open(channels: &Channels, ports: &[u32]) {
        for port in ports {
            channels.unmask(&Hypervisor::default(), Port(*port)).unwrap();
        }
    }

    #[test]
    fn every_port_starts_masked() {
        let memory = Memory::new(1, 0);
        let channels = Channels::new(memory.share());
        let vcpu = all(0);
        assert!((0..Port::LIMIT).all(|port| !raise(&memory.share(), port)));
        assert!(!channels.acknowledge(&vcpu));
        assert!(dispatched(&channels, &vcpu).is_empty());
    }

    #[test]
    fn unmasked_ports_are_dispatched_once_in_order() {
        let memory = Memory::new(1, 0);
        let channels = Channels::new(memory.share());
        let vcpu = all(0);
        open(&channels, &[1, 63, 64, 4095]);
        for port in [4095, 64, 63, 1, 64, 2] {
            raise(&memory.share(), port);
        }
        assert!(channels.acknowledge(&vcpu));
        assert!(!channels.acknowledge(&vcpu));
        assert_eq!(dispatched(&channels, &vcpu), [1, 63, 64, 4095]);
        assert!(dispatched(&channels, &vcpu).is_empty());
    }

    #[test]
    fn an_event_during_a_handler_raises_again() {
        // The same port, one of the same word, one of another.
        for again in [5, 6, 70] {
            let memory = Memory::new(1, 0);
            let page = memory.share();
            let channels = Channels::new(memory.share());
            let vcpu = all(0);
            open(&channels, &[5, 6, 70]);
            raise(&page, 5);
            assert!(channels.acknowledge(&vcpu));
            let mut seen = Vec::new();
            channels.dispatch(&vcpu, |port| {
                seen.push(port.0);
                assert!(raise(&page, again), "an event on {again} raises nothing");
            });
            assert_eq!(seen, [5]);
            assert!(channels.acknowledge(&vcpu));
            assert_eq!(dispatched(&channels, &vcpu), [again]);
        }
    }

    #[test]
    fn a_masked_event_is_kept_and_raised_by_xen_at_unmask() {
        let memory = Memory::new(1, 0);
        let page = memory.share();
        let channels = Channels::new(memory.share());
        let vcpu = all(0);
        let xen = Hypervisor::default();
        xen.ports.borrow_mut().insert(9, (0, None));
        channels.unmask(&xen, Port(9)).unwrap();
        assert!(xen.unmasked.borrow().is_empty());
        channels.mask(Port(9));
        assert!(!raise(&page, 9));
        assert!(dispatched(&channels, &vcpu).is_empty());
        channels.unmask(&xen, Port(9)).unwrap();
        assert_eq!(*xen.unmasked.borrow(), [9]);
        // Xen's unmask tests the mask bit, so it has to find it set.
        assert_eq!(page.atomic_u64(MASK).load(Ordering::SeqCst) & 1 << 9, 1 << 9);
        assert_eq!(page.atomic_u64(PENDING).load(Ordering::SeqCst), 1 << 9);
    }

    #[test]
    fn a_vcpu_has_its_own_selector_and_upcall() {
        let memory = Memory::new(1, 0);
        let page = memory.share();
        let channels = Channels::new(memory.share());
        let vcpu = all(2);
        open(&channels, &[3]);
        raise(&page, 3);
        assert!(!channels.acknowledge(&vcpu));
        page.atomic_u8(2 * 64).store(1, Ordering::SeqCst);
        page.atomic_u64(2 * 64 + 8).store(1, Ordering::SeqCst);
        assert!(channels.acknowledge(&vcpu));
        assert_eq!(dispatched(&channels, &vcpu), [3]);
    }

    #[test]
    fn a_vcpu_leaves_the_ports_of_others_pending() {
        let memory = Memory::new(1, 0);
        let page = memory.share();
        let channels = Channels::new(memory.share());
        let (first, second) = (Vcpu::new(0), Vcpu::new(1));
        first.add(Port(3));
        second.add(Port(4));
        open(&channels, &[3, 4]);
        raise(&page, 3);
        raise(&page, 4);
        assert_eq!(dispatched(&channels, &first), [3]);
        assert_eq!(page.atomic_u64(PENDING).load(Ordering::SeqCst), 1 << 4);
        // The same word, as Xen tells the second vCPU of it.
        page.atomic_u64(64 + 8).store(1, Ordering::SeqCst);
        assert_eq!(dispatched(&channels, &second), [4]);
        second.remove(Port(4));
        raise(&page, 4);
        page.atomic_u64(64 + 8).store(1, Ordering::SeqCst);
        assert!(dispatched(&channels, &second).is_empty());
    }

    #[test]
    fn ports_are_bound_to_processors() {
        let xen = Hypervisor::default();
        let vcpu = Vcpu::new(5);
        let port = alloc_unbound(&xen, DomainId(0)).unwrap();
        bind_vcpu(&xen, port, &vcpu).unwrap();
        let own = bind_ipi(&xen, &vcpu).unwrap();
        assert_eq!(*xen.bound.borrow(), [(port.0, 5), (own.0, 5)].into());
        assert_eq!(bind_vcpu(&xen, Port(99), &vcpu).unwrap_err().errno, 22);
    }

    /// One thread is Xen and sends, the other takes interrupts: nothing that was sent is left lying.
    #[test]
    fn no_wake_up_is_lost() {
        const ROUNDS: u32 = 20_000;
        let memory = Memory::new(1, 0);
        let page = memory.share();
        let channels = Channels::new(memory.share());
        let vcpu = all(0);
        let ports = [1, 2, 65, 4000];
        open(&channels, &ports);
        let work = ports.map(|_| AtomicU32::new(0));
        let done = AtomicBool::new(false);
        let taken = std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0..ROUNDS {
                    let which = round as usize % ports.len();
                    work[which].fetch_add(1, Ordering::SeqCst);
                    raise(&page, ports[which]);
                    // On a machine of one processor as well, the two take turns.
                    if round % 16 == 0 {
                        std::thread::yield_now();
                    }
                }
                done.store(true, Ordering::SeqCst);
            });
            let mut taken = 0;
            loop {
                // Read first: what was sent before it is set must be found by the upcall that follows.
                let last = done.load(Ordering::SeqCst);
                while channels.acknowledge(&vcpu) {
                    channels.dispatch(&vcpu, |port| {
                        let which = ports.iter().position(|known| *known == port.0).unwrap();
                        taken += work[which].swap(0, Ordering::SeqCst);
                    });
                }
                if last {
                    return taken;
                }
            }
        });
        assert_eq!(taken, ROUNDS);
    }

    #[test]
    fn ports_come_from_xen_and_go_back() {
        let xen = Hypervisor::default();
        let unbound = alloc_unbound(&xen, DomainId(3)).unwrap();
        let bound = bind_interdomain(&xen, DomainId(5), Port(17)).unwrap();
        assert_eq!(xen.ports.borrow()[&unbound.0], (3, None));
        assert_eq!(xen.ports.borrow()[&bound.0], (5, Some(17)));
        send(&xen, bound).unwrap();
        assert_eq!(*xen.sent.borrow(), [bound.0]);
        close(&xen, bound).unwrap();
        let error = send(&xen, bound).unwrap_err();
        assert_eq!((error.call, error.errno), ("EVTCHNOP_send", 22));
    }

    #[test]
    fn a_page_without_shared_info_behind_it_is_told_from_one() {
        for nothing in [0, u64::MAX] {
            let memory = Memory::new(1, 0);
            let page = memory.share();
            (0..512).for_each(|word| page.atomic_u64(word * 8).store(nothing, Ordering::SeqCst));
            assert!(!Channels::are_in(&page));
        }
        let memory = Memory::new(1, 0);
        let channels = Channels::new(memory.share());
        open(&channels, &[1, 2000]);
        // What Xen does with it meanwhile.
        raise(&memory.share(), 2000);
        let page = memory.share();
        assert!(Channels::are_in(&page));
        let masked = |port| Channels::is_masked_in(&page, Port(port));
        assert_eq!([1, 2000, 2001, Port::LIMIT].map(masked), [false, false, true, false]);
        channels.mask(Port(1));
        assert!(masked(1));
    }

    #[test]
    fn shared_info_appears_at_a_frame() {
        let xen = Hypervisor::default();
        #[expect(unsafe_code, reason = "calls an unsafe function")]
        // SAFETY: the fake has no memory behind its frames.
        unsafe { map_shared_info(&xen, Frame(0xF_0000)) }.unwrap();
        assert_eq!(xen.physmap.borrow()[&0xF_0000], (XENMAPSPACE_SHARED_INFO, 0));
    }
}
