//! Stopping the system, and being told when it stops.
#![expect(unsafe_code, reason = "calls KeBugCheckEx and registers callback records with the kernel")]

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::sync::atomic::{AtomicBool, Ordering};

use wdk_sys::{
    _KBUGCHECK_CALLBACK_REASON, BOOLEAN, GUID, KBUGCHECK_CALLBACK_REASON, KBUGCHECK_CALLBACK_RECORD,
    KBUGCHECK_REASON_CALLBACK_RECORD, KBUGCHECK_SECONDARY_DUMP_DATA, PVOID, ULONG,
    ntddk::{
        KeBugCheckEx, KeDeregisterBugCheckCallback, KeDeregisterBugCheckReasonCallback,
        KeRegisterBugCheckCallback, KeRegisterBugCheckReasonCallback,
    },
};

use crate::guid::guid;

// Data in the import library, so its name in the image is a pointer to it.
unsafe extern "C" {
    #[link_name = "__imp_KiBugCheckData"]
    static KI_BUG_CHECK_DATA: *const usize;
}

/// Returns true if the system is stopping. The first of the five words that `KeBugCheckEx` stores for
/// debuggers, the code, is then not 0. Any IRQL.
#[must_use]
pub fn is_under_way() -> bool {
    // SAFETY: the loader stored the address of the kernel's array in the import table.
    unsafe { KI_BUG_CHECK_DATA.read_volatile() != 0 }
}

/// Returns code and parameters of the bugcheck that is under way. Any IRQL.
#[must_use]
pub fn under_way() -> Option<(u32, [usize; 4])> {
    // SAFETY: as above; the array has five words.
    let [code, parameters @ ..] = unsafe { KI_BUG_CHECK_DATA.cast::<[usize; 5]>().read_volatile() };
    u32::try_from(code).ok().filter(|&code| code != 0).map(|code| (code, parameters))
}

/// The bugcheck code of a Rust panic in a driver ('XGP'): P1 line, P2 address of the file's name.
pub const PANIC: u32 = 0x0058_4750;

/// Stops the system with a bugcheck. Any IRQL; does not return.
pub fn stop(code: u32, parameters: [usize; 4]) -> ! {
    let [p1, p2, p3, p4] = parameters.map(|parameter| parameter as u64);
    // SAFETY: KeBugCheckEx may be called at any IRQL in any state of the system.
    unsafe { KeBugCheckEx(code, p1, p2, p3, p4) }
}

/// A flag of a record that the kernel has.
struct Registered(AtomicBool);

impl Registered {
    const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Registers the record unless it is registered. Returns true if the kernel accepted it now.
    fn make(&self, register: impl FnOnce() -> BOOLEAN) -> bool {
        if self.0.swap(true, Ordering::AcqRel) {
            return false;
        }
        let accepted = register() != 0;
        if !accepted {
            self.0.store(false, Ordering::Release);
        }
        accepted
    }

    /// Deregisters the record if it is registered.
    fn undo(&self, deregister: impl FnOnce() -> BOOLEAN) {
        if self.0.swap(false, Ordering::AcqRel) {
            deregister();
        }
    }
}

/// A routine that the kernel calls while it stops, at HIGH_LEVEL, on one processor: it may only
/// touch resident memory and ports. Kept in a `static`, registered once:
/// `static AT_STOP: Callback = Callback::new(c"xenguard", write_record);`
pub struct Callback {
    record: UnsafeCell<KBUGCHECK_CALLBACK_RECORD>,
    component: &'static core::ffi::CStr,
    routine: fn(),
    registered: Registered,
}

// SAFETY: the record is touched only by the kernel between register and deregister; the flag
// lets one thread do each.
unsafe impl Sync for Callback {}

impl Callback {
    /// Returns a callback that is not registered yet. `component` names it in a dump.
    #[must_use]
    pub const fn new(component: &'static core::ffi::CStr, routine: fn()) -> Self {
        // SAFETY: the record is plain data for which all-zero is the state "BufferEmpty".
        let record = unsafe { core::mem::zeroed() };
        Self { record: UnsafeCell::new(record), component, routine, registered: Registered::new() }
    }

    /// Registers the routine. IRQL ≤ DISPATCH_LEVEL. `false` when it is registered already or the
    /// kernel refused. A driver that can unload must [`deregister`](Self::deregister) first.
    pub fn register(&'static self) -> bool {
        self.registered.make(|| {
            // SAFETY: the record is static, hence resident and at one address, and zeroed
            // (KeInitializeCallbackRecord only sets State to BufferEmpty, which is zero). The
            // buffer is this static itself, which the thunk gets back.
            unsafe {
                KeRegisterBugCheckCallback(
                    self.record.get(),
                    Some(thunk),
                    core::ptr::from_ref(self).cast_mut().cast(),
                    size_of::<Self>() as ULONG,
                    self.component.as_ptr().cast_mut().cast(),
                )
            }
        })
    }

    /// Undoes [`register`](Self::register). IRQL ≤ DISPATCH_LEVEL.
    pub fn deregister(&'static self) {
        // SAFETY: the record is registered, by the flag.
        self.registered.undo(|| unsafe { KeDeregisterBugCheckCallback(self.record.get()) });
    }
}

unsafe extern "C" fn thunk(buffer: PVOID, _length: ULONG) {
    // SAFETY: the buffer is the static Callback that was registered.
    let callback = unsafe { &*buffer.cast::<c_void>().cast::<Callback>() };
    (callback.routine)();
}

/// Bytes that go into a crash dump, found there by their GUID (KbCallbackSecondaryDumpData). Kept in a
/// `static`: `static RECORD: DumpData = DumpData::new(c"xenguard", 0x9B6A_…, record);`
#[repr(C)]
pub struct DumpData {
    // First, so that the kernel's pointer to it is one to the whole.
    record: UnsafeCell<KBUGCHECK_REASON_CALLBACK_RECORD>,
    component: &'static core::ffi::CStr,
    guid: GUID,
    /// The bytes: resident memory that does not change any more. Called at HIGH_LEVEL while the system
    /// stops.
    bytes: fn() -> &'static [u8],
    registered: Registered,
}

// SAFETY: as for `Callback`.
unsafe impl Sync for DumpData {}

const _: () = assert!(core::mem::offset_of!(DumpData, record) == 0);

impl DumpData {
    /// Returns data that is not registered yet, under the GUID of these digits ([`guid`](guid())).
    #[must_use]
    pub const fn new(
        component: &'static core::ffi::CStr,
        digits: u128,
        bytes: fn() -> &'static [u8],
    ) -> Self {
        let guid = guid(digits);
        // SAFETY: the record is plain data for which all-zero is the state "BufferEmpty".
        let record = unsafe { core::mem::zeroed() };
        Self { record: UnsafeCell::new(record), component, guid, bytes, registered: Registered::new() }
    }

    /// Registers the data. IRQL ≤ DISPATCH_LEVEL. `false` when it is registered already or the kernel
    /// refused. A driver that can unload must [`deregister`](Self::deregister) first.
    pub fn register(&'static self) -> bool {
        self.registered.make(|| {
            // SAFETY: the record is static and zeroed, as KeInitializeCallbackRecord leaves it.
            unsafe {
                KeRegisterBugCheckReasonCallback(
                    self.record.get(),
                    Some(give),
                    _KBUGCHECK_CALLBACK_REASON::KbCallbackSecondaryDumpData,
                    self.component.as_ptr().cast_mut().cast(),
                )
            }
        })
    }

    /// Undoes [`register`](Self::register). IRQL ≤ DISPATCH_LEVEL.
    pub fn deregister(&'static self) {
        // SAFETY: the record is registered, by the flag.
        self.registered.undo(|| unsafe { KeDeregisterBugCheckReasonCallback(self.record.get()) });
    }
}

/// Hands the bytes over. The kernel asks twice, first for the size; the answer is the same.
unsafe extern "C" fn give(
    _reason: KBUGCHECK_CALLBACK_REASON,
    record: *mut KBUGCHECK_REASON_CALLBACK_RECORD,
    data: PVOID,
    length: ULONG,
) {
    if (length as usize) < size_of::<KBUGCHECK_SECONDARY_DUMP_DATA>() {
        return;
    }
    // SAFETY: the record is the first field of a static DumpData, and the data is what this reason comes
    // with.
    let (this, data) =
        unsafe { (&*record.cast::<DumpData>(), &mut *data.cast::<KBUGCHECK_SECONDARY_DUMP_DATA>()) };
    let bytes = (this.bytes)();
    data.Guid = this.guid;
    data.OutBuffer = bytes.as_ptr().cast_mut().cast();
    data.OutBufferLength = bytes.len().min(data.MaximumAllowed as usize) as ULONG;
}
