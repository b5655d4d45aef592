//! Fakes that stand for Xen, xenstored and a block backend, for tests and doc examples.
//!
//! They do on ordinary memory what the real ones do on shared pages – a backend reaches guest memory only
//! through the grant table – and can be made to misbehave. They panic where the guest breaks a rule that Xen
//! or a backend would punish.

mod blkback;
mod hypervisor;
mod memory;
mod tree;
mod world;
mod xenstored;

pub use blkback::Blkback;
pub use hypervisor::{Hypervisor, Platform};
pub use memory::Memory;
pub use tree::Tree;
pub use world::{Hal, World};
pub use xenstored::{ServerTransport, Xenstored};
