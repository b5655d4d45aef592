//! Checks that more than one guest test has.

pub(crate) mod activity;
pub(crate) mod every;
pub(crate) mod left_behind;
pub(crate) mod load;
#[cfg(test)]
mod tests;
pub(crate) mod upcalls;
