//! PCI configuration space, read through the HAL.
#![expect(unsafe_code, reason = "calls HalGetBusDataByOffset")]

use wdk_sys::{_BUS_DATA_TYPE, ULONG, ntddk::HalGetBusDataByOffset};

/// The location of a PCI function.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Location {
    /// 0 to 255.
    pub bus: u8,
    /// 0 to 31.
    pub device: u8,
    /// 0 to 7.
    pub function: u8,
}

impl Location {
    /// Returns PCI_SLOT_NUMBER: device in bits 0–4, function in bits 5–7.
    const fn slot(self) -> ULONG {
        (self.device & 0x1F) as ULONG | ((self.function & 7) as ULONG) << 5
    }

    /// Reads configuration space at `offset` into `buffer`; answers how many bytes were read: 0 where
    /// the bus does not exist, 2 (a vendor of FFFF) where there is no such function. IRQL ≤ DISPATCH_LEVEL.
    pub fn read(self, offset: u8, buffer: &mut [u8]) -> usize {
        // SAFETY: the buffer has the length given; reading configuration space is harmless.
        let read = unsafe {
            HalGetBusDataByOffset(
                _BUS_DATA_TYPE::PCIConfiguration,
                self.bus.into(),
                self.slot(),
                buffer.as_mut_ptr().cast(),
                offset.into(),
                buffer.len() as ULONG,
            )
        };
        (read as usize).min(buffer.len())
    }

    /// Reads a doubleword at `offset` (a multiple of 4); `None` where it cannot be read whole.
    #[must_use]
    pub fn read_u32(self, offset: u8) -> Option<u32> {
        let mut bytes = [0xFF; 4];
        (self.read(offset, &mut bytes) == 4).then(|| u32::from_le_bytes(bytes))
    }
}
