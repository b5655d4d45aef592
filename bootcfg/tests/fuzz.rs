//! A bounded, deterministic run of the fuzz targets.

#[path = "../fuzz/src/lib.rs"]
mod targets;

fn run(target: &str, more: u64, take: fn(&[u8])) {
    inputs::run(
        env!("CARGO_MANIFEST_DIR"),
        target,
        24,
        more,
        &core::array::from_fn::<u8, 16, _>(|byte| byte as u8),
        take,
    );
}

#[test]
fn any_boot_ini() {
    run("boot_ini", 3000, targets::boot_ini::take);
}

#[test]
fn any_store() {
    run("bcd", 1500, targets::bcd::take);
}

#[test]
fn any_hive() {
    run("hive", 500, targets::hive::take);
}

#[test]
fn any_log_files() {
    run("logs", 300, targets::logs::take);
}

#[test]
fn any_inf_file() {
    run("inf", 300, targets::inf::take);
}
