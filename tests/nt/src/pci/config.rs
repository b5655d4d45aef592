//! Configuration space by mechanism 1 (PCI Local Bus Specification 3.0, 3.2.2.3.2), and the HAL's view of it.

use core::sync::atomic::{AtomicBool, Ordering};

use alloc::vec::Vec;

use super::function::COMMAND;
use crate::hal::port;
use crate::ke::Lock;
use crate::nt::*;

const ADDRESS: u16 = 0xCF8;
const DATA: u16 = 0xCFC;

/// A function's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub bus: u8,
    pub device: u8,
    pub function: u8,
}

/// The machine has two root buses.
static SPLIT: AtomicBool = AtomicBool::new(false);

/// Gives the machine a second root bus, bus 1, with the IDE controller on it.
pub(crate) fn split() {
    SPLIT.store(true, Ordering::Relaxed);
}

/// Subsystem id and subsystem vendor.
const SUBSYSTEM: u8 = 0x2C;
/// 8086:2922, which qemu's AHCI controller has from Intel's ICH9.
const AHCI: u32 = 0x2922_8086;
/// Dell, some mainboard.
const ANOTHER_MAKER: u32 = 0x0720_1028;

/// AHCI controllers are a maker's, passed through.
static LOOK_ALIKE: AtomicBool = AtomicBool::new(false);

/// Gives AHCI controllers the subsystem ids of real hardware.
pub(crate) fn look_alike() {
    LOOK_ALIKE.store(true, Ordering::Relaxed);
}

/// The two ports are used together.
static PORTS: Lock<()> = Lock::new(());

impl Place {
    fn address(self, offset: u8) -> u32 {
        let place = u32::from(self.bus) << 16 | u32::from(self.device) << 11 | u32::from(self.function) << 8;
        0x8000_0000 | place | u32::from(offset & 0xFC)
    }

    /// Returns the place that the machine has it at; `None` where there is nothing. On a machine with two
    /// root buses the IDE controller stands on bus 1 and not beside the ISA bridge.
    fn physical(self) -> Option<Self> {
        /// Function 1 of the ISA bridge's device: PIIX IDE.
        const IDE: Place = Place { bus: 0, device: 1, function: 1 };
        match (SPLIT.load(Ordering::Relaxed), self) {
            (true, Place { bus: 1, device: 0, function: 0 }) => Some(IDE),
            (true, IDE) => None,
            (_, Place { bus: 0, .. }) => Some(self),
            _ => None,
        }
    }

    /// Returns the doubleword at `offset`, which is a multiple of 4.
    pub(super) fn read(self, offset: u8) -> u32 {
        let Some(place) = self.physical() else { return u32::MAX };
        if offset == SUBSYSTEM && LOOK_ALIKE.load(Ordering::Relaxed) && place.read_physical(0) == AHCI {
            return ANOTHER_MAKER;
        }
        place.read_physical(offset)
    }

    fn read_physical(self, offset: u8) -> u32 {
        let _ports = PORTS.lock();
        // SAFETY: the configuration ports of every PC chipset.
        unsafe {
            port::outl(ADDRESS, self.address(offset));
            port::inl(DATA)
        }
    }

    /// Writes the doubleword at `offset`.
    pub(super) fn write(self, offset: u8, value: u32) {
        let Some(place) = self.physical() else { return };
        place.write_physical(offset, value);
    }

    fn write_physical(self, offset: u8, value: u32) {
        let _ports = PORTS.lock();
        // SAFETY: as in `read`.
        unsafe {
            port::outl(ADDRESS, self.address(offset));
            port::outl(DATA, value);
        }
    }

    /// Returns the whole configuration space.
    pub(super) fn save(self) -> Words {
        let mut words = [0; DOUBLEWORDS as usize];
        (0..).zip(&mut words).for_each(|(n, word)| *word = self.read(n * 4));
        words
    }

    /// Writes what differs from `words`, the command last.
    pub(super) fn restore(self, words: &Words) {
        for n in (0..DOUBLEWORDS).filter(|&n| n != COMMAND / 4).chain([COMMAND / 4]) {
            let word = words[usize::from(n)];
            if self.read(n * 4) != word {
                self.write(n * 4, word);
            }
        }
    }

    /// Returns true if there is a function.
    pub(super) fn exists(self) -> bool {
        self.read(0) as u16 != 0xFFFF
    }
}

/// Doublewords of a function's configuration space.
const DOUBLEWORDS: u8 = 64;

/// A function's configuration space.
pub(super) type Words = [u32; DOUBLEWORDS as usize];

/// Configuration space of the chipset's functions.
pub(crate) struct Saved(Vec<(Place, Words)>);

/// Keeps the configuration of the chipset's functions, which S3 loses.
pub(crate) fn save_chipset() -> Saved {
    /// Revision and class; the base class of bridges.
    const CLASS: u8 = 8;
    const BRIDGE: u32 = 6;
    let places = (0..32).flat_map(|device| (0..8).map(move |function| Place { bus: 0, device, function }));
    let there = places.filter(|place| place.read_physical(CLASS) >> 24 == BRIDGE);
    Saved(there.map(|place| (place, place.save())).collect())
}

/// Writes the chipset's configuration again, as a machine's firmware would; Xen's knows nothing of the chipset.
pub(crate) fn restore_chipset(saved: &Saved) {
    saved.0.iter().for_each(|(place, words)| place.restore(words));
}

/// `HalGetBusDataByOffset`: bytes read; 0 for a bus that does not exist, 2 with an invalid vendor id for a
/// function that does not. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `buffer` has `length` bytes.
pub(crate) unsafe extern "win64" fn HalGetBusDataByOffset(
    kind: u32,
    bus: u32,
    slot_number: u32,
    buffer: Pvoid,
    offset: u32,
    length: u32,
) -> u32 {
    // No bus but the root buses: qemu's PC has no bridge.
    let buses = 1 + u32::from(SPLIT.load(Ordering::Relaxed));
    if kind != PCI_CONFIGURATION || bus >= buses || offset >= 256 {
        return 0;
    }
    let (device, function) = slot(slot_number);
    let place = Place { bus: bus as u8, device, function };
    let out: *mut u8 = buffer.cast();
    // SAFETY: by this function's contract, `buffer` has `length` bytes.
    unsafe {
        if !place.exists() {
            for i in 0..length.min(2) as usize {
                out.add(i).write(0xFF);
            }
            return length.min(2);
        }
        let length = length.min(256 - offset);
        let mut last = None;
        for i in 0..length {
            let at = (offset + i) as u8;
            let word = match last {
                Some((base, word)) if base == at & 0xFC => word,
                _ => place.read(at & 0xFC),
            };
            last = Some((at & 0xFC, word));
            out.add(i as usize).write(word.to_le_bytes()[usize::from(at & 3)]);
        }
        length
    }
}
