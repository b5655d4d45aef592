//! Other vendors' PV drivers, by their services. Two suites on one machine would both take hold of the
//! platform device and of the vbds, and the other one unplugs and hides on its own: a PV boot is refused
//! while one is enabled, and bootcfg warns of them when it installs.
//!
//! Some of them use the names `xenpci` and `xenvbd`, as this suite does. Those are told apart by the value
//! `Parameters\XenguardInterface`, which only this suite's INF files write ([`crate::decision::Service`]).

/// Services that take part in another suite's way to the disks, without the names that this suite uses.
pub const SERVICES: &[&str] = &[
    // Xen Project, XenServer, XCP-ng and their kin (win-xenbus, src/xenbus.inf; win-xenvbd, src/xenvbd.inf).
    // SUSE's driver before 2013 is a xenbus, too (vmdp, xen/inf/xenbus.inf).
    "xenbus", "xenfilt", "xencrsh", "xendisk", "xenstub",
    // GPLPV (win-pvdrivers: xenpci, xenvbd; xenhide in older releases; xenscsi for vscsi; xenstub).
    "xenhide", "xenscsi", "xevtchn",
    // SUSE VMDP (vmdp, xen/inf/xenblk.inf; pvvx/inf/pvvxblk.inf, pvvxbn.inf, pvvxscsi.inf).
    "xenblk", "pvvxblk", "pvvxbn", "pvvxscsi",
];

/// Returns true if a service with this `Start` may run: anything but SERVICE_DISABLED.
#[must_use]
pub const fn is_enabled(start: u32) -> bool {
    const DISABLED: u32 = 4;
    start != DISABLED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_of_ours() {
        for ours in ["idefilter", "xenpci", "xenvbd"] {
            assert!(!SERVICES.contains(&ours));
        }
    }

    /// At least the service that every release of a suite has.
    #[test]
    fn each_suite_is_known() {
        for (suite, services) in [
            ("Xen Project", &["xenbus", "xenfilt"][..]),
            ("GPLPV before it hid the controller from xenpci", &["xenhide"]),
            ("GPLPV with vscsi", &["xenscsi"]),
            ("VMDP", &["xenblk"]),
            ("VMDP 2", &["pvvxblk", "pvvxbn", "pvvxscsi"]),
        ] {
            assert!(services.iter().all(|service| SERVICES.contains(service)), "{suite}");
        }
        // The registry compares names without regard to case; here they are in lower case.
        assert!(SERVICES.iter().all(|service| *service == service.to_ascii_lowercase()));
    }

    #[test]
    fn only_disabled_is_disabled() {
        assert!((0..4).all(is_enabled) && !is_enabled(4));
    }
}
