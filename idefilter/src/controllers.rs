//! Counts emulated disk controllers in PCI configuration space, without asking the bus driver: what the
//! filter has hidden is compared with this.
//!
//! The walk begins at bus 0 and follows bridges. A root bus with another number is not walked; a controller
//! there would be hidden but not counted, and the difference withholds every PV disk.

use guard::controllers::{PciFunction, Present, classify};
use wdm::pci::Location;

/// Offsets in a configuration header, each a multiple of 4.
const IDS: u8 = 0x00;
const CLASS: u8 = 0x08;
const HEADER_TYPE: u8 = 0x0C;
const BUS_NUMBERS: u8 = 0x18;
const SUBSYSTEM: u8 = 0x2C;

/// Base class of mass storage.
const STORAGE: u16 = 0x01;
/// Base class and subclass of a PCI-to-PCI bridge.
const BRIDGE: u16 = 0x0604;

/// Counts them on every bus that can be reached from bus 0. About 40 reads of configuration space, a
/// millisecond or two each on an emulated machine. IRQL ≤ DISPATCH_LEVEL.
pub fn count() -> Present {
    let mut found = Present::default();
    let mut buses = Buses::new();
    while let Some(bus) = buses.next() {
        for device in 0..32 {
            let at = |function| Location { bus, device, function };
            let Some(many) = visit(at(0), &mut buses, &mut found) else { continue };
            if many {
                for function in 1..8 {
                    visit(at(function), &mut buses, &mut found);
                }
            }
        }
    }
    found
}

/// Looks at one function; `None` where there is none, else whether its device has more of them.
fn visit(location: Location, buses: &mut Buses, found: &mut Present) -> Option<bool> {
    let ids = location.read_u32(IDS).filter(|ids| low(*ids) != 0xFFFF)?;
    let class = high(location.read_u32(CLASS)?);
    if class == BRIDGE {
        // Primary, secondary and subordinate bus number, in this order.
        let [_, secondary, ..] = location.read_u32(BUS_NUMBERS)?.to_le_bytes();
        buses.add(secondary);
    } else if class >> 8 == STORAGE {
        let subsystem = location.read_u32(SUBSYSTEM)?;
        let function = PciFunction {
            vendor: low(ids),
            device: high(ids),
            subsystem_vendor: low(subsystem),
            subsystem: high(subsystem),
            class,
        };
        if let Some(kind) = classify(&function) {
            found.add(kind);
        }
    }
    // Bit 7 of the header type: a device of several functions; only function 0's counts.
    Some(location.function == 0 && location.read_u32(HEADER_TYPE)? & 0x0080_0000 != 0)
}

const fn low(word: u32) -> u16 {
    (word & 0xFFFF) as u16
}

const fn high(word: u32) -> u16 {
    (word >> 16) as u16
}

/// Buses to visit, each once.
struct Buses {
    known: [bool; 256],
    visited: [bool; 256],
}

impl Buses {
    fn new() -> Self {
        let mut known = [false; 256];
        known[0] = true;
        Self { known, visited: [false; 256] }
    }

    fn add(&mut self, bus: u8) {
        self.known[usize::from(bus)] = true;
    }

    fn next(&mut self) -> Option<u8> {
        let bus = (0..=u8::MAX).find(|&bus| {
            let bus = usize::from(bus);
            self.known[bus] && !self.visited[bus]
        })?;
        self.visited[usize::from(bus)] = true;
        Some(bus)
    }
}
