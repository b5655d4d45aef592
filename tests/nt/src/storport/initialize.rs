//! `StorPortInitialize`: takes a miniport's driver object over.

use core::ptr::null_mut;

use super::adapter;
use super::ddi::*;
use crate::io;
use crate::nt::*;
use crate::storage::fdo;

/// Storport's data of a miniport, in its driver object's extension.
#[derive(Clone, Copy)]
pub(crate) struct Miniport {
    /// The miniport's initialization data; what its size left out is zero.
    pub hw: HwInitializationData,
    /// Passed to `HwFindAdapter`.
    pub context: Pvoid,
}

/// Returns the client id under which a driver object keeps its [`Miniport`].
fn client_id() -> Pvoid {
    StorPortInitialize as *const () as Pvoid
}

/// Returns the miniport that `driver` is.
///
/// # Safety
/// `driver` must be a driver object that was initialized here.
pub(super) unsafe fn miniport(driver: *mut DriverObject) -> Miniport {
    // SAFETY: by this function's contract, `driver` is a driver object that was initialized here.
    unsafe { *io::IoGetDriverObjectExtension(driver, client_id()).cast::<Miniport>() }
}

/// `StorPortInitialize`. PASSIVE_LEVEL. The miniport may change the driver object's routines afterwards and
/// call those set here from its own.
///
/// # Safety
/// `argument1` is the driver object and `argument2` the registry path that `DriverEntry` was given; `data`
/// must have the size it says.
pub(super) unsafe extern "win64" fn StorPortInitialize(
    argument1: Pvoid,
    argument2: Pvoid,
    data: *const HwInitializationData,
    context: Pvoid,
) -> u32 {
    // SAFETY: by this function's contract, `argument1` is the driver object and `argument2` the registry
    // path that `DriverEntry` was given; `data` must have the size it says.
    unsafe { initialize(argument1.cast(), argument2.cast(), data, context) as u32 }
}

unsafe fn initialize(
    driver: *mut DriverObject,
    registry_path: *mut UnicodeString,
    data: *const HwInitializationData,
    context: Pvoid,
) -> NtStatus {
    if driver.is_null() || registry_path.is_null() || data.is_null() {
        return status::INVALID_PARAMETER;
    }
    // SAFETY: the caller keeps `driver`, `registry_path`, `data` and `context` valid for this call.
    unsafe {
        let size = (*data).size as usize;
        // The longer structure came with NT 6.2, whose Storport takes the shorter one of older miniports too.
        let nt62 = crate::boot::options().nt.is_nt62();
        if size != SIZE_NT52 && !(nt62 && size == SIZE_NT62) {
            crate::log!("storport: initialization data of {size} bytes is not of this version");
            return status::REVISION_MISMATCH;
        }
        let mut hw: HwInitializationData = core::mem::zeroed();
        data.cast::<u8>().copy_to_nonoverlapping((&raw mut hw).cast(), size);
        if let Some(missing) = missing(&hw) {
            crate::log!("storport: initialization data without {missing}");
            return status::INVALID_PARAMETER;
        }
        let mut place: Pvoid = null_mut();
        let size = size_of::<Miniport>() as u32;
        let allocated = io::IoAllocateDriverObjectExtension(driver, client_id(), size, &raw mut place);
        if !status::success(allocated) {
            return allocated;
        }
        place.cast::<Miniport>().write(Miniport { hw, context });
        fdo::describe(driver, adapter::add_device, adapter::dispatch_pnp, adapter::dispatch_power);
        (*driver).driver_unload = Some(unload);
        let functions = &mut (*driver).major_function;
        functions[usize::from(IRP_MJ_DEVICE_CONTROL)] = Some(adapter::dispatch_device_control);
        functions[usize::from(IRP_MJ_SCSI)] = Some(adapter::dispatch_scsi);
        functions[usize::from(IRP_MJ_SYSTEM_CONTROL)] = Some(adapter::dispatch_system_control);
        status::SUCCESS
    }
}

/// Returns something that `HW_INITIALIZATION_DATA`'s documentation asks of every physical miniport and is not
/// there.
fn missing(hw: &HwInitializationData) -> Option<&'static str> {
    let required = [
        (hw.hw_initialize.is_some(), "HwInitialize"),
        (hw.hw_start_io.is_some(), "HwStartIo"),
        (hw.hw_find_adapter.is_some(), "HwFindAdapter"),
        (hw.hw_reset_bus.is_some(), "HwResetBus"),
        (hw.hw_adapter_control.is_some(), "HwAdapterControl"),
        (hw.need_physical_addresses != FALSE, "NeedPhysicalAddresses"),
        (hw.tagged_queuing != FALSE, "TaggedQueuing"),
        (hw.auto_request_sense != FALSE, "AutoRequestSense"),
        (hw.multiple_request_per_lu != FALSE, "MultipleRequestPerLu"),
        (hw.map_buffers <= MAP_ALL_INCLUDING_READ_WRITE, "valid MapBuffers"),
    ];
    required.iter().find(|(there, _)| !there).map(|(_, name)| *name)
}

/// `DriverUnload` of a miniport's driver object: its devices are gone, and the extension goes with the
/// object.
unsafe extern "win64" fn unload(_driver: *mut DriverObject) {}
