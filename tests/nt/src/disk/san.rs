//! The SAN policy of NT 6.1 and later, as Windows Server has it by default (VDS_SP_OFFLINE_SHARED): a disk that the
//! system sees for the first time stays offline where its bus is one that several machines may share. The boot disk
//! is exempt. An offline disk has an interface, and no volume.
//!
//! Which types of bus are shared ones is documented by example only (`san` of diskpart, VDS_SAN_POLICY: «SCSI, iSCSI,
//! Serial Attached SCSI, Fibre Channel»).

use crate::boot::{self, Profile};

/// `BusTypeScsi`, `BusTypeFibre`, `BusTypeiScsi`, `BusTypeSas` as `STORAGE_BUS_TYPE`.
const SHARED: [u8; 4] = [1, 6, 9, 10];

/// The disk that the loader read from: the first.
const BOOT_DISK: u32 = 0;

/// Returns true if a disk, new to this machine, stays offline.
pub(super) fn keeps_offline(disk: u32, bus_type: u8) -> bool {
    boot::options().nt >= Profile::Nt61 && disk != BOOT_DISK && SHARED.contains(&bus_type)
}
