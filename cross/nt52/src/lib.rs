//! Definitions that let a program of today's Rust start on NT 5.2.
//!
//! Rust's standard library needs Windows 10: its loader refuses a program that imports a routine which the
//! system does not export. Of all that the library can do `bootcfg` uses little; what of that little NT 5.2
//! does not export is defined here under the same name, in terms of what it exports. Link-time optimization
//! puts these definitions in the place of the imports. They are used on every Windows, so that what is tested
//! on a new one is what runs on an old one.
//!
//! The `.def` files beside this crate name the routines that a program may import; `cargo xtask` holds the
//! built program to them. `start.s` has what else a C runtime would bring.

#![no_std]

#[cfg(all(windows, target_env = "msvc"))]
mod substitutes;
