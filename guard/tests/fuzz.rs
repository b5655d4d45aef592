//! A bounded, deterministic run of the fuzz targets.

#[path = "../fuzz/src/lib.rs"]
mod targets;

fn run(target: &str, more: u64, take: fn(&[u8])) {
    inputs::run(env!("CARGO_MANIFEST_DIR"), target, 24, more, b" /NOGPLPVSAFEBOOT:", take);
}

#[test]
fn any_options() {
    run("options", 20_000, targets::options::take);
}

#[test]
fn any_records() {
    run("records", 2000, targets::records::take);
}
