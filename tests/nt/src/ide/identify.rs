//! IDENTIFY DEVICE data (ATA/ATAPI-6, 8.15 and 8.16): what a drive says about itself.

use alloc::string::String;
use alloc::vec::Vec;
use alloc::{format, vec};

use crate::storage::inquiry::{self, Inquiry};
use crate::storage::property::{BUS_TYPE_ATA, BUS_TYPE_ATAPI};

/// Kind of a drive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// A disk.
    Disk,
    /// A drive that takes packets: a CD-ROM drive here.
    CdRom,
}

/// IDENTIFY DEVICE or IDENTIFY PACKET DEVICE data.
#[derive(Clone)]
pub(super) struct Identify {
    /// The kind of drive that answered.
    pub kind: Kind,
    words: [u16; 256],
}

impl Identify {
    /// Takes data as it was read.
    pub(super) fn new(kind: Kind, words: [u16; 256]) -> Self {
        Self { kind, words }
    }

    /// Returns the bus that its adapter descriptor names.
    pub(super) fn bus_type(&self) -> u32 {
        match self.kind {
            Kind::Disk => BUS_TYPE_ATA,
            Kind::CdRom => BUS_TYPE_ATAPI,
        }
    }

    /// Returns the size in sectors of 512 bytes.
    pub(super) fn sectors(&self) -> u64 {
        let number = |at: usize, words: usize| {
            (0..words).map(|n| u64::from(self.words[at + n]) << (16 * n)).sum::<u64>()
        };
        if self.has_48_bit() { number(100, 4) } else { number(60, 2) }
    }

    /// Returns true if the drive takes 48-bit addresses.
    pub(super) fn has_48_bit(&self) -> bool {
        self.words[83] >> 14 == 0b01 && self.words[83] & 1 << 10 != 0
    }

    /// Returns true if the drive does DMA.
    pub(super) fn has_dma(&self) -> bool {
        self.words[49] & 1 << 8 != 0
    }

    /// Returns a string: two characters to a word, the first in the high byte.
    fn text(&self, words: core::ops::Range<usize>) -> Vec<u8> {
        self.words[words].iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    /// Returns the serial number, without padding.
    pub(super) fn serial(&self) -> Vec<u8> {
        self.text(10..20).trim_ascii().to_vec()
    }

    /// Returns the names as INQUIRY data: the model's first 24 characters are vendor and product.
    pub(super) fn inquiry(&self) -> Inquiry {
        let model = String::from_utf8_lossy(&self.text(27..47)).into_owned();
        let firmware = String::from_utf8_lossy(&self.text(23..27)).into_owned();
        let (device_type, removable) = match self.kind {
            Kind::Disk => (inquiry::DISK, false),
            Kind::CdRom => (inquiry::CD_ROM, true),
        };
        let model = model.as_str();
        Inquiry::new(device_type, removable, &model[..8], &model[8..24], &firmware)
    }

    /// Returns the hardware ids of the drive, most exact first, the first of which is the device id
    /// (documentation "Identifiers for IDE devices").
    pub(super) fn hardware_ids(&self) -> Vec<String> {
        let (kind, generic) = match self.kind {
            Kind::Disk => inquiry::type_names(inquiry::DISK),
            Kind::CdRom => inquiry::type_names(inquiry::CD_ROM),
        };
        let (model, firmware) =
            (inquiry::id_field(&self.text(27..47)), inquiry::id_field(&self.text(23..27)));
        vec![
            format!("IDE\\{kind}{model}{firmware}"),
            format!("IDE\\{model}{firmware}"),
            format!("IDE\\{kind}{model}"),
            format!("{model}{firmware}"),
            generic.into(),
        ]
    }
}
