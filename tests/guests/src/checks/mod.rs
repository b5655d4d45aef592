//! Checks that more than one guest test has.

pub mod every;
pub mod load;
pub mod upcalls;
