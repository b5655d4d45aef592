//! Xen under qemu.

mod cache;
mod command;
mod cpio;
mod dom0;
mod error;
mod host;
mod machine;
mod qemu;
mod qmp;
pub mod setup;
mod workdir;

pub use error::RigError;
pub use setup::RigFiles;
