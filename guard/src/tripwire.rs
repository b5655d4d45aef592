//! The tripwire: drivers that serve emulated disks. That one of them is loaded in a PV boot proves nothing by
//! itself, since NT loads boot-start drivers that find no device; it is a reason to look at once.

/// File names of drivers, in lower case, that serve a disk behind a controller that qemu emulates.
///
/// Sources: the INF files of Windows that name the service for the controllers of [`crate::controllers`], as
/// the driver kit's documentation and Microsoft's lists of inbox storage drivers give them.
pub const DRIVERS: &[&str] = &[
    // IDE. mshdc.inf: PCI\CC_0101 and the PIIX ids name intelide or pciide; both stand on pciidex, and the
    // channels are served by atapi, which from Windows Vista on stands on ataport.
    "atapi.sys",
    "ataport.sys",
    "intelide.sys",
    "pciide.sys",
    "pciidex.sys",
    // AHCI. mshdc.inf: PCI\CC_0106 names msahci (Windows Vista, 7) or storahci (Windows 8 and later).
    "msahci.sys",
    "storahci.sys",
    // AHCI by Intel's drivers: iastorv.inf and iastorav.inf of Windows name PCI\VEN_8086&DEV_2922; the
    // others are Intel's own.
    "iastor.sys",
    "iastora.sys",
    "iastorac.sys",
    "iastorav.sys",
    "iastoravc.sys",
    "iastorv.sys",
    // LSI 53C8xx and 53C895A. pnpscsi.inf of NT 5: symc8xx, sym_hi, sym_u3; LSI's own driver for later
    // systems: lsi_scsi.
    "lsi_scsi.sys",
    "sym_hi.sys",
    "sym_u3.sys",
    "symc8xx.sys",
    // NVMe. stornvme.inf: PCI\CC_010802; nvme is the Open Fabrics Alliance's.
    "nvme.sys",
    "stornvme.sys",
];

/// Returns true if an image's path, given as UTF-16 units, names one of [`DRIVERS`]. The part after the last
/// `\` counts, without regard to ASCII case.
///
/// ```
/// use guard::tripwire::serves_emulated_disks;
/// let path = |text: &str| text.encode_utf16().collect::<Vec<u16>>();
/// assert!(serves_emulated_disks(&path(r"\SystemRoot\System32\DRIVERS\ATAPI.SYS")));
/// assert!(!serves_emulated_disks(&path(r"\SystemRoot\System32\drivers\xenvbd.sys")));
/// ```
#[must_use]
pub fn serves_emulated_disks(path: &[u16]) -> bool {
    let file = path.rsplit(|&unit| unit == u16::from(b'\\')).next().unwrap_or_default();
    DRIVERS.iter().any(|driver| {
        driver.len() == file.len()
            && driver
                .bytes()
                .zip(file)
                .all(|(byte, &unit)| u8::try_from(unit).is_ok_and(|unit| unit.to_ascii_lowercase() == byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn serves(path: &str) -> bool {
        serves_emulated_disks(&path.encode_utf16().collect::<Vec<_>>())
    }

    #[test]
    fn every_driver_with_and_without_a_path() {
        for driver in DRIVERS {
            assert!(serves(driver) && serves(&driver.to_ascii_uppercase()));
            assert!(serves(&std::format!("\\SystemRoot\\System32\\drivers\\{driver}")));
            assert_eq!(*driver, driver.to_ascii_lowercase(), "the list is in lower case");
        }
    }

    /// The drivers that Windows itself brings for each controller of the table.
    #[test]
    fn every_controller_has_its_drivers() {
        for (controller, drivers) in [
            ("IDE", &["atapi", "ataport", "intelide", "pciide", "pciidex"][..]),
            ("AHCI", &["msahci", "storahci", "iastorv", "iastorav"]),
            ("LSI", &["symc8xx", "sym_hi", "sym_u3", "lsi_scsi"]),
            ("NVMe", &["stornvme"]),
        ] {
            assert!(drivers.iter().all(|name| serves(&std::format!("{name}.sys"))), "{controller}");
        }
    }

    #[test]
    fn others_are_left_alone() {
        for other in [
            "",
            "\\",
            "atapi",
            "atapi.sys\\",
            "xatapi.sys",
            "atapi.sysx",
            "disk.sys",
            "cdrom.sys",
            "xenvbd.sys",
        ] {
            assert!(!serves(other), "{other:?}");
        }
    }
}
