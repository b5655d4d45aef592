//! UTF-16 text as NT gives it, compared with ASCII names.

/// Returns true if the units are `name`, without regard to ASCII case.
#[must_use]
pub fn is(units: &[u16], name: &str) -> bool {
    units.len() == name.len() && starts_with(units, name)
}

/// Returns true if the units begin with `name`, without regard to ASCII case.
#[must_use]
pub fn starts_with(units: &[u16], name: &str) -> bool {
    units.len() >= name.len() && name.bytes().zip(units).all(|(byte, &unit)| same(unit, byte))
}

/// Returns true if a unit is an ASCII character, without regard to its case.
#[must_use]
pub fn same(unit: u16, byte: u8) -> bool {
    u8::try_from(unit).is_ok_and(|unit| unit.eq_ignore_ascii_case(&byte))
}

/// Returns true if `name` occurs in the units, without regard to ASCII case.
#[must_use]
pub fn contains(units: &[u16], name: &str) -> bool {
    (0..units.len()).any(|at| starts_with(&units[at..], name))
}

/// Returns the number that hexadecimal digits of either case make, 8 of them at most.
#[must_use]
pub fn hexadecimal(digits: &[u16]) -> Option<u32> {
    digits.iter().try_fold(0, |number: u32, &unit| {
        let digit = char::from_u32(unit.into())?.to_digit(16)?;
        Some(number << 4 | digit)
    })
}

#[cfg(test)]
pub(crate) fn of(text: &str) -> std::vec::Vec<u16> {
    text.encode_utf16().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_does_not_matter_and_other_letters_do() {
        assert!(is(&of("GenDisk"), "gendisk") && !is(&of("GenDisks"), "GenDisk"));
        assert!(starts_with(&of("PCI\\VEN_8086"), "pci\\") && !starts_with(&of("PC"), "PCI"));
        assert!(contains(&of("IDE\\DiskQEMU_HARDDISK"), "qemu") && !contains(&of("QEM"), "QEMU"));
        // A unit whose low byte is that of an ASCII letter is not that letter.
        assert!(!is(&[0x0147, u16::from(b'e'), u16::from(b'n')], "Gen"));
    }
}
