//! Terms of the exercise [`Hours`](crate::Exercise::Hours), by which both ends count. A disk comes in each cycle, from 1 on, and
//! then the one of the cycle before goes.

use core::ops::Range;

/// Cycles before the system rests for the first time.
pub const WARM_UP: u32 = 4;
/// Least seconds of a cycle.
pub const CYCLE_SECONDS: u32 = 10;
/// Sectors of a disk that are written and compared: between the partition table and the first partition, where a crash dump
/// would go.
pub const EXTENT: Range<u64> = 64..2048;

/// Returns true if the CD-ROM drive's medium is taken out and put in again in this cycle.
pub const fn exchanges(cycle: u32) -> bool {
    cycle % 5 == 2
}

/// Returns the most cycles that there are in so many seconds.
pub const fn most_cycles(seconds: u32) -> u32 {
    let cycles = seconds / CYCLE_SECONDS + 2;
    if cycles > WARM_UP { cycles } else { WARM_UP + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_medium_is_exchanged_before_the_first_rest() {
        assert!((1..=WARM_UP).any(exchanges) && !(1..=WARM_UP).all(exchanges));
    }

    #[test]
    fn there_is_a_cycle_behind_the_first_rest() {
        assert_eq!((most_cycles(0), most_cycles(29), most_cycles(30)), (WARM_UP + 1, 5, 5));
        assert_eq!(most_cycles(1200), 122);
    }
}
