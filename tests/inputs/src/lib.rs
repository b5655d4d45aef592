//! Inputs for the bodies of fuzz targets, the same each time: those that are kept in the sources, and some from numbers.
//! `cargo xtask fuzz` runs the targets for longer.

use std::{fs, path::Path};

/// Returns up to 160 bytes from a seed (xorshift64*, Vigna 2014). A part of them, which depends on the seed, is `usual`, so
/// that lengths, words and codes make sense.
pub fn bytes(seed: u64, usual: &[u8]) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = move || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) as usize
    };
    let (length, part) = (next() % 160, next() % 4);
    let mut byte = || {
        let drawn = next();
        if drawn % 4 < part { usual[next() % usual.len()] } else { (drawn >> 8) as u8 }
    };
    (0..length).map(|_| byte()).collect()
}

/// Gives a target the inputs that the package in a folder keeps for it (`fuzz/seeds`), each of them also cut and with a byte
/// changed at up to so many places, and `more` from seeds.
///
/// # Panics
/// The inputs cannot be read, or there are none; and where the target panics.
pub fn run(package: &str, target: &str, places: usize, more: u64, usual: &[u8], take: fn(&[u8])) {
    let folder = Path::new(package).join("fuzz/seeds").join(target);
    let mut kept = 0;
    for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let input = fs::read(entry.expect("an entry").path()).expect("readable");
        kept += 1;
        take(&input);
        let step = (input.len() / places.max(1)).max(1);
        for (seed, at) in (kept..).zip((0..input.len()).step_by(step).take(places)) {
            take(&input[..at]);
            let mut changed = input.clone();
            changed[at] = bytes(seed, usual).first().copied().unwrap_or(0xff);
            take(&changed);
        }
    }
    assert!(kept > 0, "{} has no inputs", folder.display());
    (0..more).for_each(|seed| take(&bytes(seed, usual)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_the_same_each_time_and_not_the_same_for_each_seed() {
        let all: Vec<_> = (0..100).map(|seed| bytes(seed, b"a")).collect();
        assert_eq!(all, (0..100).map(|seed| bytes(seed, b"a")).collect::<Vec<_>>());
        let usual = all.iter().flatten().filter(|byte| **byte == b'a').count();
        let whole: usize = all.iter().map(Vec::len).sum();
        assert!((whole / 4..whole / 2).contains(&usual), "{usual} of {whole}");
        assert_ne!(all[1], all[2]);
    }
}
