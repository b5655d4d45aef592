//! Boot entries that select the PV mode: reading and editing boot.ini and BCD stores without losing a byte or
//! a boot.

#![deny(unsafe_code)]

pub mod bcd;
pub mod boot_ini;
pub mod cli;
pub mod command;
pub mod exit;
pub mod files;
pub mod find;
pub mod hive_file;
pub mod image;
pub mod inf;
pub mod install;
pub mod lock;
pub mod menu;
pub mod output;
pub mod place;
pub mod replace;
pub mod scratch;
pub mod session;
pub mod suites;
pub mod system;

// Its definitions stand in for imports; nothing is called by name.
#[cfg(all(windows, feature = "nt52"))]
use nt52 as _;
