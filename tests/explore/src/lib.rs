//! Configurations of toolstacks, made from a seed, and an oracle of what the guard must make of each.
//!
//! A [`Machine`] is a set of storages and the vbds that a toolstack gives a guest over them. It knows which vbds
//! share a storage, which the guest does not: the guest has the nodes in xenstore, as blkback, qdisk and the
//! toolstacks write them, with their oddities. [`Machine::check`] has the decision's survey read them, and then
//! connects the vbds one after the other, as xenvbd does, and holds the answers against what the machine knows.

#![forbid(unsafe_code)]

mod machine;
mod random;

pub use machine::{Machine, Seen};
pub use random::Random;

use std::collections::BTreeMap;

/// Outcomes of a number of machines.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Number of machines with each outcome.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// The first that came out wrong: its seed, what differed, and its nodes.
    pub wrong: Vec<String>,
}

/// Makes and checks `count` machines from `seed` on; a machine's own seed is `seed` plus its number, so that one
/// that came out wrong is made again alone.
pub fn explore(seed: u64, count: u64) -> Tally {
    /// Wrong ones that are told of.
    const TOLD: usize = 10;
    let mut tally = Tally::default();
    for seed in seed..seed.saturating_add(count) {
        let machine = Machine::random(&mut Random::new(seed));
        match machine.check() {
            Ok(seen) => *tally.outcomes.entry(seen.name()).or_default() += 1,
            Err(difference) if tally.wrong.len() < TOLD => {
                tally.wrong.push(format!("seed {seed}: {difference}\n{}", machine.nodes()));
            }
            Err(_) => {}
        }
    }
    tally
}
