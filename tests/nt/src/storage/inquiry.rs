//! Standard INQUIRY data (SPC-4, 6.4.2) and the device ids that port drivers make of it.

use alloc::string::String;
use alloc::vec::Vec;
use alloc::{format, vec};

/// Bytes of standard INQUIRY data that are used: up to the revision.
pub(crate) const LENGTH: usize = 36;

/// Peripheral device type of a disk.
pub(crate) const DISK: u8 = 0x00;
/// Peripheral device type of a CD-ROM drive.
pub(crate) const CD_ROM: u8 = 0x05;

/// Standard INQUIRY data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Inquiry(pub [u8; LENGTH]);

impl Inquiry {
    /// Returns the data of a device with these names, each padded with spaces or cut.
    pub(crate) fn new(device_type: u8, removable: bool, vendor: &str, product: &str, revision: &str) -> Self {
        let mut data = [b' '; LENGTH];
        data[..8].copy_from_slice(&[
            device_type,
            u8::from(removable) << 7,
            4,
            2,
            (LENGTH - 5) as u8,
            0,
            0,
            0,
        ]);
        for (at, text) in [(8..16, vendor), (16..32, product), (32..36, revision)] {
            data[at].iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
        }
        Self(data)
    }

    /// Returns the peripheral device type, if a device is there (peripheral qualifier 0).
    pub(crate) fn device_type(&self) -> Option<u8> {
        (self.0[0] >> 5 == 0).then_some(self.0[0] & 0x1F)
    }

    /// Returns true if the medium is removable.
    pub(crate) fn is_removable(&self) -> bool {
        self.0[1] & 0x80 != 0
    }

    /// Returns vendor, product and revision with their padding.
    pub(crate) fn names(&self) -> [&[u8]; 3] {
        [&self.0[8..16], &self.0[16..32], &self.0[32..36]]
    }
}

/// Returns the word for a device type in device ids, and the generic id.
pub(crate) fn type_names(device_type: u8) -> (&'static str, &'static str) {
    match device_type {
        DISK => ("Disk", "GenDisk"),
        CD_ROM => ("CdRom", "GenCdRom"),
        _ => ("Other", "ScsiOther"),
    }
}

/// Returns a field of INQUIRY or IDENTIFY data as it stands in a device id: what may not stand there, and
/// every space, becomes an underscore (documentation "Identifiers for SCSI devices").
pub(crate) fn id_field(field: &[u8]) -> String {
    let allowed = |b: u8| b > b' ' && b < 0x7F && b != b',';
    field.iter().map(|&b| if allowed(b) { b as char } else { '_' }).collect()
}

/// Returns the hardware ids of a SCSI device, most exact first (documentation "Identifiers for SCSI
/// devices").
pub(crate) fn scsi_hardware_ids(inquiry: &Inquiry, device_type: u8) -> Vec<String> {
    let (kind, generic) = type_names(device_type);
    let [vendor, product, revision] = inquiry.names().map(id_field);
    let major = &revision[..1];
    vec![
        format!("SCSI\\{kind}{vendor}{product}{revision}"),
        format!("SCSI\\{kind}{vendor}{product}"),
        format!("SCSI\\{kind}{vendor}"),
        format!("SCSI\\{vendor}{product}{major}"),
        format!("{vendor}{product}{major}"),
        generic.into(),
    ]
}

/// Returns the device id of a SCSI device: names without their padding.
pub(crate) fn scsi_device_id(inquiry: &Inquiry, device_type: u8) -> String {
    let (kind, _) = type_names(device_type);
    let [vendor, product, revision] = inquiry.names().map(|f| id_field(f.trim_ascii_end()));
    format!("SCSI\\{kind}&Ven_{vendor}&Prod_{product}&Rev_{revision}")
}
