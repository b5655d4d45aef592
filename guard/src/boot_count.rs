//! The count of PV boots that did not come up: two in a row, and the next boot is emulated.
//!
//! `Parameters\PvBoots` (REG_DWORD) is the number of PV boots begun since a boot last came up. A PV boot adds
//! one when it is decided on; any boot that comes up, emulated ones too, sets it to 0 and so gives PV another
//! chance.
//!
//! # What it cannot count
//! NT keeps what is written to the registry before the session manager opens the hives in memory only. A boot
//! that dies before that, with 0x7B above all, leaves no count, and no later boot can know of it. Nothing
//! that a boot driver could write to lasts over a reset at that point: xenstore's domain directory goes with
//! the domain. What helps there is to choose PV for one boot only (the default entry stays emulated;
//! `bootsequence` of a BCD store), which is what `bootcfg` does unless it is told otherwise. The count covers
//! a boot that dies between the opening of the hives and its coming up: drivers and services started late,
//! volumes mounted late, a stop of the guard's.

/// Boots that may fail before the next one is emulated.
pub const LIMIT: u32 = 2;

/// Returns true if so many boots have failed that this one must be emulated.
#[must_use]
pub const fn is_exhausted(failed: u32) -> bool {
    failed >= LIMIT
}

/// Returns the count once another PV boot has begun.
#[must_use]
pub const fn begun(failed: u32) -> u32 {
    failed.saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_boot_is_emulated() {
        let mut count = 0;
        for _ in 0..2 {
            assert!(!is_exhausted(count));
            count = begun(count);
        }
        assert!(is_exhausted(count) && is_exhausted(u32::MAX));
        assert_eq!(begun(u32::MAX), u32::MAX);
    }
}
