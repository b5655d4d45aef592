//! Counts emulated disk controllers in PCI configuration space, without the bus driver's help: what the
//! filter has hidden is held against this.
//!
//! The walk begins at the root buses that are known and follows bridges. A controller on a bus that it does
//! not reach would be hidden but not counted, and the difference withholds every PV disk.

use crate::controllers::{PciFunction, Present, classify};
use crate::devnode::PlatformDevice;
use crate::pci_id;

/// Reads configuration space.
pub trait ConfigurationSpace {
    /// Returns the doubleword at `offset`, a multiple of 4, of a function's header; `None` where there is no
    /// such function.
    fn read(&mut self, bus: u8, device: u8, function: u8, offset: u8) -> Option<u32>;
}

/// Offsets in a configuration header (PCI Local Bus Specification 3.0, 6.1), each a multiple of 4.
const IDS: u8 = 0x00;
const CLASS: u8 = 0x08;
const HEADER_TYPE: u8 = 0x0C;
const BUS_NUMBERS: u8 = 0x18;
const SUBSYSTEM: u8 = 0x2C;

/// Base class of mass storage.
const STORAGE: u16 = 0x01;
/// Base class and subclass of a PCI-to-PCI bridge.
const BRIDGE: u16 = 0x0604;

/// A set of bus numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Buses([u128; 2]);

impl Buses {
    /// Returns the set of no bus.
    #[must_use]
    pub const fn none() -> Buses {
        Buses([0; 2])
    }

    /// Adds a bus; whether it was not in the set.
    pub const fn add(&mut self, bus: u8) -> bool {
        let (word, bit) = (&mut self.0[(bus >> 7) as usize], 1 << (bus & 127));
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    /// Returns true if a bus is in the set.
    #[must_use]
    pub const fn contains(&self, bus: u8) -> bool {
        self.0[(bus >> 7) as usize] & 1 << (bus & 127) != 0
    }
}

/// Counts them on every bus that can be reached from `roots`. About 40 reads for a bus with a few devices.
pub fn count(space: &mut impl ConfigurationSpace, roots: Buses) -> Present {
    let mut present = Present::default();
    walk(space, roots, |_, function| {
        if let Some(controller) = function.and_then(classify) {
            present.add(controller);
        }
    });
    present
}

/// Tells of every one of Xen's platform devices on a bus that can be reached from `roots`; there should be one.
pub fn platform_devices(
    space: &mut impl ConfigurationSpace,
    roots: Buses,
    mut tell: impl FnMut(&PlatformDevice),
) {
    walk(space, roots, |platform, _| {
        if let Some(platform) = platform {
            tell(platform);
        }
    });
}

/// Tells of Xen's platform devices, and of every function of mass storage.
fn walk(
    space: &mut impl ConfigurationSpace,
    roots: Buses,
    mut tell: impl FnMut(Option<&PlatformDevice>, Option<&PciFunction>),
) {
    let mut known = roots;
    let mut visited = Buses::none();
    while let Some(bus) = (0..=u8::MAX).find(|&bus| known.contains(bus) && !visited.contains(bus)) {
        visited.add(bus);
        for device in 0..32 {
            let Some(many) = visit(space, bus, device, 0, &mut known, &mut tell) else { continue };
            if many {
                for function in 1..8 {
                    visit(space, bus, device, function, &mut known, &mut tell);
                }
            }
        }
    }
}

/// Looks at one function; `None` where there is none, else whether its device has more of them.
fn visit(
    space: &mut impl ConfigurationSpace,
    bus: u8,
    device: u8,
    function: u8,
    known: &mut Buses,
    tell: &mut impl FnMut(Option<&PlatformDevice>, Option<&PciFunction>),
) -> Option<bool> {
    let mut read = |offset| space.read(bus, device, function, offset);
    let ids = read(IDS).filter(|ids| low(*ids) != 0xFFFF)?;
    let class_and_revision = read(CLASS)?;
    let class = high(class_and_revision);
    if class == BRIDGE {
        // Primary, secondary and subordinate bus number, in this order.
        let [_, secondary, ..] = read(BUS_NUMBERS)?.to_le_bytes();
        known.add(secondary);
    }
    if pci_id::is_platform_device(low(ids), high(ids)) {
        // Of any class: Xen's own was once that of a SCSI controller.
        let subsystem = read(SUBSYSTEM)?;
        let [revision, ..] = class_and_revision.to_le_bytes();
        tell(Some(&PlatformDevice { device, function, ids, subsystem, revision }), None);
    } else if class >> 8 == STORAGE {
        let subsystem = read(SUBSYSTEM)?;
        let function = PciFunction {
            vendor: low(ids),
            device: high(ids),
            subsystem_vendor: low(subsystem),
            subsystem: high(subsystem),
            class,
        };
        tell(None, Some(&function));
    }
    // Bit 7 of the header type: a device of several functions; only function 0's counts.
    Some(function == 0 && read(HEADER_TYPE)? & 0x0080_0000 != 0)
}

const fn low(word: u32) -> u16 {
    (word & 0xFFFF) as u16
}

const fn high(word: u32) -> u16 {
    (word >> 16) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeMap, vec::Vec};

    /// Functions by place; counts what is read.
    #[derive(Default)]
    struct Machine {
        functions: BTreeMap<(u8, u8, u8), Vec<(u8, u32)>>,
        reads: u32,
    }

    impl Machine {
        fn with(mut self, place: (u8, u8, u8), words: &[(u8, u32)]) -> Machine {
            self.functions.insert(place, words.to_vec());
            self
        }
    }

    impl ConfigurationSpace for Machine {
        fn read(&mut self, bus: u8, device: u8, function: u8, offset: u8) -> Option<u32> {
            self.reads += 1;
            let words = self.functions.get(&(bus, device, function))?;
            Some(words.iter().find(|(at, _)| *at == offset).map_or(0, |(_, word)| *word))
        }
    }

    const IDE: [(u8, u32); 3] = [(0, 0x7010_8086), (8, 0x0101_8000), (0x2C, 0x1100_1AF4)];
    const AHCI: [(u8, u32); 3] = [(0, 0x2922_8086), (8, 0x0106_0102), (0x2C, 0x1100_1AF4)];
    const LSI: [(u8, u32); 3] = [(0, 0x0012_1000), (8, 0x0100_0000), (0x2C, 0x1000_0000)];
    const PASSED: [(u8, u32); 3] = [(0, 0x2922_8086), (8, 0x0106_0102), (0x2C, 0x0720_1028)];
    const ISA: [(u8, u32); 3] = [(0, 0x7000_8086), (8, 0x0601_0000), (0x0C, 0x0080_0000)];
    const MULTI: (u8, u32) = (0x0C, 0x0080_0000);

    fn bridge(secondary: u8) -> Vec<(u8, u32)> {
        std::vec![(0, 0x0001_1B36), (8, 0x0604_0000), (0x18, u32::from(secondary) << 8)]
    }

    fn roots(buses: &[u8]) -> Buses {
        let mut all = Buses::none();
        buses.iter().for_each(|&bus| assert!(all.add(bus)));
        all
    }

    /// The guest as Xen presents it: the ISA bridge has several functions, the IDE controller is its second.
    #[test]
    fn the_usual_machine() {
        let mut machine = Machine::default().with((0, 1, 0), &ISA).with((0, 1, 1), &IDE);
        assert_eq!(count(&mut machine, roots(&[0])), Present { with_cdrom: 1, disks_only: 0 });
        assert!(machine.reads < 60, "{} reads", machine.reads);
    }

    #[test]
    fn the_platform_device_is_found_where_it_stands() {
        const PLATFORM: [(u8, u32); 3] = [(0, 0x0001_5853), (8, 0xFF80_0003), (0x2C, 0x0007_5853)];
        let usual = || Machine::default().with((0, 1, 0), &ISA).with((0, 1, 1), &IDE);
        let found = |mut machine: Machine| {
            let mut all = Vec::new();
            platform_devices(&mut machine, roots(&[0]), |platform| all.push(*platform));
            all
        };
        let first =
            PlatformDevice { device: 2, function: 0, ids: 0x0001_5853, subsystem: 0x0007_5853, revision: 3 };
        assert_eq!(found(usual()), []);
        assert_eq!(found(usual().with((0, 2, 0), &PLATFORM)), [first]);
        let other_class = [PLATFORM[0], (8, 0x0100_0003), PLATFORM[2]];
        assert_eq!(found(usual().with((0, 2, 0), &other_class)), [first]);
        let second = [(0, 0x0002_5853), PLATFORM[1], PLATFORM[2]];
        let both = usual().with((0, 2, 0), &PLATFORM).with((0, 4, 0), &bridge(7)).with((7, 3, 1), &second);
        let both = both.with((7, 3, 0), &ISA);
        let behind = PlatformDevice { device: 3, function: 1, ids: 0x0002_5853, ..first };
        assert_eq!(found(both), [first, behind]);
        // The vendors' own function beside it is none.
        assert_eq!(found(usual().with((0, 3, 0), &[(0, 0xC000_5853)])), []);
    }

    #[test]
    fn look_alikes_are_not_counted() {
        let mut machine =
            Machine::default().with((0, 3, 0), &AHCI).with((0, 4, 0), &PASSED).with((0, 5, 0), &LSI);
        assert_eq!(count(&mut machine, roots(&[0])), Present { with_cdrom: 1, disks_only: 1 });
    }

    #[test]
    fn bridges_are_followed_and_other_roots_only_when_known() {
        let mut machine = Machine::default()
            .with((0, 2, 0), &bridge(7))
            .with((7, 0, 0), &bridge(9))
            .with((9, 31, 0), &[IDE[0], IDE[1], IDE[2], MULTI])
            .with((9, 31, 7), &AHCI)
            .with((128, 0, 0), &LSI);
        assert_eq!(count(&mut machine, roots(&[0])), Present { with_cdrom: 2, disks_only: 0 });
        assert_eq!(count(&mut machine, roots(&[0, 128])), Present { with_cdrom: 2, disks_only: 1 });
        assert_eq!(count(&mut machine, Buses::none()), Present::default());
    }

    /// A bridge that leads back to its own bus, or that was never set up (secondary 0), does not hang the
    /// walk.
    #[test]
    fn circles_end() {
        let mut machine = Machine::default()
            .with((0, 2, 0), &bridge(0))
            .with((0, 3, 0), &bridge(5))
            .with((5, 0, 0), &bridge(0));
        assert_eq!(count(&mut machine, roots(&[0])), Present::default());
    }

    /// A device of one function may answer for every function number (PCI Local Bus Specification 3.0,
    /// 3.2.2.3.4).
    #[test]
    fn one_function_is_counted_once() {
        let mut machine = (0..8).fold(Machine::default(), |all, function| all.with((0, 1, function), &IDE));
        assert_eq!(count(&mut machine, roots(&[0])).total(), 1);
    }

    #[test]
    fn the_set_of_buses() {
        let mut buses = Buses::none();
        for bus in [0, 127, 128, 255] {
            assert!(!buses.contains(bus) && buses.add(bus) && buses.contains(bus) && !buses.add(bus));
        }
        assert_eq!((0..=u8::MAX).filter(|&bus| buses.contains(bus)).count(), 4);
    }
}
