//! Reasons why the guard decided, withheld or stopped: one stable code for each reason.
//!
//! The codes are P1 of bugcheck 0x0058454E, the value in the event log and the number that the admin's guide
//! explains. A code is never reused.

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal, $text:literal;)+) => {
        /// The reason why the guard decided, withheld or stopped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Reason {
            $($(#[doc = $doc])+ $name = $code,)+
        }

        impl Reason {
            /// Every reason, in the order of their codes.
            pub const ALL: &'static [Reason] = &[$(Reason::$name),+];

            /// Returns one clause that tells an admin what was found.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Reason::$name => $text,)+ }
            }

            /// Returns the reason with this code, if there is one.
            #[must_use]
            pub const fn from_code(code: u32) -> Option<Reason> {
                match code { $($code => Some(Reason::$name),)+ _ => None }
            }
        }
    };
}

reasons! {
    /// `idefilter` never decided: its `DriverEntry` did not run.
    Unsealed = 0, "the guard was never sealed";
    /// All inputs speak for PV.
    PvSelected = 1, "the boot entry selects PV and everything PV needs is there";

    /// The boot entry has no `GPLPV` token.
    NotSelected = 0x10, "the boot entry does not carry GPLPV";
    /// The boot entry has `NOGPLPV`, which wins over `GPLPV`.
    Vetoed = 0x11, "the boot entry carries NOGPLPV";
    /// Safe mode in any form.
    SafeMode = 0x12, "safe mode boots from emulated disks";
    /// CPUID shows no Xen.
    NotXen = 0x13, "no Xen hypervisor is present";
    /// xenpci's service is absent or not boot-start.
    XenpciDisabled = 0x14, "xenpci is not installed as a boot-start driver";
    /// xenvbd's service is absent or not boot-start.
    XenvbdDisabled = 0x15, "xenvbd is not installed as a boot-start driver";
    /// Xenstore could not be read before interrupts.
    StoreUnreadable = 0x16, "xenstore could not be read";
    /// Xenstore lists no vbd at all.
    NoVbd = 0x17, "the domain has no PV disk";
    /// The boot disk has no vbd.
    BootDiskWithoutVbd = 0x18, "the boot disk has no PV counterpart";
    /// A disk's backend does not exist or is not ready.
    BackendMissing = 0x19, "the backend of a PV disk is not ready";
    /// The boot options could not be read.
    OptionsUnreadable = 0x1A, "the boot options could not be read";
    /// `Parameters\HidePolicy` names a policy that this version does not carry out.
    HidePolicyUnknown = 0x1B, "the hide policy is not one this version carries out";
    /// A driver of another vendor's PV suite is installed and not disabled.
    OtherSuite = 0x1C, "another vendor's PV drivers are installed and enabled";
    /// xenpci or xenvbd is installed for another version of the guard's interface, or says none.
    DriverVersion = 0x1D, "xenpci or xenvbd belongs to another version of the suite";
    /// Fast startup is on: a shutdown hibernates the kernel, and a start resumes it whatever the boot entry says.
    FastStartup = 0x1E, "fast startup is on, which resumes the last kernel instead of booting";
    /// Too many PV boots in a row did not come up.
    FailedBoots = 0x1F, "the last boots in PV mode did not come up";
    /// CPUID shows Xen's signature, and what follows is not Xen's.
    XenUnusable = 0x20, "the hypervisor shows Xen's signature but not Xen's interface";
    /// One of the driver's own parameters could not be read.
    ParametersUnreadable = 0x21, "a parameter of the guard could not be read";
    /// NT 6.2 or later has not installed the PV storage adapter in an earlier boot, and would not in this one.
    AdapterNotInstalled = 0x22, "Windows has not yet installed the PV storage adapter";
    /// There is no Xen platform device, on which xenpci would start.
    NoPlatformDevice = 0x23, "the machine has no Xen platform device";
    /// The machine does not take the unplug protocol from this driver, and hiding alone was not asked for.
    UnplugRefused = 0x24, "the machine refuses to unplug its emulated disks";
    /// Two vbds have one backing.
    BackingShared = 0x25, "two PV disks stand for the same storage";
    /// `vm-data/xenguard/boot` in xenstore, which is the host's to write, asks for an emulated boot.
    HostVetoed = 0x28, "the host asks for an emulated boot by vm-data/xenguard/boot in xenstore";
    /// A PV disk has other logical blocks than the emulated disk that stands for it: partition tables and file
    /// systems would be read in the wrong unit.
    BlockSizeDiffers = 0x29, "a PV disk has other blocks than its emulated disk";
    /// The domain's quota of nodes in xenstore is used up.
    StoreFull = 0x2A, "xenstore has no room for the nodes of a PV disk";
    /// The PV storage adapter is disabled in Device Manager: no driver would start for it.
    AdapterDisabled = 0x2B, "the PV storage adapter is disabled in Windows";
    /// The Xen platform device is disabled in Device Manager: xenpci would not start.
    PlatformDisabled = 0x2C, "the Xen platform device is disabled in Windows";
    /// NT 6.2 or later has not installed xenpci for the Xen platform device in an earlier boot, and would not in this
    /// one.
    PlatformNotInstalled = 0x2D, "Windows has not yet installed the Xen platform device";

    /// The bus filter is on no PCI root bus.
    FilterNotAttached = 0x30, "the filter is not attached to a PCI root bus";
    /// The filter is on a bus whose children it has not yet filtered.
    RelationsNotFiltered = 0x31, "a PCI root bus has not been enumerated through the filter";
    /// The emulated controllers were not counted independently of the filter.
    ControllersNotCounted = 0x32, "the emulated controllers were not counted";
    /// No emulated controller was there to hide, so nothing proves that hiding works.
    NothingToHide = 0x33, "no emulated controller was found to hide";
    /// The number hidden differs from the number counted in configuration space.
    HiddenMismatch = 0x34, "the number of hidden controllers differs from the number present";
    /// A bus reported an emulated controller that was not taken out.
    AliasSlipped = 0x35, "an emulated controller was reported and not hidden";
    /// More root buses than the guard can tell apart.
    TooManyBuses = 0x36, "there are more PCI root buses than the guard can follow";
    /// The first census found an emulated disk.
    AliasBeforeExposure = 0x37, "an emulated disk is present before any PV disk was exposed";
    /// The decision was for an emulated boot.
    EmulatedBoot = 0x38, "this is an emulated boot";
    /// The unplug protocol did not end as it must.
    UnplugUnknown = 0x39, "the unplug protocol was not brought to an end";
    /// Hide policy `none`: an emulated controller was not refused its start.
    StartNotRefused = 0x3A, "an emulated controller has not been refused its start";
    /// Hide policy `disks`: a controller or a channel is without the filter, or has not said what its children are.
    StorageNotFiltered = 0x3B, "the disks of an emulated controller do not all pass the filter";
    /// More emulated storage devices than the guard can tell apart.
    TooManyDevices = 0x3C, "there are more emulated storage devices than the guard can follow";
    /// An emulated device that should have been hidden was started: the boot goes on with it.
    AliasStarted = 0x3D, "an emulated disk or controller that should be hidden was started";
    /// The first census found two disks of xenvbd's with one backing.
    SharedBeforeExposure = 0x3E, "two PV disks that stand for the same storage were about to be exposed";

    /// A disk that stands for a PV disk's backing arrived after PV disks were exposed.
    AliasExposed = 0x50, "an emulated disk and its PV counterpart are both present";
    /// More PV disks are enumerated than the driver holds.
    UnknownOwnDisk = 0x51, "more PV disks are enumerated than the driver holds";
    /// PV disks were exposed although the guard had not agreed.
    ExposedWithoutProof = 0x52, "a PV disk was exposed without the guard's agreement";
    /// Fewer PV disks are enumerated than the driver holds (fatal where `Strict` is 1).
    OwnDiskMissing = 0x53, "a PV disk is missing from the system";
    /// After exposure a bus reported an emulated controller that was not taken out.
    ControllerReturned = 0x54, "an emulated controller came back after PV disks were exposed";
    /// A census could not be taken: the disks could not be listed, or one of them not be told.
    CensusFailed = 0x55, "the disks of the system could not be counted";
    /// After exposure an emulated controller reported a disk that was not taken out.
    DiskReturned = 0x56, "an emulated disk came back after PV disks were exposed";
    /// An emulated device asked to start in a PV boot and was refused.
    StartRefused = 0x57, "an emulated disk or controller was refused its start";
    /// A disk on another bus, a passed-through one, or another PV disk carries the identity of a PV disk.
    CloneSeen = 0x58, "another disk carries the signature of a PV disk";
    /// Two disks of xenvbd's with one backing are exposed.
    SharedExposed = 0x59, "two PV disks that stand for the same storage are exposed";
    /// The filter could not be put on an emulated storage device, which NT then starts without it.
    UnfilteredStart = 0x5A, "an emulated disk or controller starts without the filter";

    /// A vbd's backend has owed an answer for long.
    BackendStuck = 0x60, "a disk's backend does not answer";
    /// A vbd's backend broke the protocol; the disk takes no more requests.
    BackendBroken = 0x61, "a disk's backend broke the protocol";
    /// A vbd was not connected, since another disk already has its backing.
    BackingRefused = 0x62, "a PV disk was refused: another one stands for the same storage";

    /// A caller's ABI version differs from the guard's.
    InterfaceVersion = 0x70, "the drivers are of different versions";
    /// An event came that its sender may not send, or that makes no sense.
    EventRefused = 0x71, "an event was refused";
    /// idefilter could not be had, and idefallback took it out of the class filters.
    FilterTakenOut = 0x72, "idefilter could not be had and was taken out of the class filters: install the suite again";
    /// idefilter could not be had, and a class filter still names it: devices of that class will not start.
    FilterStays = 0x73, "idefilter could not be had and could not be taken out of a class filter";
    /// The crash dump of the last boot has the guard's bugcheck.
    LastBootStopped = 0x74, "the guard stopped the last boot";
}

impl Reason {
    /// Returns the stable code of the reason.
    #[must_use]
    pub const fn code(self) -> u32 {
        self as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{format, vec::Vec};

    #[test]
    fn codes_are_unique_and_lead_back() {
        for (i, r) in Reason::ALL.iter().enumerate() {
            assert_eq!(Reason::from_code(r.code()), Some(*r));
            assert!(Reason::ALL[..i].iter().all(|s| s.code() < r.code()), "{r:?} out of order");
        }
        assert_eq!(Reason::from_code(0xFFFF), None);
    }

    /// docs/bugcheck.md explains every reason, once, and none that does not exist.
    #[test]
    fn every_reason_is_explained() {
        let text = include_str!("../../docs/bugcheck.md");
        let mut explained = Vec::new();
        for row in text.lines().filter(|line| line.starts_with("| 0x")) {
            let [code, name, happened, action] = row.trim_matches('|').split(" | ").collect::<Vec<_>>()[..]
            else {
                panic!("not four columns: {row}");
            };
            let code = u32::from_str_radix(code.trim().trim_start_matches("0x"), 16).expect("a code");
            let reason =
                Reason::from_code(code).unwrap_or_else(|| panic!("no reason has the code of: {row}"));
            assert_eq!(format!("{reason:?}"), name, "{row}");
            assert!(happened.len() > 20 && action.trim().len() > 6, "says too little: {row}");
            explained.push(reason);
        }
        for reason in Reason::ALL {
            assert_eq!(explained.iter().filter(|other| *other == reason).count(), 1, "{reason:?}");
        }
    }
}
