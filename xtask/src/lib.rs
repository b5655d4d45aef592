//! The project's commands: what they need, what they build and what they check.
//!
//! `setup` makes everything the cross build takes from outside, `build` makes `dist/` from it, `pe` holds
//! every built driver to the rules, `program` makes bootcfg for admins, `inf` the INF files, `package` makes
//! the zip an admin gets, `repro` shows that the folder does not matter. `scenario` says which guests
//! are booted and what they must show, `guest` boots them, `verdict` judges; `demo`, `test` and `mutants` are
//! built from those.

mod absence;
pub mod bench;
pub mod build;
mod command;
pub mod cost;
mod crash_dump;
mod decisions;
pub mod demo;
mod dump;
mod fat;
pub mod faults;
#[cfg(test)]
mod features;
mod folder;
mod guest;
pub mod inf;
mod layers;
pub mod layout;
pub mod lifecycle;
pub mod linker;
pub mod lint;
pub mod matrix;
pub mod model;
pub mod mutants;
pub mod package;
pub mod pe;
pub mod program;
mod program_in_wine;
mod registry;
pub mod repro;
mod rig_files;
mod running;
mod scenario;
pub mod setup;
mod step;
pub mod test;
mod verdict;
pub mod wine;
