//! The driver as a Storport miniport, for the rules that Storport's documentation makes: an adapter that
//! answers every request with "nothing there", and does one thing wrong in it. It runs in half-duplex mode,
//! Storport's default.

use core::mem::zeroed;
use core::ptr::null_mut;

use wdk_sys::storage::{StorPortInitialize, StorPortNotification};
use wdk_sys::{
    _INTERFACE_TYPE, _SCSI_ADAPTER_CONTROL_STATUS, _SCSI_ADAPTER_CONTROL_TYPE, _SCSI_NOTIFICATION_TYPE,
    BOOLEAN, HW_INITIALIZATION_DATA, NTSTATUS, PBOOLEAN, PCHAR, PDRIVER_OBJECT,
    PPORT_CONFIGURATION_INFORMATION, PSCSI_REQUEST_BLOCK, PSCSI_SUPPORTED_CONTROL_TYPE_LIST, PUNICODE_STRING,
    PVOID, SCSI_ADAPTER_CONTROL_STATUS, SCSI_ADAPTER_CONTROL_TYPE, SP_RETURN_FOUND, SRB_STATUS_NO_DEVICE,
    SRB_STATUS_PENDING, TRUE, UCHAR, ULONG,
};

use crate::case;
use crate::case::Case;

// The bindings declare Storport's routines and link nothing for them.
#[link(name = "storport", kind = "static", modifiers = "-bundle")]
unsafe extern "C" {}

/// Bytes of HW_INITIALIZATION_DATA before NT 6.2.
const INITIALIZATION_DATA: ULONG = 136;
/// STOR_MAP_ALL_BUFFERS.
const MAP_ALL_BUFFERS: UCHAR = 1;

/// Hands the driver object to Storport.
///
/// # Safety
/// The arguments are DriverEntry's.
pub(crate) unsafe fn register(driver: PDRIVER_OBJECT, path: PUNICODE_STRING) -> NTSTATUS {
    // SAFETY: numbers and nullable pointers, for which zero is a value.
    let mut data: HW_INITIALIZATION_DATA = unsafe { zeroed() };
    data.HwInitializationDataSize = INITIALIZATION_DATA;
    data.AdapterInterfaceType = _INTERFACE_TYPE::Internal;
    data.HwInitialize = Some(initialize);
    data.HwStartIo = Some(start_io);
    data.HwFindAdapter = find_adapter as *mut _;
    data.HwResetBus = Some(reset_bus);
    data.HwAdapterControl = Some(adapter_control);
    data.MapBuffers = MAP_ALL_BUFFERS;
    data.NeedPhysicalAddresses = TRUE as BOOLEAN;
    data.TaggedQueuing = TRUE as BOOLEAN;
    data.AutoRequestSense = TRUE as BOOLEAN;
    data.MultipleRequestPerLu = TRUE as BOOLEAN;
    // SAFETY: DriverEntry's arguments, and a structure of the size it says.
    unsafe { StorPortInitialize(driver.cast(), path.cast(), &raw mut data, null_mut()) as NTSTATUS }
}

unsafe extern "C" fn find_adapter(
    _extension: PVOID,
    _context: PVOID,
    _bus: PVOID,
    _argument: PCHAR,
    configuration: PPORT_CONFIGURATION_INFORMATION,
    _again: PBOOLEAN,
) -> ULONG {
    // SAFETY: Storport's configuration, for this call.
    unsafe {
        (*configuration).NumberOfBuses = 1;
        (*configuration).MaximumNumberOfTargets = 1;
    }
    SP_RETURN_FOUND
}

unsafe extern "C" fn initialize(_extension: PVOID) -> BOOLEAN {
    TRUE as BOOLEAN
}

unsafe extern "C" fn start_io(extension: PVOID, srb: PSCSI_REQUEST_BLOCK) -> BOOLEAN {
    let complete = |status: ULONG| {
        // SAFETY: whether Storport still has the SRB with this driver is the case's business.
        unsafe {
            (*srb).SrbStatus = status as UCHAR;
            StorPortNotification(_SCSI_NOTIFICATION_TYPE::RequestComplete, extension, srb);
        }
    };
    match case() {
        Case::SrbNeverCompleted => {}
        Case::SrbInvalidStatus => complete(SRB_STATUS_PENDING),
        Case::SrbCompletedTwice => {
            complete(SRB_STATUS_NO_DEVICE);
            complete(SRB_STATUS_NO_DEVICE);
        }
        _ => complete(SRB_STATUS_NO_DEVICE),
    }
    TRUE as BOOLEAN
}

unsafe extern "C" fn reset_bus(_extension: PVOID, _path: ULONG) -> BOOLEAN {
    TRUE as BOOLEAN
}

unsafe extern "C" fn adapter_control(
    _extension: PVOID,
    control: SCSI_ADAPTER_CONTROL_TYPE,
    parameters: PVOID,
) -> SCSI_ADAPTER_CONTROL_STATUS {
    use _SCSI_ADAPTER_CONTROL_TYPE::{ScsiQuerySupportedControlTypes, ScsiStopAdapter};
    if control == ScsiQuerySupportedControlTypes {
        let list: PSCSI_SUPPORTED_CONTROL_TYPE_LIST = parameters.cast();
        // SAFETY: for this type the parameter is such a list, long enough for the first types.
        unsafe {
            let supported = (&raw mut (*list).SupportedTypeList).cast::<BOOLEAN>();
            supported.add(control as usize).write(TRUE as BOOLEAN);
            supported.add(ScsiStopAdapter as usize).write(TRUE as BOOLEAN);
        }
    }
    _SCSI_ADAPTER_CONTROL_STATUS::ScsiAdapterControlSuccess
}
