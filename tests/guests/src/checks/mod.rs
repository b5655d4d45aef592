//! Checks that more than one guest test has.

pub mod every;
pub mod load;
#[cfg(test)]
mod tests;
pub mod upcalls;
