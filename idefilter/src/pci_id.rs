//! PCI ids as Windows builds them: `PCI\VEN_8086&DEV_7010&SUBSYS_11001AF4&REV_00`, `PCI\VEN_8086&DEV_7010&CC_0101`
//! ("Identifiers for PCI devices" of the driver kit's documentation).

use guard::controllers::PciFunction;
use wdm::{unicode::eq_ignore_case, utf16};

/// What the ids of one function say, put together.
#[derive(Default)]
pub struct Parts {
    vendor: Option<u16>,
    device: Option<u16>,
    /// Subsystem id in the upper half, subsystem vendor in the lower. An id without it means 0.
    subsystem: Option<u32>,
    class: Option<u16>,
}

impl Parts {
    /// Takes what one id says; an id of another bus says nothing.
    pub fn read(&mut self, id: &[u16]) {
        let bus = utf16!("PCI\\");
        let Some((start, rest)) = id.split_at_checked(bus.len()) else { return };
        if !eq_ignore_case(start, bus) {
            return;
        }
        for part in rest.split(|&unit| unit == u16::from(b'&')) {
            let number = |name: &[u16], digits| number_after(part, name, digits);
            self.vendor = self.vendor.or_else(|| number(utf16!("VEN_"), 4).map(low));
            self.device = self.device.or_else(|| number(utf16!("DEV_"), 4).map(low));
            self.subsystem = self.subsystem.or_else(|| number(utf16!("SUBSYS_"), 8));
            // CC_0101 or CC_010180: base class and subclass come first.
            self.class = self.class.or_else(|| number(utf16!("CC_"), 4).map(low));
        }
    }

    /// The function, where vendor, device and class are known.
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

const fn low(number: u32) -> u16 {
    (number & 0xFFFF) as u16
}

/// The first `digits` hexadecimal digits after `name`, where `part` begins with it.
fn number_after(part: &[u16], name: &[u16], digits: usize) -> Option<u32> {
    let (start, rest) = part.split_at_checked(name.len())?;
    if !eq_ignore_case(start, name) {
        return None;
    }
    rest.get(..digits)?.iter().try_fold(0, |number: u32, &unit| {
        let digit = char::from_u32(unit.into())?.to_digit(16)?;
        Some(number << 4 | digit)
    })
}
