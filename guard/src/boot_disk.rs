//! The boot disk, and whether it is among the vbds.
//!
//! The toolstack gives a guest its first four disks twice: emulated, so that the firmware can boot, and as vbds. It
//! boots from the first disk that is there, which is not always the first place. The BIOS says how many disks it
//! found; where each of them is a vbd, the one that it boots from is, too.

/// Disks that the toolstack emulates at most: those of the first places.
const EMULATED: u32 = 4;

/// The vbds of type disk, by the places that their numbers stand for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// A bit for each place whose disk is emulated, too.
    emulated: u8,
}

impl Places {
    /// Adds a vbd: the place of its disk (0 for the first), and the partition (0 for the whole disk); `None` where
    /// its number follows no scheme.
    pub fn add(&mut self, place: Option<(u32, u32)>) {
        if let Some((disk @ 0..EMULATED, 0)) = place {
            self.emulated |= 1 << disk;
        }
    }

    /// Returns true if the boot disk is among them. `firmware` is the number of disks that the BIOS found, if
    /// there is one that says so. Without it only a disk at the first place is known to be the boot disk.
    #[must_use]
    pub fn have_boot_disk(self, firmware: Option<u8>) -> bool {
        let emulated = self.emulated.count_ones();
        self.emulated & 1 != 0 || emulated > 0 && firmware.is_some_and(|disks| u32::from(disks) == emulated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn have(places: &[(u32, u32)], firmware: Option<u8>) -> bool {
        let mut all = Places::default();
        places.iter().for_each(|&place| all.add(Some(place)));
        all.add(None);
        all.have_boot_disk(firmware)
    }

    #[test]
    fn the_first_place_is_the_boot_disk() {
        for firmware in [None, Some(0), Some(1), Some(7)] {
            assert!(have(&[(0, 0)], firmware));
            assert!(have(&[(3, 0), (0, 0), (9, 0)], firmware));
        }
    }

    #[test]
    fn another_place_is_where_the_firmware_found_no_other_disk() {
        assert!(have(&[(1, 0)], Some(1)));
        assert!(have(&[(3, 0), (1, 0)], Some(2)));
        assert!(have(&[(1, 0), (20, 0)], Some(1)), "the further one is not emulated");
        // hda is emulated only.
        assert!(!have(&[(1, 0)], Some(2)));
        assert!(!have(&[(1, 0)], Some(0)));
        assert!(!have(&[(1, 0)], None));
        // Not emulated at all, or not a whole disk.
        assert!(!have(&[(4, 0)], Some(1)));
        assert!(!have(&[(0, 1)], Some(1)));
        assert!(!have(&[], Some(0)));
    }
}
