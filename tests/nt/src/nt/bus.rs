//! PCI configuration space as `HalGetBusDataByOffset` gives it (wdm.h).

/// `PCIConfiguration` as `BUS_DATA_TYPE`.
pub(crate) const PCI_CONFIGURATION: u32 = 4;

/// Splits a `PCI_SLOT_NUMBER` into device and function.
pub(crate) const fn slot(number: u32) -> (u8, u8) {
    ((number & 0x1F) as u8, (number >> 5 & 7) as u8)
}
