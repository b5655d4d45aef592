//! The disk class driver: the FDO on every disk, whichever port driver reported it (`disk` and `classpnp` on
//! NT).
//!
//! A [`device`] learns its size with READ CAPACITY, registers the disk interface and carries reads, writes
//! and flushes to the port driver as SCSI request blocks ([`transfer`]). Its [`partition`]s are its children:
//! PDOs without a function driver that register the volume interface, so that a volume's arrival always
//! follows its disk's.

mod device;
pub(crate) mod foreign;
mod partition;
pub(crate) mod request;
mod san;
mod transfer;

pub(crate) use device::{command, driver_entry, probe};
