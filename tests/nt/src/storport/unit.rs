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
use crate::storage::srb::{SRB_FLAGS_DATA_IN, Srb, function, srb_status};

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

    /// Returns its address.
    pub(super) fn address(&self) -> Address {
        self.address
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
        let location = current_stack_location(irp);
        match (*location).minor_function {
            // STOR_DEVICE_CAPABILITIES is there since NT 6.0.
            IRP_MN_QUERY_CAPABILITIES if crate::boot::options().nt.has_messages() => {
                let capabilities = (*location).parameters.device_capabilities.capabilities;
                (*capabilities).bits |= capabilities_of(unit);
            }
            IRP_MN_START_DEVICE => _ = tell(unit, PNP_START, &mut []),
            IRP_MN_REMOVE_DEVICE => _ = tell(unit, PNP_REMOVE, &mut []),
            // "Available starting with Windows 7".
            IRP_MN_SURPRISE_REMOVAL if crate::boot::options().nt.has_messages() => {
                tell(unit, PNP_SURPRISE_REMOVAL, &mut []);
            }
            _ => {}
        }
        if let Some(answered) = child::answer((*unit).device, irp, &(*unit).ids) {
            return answered;
        }
        match (*location).minor_function {
            IRP_MN_SURPRISE_REMOVAL => (*unit).present = false,
            IRP_MN_REMOVE_DEVICE if !(*unit).present => delete(unit),
            _ => (*unit).claimed = false,
        }
        request_packet::complete(irp, status::SUCCESS, 0)
    }
}

/// `StorStartDevice`, `StorRemoveDevice`, `StorQueryCapabilities`, `StorSurpriseRemoval` (STOR_PNP_ACTION).
const PNP_START: u32 = 0x00;
const PNP_REMOVE: u32 = 0x02;
pub(super) const PNP_QUERY_CAPABILITIES: u32 = 0x09;
const PNP_SURPRISE_REMOVAL: u32 = 0x17;

/// Seconds that such an SRB may take.
const PNP_TIMEOUT: u32 = 10;

/// Tells the miniport of a step of a unit's in PnP (documentation of SCSI_PNP_REQUEST_BLOCK), and waits. Returns true if it
/// answers with success. PASSIVE_LEVEL.
unsafe fn tell(unit: *mut Unit, action: u32, data: &mut [u8]) -> bool {
    // SAFETY: the caller keeps `unit` valid for this call.
    unsafe {
        let (adapter, Address { path, target, lun }) = ((*unit).adapter, (*unit).address);
        if !(*adapter).is_started() {
            return false;
        }
        let mut srb = Srb::of(function::PNP);
        (srb.path_id, srb.target_id, srb.lun) = (path, target, lun);
        (&raw mut srb).cast::<u8>().add(PNP_ACTION).cast::<u32>().write(action);
        if !data.is_empty() {
            (srb.data_buffer, srb.data_transfer_length) = (data.as_mut_ptr(), data.len() as u32);
            srb.srb_flags = SRB_FLAGS_DATA_IN;
        }
        srb.time_out_value = PNP_TIMEOUT;
        let srb = &raw mut srb;
        request_packet::with_event(|event| {
            request::submit(adapter, srb, Owner::Scan(event));
            request_packet::wait(event);
        });
        (*srb).status() == srb_status::SUCCESS
    }
}

/// Offset of `PnPAction` in SCSI_PNP_REQUEST_BLOCK.
pub(super) const PNP_ACTION: usize = 8;

/// Asks the miniport whether a unit can be ejected or removed: two bits, as DEVICE_CAPABILITIES has them.
unsafe fn capabilities_of(unit: *mut Unit) -> u32 {
    // STOR_DEVICE_CAPABILITIES: the version, and from the second word on the bits, which are those of
    // DEVICE_CAPABILITIES as far as these two.
    let mut words = [0u32; 2];
    // SAFETY: the caller keeps `unit` valid for this call.
    let told = unsafe { tell(unit, PNP_QUERY_CAPABILITIES, zerocopy::IntoBytes::as_mut_bytes(&mut words)) };
    if told { words[1] & (CAP_EJECT_SUPPORTED | CAP_REMOVABLE) } else { 0 }
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
