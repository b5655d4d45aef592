//! The vbds that share their storage with another, and what that means for the decision.
//!
//! An emulated boot is a way out where one of the two has no emulated twin: Windows then has the storage once. Where
//! both have one, the emulated boot mounts it twice. A PV boot does not: xenvbd connects the vbds in the order of
//! their numbers, refuses each that shares with a disk before it ([`crate::Reason::BackingRefused`]), and the census
//! counts those that share. So such a pair does not speak against PV, and with it no other pair does.

/// The pairs that the decision has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sharing {
    first: Option<[u32; 2]>,
    both_emulated: bool,
}

impl Sharing {
    /// Adds two vbds, by their numbers. `emulated` is true where an emulated boot may see both as disks.
    pub fn add(&mut self, devices: [u32; 2], emulated: bool) {
        self.first = self.first.or(Some(devices));
        self.both_emulated |= emulated;
    }

    /// Returns the first pair, where the pairs speak against a PV boot.
    #[must_use]
    pub fn objection(self) -> Option<[u32; 2]> {
        self.first.filter(|_| !self.both_emulated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: [u32; 2] = [768, 832];
    const OTHER: [u32; 2] = [768, 51776];

    fn objection(pairs: &[([u32; 2], bool)]) -> Option<[u32; 2]> {
        let mut sharing = Sharing::default();
        pairs.iter().for_each(|&(devices, emulated)| sharing.add(devices, emulated));
        sharing.objection()
    }

    #[test]
    fn a_pair_that_an_emulated_boot_would_mount_twice_is_left_to_xenvbd() {
        assert_eq!(objection(&[]), None);
        assert_eq!(objection(&[(OTHER, false)]), Some(OTHER));
        assert_eq!(objection(&[(OTHER, false), (ONE, false)]), Some(OTHER));
        assert_eq!(objection(&[(ONE, true)]), None);
        assert_eq!(objection(&[(OTHER, false), (ONE, true)]), None);
        assert_eq!(objection(&[(ONE, true), (OTHER, false)]), None);
    }
}
