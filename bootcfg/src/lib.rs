//! Boot entries that select the PV mode: reading and editing boot.ini without losing a byte or a boot.

#![forbid(unsafe_code)]

pub mod boot_ini;
pub mod inf;
pub mod replace;
