//! Devices of the System class that are PCI root buses.

use crate::units;

/// PCI bus, PCI Express root bus: the ids of the PnP BIOS and ACPI.
const ROOT_BUSES: [&str; 2] = ["PNP0A03", "PNP0A08"];
/// The root bus as a HAL without ACPI reports it.
const HAL_ROOT_BUS: &str = "Root\\PCI_HAL";

/// Returns true if a hardware or compatible id is a root bus's: `ACPI\PNP0A03`, `*PNP0A03`,
/// `PCI_HAL\PNP0A03`, `Root\PCI_HAL`, …
#[must_use]
pub fn is_root_id(id: &[u16]) -> bool {
    let separator = |unit: &u16| *unit == u16::from(b'\\') || *unit == u16::from(b'*');
    let last = id.rsplit(separator).next().unwrap_or_default();
    ROOT_BUSES.iter().any(|root| units::is(last, root)) || units::is(id, HAL_ROOT_BUS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::of;

    #[test]
    fn root_buses_and_others() {
        for root in ["ACPI\\PNP0A03", "*PNP0A03", "*pnp0a08", "PCI_HAL\\PNP0A03", "root\\pci_hal", "PNP0A08"]
        {
            assert!(is_root_id(&of(root)), "{root}");
        }
        for other in ["ACPI\\PNP0A05", "*PNP0A031", "PNP0A0", "Root\\PCI_HAL2", "PCI\\VEN_8086&CC_0604", ""] {
            assert!(!is_root_id(&of(other)), "{other}");
        }
    }
}
