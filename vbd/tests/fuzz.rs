//! A bounded, deterministic run of the fuzz targets; the crate in the folder `fuzz` runs them for longer.

use vbd::fuzz;

/// Returns bytes from a seed (xorshift64*, Vigna 2014), sparse enough that lengths and operation codes make
/// sense.
fn bytes(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = move || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32
    };
    let length = next() as usize % 160;
    let sparse = next() % 3;
    (0..length).map(|_| if sparse > 0 && next() % 4 < sparse { 0 } else { next() as u8 }).collect()
}

#[test]
fn any_cdb_is_answered_inside_the_disk() {
    (0..12_000).for_each(|seed| fuzz::cdb(&bytes(seed)));
}

#[test]
fn any_nodes_make_a_disk_or_an_error() {
    (0..1200).for_each(|seed| fuzz::nodes(&bytes(seed)));
}

#[test]
fn any_backend_leaves_every_request_to_come_back_once() {
    (0..400).for_each(|seed| fuzz::ring(&bytes(seed)));
}

#[test]
fn any_backend_and_any_commands_end_every_srb_once() {
    (0..400).for_each(|seed| fuzz::queue(&bytes(seed)));
}
