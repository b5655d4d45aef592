//! Identity of a disk's content, whichever path it is seen through: its size and its partition table's
//! signature.
//!
//! The same reading serves a disk of this driver's (through the ring, before anybody sees the disk) and any
//! other (by requests to its device stack), so that two paths to one backing give equal identities.

use alloc::vec::Vec;

use guard::census::{Identity, Signature};
use scsi::partition_table::{FirstBlock, first_block, gpt_disk_guid};
use wdm::{DeviceObject, NtStatus, pool, request};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// Bytes of the largest logical block.
const LARGEST_BLOCK: u32 = 4096;

/// IOCTL_DISK_GET_DRIVE_GEOMETRY (ntdddisk.h).
const GET_DRIVE_GEOMETRY: u32 = 0x0007_0000;
/// IOCTL_DISK_GET_LENGTH_INFO (ntdddisk.h).
const GET_LENGTH_INFO: u32 = 0x0007_405C;

/// DISK_GEOMETRY.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Geometry {
    cylinders: u64,
    media_type: u32,
    tracks_per_cylinder: u32,
    sectors_per_track: u32,
    bytes_per_sector: u32,
}
const _: () = assert!(size_of::<Geometry>() == 24);

/// GET_LENGTH_INFORMATION.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Length {
    bytes: u64,
}
const _: () = assert!(size_of::<Length>() == 8);

/// STATUS_NO_MEDIA_IN_DEVICE and STATUS_NO_MEDIA (ntstatus.h).
const NO_MEDIA_IN_DEVICE: NtStatus = NtStatus(0xC000_0013_u32.cast_signed());
const NO_MEDIA: NtStatus = NtStatus(0xC000_0178_u32.cast_signed());

/// The reason why nothing is known of a disk's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// It does not answer, or with an error.
    Disk,
    /// There is no medium in it.
    Empty,
    /// There is no memory to read it.
    Memory,
}

impl From<NtStatus> for Unreadable {
    fn from(status: NtStatus) -> Self {
        match status {
            NtStatus::INSUFFICIENT_RESOURCES => Self::Memory,
            NO_MEDIA_IN_DEVICE | NO_MEDIA => Self::Empty,
            _ => Self::Disk,
        }
    }
}

/// Returns the identity of a disk of `sectors` sectors of 512 bytes, whose logical blocks have `block_size`
/// bytes and are read by `read`, which takes a block's number.
/// PASSIVE_LEVEL. `None` where the disk has no partition table, or one without signature.
///
/// # Errors
/// It cannot be read, or there is no memory for a block.
pub(crate) fn identify(
    sectors: u64,
    block_size: u32,
    mut read: impl FnMut(u64, &mut [u8]) -> Result<(), Unreadable>,
) -> Result<Option<Identity>, Unreadable> {
    if !matches!(block_size, 512 | 1024 | 2048 | LARGEST_BLOCK) {
        return Ok(None);
    }
    // A whole page, and so aligned to one, whatever alignment the disk's driver asks for.
    let mut page: Vec<u8> = pool::try_vec(LARGEST_BLOCK as usize)?;
    let block = &mut page[..block_size as usize];
    read(0, block)?;
    let signature = match first_block(block) {
        FirstBlock::None | FirstBlock::Mbr(0) => None,
        FirstBlock::Mbr(signature) => Some(Signature::Mbr(signature)),
        FirstBlock::Gpt => {
            read(1, block)?;
            gpt_disk_guid(block).map(Signature::Gpt)
        }
    };
    Ok(signature.map(|signature| Identity { sectors, signature }))
}

/// Returns the identity of the disk behind a device object, read by requests to it. PASSIVE_LEVEL; waits for
/// the disk.
///
/// # Errors
/// As [`identify`].
pub(crate) fn of_device(device: DeviceObject) -> Result<Option<Identity>, Unreadable> {
    let length: Length = ask(device, GET_LENGTH_INFO)?;
    let geometry: Geometry = ask(device, GET_DRIVE_GEOMETRY)?;
    let block_size = geometry.bytes_per_sector;
    identify(length.bytes / u64::from(scsi::SECTOR), block_size, |block, into| {
        let whole = request::read(device, block * u64::from(block_size), into)? == into.len();
        whole.then_some(()).ok_or(Unreadable::Disk)
    })
}

/// IOCTL_SCSI_GET_ADDRESS (ntddscsi.h).
const GET_ADDRESS: u32 = 0x0004_1018;

/// SCSI_ADDRESS.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Address {
    length: u32,
    port: u8,
    path: u8,
    target: u8,
    lun: u8,
}
const _: () = assert!(size_of::<Address>() == 8);

/// Returns the target id of one of this driver's disks. PASSIVE_LEVEL.
pub(crate) fn target_id(device: DeviceObject) -> Option<u8> {
    ask::<Address>(device, GET_ADDRESS).ok().map(|address| address.target)
}

/// Sends a control request that answers a `T`.
fn ask<T: FromZeros + IntoBytes + FromBytes>(device: DeviceObject, code: u32) -> Result<T, Unreadable> {
    let mut answer = T::new_zeroed();
    let length = request::device_control(device, code, &[], answer.as_mut_bytes())?;
    if length == size_of::<T>() { Ok(answer) } else { Err(Unreadable::Disk) }
}
