//! Devices that drivers of the suite start on, by what PnP has kept of them in the registry: an early answer to
//! whether they will start in this boot.
//!
//! PnP keeps a key for each instance of a device that it has ever seen, below `Enum` and the device's id. An
//! instance in a slot that the device has left stays there, and tells nothing about the device.

use crate::pci_id;
use crate::units;

/// State of a device before PnP has started it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Device {
    /// Its driver starts in this boot.
    Ready,
    /// It is disabled in Device Manager.
    Disabled,
    /// This Windows would not find its driver in boot.
    NotInstalled,
    /// The machine has none.
    Absent,
}

/// The instances of a device that may be there, summed up.
#[derive(Clone, Copy, Debug)]
pub struct Instances {
    must_be_installed: bool,
    any_ready: bool,
    any_disabled: bool,
}

impl Instances {
    /// Makes a sum of no instance. `must_be_installed`: NT 6.2 or later, which finds a driver in boot only for an instance
    /// that an earlier boot has installed; one before has the critical-device database.
    #[must_use]
    pub const fn new(must_be_installed: bool) -> Instances {
        Instances { must_be_installed, any_ready: false, any_disabled: false }
    }

    /// Adds an instance. `disabled`: by [`is_disabled`]; `installed`: its `Service` is the suite's.
    pub const fn add(&mut self, disabled: bool, installed: bool) {
        if disabled {
            self.any_disabled = true;
        } else if installed || !self.must_be_installed {
            self.any_ready = true;
        }
    }

    /// Returns the state of the device, which is there.
    #[must_use]
    pub const fn device(self) -> Device {
        if self.any_ready {
            Device::Ready
        } else if self.any_disabled {
            Device::Disabled
        } else if self.must_be_installed {
            Device::NotInstalled
        } else {
            Device::Ready
        }
    }
}

/// Returns true if an admin has disabled an instance, by the flags of regstr.h. In every hardware profile:
/// CONFIGFLAG_DISABLED in `ConfigFlags`. In the current one, as devcon does: CSCONFIGFLAG_DISABLED,
/// CSCONFIGFLAG_DO_NOT_CREATE or CSCONFIGFLAG_DO_NOT_START in `CSConfigFlags`.
#[must_use]
pub const fn is_disabled(config_flags: u32, profile_flags: u32) -> bool {
    config_flags & 1 != 0 || profile_flags & (1 | 2 | 4) != 0
}

/// Xen's platform device, as configuration space shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlatformDevice {
    /// Number of the device on its bus.
    pub device: u8,
    /// Number of the function.
    pub function: u8,
    /// Vendor in the lower half, device id in the upper.
    pub ids: u32,
    /// Subsystem vendor in the lower half, subsystem in the upper.
    pub subsystem: u32,
    /// Revision.
    pub revision: u8,
}

impl PlatformDevice {
    /// Length of a device id.
    pub const ID: usize = pci_id::DEVICE_ID;

    /// Returns its device id, which is the path of the key of its instances below `Enum`.
    #[must_use]
    pub const fn id(&self) -> [u16; Self::ID] {
        pci_id::device_id(self.ids, self.subsystem, self.revision)
    }

    /// Returns false if the instance of this name is one of another slot. PCI's instances are unique under their
    /// bus only: NT puts something of the bus before the last `&`, and the slot in two hexadecimal digits, device
    /// and function, after it. Digits of the bridges may follow. A name of another form tells nothing.
    #[must_use]
    pub fn may_be(&self, instance: &[u16]) -> bool {
        let slot = instance.rsplit(|&unit| unit == u16::from(b'&')).next().unwrap_or_default();
        let number = slot.first_chunk::<2>().and_then(|digits| units::hexadecimal(digits));
        slot.len() == instance.len()
            || number.is_none_or(|n| n == u32::from(self.device << 3 | self.function))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::of;
    use std::string::String;

    fn state(must_be_installed: bool, all: &[(bool, bool)]) -> Device {
        let mut instances = Instances::new(must_be_installed);
        all.iter().for_each(|&(disabled, installed)| instances.add(disabled, installed));
        instances.device()
    }

    /// One instance that starts is enough; one that is disabled says why there is none.
    #[test]
    fn the_sum_of_instances() {
        for installed in [false, true] {
            assert_eq!(state(installed, &[(false, true)]), Device::Ready);
            assert_eq!(state(installed, &[(true, true)]), Device::Disabled);
            assert_eq!(state(installed, &[(true, true), (false, true)]), Device::Ready);
            assert_eq!(state(installed, &[(false, true), (true, true)]), Device::Ready);
        }
        assert_eq!(state(true, &[]), Device::NotInstalled);
        assert_eq!(state(false, &[]), Device::Ready, "the critical-device database");
        assert_eq!(state(true, &[(false, false)]), Device::NotInstalled);
        assert_eq!(state(false, &[(false, false)]), Device::Ready);
        assert_eq!(state(true, &[(true, false)]), Device::Disabled);
        assert_eq!(state(true, &[(true, true), (false, false)]), Device::Disabled);
    }

    #[test]
    fn the_flag_of_a_disabled_device() {
        assert!(is_disabled(1, 0) && is_disabled(0x401, 0));
        assert!(is_disabled(0, 1) && is_disabled(0, 2) && is_disabled(0, 4));
        // Other flags: its installation failed, or is to be finished.
        assert!(!is_disabled(0, 0) && !is_disabled(0x40, 0) && !is_disabled(0x400, 8));
    }

    const PLATFORM: PlatformDevice =
        PlatformDevice { device: 2, function: 0, ids: 0x0001_5853, subsystem: 0x0001_5853, revision: 1 };

    #[test]
    fn the_key_of_the_instances() {
        let id = |device: PlatformDevice| String::from_utf16(&device.id()).expect("text");
        assert_eq!(id(PLATFORM), r"PCI\VEN_5853&DEV_0001&SUBSYS_00015853&REV_01");
        let other = PlatformDevice { ids: 0x0002_5853, subsystem: 0xC0DE_FABC, revision: 0xEF, ..PLATFORM };
        assert_eq!(id(other), r"PCI\VEN_5853&DEV_0002&SUBSYS_C0DEFABC&REV_EF");
    }

    #[test]
    fn instances_of_another_slot() {
        for here in ["3&267a616a&0&10", "3&13c0b0c5&1&1000E4", "4&45d1129a&0&10"] {
            assert!(PLATFORM.may_be(&of(here)), "{here}");
        }
        for elsewhere in ["3&267a616a&0&28", "4&45d1129a&0&11", "3&267a616a&0&00E4"] {
            assert!(!PLATFORM.may_be(&of(elsewhere)), "{elsewhere}");
        }
        for unknown in ["28", "3&267a616a&0&", "3&267a616a&0&x8", "3&267a616a&0&2", ""] {
            assert!(PLATFORM.may_be(&of(unknown)), "{unknown}");
        }
        let fourth = PlatformDevice { device: 0x1F, function: 3, ..PLATFORM };
        assert!(fourth.may_be(&of("3&267a616a&0&fb")) && !fourth.may_be(&of("3&267a616a&0&F8")));
    }
}
