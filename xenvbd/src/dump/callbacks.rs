//! The callbacks of the copy, which the dump port driver calls.
#![expect(unsafe_code, reason = "Storport's C interface: raw structures and callbacks")]

use alloc::boxed::Box;
use core::ffi::c_void;
use core::mem::offset_of;
use core::ptr::{NonNull, null_mut};

use vbd::Srb as _;
use wdk_sys::storage::StorPortInitialize;
use wdk_sys::{
    _SCSI_ADAPTER_CONTROL_STATUS, BOOLEAN, FALSE, NTSTATUS, PBOOLEAN, PCHAR, PORT_CONFIGURATION_INFORMATION,
    PPORT_CONFIGURATION_INFORMATION, PSCSI_REQUEST_BLOCK, PSCSI_SUPPORTED_CONTROL_TYPE_LIST, PVOID,
    SCSI_ADAPTER_CONTROL_STATUS, SCSI_ADAPTER_CONTROL_TYPE, SP_RETURN_FOUND, SP_RETURN_NOT_FOUND, TRUE,
    UCHAR, ULONG,
};
use wdm::arena::Arena;
use wdm::pool;

use super::disk::{Adapter, MAXIMUM_TRANSFER};
use super::platform::Platform;
use super::port_driver::{PortDriver, say};
use crate::miniport::{DMA64_SUPPORTED, initialization_data, support};
use crate::srb::{Port, Srb};

/// The memory that stands for pool here.
static ARENA: Arena = Arena::new();

/// The `DumpMode` of a crash dump. Those of hibernation are `DUMP_MODE_HIBER` (2), `DUMP_MODE_MARK_MEMORY` (3) and
/// `DUMP_MODE_RESUME` (4).
const DUMP_MODE_CRASH: UCHAR = 1;

// What the overlay gives must be what NT has.
const _: () = {
    assert!(offset_of!(PORT_CONFIGURATION_INFORMATION, DumpMode) == 197);
    assert!(offset_of!(PORT_CONFIGURATION_INFORMATION, MaxIOsPerLun) == 208);
};

/// The device extension, zeroed by the port driver.
#[repr(C)]
struct Extension {
    adapter: *mut Adapter,
}

/// Registers this copy with the dump port driver, at each start of the image. HIGH_LEVEL.
///
/// # Safety
/// Called by `DriverEntry` with null arguments: nothing of the image runs, and one processor runs. An extension of
/// an earlier start is not given to this copy any more.
pub(crate) unsafe fn register() -> NTSTATUS {
    // SAFETY: the caller's promise. Only an extension has ever pointed to what was allocated.
    unsafe { ARENA.take_the_place_of_pool() };
    // Which NT this is cannot be asked here. The shorter structure is what every version takes, from drivers
    // made for NT 6.1 or before.
    let mut data = initialization_data(false);
    // The dump driver gives its own buffers, by address (STOR_MAP_ALL_BUFFERS).
    data.MapBuffers = 1;
    data.HwInitialize = Some(hw_initialize);
    data.HwStartIo = Some(hw_start_io);
    data.HwInterrupt = Some(hw_interrupt);
    data.HwFindAdapter = hw_find_adapter as *mut c_void;
    data.HwResetBus = Some(hw_reset_bus);
    data.HwAdapterControl = Some(hw_adapter_control);
    data.DeviceExtensionSize = size_of::<Extension>() as ULONG;
    // SAFETY: the structure has the size it says; the dump driver expects no driver object and no path.
    unsafe { StorPortInitialize(null_mut(), null_mut(), &raw mut data, null_mut()) as NTSTATUS }
}

/// Most bytes of an argument string that are looked at.
const ARGUMENT: usize = 256;

/// Returns true if the argument string has "dump=1".
///
/// # Safety
/// `argument` is null or a terminated string.
unsafe fn says_dump(argument: PCHAR) -> bool {
    const WORD: &[u8] = b"dump=1";
    if argument.is_null() {
        return false;
    }
    let mut matched = 0;
    for at in 0..ARGUMENT {
        // SAFETY: not behind the terminator, at which this ends.
        let byte = unsafe { argument.add(at).read() } as u8;
        matched = if byte == WORD[matched] { matched + 1 } else { usize::from(byte == WORD[0]) };
        if byte == 0 || matched == WORD.len() {
            return matched == WORD.len();
        }
    }
    false
}

/// Returns the purpose that NT starts the copy for (`DumpMode`), where it is none that the copy serves.
///
/// From NT 6.2 on one is said: to write a crash dump, to write a hibernation file, to mark the memory that writing
/// needs, and to read the file when the system comes back. Then the copy runs in a new domain, in which no driver has
/// set anything up, and nobody has said in xenstore which disk is whose. A file that could not be read is not written.
fn unserved(configuration: &PORT_CONFIGURATION_INFORMATION) -> Option<UCHAR> {
    // The byte is padding in the structure of NT 6.1, which ends before this member.
    let end = offset_of!(PORT_CONFIGURATION_INFORMATION, MaxIOsPerLun) + size_of::<ULONG>();
    let says = configuration.Length as usize >= end;
    Some(configuration.DumpMode).filter(|mode| says && !matches!(*mode, 0 | DUMP_MODE_CRASH))
}

/// Carries out HwFindAdapter. HIGH_LEVEL.
unsafe extern "C" fn hw_find_adapter(
    extension: PVOID,
    _context: PVOID,
    _bus_information: PVOID,
    argument: PCHAR,
    configuration: PPORT_CONFIGURATION_INFORMATION,
    _again: PBOOLEAN,
) -> ULONG {
    // SAFETY: null or a terminated string of the port driver's.
    let in_dump = unsafe { says_dump(argument) };
    if !in_dump {
        say(format_args!("no \"dump=1\" from the port driver"));
        return SP_RETURN_NOT_FOUND;
    }
    // SAFETY: the port driver's configuration, for this call.
    let configuration = unsafe { &mut *configuration };
    if let Some(mode) = unserved(configuration) {
        say(format_args!("refused: dump mode {mode}, and only crash dumps are written by this NT"));
        return SP_RETURN_NOT_FOUND;
    }
    let port_driver = PortDriver {
        extension,
        bus_type: configuration.AdapterInterfaceType,
        bus_number: configuration.SystemIoBusNumber,
    };
    let adapter = Platform::find(&port_driver).and_then(|(platform, store)| {
        let platform: &'static Platform = Box::leak(pool::try_box(platform)?);
        Ok(Box::leak(pool::try_box(Adapter::new(platform, store)?)?))
    });
    let adapter = match adapter {
        Ok(adapter) => adapter,
        Err(refusal) => {
            say(format_args!("refused: {refusal}"));
            return SP_RETURN_NOT_FOUND;
        }
    };
    // SAFETY: the port driver's extension, of the size that was asked for.
    unsafe { (*extension.cast::<Extension>()).adapter = adapter };
    configuration.MaximumTransferLength = configuration.MaximumTransferLength.min(MAXIMUM_TRANSFER);
    configuration.NumberOfPhysicalBreaks = MAXIMUM_TRANSFER / 4096 + 1;
    configuration.AlignmentMask = 0;
    configuration.NumberOfBuses = 1;
    configuration.MaximumNumberOfTargets = crate::slots::MAX_TARGETS as UCHAR;
    configuration.MaximumNumberOfLogicalUnits = 1;
    configuration.ScatterGather = TRUE as BOOLEAN;
    configuration.Master = TRUE as BOOLEAN;
    configuration.CachesData = FALSE as BOOLEAN;
    configuration.Dma64BitAddresses = DMA64_SUPPORTED;
    SP_RETURN_FOUND
}

/// Carries out HwInitialize. HIGH_LEVEL. The disk is reached by the first request that names it, and before
/// that request ends.
unsafe extern "C" fn hw_initialize(_extension: PVOID) -> BOOLEAN {
    TRUE as BOOLEAN
}

/// Carries out HwStartIo. HIGH_LEVEL. The request is complete when this returns.
unsafe extern "C" fn hw_start_io(extension: PVOID, srb: PSCSI_REQUEST_BLOCK) -> BOOLEAN {
    let Some(port) = NonNull::new(extension).map(Port::new) else { return FALSE as BOOLEAN };
    // SAFETY: the port driver's extension with the adapter that `hw_find_adapter` put there, and its SRB; it
    // brings one request at a time.
    let (Some(adapter), Some(mut srb)) =
        (unsafe { (*extension.cast::<Extension>()).adapter.as_mut() }, unsafe { Srb::new(srb, port) })
    else {
        return FALSE as BOOLEAN;
    };
    let answer = adapter.execute(&mut srb);
    srb.complete(answer);
    TRUE as BOOLEAN
}

/// Carries out HwInterrupt, polled by the port driver. No request is ever on its way when it is called.
unsafe extern "C" fn hw_interrupt(_extension: PVOID) -> BOOLEAN {
    FALSE as BOOLEAN
}

/// Disregards HwResetBus in dump mode.
unsafe extern "C" fn hw_reset_bus(_extension: PVOID, _path: ULONG) -> BOOLEAN {
    TRUE as BOOLEAN
}

/// Carries out HwAdapterControl. Nothing has to be done to stop or restart.
unsafe extern "C" fn hw_adapter_control(
    _extension: PVOID,
    control: SCSI_ADAPTER_CONTROL_TYPE,
    parameters: PVOID,
) -> SCSI_ADAPTER_CONTROL_STATUS {
    let list: PSCSI_SUPPORTED_CONTROL_TYPE_LIST = parameters.cast();
    // SAFETY: with the type that queries, the parameter is such a list.
    unsafe { support(control, list) };
    _SCSI_ADAPTER_CONTROL_STATUS::ScsiAdapterControlSuccess
}
