//! Which devices of the System class are PCI root buses.

use wdm::{DeviceObject, property, unicode, utf16};

/// PCI bus, PCI Express root bus: the ids of the PnP BIOS and ACPI.
const ROOT_BUSES: [&[u16]; 2] = [utf16!("PNP0A03"), utf16!("PNP0A08")];
/// The root bus as a HAL without ACPI reports it.
const HAL_ROOT_BUS: &[u16] = utf16!("Root\\PCI_HAL");

/// Whether `physical` is the PDO of a PCI root bus, by its hardware or compatible ids. PASSIVE_LEVEL.
pub fn is_pci_root(physical: DeviceObject) -> bool {
    [property::hardware_ids(physical), property::compatible_ids(physical)]
        .iter()
        .flatten()
        .any(|ids| unicode::strings(ids).any(is_root_id))
}

/// Whether an id is a root bus's: `ACPI\PNP0A03`, `*PNP0A03`, `PCI_HAL\PNP0A03`, `Root\PCI_HAL`, …
fn is_root_id(id: &[u16]) -> bool {
    let separator = |unit: &u16| *unit == u16::from(b'\\') || *unit == u16::from(b'*');
    let last = id.rsplit(separator).next().unwrap_or_default();
    ROOT_BUSES.iter().any(|root| unicode::eq_ignore_case(last, root))
        || unicode::eq_ignore_case(id, HAL_ROOT_BUS)
}
