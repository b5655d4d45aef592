//! Exit codes, which scripts may rely on, and the errors that carry them.

use std::{fmt, io};

/// Exit code of a run of `bootcfg`. The numbers never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, or there was nothing to do.
    Done = 0,
    /// `verify` found something wrong.
    Findings = 1,
    /// The command line is not understood (clap's own code).
    Usage = 2,
    /// It could be done, but would be dangerous or has no meaning here; nothing was changed.
    Refused = 3,
    /// The file given is no boot configuration, is damaged, or was not found.
    Unusable = 4,
    /// A file operation failed; the message says what state that leaves.
    Io = 5,
    /// Another bootcfg is at work on the same file, or another program has changed it meanwhile.
    Busy = 6,
    /// Not permitted: read-only media, access denied, not an administrator.
    NotPermitted = 7,
    /// A program or library that this needs (bcdedit, libhivex) is missing or failed.
    Tool = 8,
    /// A confirmation was asked for and not given.
    Declined = 9,
    /// The package of drivers is missing, mixed or damaged.
    Package = 10,
}

/// An error that knows its exit code.
#[derive(Debug)]
pub struct ExitError {
    exit: Exit,
    text: String,
}

impl ExitError {
    /// Returns an error with what to tell the user.
    pub fn new(exit: Exit, text: impl Into<String>) -> ExitError {
        ExitError { exit, text: text.into() }
    }
}

impl fmt::Display for ExitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for ExitError {}

/// Returns the exit code of an error: that of the first cause that has one.
#[must_use]
pub fn code(error: &anyhow::Error) -> Exit {
    error.chain().find_map(of_cause).unwrap_or(Exit::Io)
}

fn of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<Exit> {
    if let Some(error) = cause.downcast_ref::<ExitError>() {
        return Some(error.exit);
    }
    if cause.is::<hive::Error>() {
        return Some(Exit::Unusable);
    }
    cause.downcast_ref::<io::Error>().map(|error| match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Exit::NotPermitted,
        _ => Exit::Io,
    })
}

/// Gives an error that has no exit code of its own this one; a code that it has stays.
#[must_use]
pub fn or(error: anyhow::Error, exit: Exit) -> anyhow::Error {
    match error.chain().find_map(of_cause) {
        None | Some(Exit::Io) => ExitError::new(exit, format!("{error:#}")).into(),
        Some(_) => error,
    }
}

/// Returns with an error of the given [`Exit`].
#[macro_export]
macro_rules! bail_as {
    ($exit:ident, $($text:tt)*) => {
        return Err($crate::exit::ExitError::new($crate::exit::Exit::$exit, format!($($text)*)).into())
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn the_first_cause_that_has_a_code_gives_it() {
        let busy = || -> anyhow::Result<()> { bail_as!(Busy, "in use") };
        assert_eq!(code(&busy().context("outer").unwrap_err()), Exit::Busy);
        let io = |kind| anyhow::Error::new(io::Error::from(kind)).context("outer");
        assert_eq!(code(&io(io::ErrorKind::ReadOnlyFilesystem)), Exit::NotPermitted);
        assert_eq!(code(&io(io::ErrorKind::StorageFull)), Exit::Io);
        assert_eq!(code(&io(io::ErrorKind::NotFound)), Exit::Io);
        assert_eq!(code(&or(io(io::ErrorKind::NotFound), Exit::Package)), Exit::Package);
        assert_eq!(code(&or(io(io::ErrorKind::PermissionDenied), Exit::Package)), Exit::NotPermitted);
        assert_eq!(code(&anyhow::anyhow!("other")), Exit::Io);
    }
}
