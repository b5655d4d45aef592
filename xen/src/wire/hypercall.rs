//! Hypercall numbers and arguments: `xen.h`, `event_channel.h`, `memory.h`, `grant_table.h`, `sched.h`,
//! `hvm/hvm_op.h`, `hvm/params.h`.

use core::mem::{offset_of, size_of};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `__HYPERVISOR_memory_op`.
pub const MEMORY_OP: u32 = 12;
/// `__HYPERVISOR_grant_table_op`.
pub const GRANT_TABLE_OP: u32 = 20;
/// `__HYPERVISOR_sched_op`.
pub const SCHED_OP: u32 = 29;
/// `__HYPERVISOR_event_channel_op`.
pub const EVENT_CHANNEL_OP: u32 = 32;
/// `__HYPERVISOR_hvm_op`.
pub const HVM_OP: u32 = 34;

/// `DOMID_SELF`: the calling domain.
pub const DOMID_SELF: u16 = 0x7FF0;

/// `XENMEM_add_to_physmap`.
pub const XENMEM_ADD_TO_PHYSMAP: u64 = 7;
/// `XENMEM_remove_from_physmap`.
pub const XENMEM_REMOVE_FROM_PHYSMAP: u64 = 15;
/// `XENMAPSPACE_shared_info`.
pub const XENMAPSPACE_SHARED_INFO: u32 = 0;
/// `XENMAPSPACE_grant_table`.
pub const XENMAPSPACE_GRANT_TABLE: u32 = 1;

/// `GNTTABOP_query_size`.
pub const GNTTABOP_QUERY_SIZE: u64 = 6;
/// `GNTST_okay`.
pub const GNTST_OKAY: i16 = 0;

/// `SCHEDOP_yield`.
pub const SCHEDOP_YIELD: u64 = 0;
/// `SCHEDOP_shutdown`.
pub const SCHEDOP_SHUTDOWN: u64 = 2;
/// `SCHEDOP_shutdown_code`.
pub const SCHEDOP_SHUTDOWN_CODE: u64 = 5;

/// `EVTCHNOP_bind_interdomain`.
pub const EVTCHNOP_BIND_INTERDOMAIN: u64 = 0;
/// `EVTCHNOP_close`.
pub const EVTCHNOP_CLOSE: u64 = 3;
/// `EVTCHNOP_send`.
pub const EVTCHNOP_SEND: u64 = 4;
/// `EVTCHNOP_alloc_unbound`.
pub const EVTCHNOP_ALLOC_UNBOUND: u64 = 6;
/// `EVTCHNOP_bind_ipi`.
pub const EVTCHNOP_BIND_IPI: u64 = 7;
/// `EVTCHNOP_bind_vcpu`.
pub const EVTCHNOP_BIND_VCPU: u64 = 8;
/// `EVTCHNOP_unmask`.
pub const EVTCHNOP_UNMASK: u64 = 9;

/// `HVMOP_set_param`.
pub const HVMOP_SET_PARAM: u64 = 0;
/// `HVMOP_get_param`.
pub const HVMOP_GET_PARAM: u64 = 1;

/// `HVMOP_set_evtchn_upcall_vector`.
pub const HVMOP_SET_EVTCHN_UPCALL_VECTOR: u64 = 23;

/// `struct xen_hvm_evtchn_upcall_vector`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct HvmUpcallVector {
    /// Xen's number of the processor.
    pub vcpu: u32,
    /// The vector, 16 at least.
    pub vector: u8,
    /// Padding.
    pub pad: [u8; 3],
}

/// `struct xen_hvm_param`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct HvmParam {
    /// Domain, usually [`DOMID_SELF`].
    pub domid: u16,
    /// Padding.
    pub pad: u16,
    /// Parameter number.
    pub index: u32,
    /// Its value.
    pub value: u64,
}

/// `struct evtchn_alloc_unbound`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EvtchnAllocUnbound {
    /// Domain that gets the port.
    pub dom: u16,
    /// Domain that may bind to it.
    pub remote_dom: u16,
    /// Out: the port.
    pub port: u32,
}

/// `struct evtchn_bind_interdomain`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EvtchnBindInterdomain {
    /// Domain at the other end.
    pub remote_dom: u16,
    /// Padding.
    pub pad: u16,
    /// Its port.
    pub remote_port: u32,
    /// Out: our port.
    pub local_port: u32,
}

/// `struct evtchn_close`, `evtchn_send`, `evtchn_unmask`: a port alone.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EvtchnPort {
    /// Our port.
    pub port: u32,
}

/// `struct evtchn_bind_ipi`: the processor, and out the port; `struct evtchn_bind_vcpu`: the port, and its
/// processor.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EvtchnPair(pub u32, pub u32);

/// `struct xen_add_to_physmap`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AddToPhysmap {
    /// Domain, usually [`DOMID_SELF`].
    pub domid: u16,
    /// Pages, only for spaces not used here.
    pub size: u16,
    /// `XENMAPSPACE_…`.
    pub space: u32,
    /// Index within the space.
    pub idx: u64,
    /// Guest frame that the page shall appear at.
    pub gpfn: u64,
}

/// `struct xen_remove_from_physmap`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RemoveFromPhysmap {
    /// Domain, usually [`DOMID_SELF`].
    pub domid: u16,
    /// Padding.
    pub pad: [u16; 3],
    /// Guest frame that shall have nothing behind it.
    pub gpfn: u64,
}

/// `struct gnttab_query_size`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GnttabQuerySize {
    /// Domain, usually [`DOMID_SELF`].
    pub dom: u16,
    /// Padding.
    pub pad: u16,
    /// Out: frames the table has.
    pub nr_frames: u32,
    /// Out: frames the table may grow to.
    pub max_nr_frames: u32,
    /// Out: `GNTST_…`.
    pub status: i16,
    /// Padding.
    pub pad2: u16,
}

/// `struct sched_shutdown`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SchedShutdown {
    /// `SHUTDOWN_…`.
    pub reason: u32,
}

const _: () = {
    assert!(size_of::<HvmParam>() == 16);
    assert!(offset_of!(HvmParam, value) == 8);
    assert!(size_of::<EvtchnAllocUnbound>() == 8);
    assert!(size_of::<EvtchnBindInterdomain>() == 12);
    assert!(size_of::<EvtchnPort>() == 4);
    assert!(size_of::<AddToPhysmap>() == 24);
    assert!(offset_of!(AddToPhysmap, idx) == 8);
    assert!(size_of::<RemoveFromPhysmap>() == 16);
    assert!(offset_of!(RemoveFromPhysmap, gpfn) == 8);
    assert!(size_of::<GnttabQuerySize>() == 16);
    assert!(offset_of!(GnttabQuerySize, status) == 12);
    assert!(size_of::<SchedShutdown>() == 4);
};
