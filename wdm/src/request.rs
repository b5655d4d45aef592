//! Requests that this driver sends to other drivers' devices and waits for. PASSIVE_LEVEL only.
#![expect(unsafe_code, reason = "builds IRPs and sends them")]

use alloc::vec::Vec;
use core::ptr;

use wdk_sys::{
    _EVENT_TYPE, GUID, IO_STATUS_BLOCK, IRP_MJ_PNP, IRP_MJ_READ, KEVENT, LARGE_INTEGER, PIRP,
    PNP_BUS_INFORMATION, ULONG,
    ntddk::{IoBuildDeviceIoControlRequest, IoBuildSynchronousFsdRequest, IofCallDriver, KeInitializeEvent},
};

use crate::{
    DeviceObject, NtStatus, Result, event,
    pnp::{IdType, Minor, Usage},
    pool,
};

/// Sends the IRP that `build` makes to `device` and waits; answers IoStatus.Information.
fn send(
    device: DeviceObject,
    build: impl FnOnce(*mut KEVENT, *mut IO_STATUS_BLOCK) -> PIRP,
    fill: impl FnOnce(PIRP),
) -> Result<usize> {
    let mut done = KEVENT::default();
    let mut result = IO_STATUS_BLOCK::default();
    // SAFETY: the event is at its place on this thread's stack, which outlives the wait below.
    unsafe { KeInitializeEvent(&raw mut done, _EVENT_TYPE::NotificationEvent, 0) };
    let irp = build(&raw mut done, &raw mut result);
    if irp.is_null() {
        return Err(NtStatus::INSUFFICIENT_RESOURCES);
    }
    fill(irp);
    // SAFETY: a freshly built IRP for this device; event and status block outlive its completion,
    // for which this function waits. The I/O manager frees the IRP.
    let status = unsafe {
        let mut status = IofCallDriver(device.as_ptr(), irp);
        if status == NtStatus::PENDING.0 {
            event::wait_for((&raw mut done).cast(), None);
            status = result.__bindgen_anon_1.Status;
        }
        status
    };
    NtStatus(status).to_result()?;
    Ok(result.Information as usize)
}

/// Sends a PnP request to the top of `device`'s stack; answers Information.
fn pnp(
    device: DeviceObject,
    minor: Minor,
    fill: impl FnOnce(&mut wdk_sys::IO_STACK_LOCATION),
) -> Result<usize> {
    let top = device.top();
    send(
        *top,
        // SAFETY: IRP_MJ_PNP takes no buffer; event and status block by `send`.
        |done, result| unsafe {
            IoBuildSynchronousFsdRequest(
                IRP_MJ_PNP,
                top.as_ptr(),
                ptr::null_mut(),
                0,
                ptr::null_mut(),
                done,
                result,
            )
        },
        // SAFETY: the IRP is new, so its next stack location is this function's to fill. A PnP IRP
        // starts as STATUS_NOT_SUPPORTED.
        |irp| unsafe {
            (*irp).IoStatus.__bindgen_anon_1.Status = NtStatus::NOT_SUPPORTED.0;
            let next = (*irp).Tail.Overlay.__bindgen_anon_2.__bindgen_anon_1.CurrentStackLocation.sub(1);
            (*next).MajorFunction = IRP_MJ_PNP as u8;
            (*next).MinorFunction = minor.number();
            fill(&mut *next);
        },
    )
}

/// Asks a device for its device id or its instance id (IRP_MN_QUERY_ID). Works for a PDO from the moment its bus
/// reports it, before PnP knows it. The lists of ids are the system's to ask for: Driver Verifier stops a driver
/// that does. PASSIVE_LEVEL.
///
/// # Errors
/// What the driver answers, `NOT_SUPPORTED` for an identification the device has not.
pub fn query_id(device: DeviceObject, id: IdType) -> Result<Vec<u16>> {
    let text = pnp(device, Minor::QueryId, |next| next.Parameters.QueryId.IdType = id.0)? as *mut u16;
    if text.is_null() {
        return Err(NtStatus::NOT_SUPPORTED);
    }
    // SAFETY: a successful QUERY_ID answers with a pool block that the asker frees, which holds a
    // NUL-terminated string.
    unsafe {
        let mut length = 0;
        while *text.add(length) != 0 {
            length += 1;
        }
        let copy = pool::try_vec(length).map(|mut copy| {
            copy.copy_from_slice(core::slice::from_raw_parts(text, length));
            copy
        });
        pool::free(text.cast());
        copy
    }
}

/// Reads a PCI function's configuration space at `offset` (IRP_MN_READ_CONFIG); answers how many bytes were
/// read. Works for a PDO from the moment its bus reports it. PASSIVE_LEVEL.
///
/// # Errors
/// What the driver answers, `NOT_SUPPORTED` for a device without configuration space.
pub fn read_config(device: DeviceObject, offset: u32, into: &mut [u8]) -> Result<usize> {
    /// PCI_WHICHSPACE_CONFIG.
    const CONFIGURATION: u32 = 0;
    let (buffer, length) = (into.as_mut_ptr(), into.len());
    let read = pnp(device, Minor::ReadConfig, |next| {
        next.Parameters.ReadWriteConfig.WhichSpace = CONFIGURATION;
        next.Parameters.ReadWriteConfig.Buffer = buffer.cast();
        next.Parameters.ReadWriteConfig.Offset = offset;
        next.Parameters.ReadWriteConfig.Length = length as ULONG;
    })?;
    Ok(read.min(length))
}

/// Passes an IRP_MN_DEVICE_USAGE_NOTIFICATION on to another stack: what a bus driver does when its PDO gets
/// one, to tell the devices the bus itself depends on. PASSIVE_LEVEL.
///
/// # Errors
/// What the drivers of that stack answer; the PDO's request then fails with it.
pub fn usage_notification(device: DeviceObject, usage: Usage, in_path: bool) -> Result {
    pnp(device, Minor::DeviceUsageNotification, |next| {
        next.Parameters.UsageNotification.InPath = in_path.into();
        next.Parameters.UsageNotification.Type = usage.0;
    })
    .map(|_| ())
}

/// Sends a device control request with METHOD_BUFFERED semantics to `device` itself; answers how many
/// bytes of `output` were written. PASSIVE_LEVEL.
///
/// # Errors
/// What the driver answers.
pub fn device_control(device: DeviceObject, code: u32, input: &[u8], output: &mut [u8]) -> Result<usize> {
    let written = send(
        device,
        // SAFETY: the buffers outlive the request, for which `send` waits.
        |done, result| unsafe {
            IoBuildDeviceIoControlRequest(
                code,
                device.as_ptr(),
                input.as_ptr().cast_mut().cast(),
                input.len() as ULONG,
                output.as_mut_ptr().cast(),
                output.len() as ULONG,
                0,
                done,
                result,
            )
        },
        |_| (),
    )?;
    Ok(written.min(output.len()))
}

/// Reads `buffer.len()` bytes at byte `offset` of a disk or volume device; answers how many were read.
/// Length, offset and the buffer's address obey the device's sector size and alignment. PASSIVE_LEVEL.
///
/// # Errors
/// What the driver answers.
pub fn read(device: DeviceObject, offset: u64, buffer: &mut [u8]) -> Result<usize> {
    let mut offset = LARGE_INTEGER { QuadPart: offset as i64 };
    send(
        device,
        // SAFETY: buffer and offset outlive the request, for which `send` waits.
        |done, result| unsafe {
            IoBuildSynchronousFsdRequest(
                IRP_MJ_READ,
                device.as_ptr(),
                buffer.as_mut_ptr().cast(),
                buffer.len() as ULONG,
                &raw mut offset,
                done,
                result,
            )
        },
        |_| (),
    )
}

/// Answers an IRP_MN_QUERY_BUS_INFORMATION: the children are on bus `number` of the type `guid`, and of the
/// legacy type `legacy` (an INTERFACE_TYPE: 0 Internal, -1 undefined). The caller completes the IRP.
///
/// # Errors
/// `INSUFFICIENT_RESOURCES`.
pub fn answer_bus_information(irp: &mut crate::Irp, guid: &GUID, legacy: i32, number: u32) -> Result {
    let answer = PNP_BUS_INFORMATION { BusTypeGuid: *guid, LegacyBusType: legacy, BusNumber: number };
    // The asker frees the block.
    irp.set_information(alloc::boxed::Box::into_raw(pool::try_box(answer)?).addr());
    Ok(())
}

/// Answers an IRP_MN_QUERY_ID or IRP_MN_QUERY_DEVICE_TEXT with a copy of `text` in pool, NUL added (two
/// for a list whose `text` already separates its strings by NULs). The caller completes the IRP.
///
/// # Errors
/// `INSUFFICIENT_RESOURCES`.
pub fn answer_text(irp: &mut crate::Irp, text: &[u16]) -> Result {
    let layout =
        core::alloc::Layout::array::<u16>(text.len() + 2).map_err(|_| NtStatus::INSUFFICIENT_RESOURCES)?;
    let copy = pool::allocate(layout).cast::<u16>();
    if copy.is_null() {
        return Err(NtStatus::INSUFFICIENT_RESOURCES);
    }
    // SAFETY: a new block with room for the text and two NULs; the asker frees it.
    unsafe {
        ptr::copy_nonoverlapping(text.as_ptr(), copy, text.len());
        copy.add(text.len()).write(0);
        copy.add(text.len() + 1).write(0);
    }
    irp.set_information(copy.addr());
    Ok(())
}
