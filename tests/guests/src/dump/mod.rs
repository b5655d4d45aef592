//! Crash dumps: the drivers' secondary data, and the file that the polled miniport writes.

pub(crate) mod file;
pub(crate) mod secondary;
