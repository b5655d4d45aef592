//! `bootcfg`: selects, for each boot entry of a Windows guest, emulated or PV disks.

#![forbid(unsafe_code)]

use bootcfg::command;
use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(command::of_line(std::env::args_os()) as u8)
}
