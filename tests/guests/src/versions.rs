//! The version of NT that each guest runs on.
//!
//! The executive has the rules of four versions (`tests/nt/src/boot/profile.rs`). A boot whose words name one has
//! that one; every other has one by its name, or by its sequence's, so that the catalogue as a whole is spread over
//! all of them and a boot is the same each time.

use protocol::{Version, Word};

use crate::scenario::Scenario;

/// Returns the version of a scenario's boot; `sequence` is the name of the sequence that it is a part of.
pub fn of(scenario: &Scenario, sequence: Option<&str>) -> Version {
    let named = scenario.words.iter().find_map(|word| match word {
        Word::Nt(version) => Some(*version),
        _ => None,
    });
    named.unwrap_or_else(|| {
        let name = sequence.unwrap_or(scenario.name);
        // FNV-1a.
        let hash = name
            .bytes()
            .fold(0x811C_9DC5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        Version::ALL[hash as usize % Version::ALL.len()]
    })
}

/// Returns true if it is NT 6.2 or later.
pub fn is_nt62(version: Version) -> bool {
    version >= Version::Nt63
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue;
    use crate::scenario::Runs;

    #[test]
    fn every_version_has_its_share_of_the_tests() {
        let tested: Vec<_> = catalogue::boots().filter(|boot| boot.runs != Runs::ByName).collect();
        for &version in Version::ALL {
            let count = tested.iter().filter(|boot| of(boot, None) == version).count();
            assert!(count >= tested.len() / 10, "{version}: {count} of {}", tested.len());
        }
    }
}
