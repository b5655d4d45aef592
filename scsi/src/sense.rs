//! Sense data: why a command was refused or failed (SPC-3 4.5).

use zerocopy::byteorder::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Sense keys used here (SPC-3 4.5.6, table 27).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SenseKey {
    /// Nothing to report.
    NoSense = 0x0,
    /// The logical unit cannot be accessed.
    NotReady = 0x2,
    /// The medium or the path to it failed.
    MediumError = 0x3,
    /// The target itself failed.
    HardwareError = 0x4,
    /// The CDB asks for what the target does not do.
    IllegalRequest = 0x5,
    /// Something changed since the last command.
    UnitAttention = 0x6,
    /// The medium may not be written.
    DataProtect = 0x7,
    /// The target gave the command up.
    AbortedCommand = 0xB,
}

/// One condition: sense key, additional sense code and qualifier, and where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sense {
    /// Sense key.
    pub key: SenseKey,
    /// Additional sense code.
    pub code: u8,
    /// Additional sense code qualifier.
    pub qualifier: u8,
    /// Index of the CDB's byte in error, for ILLEGAL REQUEST.
    pub field: Option<u16>,
    /// The INFORMATION field: for a medium error, the block address, if it fits 32 bits.
    pub information: Option<u32>,
}

impl Sense {
    /// 00/00, the answer to REQUEST SENSE: with auto-sense nothing is ever left pending.
    pub const NONE: Self = Self::new(SenseKey::NoSense, 0x00, 0x00);
    /// 1A/00, parameter list length error.
    pub const PARAMETER_LENGTH: Self = Self::new(SenseKey::IllegalRequest, 0x1A, 0x00);
    /// 26/00, invalid field in parameter list.
    pub const INVALID_PARAMETER: Self = Self::new(SenseKey::IllegalRequest, 0x26, 0x00);
    /// 2A/09, capacity data has changed.
    pub const CAPACITY_CHANGED: Self = Self::new(SenseKey::UnitAttention, 0x2A, 0x09);
    /// 2A/01, mode parameters changed.
    pub const PARAMETERS_CHANGED: Self = Self::new(SenseKey::UnitAttention, 0x2A, 0x01);
    /// 20/00, invalid command operation code.
    pub const INVALID_OPCODE: Self = Self::new(SenseKey::IllegalRequest, 0x20, 0x00).at(0);
    /// 21/00, logical block address out of range.
    pub const OUT_OF_RANGE: Self = Self::new(SenseKey::IllegalRequest, 0x21, 0x00);
    /// 25/00, logical unit not supported.
    pub const NO_SUCH_UNIT: Self = Self::new(SenseKey::IllegalRequest, 0x25, 0x00);
    /// 27/00, write protected.
    pub const WRITE_PROTECTED: Self = Self::new(SenseKey::DataProtect, 0x27, 0x00);
    /// 39/00, saving parameters not supported.
    pub const SAVING_NOT_SUPPORTED: Self = Self::new(SenseKey::IllegalRequest, 0x39, 0x00);
    /// 44/00, internal target failure.
    pub const TARGET_FAILURE: Self = Self::new(SenseKey::HardwareError, 0x44, 0x00);
    /// 0C/00, write error.
    pub const WRITE_ERROR: Self = Self::new(SenseKey::MediumError, 0x0C, 0x00);
    /// 11/00, unrecovered read error.
    pub const READ_ERROR: Self = Self::new(SenseKey::MediumError, 0x11, 0x00);

    /// 47/00, aborted by a fault on the way to the device (SCSI parity error, the general transport fault).
    pub const TRANSPORT_FAULT: Self = Self::new(SenseKey::AbortedCommand, 0x47, 0x00);
    /// 3A/01, medium not present, tray closed.
    pub const NO_MEDIUM: Self = Self::new(SenseKey::NotReady, 0x3A, 0x01);
    /// 3A/02, medium not present, tray open.
    pub const NO_MEDIUM_TRAY_OPEN: Self = Self::new(SenseKey::NotReady, 0x3A, 0x02);
    /// 28/00, not ready to ready change, medium may have changed.
    pub const MEDIUM_CHANGED: Self = Self::new(SenseKey::UnitAttention, 0x28, 0x00);
    /// 53/02, medium removal prevented.
    pub const REMOVAL_PREVENTED: Self = Self::new(SenseKey::IllegalRequest, 0x53, 0x02);

    const fn new(key: SenseKey, code: u8, qualifier: u8) -> Self {
        Self { key, code, qualifier, field: None, information: None }
    }

    /// Returns 24/00, invalid field in CDB, at byte `field` of it.
    pub const fn invalid_field(field: u16) -> Self {
        Self::new(SenseKey::IllegalRequest, 0x24, 0x00).at(field)
    }

    /// Returns the same condition at block `lba`, if that fits the INFORMATION field of fixed-format sense
    /// data.
    #[must_use]
    pub fn at_block(mut self, lba: u64) -> Self {
        self.information = u32::try_from(lba).ok();
        self
    }

    const fn at(mut self, field: u16) -> Self {
        self.field = Some(field);
        self
    }

    /// Returns the sense data in fixed format, current error (SPC-3 4.5.3).
    pub fn fixed(&self) -> FixedSense {
        // SKSV and C/D (the error is in the CDB) in byte 15 (SPC-3 4.5.2.4.2).
        let (specific, field) = self.field.map_or((0, 0), |field| (0xC0, field));
        FixedSense {
            response_code: 0x70 | if self.information.is_some() { 0x80 } else { 0 },
            obsolete: 0,
            key: self.key as u8,
            information: U32::new(self.information.unwrap_or(0)),
            additional_length: (size_of::<FixedSense>() - 8) as u8,
            command_specific: U32::ZERO,
            code: self.code,
            qualifier: self.qualifier,
            replaceable_unit: 0,
            specific,
            field_pointer: U16::new(field),
        }
    }
}

/// Fixed-format sense data (SPC-3 4.5.3, table 26).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct FixedSense {
    /// 0x70, and 0x80 where `information` is valid.
    pub response_code: u8,
    obsolete: u8,
    /// Sense key in the low four bits.
    pub key: u8,
    /// INFORMATION.
    pub information: U32,
    /// Bytes after this one.
    pub additional_length: u8,
    command_specific: U32,
    /// Additional sense code.
    pub code: u8,
    /// Additional sense code qualifier.
    pub qualifier: u8,
    replaceable_unit: u8,
    specific: u8,
    field_pointer: U16,
}
const _: () = assert!(size_of::<FixedSense>() == 18);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_field_points_at_the_byte() {
        let sense = Sense::invalid_field(2).fixed();
        let bytes = sense.as_bytes();
        assert_eq!(bytes[0], 0x70);
        assert_eq!(bytes[2], 0x05);
        assert_eq!(bytes[7], 10);
        assert_eq!(&bytes[12..14], &[0x24, 0x00]);
        assert_eq!(&bytes[15..18], &[0xC0, 0, 2]);
    }

    #[test]
    fn a_medium_error_names_its_block_where_it_fits() {
        let near = Sense::READ_ERROR.at_block(0x0102_0304).fixed();
        assert_eq!(near.response_code, 0xF0);
        assert_eq!(&near.as_bytes()[3..7], &[1, 2, 3, 4]);
        let far = Sense::READ_ERROR.at_block(1 << 32).fixed();
        assert_eq!(far.response_code, 0x70);
    }
}
