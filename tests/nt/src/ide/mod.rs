//! The IDE driver: emulated PCI IDE controllers (class 0101h) and the drives on them, as `pciide` and `atapi`
//! are on NT.
//!
//! A [`controller`] has two children, its channels, each with an FDO of its own ([`port`]) and a thread that
//! works requests off one after the other ([`channel`]). A [`drive`] is a PDO: it takes SCSI request blocks
//! from the class driver and makes ATA commands ([`ata`]) of them, with data moved by bus-master DMA
//! ([`bus_master`]) or, where that cannot be, through the data port. A CD-ROM drive gets them as packets
//! ([`packet`]).
//!
//! The controller's interrupt stays off; the channel's thread looks at the status instead. An emulated port
//! costs a millisecond or two under Xen, so commands are as few and as large as possible, and no register is
//! written twice for nothing.
//!
//! Sources: ATA/ATAPI-6 (T13/1410D), "PCI IDE Controller Specification" 1.0, "Programming Interface for Bus
//! Master IDE Controller" 1.0.

mod ata;
mod bus_master;
mod channel;
mod controller;
mod drive;
mod identify;
mod packet;
mod port;

pub(crate) use controller::driver_entry as pciide_entry;
pub(crate) use port::driver_entry as atapi_entry;
