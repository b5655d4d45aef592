//! Every rule of the guard, broken once: of its machine, its proof and its decision, of what it takes for
//! emulated, of the census and of what may cross between drivers. Guard's own tests must catch each, or the
//! model.

use super::{Catch, Mutant};

mod census;
mod decision;
mod devices;
mod machine;
mod proof;

const fn rule(what: &'static str, file: &'static str, from: &'static str, to: &'static str) -> Mutant {
    Mutant { what, file, from, to, caught_by: &[Catch::Rule] }
}

/// Makes a mutant that changes nothing, and says why.
const fn equivalent(
    what: &'static str,
    file: &'static str,
    from: &'static str,
    to: &'static str,
    why: &'static [Catch],
) -> Mutant {
    Mutant { what, file, from, to, caught_by: why }
}

/// Returns every mutant, by part.
pub(super) fn all() -> impl Iterator<Item = &'static Mutant> {
    [machine::MUTANTS, proof::MUTANTS, decision::MUTANTS, devices::MUTANTS, census::MUTANTS]
        .into_iter()
        .flatten()
}
