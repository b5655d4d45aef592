//! HVM parameters, `hvm/params.h`: where xenstore is, and how Xen interrupts the guest.

use crate::hypercall::{self, Hypercall};
use crate::wire::hypercall::{
    DOMID_SELF, HVM_OP, HVMOP_GET_PARAM, HVMOP_SET_EVTCHN_UPCALL_VECTOR, HVMOP_SET_PARAM, HvmParam,
    HvmUpcallVector,
};
use crate::{Frame, Port};

/// `HVM_PARAM_CALLBACK_IRQ`.
const CALLBACK_IRQ: u32 = 0;
/// `HVM_PARAM_STORE_PFN`.
const STORE_PFN: u32 = 1;
/// `HVM_PARAM_STORE_EVTCHN`.
const STORE_EVTCHN: u32 = 2;

/// The way in which Xen tells vCPU 0 of events, unless that has a vector of its own ([`set_upcall_vector`]).
///
/// Where it has, the callback is set all the same: by it the toolstack knows that a guest goes along with a
/// suspend, and changes the answer of one that was cancelled (xc_resume.c).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Callback {
    /// Not at all.
    None,
    /// By a PCI interrupt line.
    Intx {
        /// PCI domain.
        domain: u16,
        /// Bus.
        bus: u8,
        /// Device in bits 7:3, function in bits 2:0.
        devfn: u8,
        /// 0 for INTA to 3 for INTD.
        pin: u8,
    },
}

impl Callback {
    /// Returns the parameter's value: bits 63:56 the kind, the rest as it defines.
    pub const fn value(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Intx { domain, bus, devfn, pin } => {
                1 << 56 | (domain as u64) << 32 | (bus as u64) << 16 | (devfn as u64) << 8 | (pin & 3) as u64
            }
        }
    }
}

/// Reads a parameter of this domain.
fn get(hypercall: &impl Hypercall, index: u32) -> Result<u64, hypercall::Error> {
    let mut argument = HvmParam { domid: DOMID_SELF, index, ..HvmParam::default() };
    hypercall::with(hypercall, "HVMOP_get_param", HVM_OP, HVMOP_GET_PARAM, &mut argument)?;
    Ok(argument.value)
}

/// The page and event channel by which xenstored is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreLocation {
    /// The page with the rings.
    pub frame: Frame,
    /// Our port to the server.
    pub port: Port,
}

/// Returns the page and event channel by which xenstored is reached, or `None` if the domain has no xenstore.
/// Any level.
///
/// # Errors
/// Xen's answer.
pub fn store(hypercall: &impl Hypercall) -> Result<Option<StoreLocation>, hypercall::Error> {
    let frame = get(hypercall, STORE_PFN)?;
    let port = get(hypercall, STORE_EVTCHN)?;
    let usable = frame != 0 && port != 0 && port < u64::from(Port::LIMIT);
    Ok(usable.then_some(StoreLocation { frame: Frame(frame), port: Port(port as u32) }))
}

/// Sets how Xen interrupts vCPU 0. Any level.
///
/// # Errors
/// Xen's answer.
pub fn set_callback(hypercall: &impl Hypercall, callback: Callback) -> Result<(), hypercall::Error> {
    let mut argument =
        HvmParam { domid: DOMID_SELF, index: CALLBACK_IRQ, value: callback.value(), ..HvmParam::default() };
    hypercall::with(hypercall, "HVMOP_set_param", HVM_OP, HVMOP_SET_PARAM, &mut argument)
}

/// Has Xen lay the shared-info page out for 64 bits, and raise no interrupts. Any level.
///
/// Xen takes the layout from the mode of the caller that sets up a page of hypercalls, or the callback. A firmware of 32
/// bits has done so, and events that come before this are noted at other places of the page.
///
/// # Errors
/// Xen's answer.
pub fn lay_out(hypercall: &impl Hypercall) -> Result<(), hypercall::Error> {
    set_callback(hypercall, Callback::None)
}

/// Has Xen tell `vcpu` of its events by an edge at this vector of its local APIC, which has to be ended there
/// as every interrupt is. It cannot be taken back, and is forgotten when the guest is suspended. Any level.
///
/// # Errors
/// Xen's answer: 38 (ENOSYS) before 4.6, 22 (EINVAL) for a vector below 16, 2 (ENOENT) for a processor that
/// there is not.
pub fn set_upcall_vector(hypercall: &impl Hypercall, vcpu: u32, vector: u8) -> Result<(), hypercall::Error> {
    let mut argument = HvmUpcallVector { vcpu, vector, pad: [0; 3] };
    let call = "HVMOP_set_evtchn_upcall_vector";
    hypercall::with(hypercall, call, HVM_OP, HVMOP_SET_EVTCHN_UPCALL_VECTOR, &mut argument)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Hypervisor;

    fn xen(params: &[(u32, u64)]) -> Hypervisor {
        let xen = Hypervisor::default();
        xen.params.borrow_mut().extend(params.iter().copied());
        xen
    }

    #[test]
    fn the_store_is_where_the_parameters_say() {
        let found = store(&xen(&[(STORE_PFN, 0xF_EFFC), (STORE_EVTCHN, 1)])).unwrap();
        assert_eq!(found, Some(StoreLocation { frame: Frame(0xF_EFFC), port: Port(1) }));
    }

    #[test]
    fn zeroes_and_impossible_ports_are_no_store() {
        for (frame, port) in [(0, 1), (0xF_EFFC, 0), (0xF_EFFC, 4096), (0xF_EFFC, 1 << 32 | 1)] {
            assert_eq!(store(&xen(&[(STORE_PFN, frame), (STORE_EVTCHN, port)])), Ok(None));
        }
        let error = store(&xen(&[])).unwrap_err();
        assert_eq!((error.call, error.errno), ("HVMOP_get_param", 22));
    }

    #[test]
    fn a_processor_gets_its_vector() {
        let xen = xen(&[]);
        set_upcall_vector(&xen, 3, 0xA1).unwrap();
        assert_eq!(*xen.vectors.borrow(), [(3, 0xA1)].into());
        let error = set_upcall_vector(&xen, 3, 15).unwrap_err();
        assert_eq!((error.call, error.errno), ("HVMOP_set_evtchn_upcall_vector", 22));
    }

    #[test]
    fn the_callback_is_what_a_driver_on_this_platform_device_has_to_set() {
        // Measured: device 2, function 0, INTA.
        let callback = Callback::Intx { domain: 0, bus: 0, devfn: 0x10, pin: 0 };
        assert_eq!(callback.value(), 0x0100_0000_0000_1000);
        let far = Callback::Intx { domain: 0x1234, bus: 0x56, devfn: 0x78, pin: 3 };
        assert_eq!(far.value(), 0x0100_1234_0056_7803);
        let xen = xen(&[]);
        set_callback(&xen, callback).unwrap();
        assert_eq!(xen.params.borrow()[&CALLBACK_IRQ], 0x0100_0000_0000_1000);
        set_callback(&xen, Callback::None).unwrap();
        assert_eq!(xen.params.borrow()[&CALLBACK_IRQ], 0);
    }
}
