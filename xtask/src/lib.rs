//! The project's commands: what they need, what they build and what they check.
//!
//! `setup` makes everything the cross build takes from outside, `build` makes `dist/` from it, `pe` holds
//! every built driver to the rules, `program` makes bootcfg for admins, `inf` the INF files, `package` makes
//! the zip an admin gets, `repro` shows that the folder does not matter. Guest tests are the crate `guests`;
//! `test`, `mutants` and `bench` boot guests with it. `fuzz` runs the fuzz targets.

pub mod bench;
pub mod build;
pub mod explore;
#[cfg(test)]
mod features;
mod folder;
pub mod fuzz;
pub mod inf;
pub mod linker;
mod links;
pub mod lint;
pub mod model;
pub mod mutants;
pub mod package;
pub mod package_dom0;
pub mod pe;
pub mod pictures;
mod policy;
pub mod program;
mod program_in_wine;
pub mod repro;
mod service_in_wine;
pub mod setup;
pub mod test;
pub mod wine;
mod words;

pub use guests::layout;
use guests::{command, step};
