//! PDOs of storage devices: what a port driver answers the PnP manager about a disk or CD-ROM drive.

use core::ptr::null_mut;

use alloc::string::String;
use alloc::vec::Vec;

use super::irp;
use crate::nt::*;
use crate::{ex, io, po};

/// Pool tag of answers, which the PnP manager frees: `XStr`.
const TAG: u32 = u32::from_le_bytes(*b"XStr");

/// The ids by which PnP knows a device.
#[derive(Clone, Debug)]
pub(crate) struct Ids {
    /// `BusQueryDeviceID`.
    pub device: String,
    /// `BusQueryHardwareIDs`, most exact first.
    pub hardware: Vec<String>,
    /// `BusQueryCompatibleIDs`.
    pub compatible: Vec<String>,
    /// `BusQueryInstanceID`, unique under its parent.
    pub instance: String,
    /// `DeviceTextDescription`.
    pub description: String,
    /// `DeviceTextLocationInformation`.
    pub location: String,
    /// The address on the bus, in `DEVICE_CAPABILITIES`.
    pub address: u32,
    /// `RawDeviceOK`: the PDO works without a function driver.
    pub raw: bool,
}

/// Answers what only concerns the ids of the PDO `pdo` and what every PDO answers alike: ids, texts,
/// capabilities, target relation, and success for the steps of stopping and removing. `None` for the minor
/// functions that the driver must see to itself; the IRP is completed otherwise.
///
/// # Safety
/// The caller owns the PnP IRP, and it is for its PDO `pdo`.
pub(crate) unsafe fn answer(pdo: *mut DeviceObject, irp: *mut Irp, ids: &Ids) -> Option<NtStatus> {
    // SAFETY: by this function's contract, the caller owns the PnP IRP, and it is for its PDO `pdo`.
    unsafe {
        let location = current_stack_location(irp);
        let parameters = &(*location).parameters;
        let (found, information) = match (*location).minor_function {
        IRP_MN_QUERY_ID => {
            let text = match parameters.query_id.id_type {
                BUS_QUERY_DEVICE_ID => one(&ids.device),
                BUS_QUERY_HARDWARE_IDS => many(&ids.hardware),
                BUS_QUERY_COMPATIBLE_IDS => many(&ids.compatible),
                BUS_QUERY_INSTANCE_ID => one(&ids.instance),
                _ => return Some(irp::complete_unchanged(irp)),
            };
            pool_answer(&text)
        }
        IRP_MN_QUERY_DEVICE_TEXT => match parameters.query_device_text.text_type {
            DEVICE_TEXT_DESCRIPTION => pool_answer(&one(&ids.description)),
            DEVICE_TEXT_LOCATION_INFORMATION => pool_answer(&one(&ids.location)),
            _ => return Some(irp::complete_unchanged(irp)),
        },
        IRP_MN_QUERY_CAPABILITIES => {
            let capabilities = parameters.device_capabilities.capabilities;
            (*capabilities).address = ids.address;
            (*capabilities).device_state = DEVICE_STATES;
            (*capabilities).bits |= CAP_SILENT_INSTALL | if ids.raw { CAP_RAW_DEVICE_OK } else { 0 };
            (status::SUCCESS, 0)
        }
        IRP_MN_QUERY_DEVICE_RELATIONS if parameters.query_device_relations.kind == TARGET_DEVICE_RELATION => {
            relations(&[pdo], null_mut())
        }
        IRP_MN_QUERY_STOP_DEVICE
        | IRP_MN_CANCEL_STOP_DEVICE
        | IRP_MN_STOP_DEVICE
        | IRP_MN_QUERY_REMOVE_DEVICE
        | IRP_MN_CANCEL_REMOVE_DEVICE
        // A bus driver has to handle it where one of its children may be in the path of a paging file.
        | IRP_MN_DEVICE_USAGE_NOTIFICATION => (status::SUCCESS, 0),
        IRP_MN_START_DEVICE | IRP_MN_REMOVE_DEVICE | IRP_MN_SURPRISE_REMOVAL => return None,
        // A bus driver leaves the status of what it does not handle as it is.
        _ => return Some(irp::complete_unchanged(irp)),
    };
        Some(irp::complete(irp, found, information))
    }
}

/// Returns a `DEVICE_RELATIONS` in paged pool: `previous`, which is freed, and `devices`, each referenced.
/// Returns the status and the pointer as IRP information.
///
/// # Safety
/// `previous` must be null or relations in pool; the devices must exist.
pub(crate) unsafe fn relations(
    devices: &[*mut DeviceObject],
    previous: *mut DeviceRelations,
) -> (NtStatus, usize) {
    let mut all: Vec<*mut DeviceObject> = Vec::new();
    // SAFETY: by this function's contract, `previous` is null or relations in pool; the devices must exist.
    unsafe {
        if !previous.is_null() {
            let count = (*previous).count as usize;
            all.extend_from_slice(core::slice::from_raw_parts((*previous).objects.as_ptr(), count));
        }
        all.extend_from_slice(devices);
        let bytes = size_of::<DeviceRelations>() + all.len() * size_of::<*mut DeviceObject>();
        let answer: *mut DeviceRelations = ex::ExAllocatePoolWithTag(PAGED_POOL, bytes, TAG).cast();
        if answer.is_null() {
            return (status::INSUFFICIENT_RESOURCES, previous as usize);
        }
        for device in devices {
            crate::ob::ObfReferenceObject(device.cast());
        }
        (*answer).count = all.len() as u32;
        all.as_ptr().copy_to_nonoverlapping((&raw mut (*answer).objects).cast(), all.len());
        if !previous.is_null() {
            ex::ExFreePoolWithTag(previous.cast(), 0);
        }
        (status::SUCCESS, answer as usize)
    }
}

/// `PagedPool`.
const PAGED_POOL: u32 = 1;

/// Returns a terminated UTF-16 string.
fn one(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}

/// Returns a `REG_MULTI_SZ`.
fn many(texts: &[String]) -> Vec<u16> {
    texts.iter().flat_map(|t| one(t)).chain([0]).collect()
}

/// Returns a copy of `text` in paged pool as IRP information.
unsafe fn pool_answer(text: &[u16]) -> (NtStatus, usize) {
    let copy: *mut u16 = ex::ExAllocatePoolWithTag(PAGED_POOL, size_of_val(text), TAG).cast();
    if copy.is_null() {
        return (status::INSUFFICIENT_RESOURCES, 0);
    }
    // SAFETY: `copy` is new and has room for the text.
    unsafe {
        text.as_ptr().copy_to_nonoverlapping(copy, text.len());
    }
    (status::SUCCESS, copy as usize)
}

/// Device state by system state: D0 while the system works, D3 otherwise.
const DEVICE_STATES: [u32; 7] =
    [0, POWER_DEVICE_D0, POWER_DEVICE_D3, POWER_DEVICE_D3, POWER_DEVICE_D3, POWER_DEVICE_D3, POWER_DEVICE_D3];

/// Answers a power IRP to a PDO: every state is reached at once.
///
/// # Safety
/// The caller owns the power IRP, and it is for its PDO `pdo`.
pub(crate) unsafe fn power(pdo: *mut DeviceObject, irp: *mut Irp) -> NtStatus {
    // SAFETY: by this function's contract, the caller owns the power IRP, and it is for its PDO.
    unsafe {
        let location = current_stack_location(irp);
        let power = (*location).parameters.power;
        if (*location).minor_function == IRP_MN_SET_POWER && power.kind == DEVICE_POWER_STATE {
            po::tell(pdo, power.state);
        }
        po::PoStartNextPowerIrp(irp);
        match (*location).minor_function {
            IRP_MN_SET_POWER | IRP_MN_QUERY_POWER => irp::complete(irp, status::SUCCESS, 0),
            _ => irp::complete_unchanged(irp),
        }
    }
}

/// `FILE_DEVICE_CD_ROM`.
pub(crate) const FILE_DEVICE_CD_ROM: u32 = 0x02;

/// Creates a PDO with an extension that holds `extension`, a pointer to the driver's own state.
///
/// # Safety
/// PASSIVE_LEVEL; `driver` must be a driver object.
pub(crate) unsafe fn create(
    driver: *mut DriverObject,
    device_type: u32,
    extension: usize,
) -> Option<*mut DeviceObject> {
    let mut device = null_mut();
    // SAFETY: the caller is at PASSIVE_LEVEL; `driver` is a driver object.
    unsafe {
        let created = io::IoCreateDevice(
            driver,
            size_of::<usize>() as u32,
            null_mut(),
            device_type,
            FILE_AUTOGENERATED_DEVICE_NAME | FILE_DEVICE_SECURE_OPEN,
            FALSE,
            &raw mut device,
        );
        if !status::success(created) {
            return None;
        }
        (*device).device_extension.cast::<usize>().write(extension);
        (*device).flags |= DO_DIRECT_IO;
        (*device).flags &= !DO_DEVICE_INITIALIZING;
        Some(device)
    }
}
