//! A child of the bus.

use core::sync::atomic::{AtomicBool, Ordering};

use wdm::pnp::{IdType, Minor};
use wdm::{Device, Disposition, Irp, NtStatus, request, utf16};

use crate::{Extension, log};

/// The identity that a child gives.
pub(crate) struct Kind {
    name: &'static str,
    platform: bool,
    device: &'static [u16],
    hardware: &'static [u16],
    compatible: &'static [u16],
    instance: &'static [u16],
}

/// The children, as qemu presents them under Xen.
pub(crate) static ALL: [&Kind; 2] = [
    &Kind {
        name: "ide",
        platform: false,
        device: utf16!("PCI\\VEN_8086&DEV_7010&SUBSYS_11001AF4&REV_00"),
        hardware: utf16!("PCI\\VEN_8086&DEV_7010&SUBSYS_11001AF4&REV_00\0PCI\\VEN_8086&DEV_7010"),
        compatible: utf16!("PCI\\CC_010180\0PCI\\CC_0101"),
        instance: utf16!("3&267a616a&0&09"),
    },
    &Kind {
        name: "platform",
        platform: true,
        device: utf16!("PCI\\VEN_5853&DEV_0001&SUBSYS_00015853&REV_01"),
        hardware: utf16!("PCI\\VEN_5853&DEV_0001&SUBSYS_00015853&REV_01\0PCI\\VEN_5853&DEV_0001"),
        compatible: utf16!("PCI\\CC_FF8000\0PCI\\CC_FF80"),
        instance: utf16!("3&267a616a&0&10"),
    },
];

/// A child's device.
pub(crate) struct Child {
    kind: &'static Kind,
    present: AtomicBool,
}

impl Child {
    pub(crate) const fn new(kind: &'static Kind) -> Self {
        Self { kind, present: AtomicBool::new(true) }
    }

    pub(crate) fn is_platform(&self) -> bool {
        self.kind.platform
    }

    pub(crate) fn is_present(&self) -> bool {
        self.present.load(Ordering::Acquire)
    }

    pub(crate) fn set_present(&self, present: bool) {
        self.present.store(present, Ordering::Release);
    }
}

/// Handles IRP_MJ_PNP.
pub(crate) fn pnp(_device: Device<Extension>, child: &Child, mut irp: Irp) -> Disposition {
    let minor = irp.location().pnp();
    let word = match minor {
        Some(Minor::StartDevice) => "start",
        Some(Minor::SurpriseRemoval) => "surprise-removal",
        Some(Minor::RemoveDevice) => "remove",
        Some(Minor::QueryDeviceRelations) => "relations",
        _ => "",
    };
    if !word.is_empty() {
        log!("{} got {word}", child.kind.name);
    }
    match minor {
        Some(Minor::StartDevice | Minor::SurpriseRemoval | Minor::RemoveDevice) => {
            irp.complete(NtStatus::SUCCESS)
        }
        Some(Minor::QueryId) => {
            let kind = child.kind;
            let id = match irp.location().id_type() {
                Some(IdType::DEVICE) => kind.device,
                Some(IdType::HARDWARE) => kind.hardware,
                Some(IdType::COMPATIBLE) => kind.compatible,
                Some(IdType::INSTANCE) => kind.instance,
                _ => return irp.complete_as_is(),
            };
            let status = request::answer_text(&mut irp, id);
            irp.complete(status.into())
        }
        Some(Minor::QueryCapabilities) => match irp.location().capabilities() {
            Some(mut capabilities) => {
                capabilities.fill_fixed_child(0, false);
                irp.complete(NtStatus::SUCCESS)
            }
            None => irp.complete(NtStatus::INVALID_PARAMETER),
        },
        _ => irp.complete_as_is(),
    }
}
