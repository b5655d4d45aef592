//! `xenguard`: selects, for each boot entry of a Windows guest, emulated or PV disks. Windows has a bootcfg.exe of
//! its own in System32, so the name of this crate is not that of the command.

#![forbid(unsafe_code)]

use bootcfg::command;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

fn main() -> ExitCode {
    let called = std::env::args_os().next().map(PathBuf::from);
    if called.as_deref().and_then(Path::file_stem).is_some_and(|name| name.eq_ignore_ascii_case("bootcfg")) {
        eprintln!(
            "note: this command is xenguard; its old name, which is that of a program of Windows, goes with the next version"
        );
    }
    ExitCode::from(command::of_line(std::env::args_os()) as u8)
}
