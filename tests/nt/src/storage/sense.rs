//! Sense data: why a device refused a command (SPC-4, 4.5).

/// Bytes of fixed-format sense data as used here.
pub(crate) const LENGTH: usize = 18;

/// Sense key, additional sense code and qualifier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sense {
    pub key: u8,
    pub code: u8,
    pub qualifier: u8,
}

impl Sense {
    /// ILLEGAL REQUEST, INVALID COMMAND OPERATION CODE.
    pub(crate) const INVALID_COMMAND: Self = Self { key: 5, code: 0x20, qualifier: 0 };
    /// ILLEGAL REQUEST, LOGICAL BLOCK ADDRESS OUT OF RANGE.
    pub(crate) const OUT_OF_RANGE: Self = Self { key: 5, code: 0x21, qualifier: 0 };
    /// ILLEGAL REQUEST, INVALID FIELD IN CDB.
    pub(crate) const INVALID_FIELD: Self = Self { key: 5, code: 0x24, qualifier: 0 };
    /// MEDIUM ERROR, no further information.
    pub(crate) const MEDIUM_ERROR: Self = Self { key: 3, code: 0, qualifier: 0 };

    /// The sense key UNIT ATTENTION: something changed; the command was not done and can be repeated.
    pub(crate) const UNIT_ATTENTION: u8 = 6;
    /// The sense key ABORTED COMMAND: the device, or the way to it, gave the command up.
    pub(crate) const ABORTED_COMMAND: u8 = 0xB;

    /// Returns the condition as fixed-format sense data.
    pub(crate) fn to_bytes(self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[0] = 0x70;
        bytes[2] = self.key;
        bytes[7] = (LENGTH - 8) as u8;
        (bytes[12], bytes[13]) = (self.code, self.qualifier);
        bytes
    }

    /// Reads fixed (70h, 71h) or descriptor (72h, 73h) format sense data.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        match bytes.first()? & 0x7F {
            0x70 | 0x71 if bytes.len() >= 14 => {
                Some(Self { key: bytes[2] & 0xF, code: bytes[12], qualifier: bytes[13] })
            }
            0x72 | 0x73 if bytes.len() >= 4 => {
                Some(Self { key: bytes[1] & 0xF, code: bytes[2], qualifier: bytes[3] })
            }
            _ => None,
        }
    }
}
