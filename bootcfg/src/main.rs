//! `bootcfg`: selects, for each boot entry of a Windows guest, emulated or PV disks.

#![forbid(unsafe_code)]

use bootcfg::{cli::Arguments, command};
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(command::main(Arguments::parse()) as u8)
}
