//! Kinds of storage devices by their ids: a hard disk, an IDE channel, or neither; and qemu's or not.
//!
//! Sources: "Identifiers for IDE Devices" and "Identifiers for SCSI Devices" of the driver kit's
//! documentation; the names are those that qemu's drives answer with (qemu hw/ide/core.c "QEMU HARDDISK",
//! hw/scsi/scsi-disk.c "QEMU" "QEMU HARDDISK", hw/nvme/ctrl.c "QEMU NVMe Ctrl").

use crate::units;

/// Kind of a child of a storage controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Child {
    /// A hard disk.
    Disk,
    /// A channel of an IDE controller.
    Channel,
    /// A CD-ROM drive, a tape, a processor, or what says nothing of itself.
    Other,
}

/// The generic id of a disk, and how the ids of a disk begin that lack it.
const GENERIC_DISK: &str = "GenDisk";
const DISK_PREFIXES: [&str; 2] = ["IDE\\Disk", "SCSI\\Disk"];
/// The ids of a channel: of pciidex, and of the channel as such, which an ISA IDE controller has too.
const CHANNELS: [&str; 3] = ["Internal_IDE_Channel", "PCIIDE\\IDEChannel", "*PNP0600"];
/// The vendor that stands in the ids of every drive of qemu's.
const QEMU: &str = "QEMU";

/// Returns the kind of a child with these hardware and compatible ids.
#[must_use]
pub fn child<'a>(ids: impl IntoIterator<Item = &'a [u16]>) -> Child {
    let mut found = Child::Other;
    for id in ids {
        if is_disk(id) {
            return Child::Disk;
        }
        if CHANNELS.iter().any(|name| units::is(id, name)) {
            found = Child::Channel;
        }
    }
    found
}

fn is_disk(id: &[u16]) -> bool {
    units::is(id, GENERIC_DISK) || DISK_PREFIXES.iter().any(|prefix| units::starts_with(id, prefix))
}

/// Returns true if a hardware id is one that qemu's emulation gives a hard disk: `IDE\DiskQEMU_HARDDISK…`,
/// `SCSI\DiskQEMU____QEMU_HARDDISK…`, `SCSI\DiskNVMe____QEMU_NVMe_Ctrl…`.
#[must_use]
pub fn is_emulated_disk(id: &[u16]) -> bool {
    DISK_PREFIXES.iter().any(|prefix| units::starts_with(id, prefix)) && units::contains(id, QEMU)
}

/// Returns true if a hardware id names qemu, whatever the bus: `USBSTOR\DiskQEMU____QEMU_HARDDISK…`.
#[must_use]
pub fn names_qemu(id: &[u16]) -> bool {
    units::contains(id, QEMU)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::of;
    use std::vec::Vec;

    fn kind(ids: &[&str]) -> Child {
        let ids: Vec<_> = ids.iter().map(|id| of(id)).collect();
        child(ids.iter().map(Vec::as_slice))
    }

    #[test]
    fn children() {
        assert_eq!(kind(&["IDE\\DiskQEMU_HARDDISK____2.5+____", "GenDisk"]), Child::Disk);
        assert_eq!(kind(&["something", "GenDisk"]), Child::Disk);
        assert_eq!(kind(&["SCSI\\DiskNVMe____QEMU_NVMe_Ctrl__"]), Child::Disk);
        assert_eq!(kind(&["IDE\\CdRomQEMU_DVD-ROM____2.5+____", "GenCdRom"]), Child::Other);
        assert_eq!(kind(&["Internal_IDE_Channel", "*PNP0600"]), Child::Channel);
        assert_eq!(kind(&[]), Child::Other);
    }

    #[test]
    fn disks_that_qemu_made() {
        for id in [
            "IDE\\DiskQEMU_HARDDISK____2.5+____",
            "SCSI\\DiskQEMU____QEMU_HARDDISK___",
            "scsi\\diskNVMe____QEMU_NVMe_Ctrl",
        ] {
            assert!(is_emulated_disk(&of(id)), "{id}");
        }
        for id in
            ["IDE\\CdRomQEMU_DVD-ROM", "SCSI\\DiskXENGUARDPV_DISK", "IDE\\DiskSAMSUNG", "QEMU", "GenDisk"]
        {
            assert!(!is_emulated_disk(&of(id)), "{id}");
        }
    }

    #[test]
    fn disks_of_qemu_on_any_bus() {
        for id in ["USBSTOR\\DiskQEMU____QEMU_HARDDISK___2.5+", "SD\\QEMU!", "SCSI\\DiskQEMU____"] {
            assert!(names_qemu(&of(id)), "{id}");
        }
        assert!(!names_qemu(&of("USBSTOR\\DiskSanDisk_Ultra")));
    }
}
