//! PCI ids as Windows builds them: `PCI\VEN_8086&DEV_7010&SUBSYS_11001AF4&REV_00`,
//! `PCI\VEN_8086&DEV_7010&CC_0101` ("Identifiers for PCI devices" of the driver kit's documentation).

use crate::controllers::PciFunction;
use crate::units;

/// The parts of one function's ids, put together.
///
/// ```
/// use guard::{controllers::{Controller, classify}, pci_id::Parts};
/// let mut parts = Parts::default();
/// for id in [r"PCI\VEN_8086&DEV_7010&SUBSYS_11001AF4&REV_00", r"PCI\VEN_8086&DEV_7010&CC_010180"] {
///     parts.read(&id.encode_utf16().collect::<Vec<_>>());
/// }
/// assert_eq!(parts.function().and_then(|f| classify(&f)), Some(Controller::Ide));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    vendor: Option<u16>,
    device: Option<u16>,
    /// Subsystem id in the upper half, subsystem vendor in the lower. No id with it means 0.
    subsystem: Option<u32>,
    class: Option<u16>,
}

impl Parts {
    /// Takes what one id says; an id of another bus says nothing. The first word on each part counts.
    pub fn read(&mut self, id: &[u16]) {
        const BUS: &str = "PCI\\";
        if !units::starts_with(id, BUS) {
            return;
        }
        for part in id[BUS.len()..].split(|&unit| unit == u16::from(b'&')) {
            let number = |name: &str, digits| number_after(part, name, digits);
            self.vendor = self.vendor.or_else(|| number("VEN_", 4).map(low));
            self.device = self.device.or_else(|| number("DEV_", 4).map(low));
            self.subsystem = self.subsystem.or_else(|| number("SUBSYS_", 8));
            // CC_0101 or CC_010180: base class and subclass come first.
            self.class = self.class.or_else(|| number("CC_", 4).map(low));
        }
    }

    /// Returns true if they are of Xen's platform device (xen-pci-device-reservations(7): 5853:0001 or
    /// 5853:0002).
    #[must_use]
    pub const fn is_platform_device(&self) -> bool {
        matches!((self.vendor, self.device), (Some(vendor), Some(device)) if is_platform_device(vendor, device))
    }

    /// Returns the vendor, the device, and the subsystem vendor with the subsystem, where the ids name the
    /// first two: a device id has them and no class.
    #[must_use]
    pub fn ids(&self) -> Option<(u16, u16, (u16, u16))> {
        let subsystem = self.subsystem.unwrap_or(0);
        Some((self.vendor?, self.device?, (low(subsystem), low(subsystem >> 16))))
    }

    /// Returns the function, where vendor, device and class are known.
    #[must_use]
    pub fn function(&self) -> Option<PciFunction> {
        let subsystem = self.subsystem.unwrap_or(0);
        Some(PciFunction {
            vendor: self.vendor?,
            device: self.device?,
            subsystem_vendor: low(subsystem),
            subsystem: low(subsystem >> 16),
            class: self.class?,
        })
    }
}

/// Returns true if vendor and device are those of Xen's platform device (xen-pci-device-reservations(7)).
#[must_use]
pub const fn is_platform_device(vendor: u16, device: u16) -> bool {
    vendor == 0x5853 && matches!(device, 1 | 2)
}

/// UTF-16 units of a device id.
pub const DEVICE_ID: usize = 44;

/// Returns the device id of a function, `PCI\VEN_5853&DEV_0001&SUBSYS_00015853&REV_01`. In `ids` and `subsystem` the
/// vendor is in the lower half.
#[must_use]
pub const fn device_id(ids: u32, subsystem: u32, revision: u8) -> [u16; DEVICE_ID] {
    let mut id = [0; DEVICE_ID];
    let form = *b"PCI\\VEN_vvvv&DEV_dddd&SUBSYS_ssssssss&REV_rr";
    let mut at = 0;
    // Digits that are still to come of each number, which stand where the form has its letter.
    let (mut vendor, mut device, mut system, mut rev) = (4, 4, 8, 2);
    while at < DEVICE_ID {
        id[at] = match form[at] {
            b'v' => digit(ids & 0xFFFF, &mut vendor),
            b'd' => digit(ids >> 16, &mut device),
            b's' => digit(subsystem, &mut system),
            b'r' => digit(revision as u32, &mut rev),
            letter => letter as u16,
        };
        at += 1;
    }
    id
}

/// Returns the next of a number's hexadecimal digits, of which so many are still to come.
const fn digit(number: u32, to_come: &mut u32) -> u16 {
    *to_come -= 1;
    b"0123456789ABCDEF"[(number >> (4 * *to_come) & 0xF) as usize] as u16
}

const fn low(number: u32) -> u16 {
    (number & 0xFFFF) as u16
}

/// Returns the first `digits` hexadecimal digits after `name`, where `part` begins with it.
fn number_after(part: &[u16], name: &str, digits: usize) -> Option<u32> {
    if !units::starts_with(part, name) {
        return None;
    }
    units::hexadecimal(part.get(name.len()..name.len() + digits)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::of;
    use proptest::prelude::*;

    #[test]
    fn the_platform_device() {
        let is = |id: &str| {
            let mut parts = Parts::default();
            parts.read(&of(id));
            parts.is_platform_device()
        };
        for id in [
            r"PCI\VEN_5853&DEV_0001&SUBSYS_00015853&REV_01",
            r"pci\ven_5853&dev_0001",
            r"PCI\VEN_5853&DEV_0002&CC_FF8000",
        ] {
            assert!(is(id), "{id}");
        }
        for id in [
            r"PCI\VEN_5853&DEV_0003",
            r"PCI\VEN_5853&DEV_C000&SUBSYS_00015853",
            r"PCI\VEN_8086&DEV_0001",
            r"PCI\VEN_5853&CC_FF8000",
            r"SCSI\DiskXENGUARD",
            "XEN",
            "",
        ] {
            assert!(!is(id), "{id}");
        }
    }

    fn read(ids: &[&str]) -> Option<PciFunction> {
        let mut parts = Parts::default();
        ids.iter().for_each(|id| parts.read(&of(id)));
        parts.function()
    }

    #[test]
    fn parts_come_from_several_ids() {
        let function =
            read(&["PCI\\VEN_8086&DEV_7010&SUBSYS_11001AF4&REV_00", "PCI\\VEN_8086&DEV_7010&CC_0101"]);
        let expected = PciFunction {
            vendor: 0x8086,
            device: 0x7010,
            subsystem_vendor: 0x1AF4,
            subsystem: 0x1100,
            class: 0x0101,
        };
        assert_eq!(function, Some(expected));
        assert_eq!(read(&["pci\\ven_8086&dev_7010&subsys_11001af4", "pci\\cc_010180"]), Some(expected));
    }

    /// A compatible id that says less, or something else, takes nothing back.
    #[test]
    fn the_first_word_counts() {
        let all = [
            "PCI\\VEN_8086&DEV_7010&SUBSYS_11001AF4&CC_0101",
            "PCI\\VEN_8087&DEV_7011&SUBSYS_0&CC_0106",
            "PCI\\VEN_8086",
        ];
        assert_eq!(read(&all), read(&all[..1]));
    }

    #[test]
    fn what_is_missing_or_of_another_bus_is_no_function() {
        assert_eq!(read(&["PCI\\VEN_8086&DEV_7010"]), None, "no class");
        let mut device = Parts::default();
        device.read(&of("PCI\\VEN_8086&DEV_7010&SUBSYS_11001AF4&REV_00"));
        assert_eq!(device.ids(), Some((0x8086, 0x7010, (0x1AF4, 0x1100))));
        assert_eq!(Parts::default().ids(), None);
        assert_eq!(read(&["PCI\\CC_0101"]), None, "no ids");
        assert_eq!(read(&["USB\\VEN_8086&DEV_7010&CC_0101"]), None, "not PCI");
        assert_eq!(read(&["PCI\\VEN_80&DEV_7010&CC_0101"]), None, "too few digits");
        assert_eq!(read(&["PCI\\VEN_8O86&DEV_7010&CC_0101"]), None, "no number");
        assert_eq!(read(&[]), None);
    }

    proptest! {
        /// Written ids are read back, whatever the numbers; garbage does not panic.
        #[test]
        fn round_trip(n in any::<[u16; 5]>(), garbage in proptest::collection::vec(any::<u16>(), 0..40)) {
            let [vendor, device, subsystem_vendor, subsystem, class] = n;
            let id = std::format!("PCI\\VEN_{vendor:04X}&DEV_{device:04X}&SUBSYS_{subsystem:04X}{subsystem_vendor:04X}&CC_{class:04X}");
            let function = PciFunction { vendor, device, subsystem_vendor, subsystem, class };
            prop_assert_eq!(read(&[&id]), Some(function));
            Parts::default().read(&garbage);
        }
    }
}
