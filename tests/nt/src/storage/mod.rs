//! The storage drivers' common language between port and class drivers.
//!
//! A class driver ([`crate::disk`]) knows SCSI commands and nothing of controllers; a port driver
//! ([`crate::storport`], [`crate::ide`]) knows one kind of controller. Between them go SCSI request blocks
//! ([`srb`]) holding command descriptor blocks ([`cdb`]), and a few device controls ([`property`]) by which
//! the class driver learns what lies below.

pub mod cdb;
pub mod child;
pub mod empty;
pub mod fdo;
pub mod inquiry;
pub mod irp;
pub mod pieces;
pub mod property;
pub mod sense;
pub mod srb;
