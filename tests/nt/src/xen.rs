//! Hypercalls of the executive's own, for what it measures, breaks, or has happen; its drivers have theirs.
//! They are made as AMD's processors do; the machine that runs this has such a processor.

use core::arch::asm;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, Ordering};

use crate::mm::PAGE_SIZE;
use crate::mm::iospace::{MM_CACHED, MmMapIoSpace};
use crate::pci;

/// `__HYPERVISOR_hvm_op`.
const HVM_OP: u64 = 34;

/// `HVM_PARAM_CALLBACK_IRQ`, `HVM_PARAM_STORE_PFN`, `HVM_PARAM_STORE_EVTCHN`.
pub(crate) const CALLBACK_IRQ: u32 = 0;
pub(crate) const STORE_PFN: u32 = 1;
pub(crate) const STORE_PORT: u32 = 2;

/// `struct xen_hvm_param`.
#[repr(C)]
struct Parameter {
    domain: u16,
    pad: u16,
    index: u32,
    value: u64,
}

impl Parameter {
    /// Returns one of this guest's.
    fn own(index: u32, value: u64) -> Self {
        /// `DOMID_SELF`.
        const SELF: u16 = 0x7FF0;
        Self { domain: SELF, pad: 0, index, value }
    }
}

/// Tells whether this machine is a guest of Xen's. Any IRQL.
pub(crate) fn is_there() -> bool {
    /// "XenV", the first third of the signature; with `viridian` it stands at the second base.
    const SIGNATURE: u32 = u32::from_le_bytes(*b"XenV");
    (0..4).any(|base| core::arch::x86_64::__cpuid(0x4000_0000 + base * 0x100).ebx == SIGNATURE)
}

/// Tells whether a driver has shared info behind the platform device's memory: Xen's system time of vCPU 0 stands there
/// (xen.h, `vcpu_time_info`). Where nothing is behind it the device answers, with zeroes or ones. Any IRQL.
pub(crate) fn has_shared_info() -> bool {
    const SYSTEM_TIME: usize = 48;
    static PAGE: AtomicPtr<u8> = AtomicPtr::new(null_mut());
    if PAGE.load(Ordering::Acquire).is_null() {
        let Some(base) = pci::platform_memory() else { return false };
        // SAFETY: address space of the platform device, of which this only reads.
        let mapped = unsafe { MmMapIoSpace(base as i64, PAGE_SIZE, MM_CACHED) };
        PAGE.store(mapped.cast(), Ordering::Release);
    }
    // SAFETY: inside the page that is mapped.
    let time = unsafe { PAGE.load(Ordering::Acquire).add(SYSTEM_TIME).cast::<u64>().read_volatile() };
    !matches!(time, 0 | u64::MAX)
}

/// Maps a page of the platform device's memory by its number, cached, for good. ≤ DISPATCH_LEVEL.
fn map_platform_page(page: usize) -> *mut u8 {
    let base = pci::platform_memory().expect("the platform device's memory");
    // SAFETY: address space of the platform device, which stays.
    unsafe { MmMapIoSpace((base as usize + page * PAGE_SIZE) as i64, PAGE_SIZE, MM_CACHED) }.cast()
}

/// Returns the frame of grant table that the copy of the drivers which writes dumps put behind the device's memory
/// (grant_table.h, version 1). ≤ DISPATCH_LEVEL.
fn table_of_the_copy() -> *mut u64 {
    /// Shared info and 32 frames of table are before it.
    const PAGE: usize = 33;
    static TABLE: AtomicPtr<u8> = AtomicPtr::new(null_mut());
    if TABLE.load(Ordering::Acquire).is_null() {
        TABLE.store(map_platform_page(PAGE), Ordering::Release);
    }
    TABLE.load(Ordering::Acquire).cast()
}

/// Entries of a frame of grant table.
const ENTRIES: usize = PAGE_SIZE / 8;
/// `GTF_permit_access`.
const PERMITTED: u64 = 1;

/// Returns the frames that the copy has granted. ≤ DISPATCH_LEVEL.
pub(crate) fn granted_by_the_copy() -> impl Iterator<Item = u64> {
    /// `GTF_type_mask`.
    const TYPE: u64 = 3;
    let table = table_of_the_copy();
    (0..ENTRIES)
        // SAFETY: inside the page that is mapped.
        .map(move |at| unsafe { table.add(at).read_volatile() })
        .filter(|entry| entry & TYPE == PERMITTED)
        .map(|entry| entry >> 32)
}

/// Makes the last entry of the copy's frame look like one whose page a backend of dom0's has mapped. ≤ DISPATCH_LEVEL, when
/// the copy has put its frame there.
pub(crate) fn keep_a_page_of_the_copy() {
    /// `GTF_reading`, which Xen sets.
    const READING: u64 = 1 << 3;
    // SAFETY: inside the page that is mapped; the copy takes its entries from the other end.
    unsafe { table_of_the_copy().add(ENTRIES - 1).write_volatile(PERMITTED | READING) };
}

/// Returns what does as Xen where it raises an upcall of the first processor for xenstore's port, but for the interrupt:
/// that is lost. ≤ DISPATCH_LEVEL, while the platform device has its memory.
pub(crate) fn lost_upcall() -> impl Fn() {
    /// Offsets in shared info (xen.h): the first `vcpu_info`'s `evtchn_upcall_pending` and `evtchn_pending_sel`, and
    /// `evtchn_pending`.
    const UPCALL: usize = 0;
    const SELECTOR: usize = 8;
    const PENDING: usize = 2048;
    let port = parameter(STORE_PORT).expect("xenstore's port") as usize;
    let page = map_platform_page(0);
    // SAFETY: inside of shared info, whose words everybody changes by atomic operations.
    move || unsafe {
        let word = |offset: usize| &*page.add(offset).cast::<AtomicU64>();
        word(PENDING + port / 64 * 8).fetch_or(1 << (port % 64), Ordering::SeqCst);
        word(SELECTOR).fetch_or(1 << (port / 64), Ordering::SeqCst);
        (*page.add(UPCALL).cast::<AtomicU8>()).store(1, Ordering::SeqCst);
    }
}

/// Makes a hypercall. Returns its answer. Any IRQL.
///
/// # Safety
/// The arguments are what the hypercall asks for.
pub(crate) unsafe fn hypercall(number: u64, arguments: [u64; 3]) -> i64 {
    let [first, second, third] = arguments;
    let result;
    // SAFETY: by this function's contract, the arguments are what the hypercall asks for.
    unsafe {
        asm!("vmmcall", inlateout("rax") number => result, inlateout("rdi") first => _, inlateout("rsi") second => _,
         inlateout("rdx") third => _, options(nostack));
    }
    result
}

/// Returns a parameter of this guest; `None` where Xen refuses. Any IRQL.
pub(crate) fn parameter(index: u32) -> Option<u64> {
    /// `HVMOP_get_param`.
    const GET: u64 = 1;
    let mut parameter = Parameter::own(index, 0);
    let address = (&raw mut parameter).expose_provenance() as u64;
    // SAFETY: writes one structure.
    let result = unsafe { hypercall(HVM_OP, [GET, address, 0]) };
    (result == 0).then_some(parameter.value)
}

/// Sets a parameter of this guest; whether Xen did. Any IRQL.
pub(crate) fn set_parameter(index: u32, value: u64) -> bool {
    /// `HVMOP_set_param`.
    const SET: u64 = 0;
    let parameter = Parameter::own(index, value);
    let address = (&raw const parameter).expose_provenance() as u64;
    // SAFETY: reads one structure.
    unsafe { hypercall(HVM_OP, [SET, address, 0]) == 0 }
}
