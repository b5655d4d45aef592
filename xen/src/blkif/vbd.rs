//! The device that a vbd is, `man/xen-vbd-interface.7`.

use crate::DomainId;

/// Number of a virtual device, the name of its folder below `device/vbd`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VirtualDevice(pub u32);

impl VirtualDevice {
    /// Returns the disk (0 for the first) and the partition (0 for the whole disk) that the number stands
    /// for; `None` if it follows no known scheme.
    ///
    /// ```
    /// use xen::blkif::VirtualDevice;
    /// assert_eq!(VirtualDevice(768).place(), Some((0, 0))); // hda
    /// assert_eq!(VirtualDevice(5696).place(), Some((3, 0))); // hdd
    /// assert_eq!(VirtualDevice(51713).place(), Some((0, 1))); // xvda1
    /// assert_eq!(VirtualDevice(1 << 28 | 20 << 8).place(), Some((20, 0))); // xvdu
    /// ```
    pub const fn place(self) -> Option<(u32, u32)> {
        let number = self.0;
        if number >> 28 == 1 {
            return Some((number >> 8 & 0xF_FFFF, number & 0xFF));
        }
        let minor = number & 0xFF;
        match number >> 8 {
            // xvd, sd: 16 numbers for each disk.
            202 | 8 => Some((minor >> 4, minor & 0xF)),
            // hda, hdb: 64 numbers for each.
            3 if minor < 128 => Some((minor >> 6, minor & 0x3F)),
            // hdc, hdd.
            22 if minor < 128 => Some((2 + (minor >> 6), minor & 0x3F)),
            _ => None,
        }
    }

    /// Returns true if libxl has qemu emulate a disk that stands for this vbd, in an emulated boot: for the first four
    /// disks whatever their names, and for each `sda` and so on (`libxl__build_device_model_args_new`).
    ///
    /// ```
    /// use xen::blkif::VirtualDevice;
    /// let disk = |major: u32, minor| VirtualDevice(major << 8 | minor);
    /// assert!(disk(3, 64).is_emulated() && disk(8, 15 << 4).is_emulated()); // hdb, sdp
    /// assert!(disk(202, 0).is_emulated() && disk(202, 3 << 4).is_emulated()); // xvda, xvdd
    /// assert!(!disk(202, 4 << 4).is_emulated() && !VirtualDevice(1 << 28 | 20 << 8).is_emulated()); // xvde, xvdu
    /// ```
    pub const fn is_emulated(self) -> bool {
        match self.place() {
            Some((disk, _)) => disk < 4 || self.0 >> 8 == 8,
            None => false,
        }
    }
}

/// Bytes of a logical block of every disk that qemu emulates for a guest, whatever the blocks of its backing are.
pub const EMULATED_BLOCK: u32 = 512;

/// Kind of device, from the frontend's node `device-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `disk`.
    Disk,
    /// `cdrom`.
    Cdrom,
    /// Anything else.
    Other,
}

/// A vbd, from the frontend's own nodes, which the toolstack writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vbd {
    /// Domain of the backend.
    pub backend_domain: DomainId,
    /// The device.
    pub device: VirtualDevice,
    /// Kind of device.
    pub kind: Kind,
    /// `false` where the toolstack asks to distrust the backend: then no page of the system's may be granted
    /// as it is, everything goes through a bounce buffer.
    pub trusted: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_for_disk_and_partition() {
        for (number, place) in [
            (768, Some((0, 0))),
            (832, Some((1, 0))),
            (769, Some((0, 1))),
            (5632, Some((2, 0))),
            (5696, Some((3, 0))),
            (51712, Some((0, 0))),
            (51728, Some((1, 0))),
            (51967, Some((15, 15))),
            (2064, Some((1, 0))),
            (1 << 28, Some((0, 0))),
            (1 << 28 | 26 << 8 | 3, Some((26, 3))),
            (1 << 28 | 0xF_FFFF << 8, Some((0xF_FFFF, 0))),
            (3 << 8 | 128, None),
            (22 << 8 | 128, None),
            (2 << 28, None),
            (0, None),
            (u32::MAX, None),
        ] {
            assert_eq!(VirtualDevice(number).place(), place, "{number}");
        }
    }
}
