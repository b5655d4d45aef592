//! Storport: the port driver of SCSI-like adapters (documentation "Storport Driver", "Storport Miniport
//! Drivers").
//!
//! A miniport's `DriverEntry` calls [`StorPortInitialize`], which makes the driver object Storport's: adapters
//! and logical units are Storport's devices, of the miniport's driver object. Storport finds, starts and stops
//! the adapter through the miniport's routines ([`adapter`]), looks which logical units there are ([`scan`]) and
//! reports them ([`unit`]), and brings each request to the miniport and back ([`request`]).
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

pub mod adapter;
mod ddi;
mod extended;
mod initialize;
mod interrupt;
mod notification;
mod request;
mod scan;
mod timer;
mod unit;

pub use request::report_counts;

use crate::ldr::Export;

/// What `storport.sys` exports, with the IRQLs at which the documentation allows each.
pub static STORPORT: &[Export] = crate::exports! {
    0..=0 { initialize::StorPortInitialize }
    0..=15 {
        extended::StorPortExtendedFunction,
        notification::StorPortBusy,
        notification::StorPortCompleteRequest,
        notification::StorPortDebugPrint,
        notification::StorPortNotification,
        notification::StorPortPauseDevice,
        notification::StorPortReady,
        notification::StorPortResumeDevice,
        request::StorPortGetScatterGatherList,
        unit::StorPortGetLogicalUnit,
    }
};
