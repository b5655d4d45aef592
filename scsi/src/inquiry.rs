//! INQUIRY: standard data and vital product data pages (SPC-3 6.4, 7.6).

use zerocopy::byteorder::big_endian::U16;
use zerocopy::{Immutable, IntoBytes, Unaligned};

use crate::cdb::SupportedPage;
use crate::lun::Lun;
use crate::reply::Reply;
use crate::serial_number::SerialNumber;
use crate::unmap;

const VENDOR: [u8; 8] = *b"XENGUARD";
const PRODUCT: [u8; 16] = *b"PVDISK          ";
const PRODUCT_CDROM: [u8; 16] = *b"PVCDROM         ";
const REVISION: [u8; 4] = *b"0001";

/// Peripheral qualifier 0 (connected) and device type 0 (direct-access block device).
const DISK: u8 = 0x00;
/// Device type 5 (CD/DVD device).
const CDROM: u8 = 0x05;
/// RMB: the medium is removable.
const RMB: u8 = 0x80;
/// Peripheral qualifier 3 and device type 0x1F: no logical unit can be here (SPC-3 table 83).
const NO_UNIT: u8 = 0x7F;

/// Standard INQUIRY data (SPC-3 6.4.2), the 36 bytes every initiator asks for.
#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct Standard {
    peripheral: u8,
    removable: u8,
    version: u8,
    response_format: u8,
    additional_length: u8,
    flags: [u8; 3],
    vendor: [u8; 8],
    product: [u8; 16],
    revision: [u8; 4],
}
const _: () = assert!(size_of::<Standard>() == 36);

/// Header of a vital product data page (SPC-3 7.6.1).
#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct PageHeader {
    peripheral: u8,
    page: u8,
    length: U16,
}
const _: () = assert!(size_of::<PageHeader>() == 4);

/// Header of an identification descriptor of page 0x83 (SPC-3 7.6.3.1).
#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct DesignatorHeader {
    code_set: u8,
    designator_type: u8,
    reserved: u8,
    length: u8,
}
const _: () = assert!(size_of::<DesignatorHeader>() == 4);

/// Block device characteristics, behind the page's header (SBC-3 6.5.3).
#[derive(Clone, Copy, IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct Characteristics {
    /// MEDIUM ROTATION RATE.
    rotation: U16,
    rest: [u8; 58],
}
const _: () = assert!(size_of::<Characteristics>() == 0x3C);

/// MEDIUM ROTATION RATE of a medium that does not rotate: where data lies makes no difference to speak of.
const NON_ROTATING: u16 = 1;

/// CODE SET: printable ASCII.
const ASCII: u8 = 2;
/// Designator type 0: vendor specific, unique nowhere in particular.
const VENDOR_SPECIFIC: u8 = 0;
/// Designator type 1: T10 vendor identification and a text unique for that vendor.
const T10_VENDOR: u8 = 1;

fn standard_as(peripheral: u8, removable: bool, product: [u8; 16]) -> Reply {
    Reply::of(&Standard {
        peripheral,
        removable: if removable { RMB } else { 0 },
        // SPC-3; response data format 2.
        version: 0x05,
        response_format: 0x02,
        additional_length: (size_of::<Standard>() - 5) as u8,
        // CMDQUE: the full task management model.
        flags: [0, 0, 0x02],
        vendor: VENDOR,
        product,
        revision: REVISION,
    })
}

/// Returns the standard data of the disk.
pub(crate) fn standard(lun: &Lun) -> Reply {
    standard_as(DISK, lun.removable, PRODUCT)
}

/// Returns the standard data for a logical unit number that has no unit.
pub(crate) fn no_unit() -> Reply {
    standard_as(NO_UNIT, false, PRODUCT)
}

/// Returns the standard data of a CD-ROM drive.
pub(crate) fn standard_of_cdrom() -> Reply {
    standard_as(CDROM, true, PRODUCT_CDROM)
}

/// Returns one vital product data page of a CD-ROM drive; `None` where it is a disk's.
pub(crate) fn page_of_cdrom(page: SupportedPage, serial: &SerialNumber) -> Option<Reply> {
    const PAGES: [SupportedPage; 3] =
        [SupportedPage::Supported, SupportedPage::UnitSerialNumber, SupportedPage::DeviceIdentification];
    common_page(CDROM, page, &PAGES, serial)
}

/// Returns one vital product data page.
pub(crate) fn page(page: SupportedPage, lun: &Lun) -> Reply {
    let header =
        |length: usize| PageHeader { peripheral: DISK, page: page as u8, length: U16::new(length as u16) };
    match page {
        SupportedPage::Supported | SupportedPage::UnitSerialNumber | SupportedPage::DeviceIdentification => {
            common_page(DISK, page, &SupportedPage::ALL, &lun.serial).unwrap_or(Reply::EMPTY)
        }
        SupportedPage::BlockLimits => {
            let limits = unmap::limits(lun);
            let mut reply = Reply::of(&header(size_of_val(&limits)));
            reply.push(&limits);
            reply
        }
        SupportedPage::BlockDeviceCharacteristics => {
            let characteristics = Characteristics { rotation: U16::new(NON_ROTATING), rest: [0; 58] };
            let mut reply = Reply::of(&header(size_of_val(&characteristics)));
            reply.push(&characteristics);
            reply
        }
        SupportedPage::LogicalBlockProvisioning => {
            let provisioning = unmap::provisioning(lun);
            let mut reply = Reply::of(&header(size_of_val(&provisioning)));
            reply.push(&provisioning);
            reply
        }
    }
}

/// Returns one of the pages that every device has; `pages` is the list of all that this one has.
fn common_page(
    peripheral: u8,
    page: SupportedPage,
    pages: &[SupportedPage],
    serial: &SerialNumber,
) -> Option<Reply> {
    let header = |length: usize| PageHeader { peripheral, page: page as u8, length: U16::new(length as u16) };
    let text = serial.as_bytes();
    Some(match page {
        SupportedPage::Supported => {
            let mut reply = Reply::of(&header(pages.len()));
            pages.iter().for_each(|page| reply.push(&(*page as u8)));
            reply
        }
        SupportedPage::UnitSerialNumber => {
            let mut reply = Reply::of(&header(text.len()));
            reply.push(text);
            reply
        }
        SupportedPage::DeviceIdentification => {
            let vendor: &[u8] = if serial.unique { &VENDOR } else { &[] };
            let length = vendor.len() + text.len();
            let mut reply = Reply::of(&header(size_of::<DesignatorHeader>() + length));
            reply.push(&DesignatorHeader {
                code_set: ASCII,
                designator_type: if serial.unique { T10_VENDOR } else { VENDOR_SPECIFIC },
                reserved: 0,
                length: length as u8,
            });
            reply.push(vendor);
            reply.push(text);
            reply
        }
        SupportedPage::BlockLimits
        | SupportedPage::BlockDeviceCharacteristics
        | SupportedPage::LogicalBlockProvisioning => return None,
    })
}
