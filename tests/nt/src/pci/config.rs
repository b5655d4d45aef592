//! Configuration space by mechanism 1 (PCI Local Bus Specification 3.0, 3.2.2.3.2), and the HAL's view of it.

use crate::boot::port;
use crate::ke::Lock;
use crate::nt::*;

const ADDRESS: u16 = 0xCF8;
const DATA: u16 = 0xCFC;

/// A function's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub bus: u8,
    pub device: u8,
    pub function: u8,
}

/// The two ports are used together.
static PORTS: Lock<()> = Lock::new(());

impl Place {
    fn address(self, offset: u8) -> u32 {
        let place = u32::from(self.bus) << 16 | u32::from(self.device) << 11 | u32::from(self.function) << 8;
        0x8000_0000 | place | u32::from(offset & 0xFC)
    }

    /// The doubleword at `offset`, which is a multiple of 4.
    pub fn read(self, offset: u8) -> u32 {
        let _ports = PORTS.lock();
        // SAFETY: the configuration ports of every PC chipset.
        unsafe {
            port::outl(ADDRESS, self.address(offset));
            port::inl(DATA)
        }
    }

    /// Writes the doubleword at `offset`.
    pub fn write(self, offset: u8, value: u32) {
        let _ports = PORTS.lock();
        // SAFETY: as in `read`.
        unsafe {
            port::outl(ADDRESS, self.address(offset));
            port::outl(DATA, value);
        }
    }

    /// Whether there is a function.
    pub fn exists(self) -> bool {
        self.read(0) as u16 != 0xFFFF
    }
}

/// `HalGetBusDataByOffset`: bytes read; 0 for a bus that does not exist, 2 with an invalid vendor id for a
/// function that does not. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `buffer` has `length` bytes.
pub unsafe extern "win64" fn HalGetBusDataByOffset(
    kind: u32,
    bus: u32,
    slot_number: u32,
    buffer: Pvoid,
    offset: u32,
    length: u32,
) -> u32 {
    // The machine has one bus: qemu's PC has no bridge behind it.
    if kind != PCI_CONFIGURATION || bus != 0 || offset >= 256 {
        return 0;
    }
    let (device, function) = slot(slot_number);
    let place = Place { bus: 0, device, function };
    let out: *mut u8 = buffer.cast();
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
