//! Guest tests: boots of the NT executive with the shipped drivers, and the checks that hold for them.
//!
//! | module | |
//! |---|---|
//! | [`scenario`] | the shape of a test: one boot, or several boots of one machine |
//! | [`catalogue`] | the tests themselves |
//! | [`versions`] | on which version of NT each boot runs |
//! | [`boot`] | starts a guest for a scenario and brings back what it left |
//! | [`check`], `checks`, `dump` | what must hold for a boot; checks that several tests have |
//! | [`verdict`] | runs a scenario's checks, and prints what a boot showed |
//! | [`table`] | the table of all tests in docs/testing.md |
//! | [`run`] | the tests as a list, for `cargo xtask test` and `cargo xtask scenario` |
//! | [`demo`], [`matrix`], [`endurance`], [`explore`], [`faults`], [`cost`], [`lifecycle`] | commands that boot many guests |
//! | [`built`], [`layout`], [`command`], [`step`], [`checksum`] | files and programs, shared with xtask |
//!
//! Nothing here builds a driver: xtask does that before.

pub mod boot;
pub mod built;
pub mod catalogue;
pub mod check;
mod checks;
pub mod checksum;
pub mod command;
pub mod cost;
pub mod demo;
mod dump;
pub mod endurance;
pub mod explore;
pub mod faults;
pub mod layout;
pub mod lifecycle;
pub mod matrix;
pub mod run;
pub mod scenario;
pub mod step;
pub mod table;
pub mod verdict;
pub mod versions;
