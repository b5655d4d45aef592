//! Boot entries that select the PV mode: reading and editing boot.ini and BCD stores without losing a byte or
//! a boot; and installing the drivers, in the running system and in a guest's volume.
//!
//! Begin with [`command`], one file for each command of `xenguard`.
//!
//! | modules | content |
//! |---|---|
//! | [`cli`], [`named`], [`session`], [`output`], [`text`], [`exit`] | what every command has: options, tools, output, exit codes |
//! | [`menu`], [`boot_ini`], [`bcd`], [`configuration`] | the boot menu, its two kinds, and either of them |
//! | [`find`], [`guest_files`], [`place`], [`replace`], [`lock`], [`files`], [`scratch`] | files: found, read, replaced without losing one |
//! | [`hive_file`], [`hive_edit`] | a hive with its log files, and edits of it; the format is the crate `hive` |
//! | [`inf`], [`install`], [`image`] | the package: INF files, what they change, drivers' files |
//! | [`system`], [`suites`] | what is known of a Windows, and of other PV suites in it |
//! | [`channel`] | xenpci's channel to programs |
//! | `privilege` | what Windows lets a process do (on Windows only) |

#![deny(unsafe_code)]

pub mod bcd;
pub mod boot_ini;
pub mod channel;
pub mod cli;
pub mod code_page;
pub mod command;
pub mod configuration;
pub mod exit;
pub mod files;
pub mod find;
pub mod guest_files;
pub mod hive_edit;
pub mod hive_file;
pub mod image;
pub mod inf;
pub mod install;
pub mod lock;
pub mod menu;
pub mod named;
pub mod output;
pub mod place;
#[cfg(windows)]
pub mod privilege;
pub mod replace;
pub mod scratch;
pub mod session;
pub mod suites;
pub mod system;
pub mod text;

// Its definitions stand in for imports; nothing is called by name.
#[cfg(all(windows, feature = "nt52"))]
use nt52 as _;
