//! The releases of Debian whose kernel, Xen, toolstack and device model make dom0.

use std::fmt;
use std::str::FromStr;

/// A release of Debian, named by the version of its Xen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Release {
    /// Debian 11: Linux 5.10, Xen 4.14, qemu 5.2.
    Xen414,
    /// Debian 12: Linux 6.1, Xen 4.17, qemu 7.2.
    #[default]
    Xen417,
    /// Debian 13: Linux 6.12, Xen 4.20, qemu 10.0.
    Xen420,
}

/// Packages that every release has by the same name.
const COMMON: [&str; 19] = [
    "linux-image-amd64",
    "xenstore-utils",
    "xen-utils-common",
    "seabios",
    "busybox-static",
    "kmod",
    "iproute2",
    "mount",
    "bash",
    "dash",
    "util-linux",
    "tar",
    "mawk",
    "findutils",
    "coreutils",
    "grep",
    "sed",
    "gzip",
    "libc-bin",
];

impl Release {
    /// All of them, oldest first.
    pub const ALL: [Self; 3] = [Self::Xen414, Self::Xen417, Self::Xen420];

    /// Returns the version of Xen, as Debian's packages spell it.
    #[must_use]
    pub const fn xen(self) -> &'static str {
        match self {
            Self::Xen414 => "4.14",
            Self::Xen417 => "4.17",
            Self::Xen420 => "4.20",
        }
    }

    /// Returns the code name of the release.
    pub(crate) const fn suite(self) -> &'static str {
        match self {
            Self::Xen414 => "bullseye",
            Self::Xen417 => "bookworm",
            Self::Xen420 => "trixie",
        }
    }

    /// Returns the packages that dom0 is made of.
    pub(crate) fn packages(self) -> Vec<String> {
        let xen = self.xen();
        // Xen's own device model became a package with Debian 12.
        let device_model = if self == Self::Xen414 { "qemu-system-x86" } else { "qemu-system-xen" };
        let versioned = [format!("xen-hypervisor-{xen}-amd64"), format!("xen-utils-{xen}")];
        let named = COMMON.into_iter().chain([device_model, "base-files"]).map(str::to_owned);
        named.chain(versioned).collect()
    }

    /// Returns the size of the root disk, in the form that mke2fs takes. The file is sparse.
    pub(crate) const fn root_size(self) -> &'static str {
        match self {
            Self::Xen417 => "600M",
            Self::Xen414 | Self::Xen420 => "1000M",
        }
    }

    /// Returns the folder of this release's `what` below the rig's.
    pub(crate) fn folder(self, what: &str) -> String {
        match self {
            Self::Xen417 => what.to_owned(),
            Self::Xen414 | Self::Xen420 => format!("{what}-{}", self.xen()),
        }
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.xen())
    }
}

impl FromStr for Release {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|release| release.xen() == text).ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(|release| release.xen()).collect();
            format!("there is no rig with Xen {text}; choose one of {}", known.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_named_by_their_xen() {
        for release in Release::ALL {
            assert_eq!(release.to_string().parse(), Ok(release));
        }
        assert!("4.16".parse::<Release>().unwrap_err().contains("4.14, 4.17, 4.20"));
    }

    #[test]
    fn folders_are_apart() {
        let folders = Release::ALL.map(|release| release.folder("dom0"));
        assert_eq!(folders, ["dom0-4.14", "dom0", "dom0-4.20"]);
    }
}
