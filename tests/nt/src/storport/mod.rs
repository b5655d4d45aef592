//! Storport: the port driver of SCSI-like adapters (documentation "Storport Driver", "Storport Miniport
//! Drivers").
//!
//! A miniport's `DriverEntry` calls [`StorPortInitialize`], which makes the driver object Storport's:
//! adapters and logical units are Storport's devices, of the miniport's driver object. Storport finds, starts
//! and stops the adapter through the miniport's routines ([`adapter`]), looks which logical units there are
//! ([`scan`]) and reports them ([`unit`]), and brings each request to the miniport and back ([`request`]).
//!
//! It keeps the documentation's promises to a miniport exactly, and stops the system where a miniport breaks
//! its own: a request completed twice or never, with a status that is none, a routine that returns at another
//! IRQL or with a lock held, or a routine of Storport's called at a wrong IRQL.
//!
//! | call | IRQL | lock held |
//! |---|---|---|
//! | HwFindAdapter | PASSIVE | – |
//! | HwInitialize | DIRQL; DISPATCH without an interrupt | interrupt lock |
//! | HwPassiveInitialize | PASSIVE | – |
//! | HwBuildIo | DISPATCH | – |
//! | HwStartIo, full duplex | DISPATCH | StartIo lock |
//! | HwStartIo, half duplex (the default) | as HwInitialize | interrupt lock |
//! | HwResetBus, HwTimer | DISPATCH | StartIo lock |
//! | HwDpcRoutine | DISPATCH | – |
//! | HwAdapterControl | PASSIVE to query, else as HwInitialize | –, else interrupt lock |

pub(crate) mod adapter;
pub(crate) mod ddi;
mod extended;
pub(crate) mod functions;
mod grants;
mod initialize;
mod interrupt;
mod notification;
mod request;
mod scan;
mod timer;
mod unit;

use alloc::string::String;

pub(crate) use grants::granted;
pub(crate) use request::report_counts;

use crate::ldr::Export;
use crate::nt::DeviceObject;

/// The exports of `storport.sys`, with the IRQLs at which the documentation allows each.
pub(crate) static STORPORT: &[Export] = crate::exports! {
    0..=0 { initialize::StorPortInitialize, notification::StorPortGetDeviceBase }
    0..=15 {
        extended::StorPortExtendedFunction,
        notification::StorPortBusy,
        notification::StorPortCompleteRequest,
        notification::StorPortDebugPrint,
        notification::StorPortStallExecution,
        notification::StorPortNotification,
        notification::StorPortPauseDevice,
        notification::StorPortReady,
        notification::StorPortResumeDevice,
        request::StorPortGetScatterGatherList,
        request::StorPortSetDeviceQueueDepth,
        unit::StorPortGetLogicalUnit,
    }
};

/// Returns the service and the target id of a logical unit's PDO; `None` for any other device. PASSIVE_LEVEL.
///
/// # Safety
/// `pdo` is a device object that stays.
pub(crate) unsafe fn target_of(pdo: *mut DeviceObject) -> Option<(String, u8)> {
    // SAFETY: by this function's contract, `pdo` is a device object that stays.
    unsafe {
        let driver = (*pdo).driver_object;
        // Storport's devices are of its miniports' driver objects, which are those of files.
        if (*driver).driver_start.is_null() {
            return None;
        }
        let target = adapter::unit_of(pdo)?.target();
        Some((crate::io::driver::name_of(driver), target))
    }
}

/// Returns the number of requests that the miniport of a logical unit's PDO has. Any IRQL.
///
/// # Safety
/// `pdo` is a logical unit's, and stays.
pub(crate) unsafe fn in_flight(pdo: *mut DeviceObject) -> usize {
    // SAFETY: by this function's contract, `pdo` is a logical unit's, and stays.
    unsafe { adapter::unit_of(pdo).map_or(0, |unit| request::active(&*unit.adapter())) }
}
