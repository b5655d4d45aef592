//! Emulated disk controllers, as qemu presents them to an HVM guest, told from passed-through hardware.
//!
//! The PCI vendor and device ids of an emulated controller are those of the real chip; what tells the two
//! apart is the subsystem: qemu gives its own functions the default 1AF4:1100 (qemu, docs/specs/pci-ids and
//! `include/hw/pci/pci.h`: `PCI_SUBVENDOR_ID_REDHAT_QUMRANET`, `PCI_SUBDEVICE_ID_QEMU`), qemu-traditional
//! gave 5853:0001 (Xen, man/xen-pci-device-reservations.7), and a passed-through function keeps its maker's.

/// Fields of a PCI function's configuration header. Read them from configuration space, not from something
/// that a driver may have rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciFunction {
    /// Vendor id, offset 0x00.
    pub vendor: u16,
    /// Device id, offset 0x02.
    pub device: u16,
    /// Subsystem vendor id, offset 0x2C (header type 0).
    pub subsystem_vendor: u16,
    /// Subsystem id, offset 0x2E (header type 0).
    pub subsystem: u16,
    /// Base class and subclass, offsets 0x0B and 0x0A, as 0xBBSS.
    pub class: u16,
}

impl PciFunction {
    /// Bytes of a configuration header that are read.
    pub const HEADER: usize = 0x30;

    /// Reads a configuration header of type 0 (PCI Local Bus Specification 3.0, 6.1); `None` where there is no
    /// function.
    #[must_use]
    pub fn from_header(header: &[u8; Self::HEADER]) -> Option<PciFunction> {
        let word = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        (word(0) != 0xFFFF).then(|| PciFunction {
            vendor: word(0x00),
            device: word(0x02),
            subsystem_vendor: word(0x2C),
            subsystem: word(0x2E),
            class: word(0x0A),
        })
    }
}

/// A kind of emulated disk controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Controller {
    /// PIIX3 or PIIX4 IDE: stays in configuration space after an unplug.
    Ide,
    /// ICH9 AHCI (`hdtype="ahci"`): stays after an unplug, like IDE.
    Ahci,
    /// LSI 53C895A SCSI: vanishes at an unplug.
    LsiScsi,
    /// NVMe: vanishes at an unplug of NVMe disks.
    Nvme,
}

impl Controller {
    /// Every kind.
    pub const ALL: [Controller; 4] =
        [Controller::Ide, Controller::Ahci, Controller::LsiScsi, Controller::Nvme];

    /// Returns true if an emulated CD-ROM may hang on it. qemu's unplug leaves these controllers in place and
    /// takes only their disks (qemu, hw/i386/xen/xen_platform.c: `pci_xen_ide_unplug`,
    /// `pci_xen_ahci_unplug`); libxl puts CD-ROMs on IDE.
    #[must_use]
    pub const fn may_carry_cdrom(self) -> bool {
        matches!(self, Controller::Ide | Controller::Ahci)
    }
}

/// Number of emulated controllers that stand in configuration space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Present {
    /// Controllers that may carry a CD-ROM: the hide policy `disks` leaves them.
    pub with_cdrom: u32,
    /// The others.
    pub disks_only: u32,
}

impl Present {
    /// Counts one more.
    pub const fn add(&mut self, controller: Controller) {
        let place = if controller.may_carry_cdrom() { &mut self.with_cdrom } else { &mut self.disks_only };
        *place = place.saturating_add(1);
    }

    /// Returns the number of all of them.
    #[must_use]
    pub const fn total(self) -> u32 {
        self.with_cdrom.saturating_add(self.disks_only)
    }
}

struct Row {
    vendor: u16,
    device: u16,
    class: u16,
    subsystems: &'static [(u16, u16)],
    controller: Controller,
}

const QEMU: (u16, u16) = (0x1AF4, 0x1100);
const XEN: (u16, u16) = (0x5853, 0x0001);

const TABLE: [Row; 7] = [
    // qemu hw/ide/piix.c, "piix3-ide": PCI_DEVICE_ID_INTEL_82371SB_1.
    Row {
        vendor: 0x8086,
        device: 0x7010,
        class: 0x0101,
        subsystems: &[QEMU, XEN],
        controller: Controller::Ide,
    },
    // qemu hw/ide/piix.c, "piix4-ide": PCI_DEVICE_ID_INTEL_82371AB.
    Row {
        vendor: 0x8086,
        device: 0x7111,
        class: 0x0101,
        subsystems: &[QEMU, XEN],
        controller: Controller::Ide,
    },
    // qemu hw/ide/ich.c, "ich9-ahci": PCI_DEVICE_ID_INTEL_82801IR.
    Row {
        vendor: 0x8086,
        device: 0x2922,
        class: 0x0106,
        subsystems: &[QEMU, XEN],
        controller: Controller::Ahci,
    },
    // qemu hw/scsi/lsi53c895a.c: PCI_DEVICE_ID_LSI_53C895A with subsystem id 0x1000 and no subsystem vendor.
    Row {
        vendor: 0x1000,
        device: 0x0012,
        class: 0x0100,
        subsystems: &[(0x0000, 0x1000), QEMU, XEN],
        controller: Controller::LsiScsi,
    },
    // The same chip's older id, which qemu-traditional used.
    Row {
        vendor: 0x1000,
        device: 0x0001,
        class: 0x0100,
        subsystems: &[(0x0000, 0x1000), QEMU, XEN],
        controller: Controller::LsiScsi,
    },
    // qemu hw/nvme/ctrl.c: PCI_VENDOR_ID_REDHAT, PCI_DEVICE_ID_REDHAT_NVME.
    Row {
        vendor: 0x1B36,
        device: 0x0010,
        class: 0x0108,
        subsystems: &[QEMU, XEN],
        controller: Controller::Nvme,
    },
    // The same with use-intel-id=on, and qemu before 5.2.
    Row {
        vendor: 0x8086,
        device: 0x5845,
        class: 0x0108,
        subsystems: &[QEMU, XEN],
        controller: Controller::Nvme,
    },
];

/// Returns the kind of emulated disk controller that this function is, or `None` for anything else:
/// passed-through hardware with the same ids and its own subsystem above all.
#[must_use]
pub fn classify(function: &PciFunction) -> Option<Controller> {
    TABLE
        .iter()
        .find(|row| {
            row.vendor == function.vendor
                && row.device == function.device
                && row.class == function.class
                && row.subsystems.contains(&(function.subsystem_vendor, function.subsystem))
        })
        .map(|row| row.controller)
}

/// Classifies a function whose class is not known, by its ids alone. The ids of the table's rows are those of one
/// class each.
#[must_use]
pub fn classify_ids(vendor: u16, device: u16, subsystem: (u16, u16)) -> Option<Controller> {
    let of = |row: &&Row| row.vendor == vendor && row.device == device && row.subsystems.contains(&subsystem);
    TABLE.iter().find(of).map(|row| row.controller)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIIX3: PciFunction = PciFunction {
        vendor: 0x8086,
        device: 0x7010,
        subsystem_vendor: 0x1AF4,
        subsystem: 0x1100,
        class: 0x0101,
    };

    #[test]
    fn emulated_controllers_are_found() {
        assert_eq!(classify(&PIIX3), Some(Controller::Ide));
        assert_eq!(
            classify(&PciFunction { subsystem_vendor: 0x5853, subsystem: 1, ..PIIX3 }),
            Some(Controller::Ide)
        );
        for row in &TABLE {
            for &(subsystem_vendor, subsystem) in row.subsystems {
                let Row { vendor, device, class, .. } = *row;
                let function = PciFunction { vendor, device, class, subsystem_vendor, subsystem };
                assert_eq!(classify(&function), Some(row.controller));
            }
        }
    }

    /// The functions as `lspci -nn` shows them in guests of qemu: the table said once more, by hand.
    #[test]
    fn what_qemu_presents() {
        const QEMU: (u16, u16) = (0x1AF4, 0x1100);
        for (vendor, device, class, (subsystem_vendor, subsystem), controller) in [
            (0x8086, 0x7010, 0x0101, QEMU, Controller::Ide),
            (0x8086, 0x7111, 0x0101, QEMU, Controller::Ide),
            (0x8086, 0x2922, 0x0106, QEMU, Controller::Ahci),
            (0x1000, 0x0012, 0x0100, (0, 0x1000), Controller::LsiScsi),
            (0x1000, 0x0001, 0x0100, (0, 0x1000), Controller::LsiScsi),
            (0x1B36, 0x0010, 0x0108, QEMU, Controller::Nvme),
            (0x8086, 0x5845, 0x0108, QEMU, Controller::Nvme),
        ] {
            let function = PciFunction { vendor, device, class, subsystem_vendor, subsystem };
            assert_eq!(classify(&function), Some(controller), "{vendor:04x}:{device:04x}");
        }
    }

    #[test]
    fn a_header_is_read() {
        let mut header = [0; PciFunction::HEADER];
        header[..4].copy_from_slice(&0x7010_8086_u32.to_le_bytes());
        header[8..12].copy_from_slice(&0x0101_8000_u32.to_le_bytes());
        header[0x2C..].copy_from_slice(&0x1100_1AF4_u32.to_le_bytes());
        assert_eq!(PciFunction::from_header(&header), Some(PIIX3));
        assert_eq!(PciFunction::from_header(&[0xFF; PciFunction::HEADER]), None);
    }

    /// Without the class a function of the table is found, and nothing else is.
    #[test]
    fn ids_alone_decide() {
        for row in &TABLE {
            for &subsystem in row.subsystems {
                assert_eq!(classify_ids(row.vendor, row.device, subsystem), Some(row.controller));
            }
            assert_eq!(classify_ids(row.vendor, row.device, (0x144D, 0xA801)), None);
        }
        assert_eq!(classify_ids(0x8086, 0x7000, QEMU), None);
    }

    #[test]
    fn the_two_kinds_are_counted_apart() {
        let mut present = Present::default();
        Controller::ALL.into_iter().for_each(|controller| present.add(controller));
        assert_eq!(present, Present { with_cdrom: 2, disks_only: 2 });
        assert_eq!(present.total(), 4);
    }

    /// A real Samsung or Intel function passed through keeps its own subsystem and is never hidden.
    #[test]
    fn passed_through_look_alikes_are_left_alone() {
        assert_eq!(classify(&PciFunction { subsystem_vendor: 0x1028, subsystem: 0x0720, ..PIIX3 }), None);
        assert_eq!(classify(&PciFunction { subsystem_vendor: 0, subsystem: 0, ..PIIX3 }), None);
        for row in &TABLE {
            let Row { vendor, device, class, .. } = *row;
            let function = PciFunction { vendor, device, class, subsystem_vendor: 0x144D, subsystem: 0xA801 };
            assert_eq!(classify(&function), None);
        }
    }

    /// qemu's other functions carry the same subsystem and must stay: bridges, graphics, the Xen platform
    /// device.
    #[test]
    fn other_emulated_functions_stay() {
        for (vendor, device, class) in [
            (0x8086, 0x1237, 0x0600),
            (0x8086, 0x7000, 0x0601),
            (0x8086, 0x7113, 0x0680),
            (0x1234, 0x1111, 0x0300),
        ] {
            assert_eq!(classify(&PciFunction { vendor, device, class, ..PIIX3 }), None);
        }
        assert_eq!(classify(&PciFunction { class: 0x0680, ..PIIX3 }), None);
        // Another chip of the same class is not of the table, whoever its subsystem says made it.
        assert_eq!(classify(&PciFunction { device: 0x24DB, ..PIIX3 }), None);
    }
}
