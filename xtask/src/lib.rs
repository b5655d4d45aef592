//! The project's commands: what they need, what they build and what they check.
//!
//! `setup` makes everything the cross build takes from outside, `build` makes `dist/` from it, `pe` holds
//! every built driver to the rules, `repro` shows that the folder does not matter.

pub mod build;
mod command;
mod folder;
pub mod layout;
pub mod linker;
pub mod pe;
pub mod repro;
pub mod setup;
mod step;
