//! Boot entries that select the PV mode: reading and editing boot.ini and BCD stores without losing a byte or
//! a boot; and installing the drivers, in the running system and in a guest's volume.
//!
//! Begin with [`command`], one file for each command of `xenguard`.
//!
//! | modules | content |
//! |---|---|
//! | [`cli`], [`session`], [`output`], [`exit`] | what every command has: options, tools, output, exit codes |
//! | [`menu`], [`boot_ini`], [`bcd`] | the boot menu, and its two kinds |
//! | [`find`], [`place`], [`replace`], [`lock`], [`files`], [`scratch`] | files: found, read, replaced without losing one |
//! | [`hive_file`] | a hive with its log files; the format is the crate `hive` |
//! | [`inf`], [`install`], [`image`] | the package: INF files, what they change, drivers' files |
//! | [`system`], [`suites`] | what is known of a Windows, and of other PV suites in it |

#![deny(unsafe_code)]

pub mod bcd;
pub mod boot_ini;
pub mod cli;
pub mod code_page;
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
