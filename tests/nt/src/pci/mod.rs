//! The PCI bus driver: configuration space, functions as PDOs with the ids and resources that Windows gives
//! them.

mod bus;
mod config;
mod function;
mod start;

pub(crate) use bus::{driver_entry, has_scsi, platform_memory, report_relations};
pub(crate) use config::{HalGetBusDataByOffset, look_alike, restore_chipset, save_chipset, split};
pub(crate) use function::{platform_device, resources_of_ide};
