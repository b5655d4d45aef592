//! One PCI function: its ids as Windows builds them, its resources as the BIOS assigned them.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::config::Place;
use crate::boot;
use crate::nt::*;
use crate::storage::child::Ids;

/// Data of a function's header.
#[derive(Clone, Copy)]
pub(super) struct Header {
    pub vendor: u16,
    pub device: u16,
    /// Class, subclass, programming interface: 0xCCSSPP.
    pub class: u32,
    revision: u8,
    subsystem: u32,
}

impl Header {
    /// Reads a function's header; `None` if there is none.
    pub(super) fn read(place: Place) -> Option<Self> {
        let id = place.read(0);
        if id as u16 == 0xFFFF {
            return None;
        }
        let class = place.read(8);
        Some(Self {
            vendor: id as u16,
            device: (id >> 16) as u16,
            class: class >> 8,
            revision: class as u8,
            subsystem: place.read(0x2C),
        })
    }

    /// Returns the ids that Windows gives a function (WDK, "Identifiers for PCI Devices").
    pub(super) fn ids(&self, place: Place) -> Ids {
        let Self { vendor, device, class, revision, subsystem } = *self;
        // SUBSYS is subsystem id, then subsystem vendor.
        let base = format!("PCI\\VEN_{vendor:04X}&DEV_{device:04X}");
        let exact = format!("{base}&SUBSYS_{subsystem:08X}");
        let (full, short) = (class, class >> 8);
        let hardware = [
            format!("{exact}&REV_{revision:02X}"),
            exact.clone(),
            format!("{base}&CC_{full:06X}"),
            format!("{base}&CC_{short:04X}"),
        ];
        let compatible = [
            format!("{base}&REV_{revision:02X}"),
            base.clone(),
            format!("PCI\\VEN_{vendor:04X}&CC_{full:06X}"),
            format!("PCI\\VEN_{vendor:04X}&CC_{short:04X}"),
            format!("PCI\\VEN_{vendor:04X}"),
            format!("PCI\\CC_{full:06X}"),
            format!("PCI\\CC_{short:04X}"),
        ];
        let address = u32::from(place.device) << 16 | u32::from(place.function);
        Ids {
            device: hardware[0].clone(),
            hardware: hardware.into(),
            compatible: compatible.into(),
            instance: format!("{:02X}", u32::from(place.device) << 3 | u32::from(place.function)),
            description: String::new(),
            location: format!("PCI bus {}, device {}, function {}", place.bus, place.device, place.function),
            address,
            raw: false,
        }
    }
}

/// `PCI_COMMAND` at offset 4.
pub(super) const COMMAND: u8 = 4;
/// I/O space, memory space, bus master.
pub(super) const DECODE: u32 = 1 | 2 | 4;
/// Mass storage, IDE.
pub(super) const CLASS_IDE: u32 = 0x0101;
/// Class and subclass of a SCSI controller.
pub(super) const CLASS_SCSI: u32 = 0x0100;

fn range(kind: u8, flags: u16, start: u64, length: u32) -> CmPartialResourceDescriptor {
    CmPartialResourceDescriptor {
        kind,
        share_disposition: CM_RESOURCE_SHARE_DEVICE_EXCLUSIVE,
        flags,
        u: ResourceArguments { generic: ResourceRange { start: start as i64, length } },
    }
}

fn port(start: u64, length: u32) -> CmPartialResourceDescriptor {
    range(CM_RESOURCE_TYPE_PORT, CM_RESOURCE_PORT_IO | CM_RESOURCE_PORT_POSITIVE_DECODE, start, length)
}

/// Returns an interrupt line as a raw resource: level and vector are the line's number.
fn interrupt(line: u32, latched: bool) -> CmPartialResourceDescriptor {
    let share = if latched { CM_RESOURCE_SHARE_DEVICE_EXCLUSIVE } else { CM_RESOURCE_SHARE_SHARED };
    CmPartialResourceDescriptor {
        kind: CM_RESOURCE_TYPE_INTERRUPT,
        share_disposition: share,
        flags: if latched { CM_RESOURCE_INTERRUPT_LATCHED } else { 0 },
        u: ResourceArguments {
            interrupt: ResourceInterrupt { level: line, vector: line, affinity: u64::MAX },
        },
    }
}

/// Returns the function's resources as the BIOS set them up. An IDE function in compatibility mode has the
/// two channels' ports and lines besides its BARs.
pub(super) fn resources(place: Place, header: &Header) -> Vec<CmPartialResourceDescriptor> {
    let command = place.read(COMMAND);
    // Sizing writes the BARs: the function must not decode meanwhile.
    place.write(COMMAND, command & !3 & 0xFFFF);
    let mut all = Vec::new();
    let mut offset = 0x10;
    while offset < 0x28 {
        let value = place.read(offset);
        place.write(offset, u32::MAX);
        let mask = place.read(offset);
        place.write(offset, value);
        let wide = value & 7 == 4;
        if mask != 0 && value & 1 == 1 {
            let length = (!(mask & 0xFFFC) & 0xFFFF).wrapping_add(1);
            if value & 0xFFFC != 0 {
                all.push(port(u64::from(value & 0xFFFC), length));
            }
        } else if mask != 0 {
            let length = (!(mask & 0xFFFF_FFF0)).wrapping_add(1);
            let high = if wide { u64::from(place.read(offset + 4)) << 32 } else { 0 };
            let flags = if value & 8 != 0 { CM_RESOURCE_MEMORY_PREFETCHABLE } else { 0 };
            let start = high | u64::from(value & 0xFFFF_FFF0);
            if start != 0 {
                all.push(range(CM_RESOURCE_TYPE_MEMORY, flags, start, length));
            }
        }
        offset += if wide { 8 } else { 4 };
    }
    place.write(COMMAND, command & 0xFFFF);
    let pin_and_line = place.read(0x3C);
    if header.class >> 8 == CLASS_IDE && header.class & 0x05 == 0 {
        all.splice(
            0..0,
            [
                port(0x1F0, 8),
                port(0x3F6, 1),
                interrupt(14, true),
                port(0x170, 8),
                port(0x376, 1),
                interrupt(15, true),
            ],
        );
    } else if pin_and_line >> 8 & 0xFF != 0 {
        all.push(interrupt(io_apic_pin(place, pin_and_line), false));
    }
    all
}

/// Returns the pin of the I/O APIC that a function's line reaches. `pin_and_line`: its configuration space at 3Ch.
///
/// Xen's DSDT names the pin in APIC mode (`_PRT`, tools/libacpi/mk_dsdt.c, "APIC routing table"). The links of the ISA
/// bridge, which the line register follows, count in PIC mode only; the device model of qemu 9 and later does not
/// even tell Xen of them.
fn io_apic_pin(place: Place, pin_and_line: u32) -> u32 {
    let (pin, line) = (pin_and_line >> 8 & 0xFF, pin_and_line & 0xFF);
    let device = u32::from(place.device);
    if crate::xen::is_there() { 16 + (device * 4 + (device >> 3) + pin - 1) % 32 } else { line }
}

/// Returns the resources and ids of the first IDE function, for a bus that reports it on another path.
pub(crate) fn resources_of_ide() -> Option<(Ids, Vec<CmPartialResourceDescriptor>)> {
    // On the second root bus, where there is one.
    let buses = 0..=u8::from(boot::options().second_root);
    let places = buses.flat_map(|bus| {
        (0..32).flat_map(move |device| (0..8).map(move |function| Place { bus, device, function }))
    });
    places
        .filter_map(|place| Some((place, Header::read(place)?)))
        .find(|(_, h)| h.class >> 8 == CLASS_IDE)
        .map(|(place, header)| {
            let resources = resources(place, &header);
            place.write(COMMAND, place.read(COMMAND) & 0xFFFF | DECODE);
            (header.ids(place), resources)
        })
}

/// Returns the ids of Xen's platform device, which is on the first bus.
pub(crate) fn platform_device() -> Option<Ids> {
    let places = (0..32).map(|device| Place { bus: 0, device, function: 0 });
    let mut functions = places.filter_map(|place| Some((place, Header::read(place)?)));
    let found = functions.find(|(_, header)| header.vendor == 0x5853 && matches!(header.device, 1 | 2));
    found.map(|(place, header)| header.ids(place))
}
