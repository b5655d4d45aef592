//! Other suites of PV drivers for Windows under Xen: the names that their parts have in a system.
//!
//! Sources: the INF files of Xen Project's win-* drivers, XenClean's lists in win-pv-drivers, GPLPV's and
//! SUSE VMDP's INF files. `guard::other_suites` has those of their services that stand in the way of a PV
//! boot.

/// A suite.
#[derive(Clone, Copy, Debug)]
pub struct Suite {
    /// Its name.
    pub name: &'static str,
    /// Its drivers' services; a driver's file has the name of its service.
    pub drivers: &'static [&'static str],
    /// Its services of user mode.
    pub services: &'static [&'static str],
    /// The enumerators of its buses, below `Enum`.
    pub buses: &'static [&'static str],
}

/// Every suite. A name that two of them use stands with the first.
pub const SUITES: [Suite; 3] = [
    Suite {
        name: "Xen Project, XenServer or XCP-ng",
        drivers: &[
            "xen", "xenbus", "xencons", "xencrsh", "xendisk", "xenfilt", "xenhid", "xeniface", "xennet",
            "xenvif", "xenvkbd", "xenvbd", "xevtchn", "xenutil", "xennet6", "xeninp", "scsifilt",
        ],
        services: &["xenagent", "xenbus_monitor", "xencons_monitor", "xensvc", "xeninstall", "xenlite"],
        buses: &["XENBUS", "XENVIF", "XENCLASS"],
    },
    Suite {
        name: "GPLPV",
        drivers: &["xenpci", "xenhide", "xenscsi", "xenstub", "xenusb"],
        services: &["shutdownmon"],
        buses: &["XEN"],
    },
    Suite {
        name: "SUSE VMDP",
        drivers: &["xenblk", "pvvxblk", "pvvxbn", "pvvxscsi"],
        services: &["pvvxsvc"],
        buses: &[],
    },
];

/// Returns the suite that has a driver of this name.
#[must_use]
pub fn of_driver(name: &str) -> Option<&'static Suite> {
    SUITES.iter().find(|suite| suite.drivers.iter().any(|own| own.eq_ignore_ascii_case(name)))
}

/// Returns the suite that has a service of user mode of this name.
#[must_use]
pub fn of_service(name: &str) -> Option<&'static Suite> {
    SUITES.iter().find(|suite| suite.services.iter().any(|own| own.eq_ignore_ascii_case(name)))
}

/// Returns the suite whose bus enumerates devices under this name.
#[must_use]
pub fn of_bus(name: &str) -> Option<&'static Suite> {
    SUITES.iter().find(|suite| suite.buses.iter().any(|own| own.eq_ignore_ascii_case(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_that_the_guard_refuses_beside_is_known() {
        for service in guard::other_suites::SERVICES {
            assert!(of_driver(service).is_some(), "{service}");
        }
        assert!(of_driver("idefilter").is_none() && of_driver("XENBUS").is_some());
    }
}
