//! The storage drivers' common language between port and class drivers.
//!
//! A class driver ([`crate::disk`]) knows SCSI commands and nothing of controllers; a port driver
//! ([`crate::storport`], [`crate::ide`]) knows one kind of controller. Between them go SCSI request blocks
//! ([`srb`]) holding command descriptor blocks ([`cdb`]), and a few device controls ([`property`]) by which
//! the class driver learns what lies below.

pub(crate) mod cdb;
pub(crate) mod child;
pub(crate) mod empty;
pub(crate) mod fdo;
pub(crate) mod inquiry;
pub(crate) mod irp;
pub(crate) mod pieces;
pub(crate) mod policy;
pub(crate) mod property;
pub(crate) mod sense;
pub(crate) mod srb;
