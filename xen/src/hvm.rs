//! HVM parameters, `hvm/params.h`: where xenstore is, and how Xen interrupts the guest.

use crate::hypercall::{self, Hypercall};
use crate::wire::hypercall::{DOMID_SELF, HVM_OP, HVMOP_GET_PARAM, HVMOP_SET_PARAM, HvmParam};
use crate::{Frame, Port};

/// `HVM_PARAM_CALLBACK_IRQ`.
const CALLBACK_IRQ: u32 = 0;
/// `HVM_PARAM_STORE_PFN`.
const STORE_PFN: u32 = 1;
/// `HVM_PARAM_STORE_EVTCHN`.
const STORE_EVTCHN: u32 = 2;

/// How Xen tells vCPU 0 of events.
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
    /// The parameter's value: bits 63:56 the kind, the rest as it defines.
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

/// Where xenstored is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreLocation {
    /// The page with the rings.
    pub frame: Frame,
    /// Our port to the server.
    pub port: Port,
}

/// Where xenstored is reached, or `None` where the domain has no xenstore. Any level.
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
