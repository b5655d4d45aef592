//! A bounded, deterministic run of the fuzz targets.

use vbd::fuzz;

fn run(target: &str, places: usize, more: u64, take: fn(&[u8])) {
    inputs::run(env!("CARGO_MANIFEST_DIR"), target, places, more, &[0], take);
}

#[test]
fn any_cdb_is_answered_inside_the_disk() {
    run("cdb", 24, 12_000, fuzz::cdb);
}

#[test]
fn any_nodes_make_a_disk_or_an_error() {
    run("nodes", 4, 1200, fuzz::nodes);
}

#[test]
fn any_backend_leaves_every_request_to_come_back_once() {
    // Each has a world of its own.
    run("ring", 0, 400, fuzz::ring);
}

#[test]
fn any_backend_and_any_commands_end_every_srb_once() {
    run("queue", 0, 400, fuzz::queue);
}
