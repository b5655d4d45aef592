//! A bounded, deterministic run of the fuzz targets: the inputs that are kept, and some from fixed seeds. The crate in
//! the folder `fuzz` runs them for longer.

#[path = "../fuzz/src/lib.rs"]
mod inputs;

use std::{fs, path::Path};

/// Bytes from a seed (xorshift64*, Vigna 2014).
fn bytes(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = move || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32
    };
    let length = next() as usize % 160;
    (0..length).map(|_| if next() % 3 == 0 { next() as u8 % 16 } else { next() as u8 }).collect()
}

/// Gives a target its kept inputs, each of them also cut and with a byte changed, and `more` from seeds.
fn run(target: &str, more: u64, take: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut kept = 0;
    for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let input = fs::read(entry.expect("an entry").path()).expect("readable");
        kept += 1;
        take(&input);
        for (seed, at) in (kept..).zip((0..input.len()).step_by(input.len() / 24 + 1)) {
            take(&input[..at]);
            let mut changed = input.clone();
            changed[at] = bytes(seed).first().copied().unwrap_or(0xff);
            take(&changed);
        }
    }
    assert!(kept > 0, "no kept inputs of {target}");
    (0..more).for_each(|seed| take(&bytes(seed)));
}

#[test]
fn any_boot_ini() {
    run("boot_ini", 3000, inputs::boot_ini::take);
}

#[test]
fn any_store() {
    run("bcd", 1500, inputs::bcd::take);
}

#[test]
fn any_hive() {
    run("hive", 500, inputs::hive::take);
}

#[test]
fn any_log_files() {
    run("logs", 300, inputs::logs::take);
}

#[test]
fn any_inf_file() {
    run("inf", 300, inputs::inf::take);
}
