//! Logical units: Storport's PDOs, what they answer to PnP and to the class driver.

use core::ptr::{NonNull, null_mut};

use alloc::boxed::Box;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use super::adapter::{self, Adapter};
use super::request::{self, Owner};
use crate::io;
use crate::nt::*;
use crate::storage::child::{self, Ids};
use crate::storage::inquiry::{self, Inquiry};
use crate::storage::irp as request_packet;
use crate::storage::property::{self, Properties};
use crate::storage::srb::{Srb, function, srb_status};

/// Address of a unit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Address {
    pub path: u8,
    pub target: u8,
    pub lun: u8,
}

/// A logical unit.
pub(crate) struct Unit {
    adapter: *mut Adapter,
    /// Its PDO.
    device: *mut DeviceObject,
    address: Address,
    inquiry: Inquiry,
    serial: Vec<u8>,
    ids: Ids,
    /// The miniport's per-unit memory, in units of 16 bytes; zeroed when the unit is found.
    memory: Vec<u128>,
    /// The last scan found it.
    present: bool,
    /// A class driver has it.
    claimed: bool,
}

// SAFETY: units are reached through their adapter's lock and by PnP and SCSI IRPs to their PDO, which PnP
// orders.
unsafe impl Send for Unit {}

impl Unit {
    /// Returns its target id.
    pub(crate) fn target(&self) -> u8 {
        self.address.target
    }

    /// Returns its adapter.
    pub(crate) fn adapter(&self) -> *mut Adapter {
        self.adapter
    }
}

/// Makes the list of units what a scan found: new ones get a PDO, those not found are no longer reported.
///
/// # Safety
/// PASSIVE_LEVEL; `adapter` must be started.
pub(super) unsafe fn update(adapter: *mut Adapter, found: Vec<(Address, Inquiry, Vec<u8>)>) {
    // SAFETY: the caller is at PASSIVE_LEVEL; `adapter` is started.
    unsafe {
        for unit in (*adapter).units.lock().iter_mut() {
            unit.present =
                found.iter().any(|(address, data, _)| unit.address == *address && unit.inquiry == *data);
        }
        for (address, data, serial) in found {
            let known = (*adapter).units.lock().iter().any(|unit| unit.present && unit.address == address);
            if !known && let Some(unit) = create(adapter, address, data, serial) {
                (*adapter).units.lock().push(unit);
            }
        }
    }
}

/// Makes a unit and its PDO.
unsafe fn create(
    adapter: *mut Adapter,
    address: Address,
    data: Inquiry,
    serial: Vec<u8>,
) -> Option<Box<Unit>> {
    let device_type = data.device_type()?;
    let (kind, generic) = inquiry::type_names(device_type);
    let Address { path, target, lun } = address;
    // SAFETY: the caller keeps `adapter` valid for this call.
    unsafe {
        let size = (*adapter).miniport.hw.specific_lu_extension_size;
        let size = (*adapter).configuration.specific_lu_extension_size.max(size) as usize;
        let mut unit = Box::new(Unit {
            adapter,
            device: null_mut(),
            address,
            inquiry: data,
            serial,
            ids: Ids {
                device: inquiry::scsi_device_id(&data, device_type),
                hardware: inquiry::scsi_hardware_ids(&data, device_type),
                compatible: vec![format!("SCSI\\{kind}"), "SCSI\\RAW".into(), generic.into()],
                instance: format!("{path:02x}{target:02x}{lun:02x}"),
                description: format!("{kind} device"),
                location: format!("Bus Number {path}, Target Id {target}, LUN {lun}"),
                address: u32::from(path) << 16 | u32::from(target) << 8 | u32::from(lun),
                raw: true,
            },
            memory: vec![0; size.div_ceil(16)],
            present: true,
            claimed: false,
        });
        let object_type =
            if device_type == inquiry::CD_ROM { child::FILE_DEVICE_CD_ROM } else { FILE_DEVICE_DISK };
        let extension = adapter::unit_extension(NonNull::from(&mut *unit));
        unit.device = child::create((*(*adapter).device).driver_object, object_type, extension)?;
        (*unit.device).alignment_requirement = (*adapter).configuration.alignment_mask;
        Some(unit)
    }
}

/// Returns the PDOs to report as bus relations.
pub(super) fn report(adapter: &Adapter) -> Vec<*mut DeviceObject> {
    adapter.units.lock().iter().filter(|unit| unit.present).map(|unit| unit.device).collect()
}

/// `StorPortGetLogicalUnit`: the miniport's memory of a unit, or null if there is none. Any IRQL.
///
/// # Safety
/// `extension` must be the miniport's.
pub(super) unsafe extern "win64" fn StorPortGetLogicalUnit(
    extension: Pvoid,
    path: u8,
    target: u8,
    lun: u8,
) -> Pvoid {
    // SAFETY: by this function's contract, `extension` is the miniport's.
    let units = unsafe { Adapter::of(extension).units.lock() };
    let address = Address { path, target, lun };
    let unit = units.iter().find(|unit| unit.present && unit.address == address && !unit.memory.is_empty());
    unit.map_or(null_mut(), |unit| unit.memory.as_ptr().cast_mut().cast())
}

/// Handles IRP_MJ_PNP to a unit's PDO.
///
/// # Safety
/// The caller owns the IRP.
pub(super) unsafe fn pnp(unit: *mut Unit, irp: *mut Irp) -> NtStatus {
    // SAFETY: by this function's contract, the caller owns the IRP.
    unsafe {
        if let Some(answered) = child::answer((*unit).device, irp, &(*unit).ids) {
            return answered;
        }
        match (*current_stack_location(irp)).minor_function {
            IRP_MN_SURPRISE_REMOVAL => (*unit).present = false,
            IRP_MN_REMOVE_DEVICE if !(*unit).present => delete(unit),
            _ => (*unit).claimed = false,
        }
        request_packet::complete(irp, status::SUCCESS, 0)
    }
}

/// Takes a unit off its adapter's list and deletes its PDO.
unsafe fn delete(unit: *mut Unit) {
    // SAFETY: the caller keeps `unit` valid for this call.
    unsafe {
        let device = (*unit).device;
        let mut units = (*(*unit).adapter).units.lock();
        let taken =
            units.iter().position(|other| core::ptr::eq(&raw const **other, unit)).map(|at| units.remove(at));
        drop(units);
        drop(taken);
        adapter::free_unit_extension(device);
        io::IoDeleteDevice(device);
    }
}

/// Deletes every unit of an adapter that is being removed.
///
/// # Safety
/// PASSIVE_LEVEL; PnP has removed the units' devices.
pub(super) unsafe fn remove_all(adapter: *mut Adapter) {
    // SAFETY: the caller is at PASSIVE_LEVEL; PnP has removed the units' devices.
    unsafe {
        loop {
            let Some(unit) = (*adapter).units.lock().first_mut().map(|unit| &raw mut **unit) else { break };
            delete(unit);
        }
    }
}

/// Handles IRP_MJ_DEVICE_CONTROL to a unit's PDO.
///
/// # Safety
/// The caller owns the IRP.
pub(super) unsafe fn device_control(unit: *mut Unit, irp: *mut Irp) -> NtStatus {
    // SAFETY: by this function's contract, the caller owns the IRP.
    unsafe {
        let unit = &*unit;
        let Address { path, target, lun } = unit.address;
        let properties = Properties {
            inquiry: &unit.inquiry,
            serial: &unit.serial,
            adapter: (*unit.adapter).descriptor(),
            miniport: (*unit.adapter).miniport_descriptor(),
            address: [(*unit.adapter).number as u8, path, target, lun],
        };
        let (found, information) = property::answer(irp, &properties);
        request_packet::complete(irp, found, information)
    }
}

/// Handles IRP_MJ_SCSI to a unit's PDO: an SRB.
///
/// # Safety
/// The caller owns the IRP.
pub(super) unsafe fn scsi(unit: *mut Unit, irp: *mut Irp) -> NtStatus {
    // SAFETY: by this function's contract, the caller owns the IRP.
    unsafe {
        let location = current_stack_location(irp);
        let srb: *mut Srb = (*location).parameters.scsi.argument.cast();
        if srb.is_null() || (*srb).length < size_of::<Srb>() as u16 {
            return request_packet::complete(irp, status::INVALID_DEVICE_REQUEST, 0);
        }
        match (*srb).function {
            function::CLAIM_DEVICE | function::RELEASE_DEVICE => {
                let claim = (*srb).function == function::CLAIM_DEVICE;
                let found = if claim && (*unit).claimed { status::DEVICE_BUSY } else { status::SUCCESS };
                if status::success(found) {
                    (*unit).claimed = claim;
                    (*srb).data_buffer = (*unit).device.cast();
                    (*srb).srb_status = srb_status::SUCCESS;
                } else {
                    (*srb).srb_status = srb_status::BUSY;
                }
                request_packet::complete(irp, found, 0)
            }
            _ if !(*unit).present => {
                (*srb).srb_status = srb_status::NO_DEVICE;
                request_packet::complete(irp, status::DEVICE_DOES_NOT_EXIST, 0)
            }
            _ => {
                let Address { path, target, lun } = (*unit).address;
                ((*srb).path_id, (*srb).target_id, (*srb).lun) = (path, target, lun);
                (*srb).original_request = irp.cast();
                mark_irp_pending(irp);
                request::submit((*unit).adapter, srb, Owner::Irp(irp));
                status::PENDING
            }
        }
    }
}
