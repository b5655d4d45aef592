//! Explores every configuration, prints what was explored, and shows the history of each break. `cargo xtask
//! model` runs it in release.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut as_expected = true;
    for case in model::cases::all(model::cases::Depth::Deep) {
        let (line, ok) = case.run();
        println!("{line}");
        as_expected &= ok;
    }
    if as_expected { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
