//! `xenguard-svc`: started by Windows' service manager.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("--version") {
        println!("{} {}", svc::NAME, env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    #[cfg(windows)]
    let started = svc::windows::service::dispatch();
    #[cfg(not(windows))]
    let started = Err(std::io::Error::from(std::io::ErrorKind::Unsupported));
    match started {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!(
                "{} is a service, which Windows' service manager starts ({error}); `xenguard install` installs it",
                svc::NAME
            );
            ExitCode::FAILURE
        }
    }
}
