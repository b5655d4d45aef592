//! Provenance of a disk controller, whatever kind it is: emulated by qemu, or hardware that was passed
//! through to the domain. The evidence is the PCI functions above a disk whose own ids say nothing.
//!
//! qemu gives its own functions a subsystem vendor of its project, 1AF4, or none; qemu-traditional gave
//! Xen's, 5853 ([`crate::controllers`] has the sources). A few of its models copy their maker's subsystem,
//! and are listed here: hardware of these very ids cannot be told from them.

use crate::controllers::{PciFunction, classify};

/// The provenance of a controller, or of all that a disk may hang on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Provenance {
    /// qemu's.
    Emulated,
    /// Hardware.
    PassedThrough,
    /// It cannot be told.
    Unknown,
}

/// Subsystem vendors of qemu's functions: Red Hat (1AF4, and 1B36 where a model copies its vendor), Xen.
const EMULATED: [u16; 3] = [0x1AF4, 0x1B36, 0x5853];
/// Base class of storage controllers (PCI Code and ID Assignment, 1.2).
const MASS_STORAGE: u16 = 0x01;
/// Models of qemu's that show their maker's subsystem: vendor, device.
const COPIES: [(u16, u16); 5] = [
    // qemu hw/scsi/megasas.c: "megasas" and "megasas-gen2".
    (0x1000, 0x0060),
    (0x1000, 0x005B),
    // qemu hw/scsi/mptsas.c: "mptsas1068".
    (0x1000, 0x0054),
    // qemu hw/scsi/vmw_pvscsi.c, with and without its compatibility property.
    (0x15AD, 0x07C0),
    (0x15AD, 0x07C1),
];

impl Provenance {
    /// Returns the provenance of one PCI function. A function that is no storage controller says nothing of a
    /// disk: any disk may hang on an emulated USB controller.
    #[must_use]
    pub fn of(function: &PciFunction) -> Provenance {
        if function.class >> 8 != MASS_STORAGE {
            Self::Unknown
        } else if classify(function).is_some() || EMULATED.contains(&function.subsystem_vendor) {
            Self::Emulated
        } else if function.subsystem_vendor == 0 || COPIES.contains(&(function.vendor, function.device)) {
            Self::Unknown
        } else {
            Self::PassedThrough
        }
    }

    /// Returns the provenance that these controllers agree on, for a disk that hangs on one of them, nobody
    /// knows which.
    #[must_use]
    pub fn of_all(controllers: impl IntoIterator<Item = Provenance>) -> Provenance {
        let agree = |one: Provenance, other| if one == other { one } else { Self::Unknown };
        controllers.into_iter().reduce(agree).unwrap_or(Self::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DELL: PciFunction = PciFunction {
        vendor: 0x1000,
        device: 0x005D,
        subsystem_vendor: 0x1028,
        subsystem: 0x1F49,
        class: 0x0104,
    };

    #[test]
    fn qemus_are_told_by_their_subsystem() {
        for (vendor, device, subsystem_vendor, subsystem) in [
            // PIIX3 IDE, am53c974, virtio-scsi, an NVMe with its vendor's subsystem, qemu-traditional's IDE.
            (0x8086, 0x7010, 0x1AF4, 0x1100),
            (0x1022, 0x2020, 0x1AF4, 0x1100),
            (0x1AF4, 0x1004, 0x1AF4, 0x0008),
            (0x1B36, 0x0010, 0x1B36, 0x0010),
            (0x8086, 0x7010, 0x5853, 0x0001),
        ] {
            let function = PciFunction { vendor, device, subsystem_vendor, subsystem, class: 0x0100 };
            assert_eq!(Provenance::of(&function), Provenance::Emulated, "{function:x?}");
        }
        // LSI 53C895A has none and is known by the table.
        let lsi = PciFunction {
            vendor: 0x1000,
            device: 0x0012,
            subsystem_vendor: 0,
            subsystem: 0x1000,
            class: 0x0100,
        };
        assert_eq!(Provenance::of(&lsi), Provenance::Emulated);
    }

    #[test]
    fn hardware_has_its_makers() {
        assert_eq!(Provenance::of(&DELL), Provenance::PassedThrough);
        // A look-alike: the chip that qemu emulates, on somebody's board.
        let look_alike = PciFunction { vendor: 0x8086, device: 0x2922, class: 0x0106, ..DELL };
        assert_eq!(Provenance::of(&look_alike), Provenance::PassedThrough);
    }

    #[test]
    fn what_may_be_either_is_unknown() {
        assert_eq!(
            Provenance::of(&PciFunction { subsystem_vendor: 0, subsystem: 0, ..DELL }),
            Provenance::Unknown
        );
        for subsystem_vendor in [0x1AF4, 0x1028] {
            let usb = PciFunction { class: 0x0C03, subsystem_vendor, ..DELL };
            assert_eq!(Provenance::of(&usb), Provenance::Unknown);
        }
        for (vendor, device) in COPIES {
            let copy = PciFunction { vendor, device, subsystem_vendor: vendor, ..DELL };
            assert_eq!(Provenance::of(&copy), Provenance::Unknown);
        }
    }

    #[test]
    fn several_controllers_must_agree() {
        use Provenance::{Emulated, PassedThrough, Unknown};
        assert_eq!(Provenance::of_all([]), Unknown);
        assert_eq!(Provenance::of_all([Emulated, Emulated]), Emulated);
        assert_eq!(Provenance::of_all([PassedThrough]), PassedThrough);
        assert_eq!(Provenance::of_all([PassedThrough, Emulated]), Unknown);
        assert_eq!(Provenance::of_all([PassedThrough, Unknown, PassedThrough]), Unknown);
    }

    proptest! {
        /// Nothing that carries a mark of qemu's is ever taken for hardware.
        #[test]
        fn qemus_marks_are_never_hardware(vendor: u16, device: u16, subsystem: u16, class: u16, mark in 0..4_usize) {
            let subsystem_vendor = [0, 0x1AF4, 0x1B36, 0x5853][mark];
            let function = PciFunction { vendor, device, subsystem_vendor, subsystem, class };
            prop_assert_ne!(Provenance::of(&function), Provenance::PassedThrough);
        }
    }
}
