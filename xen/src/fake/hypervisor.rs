//! Xen as a guest's processor and hypercalls show it.
#![expect(unsafe_code, reason = "reads and writes hypercall arguments by address, as Xen does")]

use core::ptr;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::vec::Vec;

use crate::cpuid::{self, Registers};
use crate::hypercall::Hypercall;
use crate::wire::hypercall as wire;

const EINVAL: i64 = 22;
const ENOSYS: i64 = 38;

/// A processor whose CPUID leaves a test chooses.
#[derive(Debug, Default)]
pub struct Platform {
    /// Leaves that answer anything but zeroes.
    pub leaves: BTreeMap<u32, Registers>,
}

impl Platform {
    /// Returns Xen 4.17 with its leaves at `base`.
    pub fn xen(base: u32) -> Self {
        let [ebx, ecx, edx] = [*b"XenV", *b"MMXe", *b"nVMM"].map(u32::from_le_bytes);
        let mut platform = Self::default();
        let mut leaf = |number, eax, ebx, ecx, edx| {
            platform.leaves.insert(base + number, Registers { eax, ebx, ecx, edx });
        };
        leaf(0, base + 5, ebx, ecx, edx);
        leaf(1, 4 << 16 | 17, 0, 0, 0);
        leaf(2, 1, 0x4000_0000, 0, 0);
        leaf(4, 1 << 6 | 1 << 3, 3, 0, 0);
        platform
    }
}

impl cpuid::Platform for Platform {
    fn cpuid(&self, leaf: u32) -> Registers {
        self.leaves.get(&leaf).copied().unwrap_or_default()
    }
}

/// Everything that the guest has asked Xen for.
#[derive(Debug, Default)]
pub struct Hypervisor {
    /// HVM parameters.
    pub params: RefCell<BTreeMap<u32, u64>>,
    /// The guest's memory map: frame, then space and index.
    pub physmap: RefCell<BTreeMap<u64, (u32, u64)>>,
    /// Ports given out: remote domain, and remote port where bound.
    pub ports: RefCell<BTreeMap<u32, (u16, Option<u32>)>>,
    /// Processors that ports are bound to, where they are bound to any.
    pub bound: RefCell<BTreeMap<u32, u32>>,
    /// Upcall vectors by processor.
    pub vectors: RefCell<BTreeMap<u32, u8>>,
    /// Ports notified.
    pub sent: RefCell<Vec<u32>>,
    /// Ports unmasked by hypercall.
    pub unmasked: RefCell<Vec<u32>>,
    /// Scheduler commands: command, and argument of a shutdown.
    pub scheduled: RefCell<Vec<(u64, u32)>>,
    /// Status that a query of the grant table's size answers.
    pub query_status: i16,
    /// Order in which frames appeared.
    pub mapped: RefCell<Vec<u64>>,
}

impl Hypervisor {
    fn event_channel(&self, command: u64, argument: u64) -> i64 {
        let mut ports = self.ports.borrow_mut();
        let new = ports.last_key_value().map_or(1, |(port, _)| port + 1);
        // SAFETY (of the reads and writes below): the guest passes the address of the structure that the
        // command takes.
        match command {
            wire::EVTCHNOP_ALLOC_UNBOUND => {
                let pointer = argument as *mut wire::EvtchnAllocUnbound;
                // SAFETY: see above.
                let mut value = unsafe { pointer.read() };
                assert_eq!(value.dom, wire::DOMID_SELF);
                ports.insert(new, (value.remote_dom, None));
                value.port = new;
                // SAFETY: see above.
                unsafe { pointer.write(value) };
                0
            }
            wire::EVTCHNOP_BIND_INTERDOMAIN => {
                let pointer = argument as *mut wire::EvtchnBindInterdomain;
                // SAFETY: see above.
                let mut value = unsafe { pointer.read() };
                ports.insert(new, (value.remote_dom, Some(value.remote_port)));
                value.local_port = new;
                // SAFETY: see above.
                unsafe { pointer.write(value) };
                0
            }
            wire::EVTCHNOP_BIND_IPI => {
                let pointer = argument as *mut wire::EvtchnPair;
                // SAFETY: see above.
                let wire::EvtchnPair(vcpu, _) = unsafe { pointer.read() };
                ports.insert(new, (wire::DOMID_SELF, Some(new)));
                self.bound.borrow_mut().insert(new, vcpu);
                // SAFETY: see above.
                unsafe { pointer.write(wire::EvtchnPair(vcpu, new)) };
                0
            }
            wire::EVTCHNOP_BIND_VCPU => {
                // SAFETY: see above.
                let wire::EvtchnPair(port, vcpu) = unsafe { ptr::read(argument as *const wire::EvtchnPair) };
                if !ports.contains_key(&port) {
                    return -EINVAL;
                }
                self.bound.borrow_mut().insert(port, vcpu);
                0
            }
            wire::EVTCHNOP_CLOSE | wire::EVTCHNOP_SEND | wire::EVTCHNOP_UNMASK => {
                // SAFETY: see above.
                let port = unsafe { ptr::read(argument as *const wire::EvtchnPort) }.port;
                if !ports.contains_key(&port) {
                    return -EINVAL;
                }
                match command {
                    wire::EVTCHNOP_CLOSE => drop(ports.remove(&port)),
                    wire::EVTCHNOP_SEND => self.sent.borrow_mut().push(port),
                    _ => self.unmasked.borrow_mut().push(port),
                }
                0
            }
            _ => -ENOSYS,
        }
    }

    fn memory(&self, command: u64, argument: u64) -> i64 {
        match command {
            wire::XENMEM_ADD_TO_PHYSMAP => {
                // SAFETY: the guest passes the address of this structure.
                let value = unsafe { ptr::read(argument as *const wire::AddToPhysmap) };
                assert_eq!(value.domid, wire::DOMID_SELF);
                if value.space == wire::XENMAPSPACE_GRANT_TABLE && value.idx >= 64 {
                    return -EINVAL;
                }
                self.physmap.borrow_mut().insert(value.gpfn, (value.space, value.idx));
                self.mapped.borrow_mut().push(value.gpfn);
                0
            }
            wire::XENMEM_REMOVE_FROM_PHYSMAP => {
                // SAFETY: the guest passes the address of this structure.
                let value = unsafe { ptr::read(argument as *const wire::RemoveFromPhysmap) };
                assert_eq!(value.domid, wire::DOMID_SELF);
                if self.physmap.borrow_mut().remove(&value.gpfn).is_some() { 0 } else { -EINVAL }
            }
            _ => -ENOSYS,
        }
    }
}

// SAFETY: no address beyond the argument structures is touched.
unsafe impl Hypercall for Hypervisor {
    unsafe fn call(&self, number: u32, [command, argument, count, ..]: [u64; 5]) -> i64 {
        match (number, command) {
            (wire::HVM_OP, wire::HVMOP_GET_PARAM | wire::HVMOP_SET_PARAM) => {
                let pointer = argument as *mut wire::HvmParam;
                // SAFETY: the guest passes the address of this structure.
                let mut value = unsafe { pointer.read() };
                assert_eq!(value.domid, wire::DOMID_SELF);
                let mut params = self.params.borrow_mut();
                if command == wire::HVMOP_SET_PARAM {
                    params.insert(value.index, value.value);
                    return 0;
                }
                let Some(found) = params.get(&value.index) else { return -EINVAL };
                value.value = *found;
                // SAFETY: as above.
                unsafe { pointer.write(value) };
                0
            }
            (wire::HVM_OP, wire::HVMOP_SET_EVTCHN_UPCALL_VECTOR) => {
                // SAFETY: the guest passes the address of this structure.
                let value = unsafe { ptr::read(argument as *const wire::HvmUpcallVector) };
                if value.vector < 16 {
                    return -EINVAL;
                }
                self.vectors.borrow_mut().insert(value.vcpu, value.vector);
                0
            }
            (wire::EVENT_CHANNEL_OP, _) => self.event_channel(command, argument),
            (wire::MEMORY_OP, _) => self.memory(command, argument),
            (wire::GRANT_TABLE_OP, wire::GNTTABOP_QUERY_SIZE) => {
                assert_eq!(count, 1);
                let pointer = argument as *mut wire::GnttabQuerySize;
                // SAFETY: the guest passes the address of this structure.
                let mut value = unsafe { pointer.read() };
                (value.nr_frames, value.max_nr_frames, value.status) = (4, 64, self.query_status);
                // SAFETY: as above.
                unsafe { pointer.write(value) };
                0
            }
            (wire::SCHED_OP, wire::SCHEDOP_YIELD) => {
                self.scheduled.borrow_mut().push((command, 0));
                0
            }
            (wire::SCHED_OP, wire::SCHEDOP_SHUTDOWN | wire::SCHEDOP_SHUTDOWN_CODE) => {
                // SAFETY: the guest passes the address of this structure.
                let value = unsafe { ptr::read(argument as *const wire::SchedShutdown) };
                self.scheduled.borrow_mut().push((command, value.reason));
                0
            }
            _ => -ENOSYS,
        }
    }
}
