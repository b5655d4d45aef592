//! Crash dumps: the drivers' secondary data, and the file that the polled miniport writes.

pub mod file;
pub mod secondary;
