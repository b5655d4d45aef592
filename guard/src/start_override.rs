//! StartOverride: the mark by which Windows leaves a boot driver out.
//!
//! From NT 6.2 on Windows writes the key `StartOverride` below the service of a boot-start driver whose device
//! was not there in the last boots, with the value `0` (the number of the hardware profile) = 3, start on demand.
//! The loader then does not bring the driver. A PV boot does that to the drivers of the emulated controllers,
//! and an emulated boot to those of the suite; the other boot entry has no boot disk then (stop 0x7B). So each
//! boot takes the mark away from both, as do the tools that change the boot entries.
//!
//! Sources: the tools of other PV driver suites that take it away (xenbus_monitor of the Xen Project's drivers,
//! XenBootFix), and reports of systems that do not boot after a change of their disk controller. Microsoft
//! documents neither the key nor when it is written.

/// The key's name, below a service's key. To take the mark away is to delete the key.
pub const KEY: &str = "StartOverride";

/// The suite's own services.
pub const SUITE: [&str; 4] = ["idefilter", "idefallback", "xenpci", "xenvbd"];

/// Services that serve disks behind a controller that qemu emulates, or stand below such a service. Which of
/// them a system has differs; a service that is not there has no mark.
///
/// They are those of [`crate::tripwire::DRIVERS`], and what qemu's further SCSI adapters are served by.
pub const EMULATED: &[&str] = &[
    "atapi",
    "ataport",
    "intelide",
    "pciide",
    "pciidex",
    "msahci",
    "storahci",
    "iastor",
    "iastora",
    "iastorac",
    "iastorav",
    "iastoravc",
    "iastorv",
    "lsi_scsi",
    "sym_hi",
    "sym_u3",
    "symc8xx",
    "nvme",
    "stornvme",
    // qemu's megasas and mptsas1068.
    "lsi_sas",
    "lsi_sas2",
    "lsi_sas2i",
    "megasas",
];

/// Returns every service that the mark is taken from.
pub fn services() -> impl Iterator<Item = &'static str> {
    SUITE.iter().chain(EMULATED).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tripwire::DRIVERS;
    use std::collections::BTreeSet;

    #[test]
    fn every_driver_that_the_tripwire_knows_is_a_service_here() {
        for driver in DRIVERS {
            let service = driver.strip_suffix(".sys").expect("a driver's file");
            assert!(EMULATED.contains(&service), "{service}");
        }
    }

    #[test]
    fn no_service_is_named_twice_and_none_is_too_long_for_a_driver() {
        assert_eq!(services().collect::<BTreeSet<_>>().len(), services().count());
        assert!(services().all(|service| service.len() <= 32 && service.is_ascii()));
    }
}
