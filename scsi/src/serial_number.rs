//! The unit serial number of a disk, which its designator has too.

use core::fmt::Write;

/// Longest serial number: 36 characters of a UUID, a dash, eight hexadecimal digits.
const CAPACITY: usize = 45;

/// Serial number of a disk, printable ASCII, and whether it is unique in the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SerialNumber {
    text: [u8; CAPACITY],
    len: usize,
    /// Set where the serial number contains the machine's UUID. Only then may it stand in a designator that
    /// promises uniqueness.
    pub(crate) unique: bool,
}

impl SerialNumber {
    /// Returns the serial number of vbd number `device` of a machine whose UUID is unknown: unique in the machine
    /// only.
    pub fn local(device: u32) -> Self {
        let mut serial = Self { text: [0; CAPACITY], len: 0, unique: false };
        serial.append(format_args!("vbd-{device:x}"));
        serial
    }

    /// Returns the serial number of vbd number `device` of the machine with this UUID, as text of hexadecimal
    /// digits and dashes. Anything else there, or more than 36 characters, gives [`SerialNumber::local`].
    pub fn of_machine(uuid: &str, device: u32) -> Self {
        let plausible = (32..=36).contains(&uuid.len())
            && uuid.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
        if !plausible {
            return Self::local(device);
        }
        let mut serial = Self { text: [0; CAPACITY], len: 0, unique: true };
        serial.append(format_args!("{uuid}-{device:x}"));
        serial
    }

    /// Returns the characters.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text[..self.len]
    }

    fn append(&mut self, text: core::fmt::Arguments<'_>) {
        // Both callers' texts are bounded by CAPACITY, so the writer never runs out.
        let _ = self.write_fmt(text);
    }
}

impl Write for SerialNumber {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let room = self.text.get_mut(self.len..self.len + text.len()).ok_or(core::fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_uuid_promises_nothing() {
        let local = SerialNumber::local(768);
        assert_eq!(local.as_bytes(), b"vbd-300");
        assert!(!local.unique);
        assert_eq!(SerialNumber::of_machine("not a uuid", 768), local);
        assert_eq!(SerialNumber::of_machine(&"a".repeat(37), 768), local);
    }

    #[test]
    fn the_longest_serial_number_fits() {
        let uuid = "01234567-89ab-cdef-0123-456789abcdef";
        let serial = SerialNumber::of_machine(uuid, u32::MAX);
        assert_eq!(serial.as_bytes(), b"01234567-89ab-cdef-0123-456789abcdef-ffffffff");
        assert!(serial.unique);
    }
}
