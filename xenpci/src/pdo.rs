//! The storage adapter's physical device object.
//!
//! It has no resources of its own: its function driver, xenvbd, works through the interface table, where that is
//! given out. It is reported in every boot, also in an emulated one: a Windows that has never enumerated a device
//! cannot boot from it (NT 6.2 and later configure in boot only what an earlier boot has installed), and counts a
//! boot driver whose device is not there as unneeded. It is created once, stays reported from then on, and
//! goes with its bus.
#![expect(unsafe_code, reason = "deletes device objects")]

use core::sync::atomic::{AtomicU8, Ordering};

use wdm::device::Options;
use wdm::pnp::{IdType, Minor, RelationsType, TextType};
use wdm::stack_location::PowerState;
use wdm::{
    Device, DeviceObject, Disposition, DriverObject, Irp, NtStatus, Result, power as device_power, relations,
    request, utf16,
};

use crate::Extension;
use crate::special_files::SpecialFiles;

/// FILE_DEVICE_UNKNOWN: the function driver says what it is.
const UNKNOWN: u32 = 0x22;

/// INTERFACE_TYPE Internal: what a Storport miniport without hardware names as its adapter's bus.
const INTERNAL: i32 = 0;

/// GUID_BUS_TYPE_INTERNAL (wdmguid.h): {1530EA73-086B-11D1-A09F-00C04FC340B1}.
const BUS_TYPE: wdm::raw::GUID = wdm::raw::guid(0x1530_EA73_086B_11D1_A09F_00C0_4FC3_40B1);

/// On its bus, in the state that its own requests leave it in.
const PRESENT: u8 = 0;
/// Surprise-removed with its bus; its removal is still to come.
const GONE: u8 = 1;
/// Its bus has been removed: it deletes itself at its removal.
const ORPHAN: u8 = 2;

/// Data of the adapter's device.
pub(crate) struct Pdo {
    /// The bus's function device; valid while the adapter is not an orphan.
    bus: DeviceObject,
    state: AtomicU8,
    /// Files of the system's on the adapter's disks.
    files: SpecialFiles,
}

/// Makes the adapter on `bus`. PASSIVE_LEVEL.
///
/// # Errors
/// What creating the device or restricting access to it answers; there is then no device.
pub(crate) fn create(driver: DriverObject, bus: DeviceObject) -> Result<Device<Extension>> {
    let options = Options { name: None, device_type: UNKNOWN, characteristics: 0, auto_name: true };
    let pdo = Pdo { bus, state: AtomicU8::new(PRESENT), files: SpecialFiles::new() };
    let device = Device::create_child(driver, options, Extension::Pdo(pdo))?;
    device.set_power_pagable();
    device.finish_initializing();
    Ok(device)
}

/// Releases the adapter of a bus that is being removed: the adapter is deleted now, or at its own removal if
/// that is still to come. PASSIVE_LEVEL.
pub(crate) fn release(device: Device<Extension>) {
    let Extension::Pdo(pdo) = device.extension() else { return };
    if pdo.state.swap(ORPHAN, Ordering::AcqRel) == PRESENT {
        // SAFETY: PnP removes the stack above the adapter before its bus, so nothing is attached and no
        // request comes.
        unsafe { device.delete() };
    }
}

/// Handles IRP_MJ_PNP. What the bus does not answer keeps the status it came with. PASSIVE_LEVEL.
pub(crate) fn pnp(device: Device<Extension>, pdo: &Pdo, irp: Irp) -> Disposition {
    match irp.location().pnp() {
        Some(Minor::StartDevice) => {
            device_power::set_device_state(device.object(), device_power::D0);
            irp.complete(NtStatus::SUCCESS)
        }
        Some(Minor::StopDevice | Minor::CancelStopDevice | Minor::CancelRemoveDevice) => {
            irp.complete(NtStatus::SUCCESS)
        }
        Some(Minor::QueryStopDevice | Minor::QueryRemoveDevice) => {
            irp.complete(if pdo.files.any() { NtStatus::DEVICE_BUSY } else { NtStatus::SUCCESS })
        }
        Some(Minor::QueryPnpDeviceState) => pdo.files.answer_state(irp),
        Some(Minor::SurpriseRemoval) => {
            pdo.state.store(GONE, Ordering::Release);
            irp.complete(NtStatus::SUCCESS)
        }
        Some(Minor::RemoveDevice) => {
            // After a plain removal it is still on its bus, and may be started again.
            let orphan = pdo.state.load(Ordering::Acquire) == ORPHAN;
            if !orphan {
                pdo.state.store(PRESENT, Ordering::Release);
            }
            let disposition = irp.complete(NtStatus::SUCCESS);
            if orphan {
                // SAFETY: its bus has let go of it, this was its last request, and `pdo` is not used any
                // more.
                unsafe { device.delete() };
            }
            disposition
        }
        Some(Minor::QueryId) => match irp.location().id_type().and_then(id) {
            Some(text) => answer(irp, |irp| request::answer_text(irp, text)),
            None => irp.complete_as_is(),
        },
        Some(Minor::QueryDeviceText) => match irp.location().text_type().and_then(text) {
            Some(text) => answer(irp, |irp| request::answer_text(irp, text)),
            None => irp.complete_as_is(),
        },
        Some(Minor::QueryCapabilities) => {
            // One platform device per guest (xen-pci-device-reservations.7), so the instance id is unique as
            // it is.
            match irp.location().capabilities() {
                Some(mut capabilities) => capabilities.fill_fixed_child(0, true),
                None => return irp.complete(NtStatus::INVALID_PARAMETER),
            }
            irp.complete(NtStatus::SUCCESS)
        }
        Some(Minor::QueryBusInformation) => {
            answer(irp, |irp| request::answer_bus_information(irp, &BUS_TYPE, INTERNAL, 0))
        }
        Some(Minor::QueryDeviceRelations)
            if irp.location().relations_type() == Some(RelationsType::TARGET) =>
        {
            answer(irp, |irp| relations::append(irp, &[device.object()]))
        }
        Some(Minor::DeviceUsageNotification) => {
            let status = usage(device, pdo, &irp);
            irp.complete(status.into())
        }
        // No resources, no interfaces, no configuration space.
        _ => irp.complete_as_is(),
    }
}

/// Handles IRP_MJ_POWER. ≤ DISPATCH_LEVEL.
pub(crate) fn power(device: Device<Extension>, irp: Irp) -> Disposition {
    let Some(state) = irp.location().power_state() else {
        // The bus cannot wake the system, and has no sequence numbers.
        return irp.complete_power(NtStatus::NOT_SUPPORTED);
    };
    match (irp.location().sets_power(), state) {
        (true, PowerState::Device(state)) => device_power::set_child(device, irp, state),
        _ => irp.complete_power(NtStatus::SUCCESS),
    }
}

/// Completes a request with what `fill` put into it.
fn answer(mut irp: Irp, fill: impl FnOnce(&mut Irp) -> Result) -> Disposition {
    let status = fill(&mut irp);
    irp.complete(status.into())
}

/// Returns the identifications, lists with a NUL between their strings.
fn id(kind: IdType) -> Option<&'static [u16]> {
    match kind {
        IdType::DEVICE | IdType::HARDWARE => Some(utf16!("XENGUARD\\VBD")),
        IdType::COMPATIBLE => Some(utf16!("XENGUARD\\STORAGE")),
        IdType::INSTANCE => Some(utf16!("0")),
        _ => None,
    }
}

/// Returns the text that a person reads of it.
fn text(kind: TextType) -> Option<&'static [u16]> {
    match kind {
        TextType::DESCRIPTION => Some(utf16!("Xenguard PV storage adapter")),
        TextType::LOCATION => Some(utf16!("Xen platform device")),
        _ => None,
    }
}

/// Handles a file of the system's that comes or goes on the adapter's disks: the bus's own stack has to
/// agree, then the count follows.
fn usage(device: Device<Extension>, pdo: &Pdo, irp: &Irp) -> Result {
    let (usage, comes) = irp.location().usage().ok_or(NtStatus::INVALID_PARAMETER)?;
    request::usage_notification(pdo.bus, usage, comes)?;
    pdo.files.count(comes, device.object());
    if pdo.files.any() {
        device.clear_power_pagable();
    } else {
        device.set_power_pagable();
    }
    Ok(())
}
