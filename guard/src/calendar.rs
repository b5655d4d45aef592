//! Dates of the Gregorian calendar, from days since 1601-01-01, with which NT's time begins.

/// Days from 1601-01-01 to 1970-01-01, with which Unix's time begins.
pub const UNIX_EPOCH: u64 = 134_774;
/// Days in 400 years, after which the calendar repeats; 1601 begins such a time.
const CYCLE: u64 = 146_097;

/// Returns year, month and day, each as written, of a day since 1601-01-01.
#[must_use]
pub fn date(day: u64) -> (u64, u64, u64) {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let (mut year, mut days) = (1601 + day / CYCLE * 400, day % CYCLE);
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (day, expected) in [
            (0, (1601, 1, 1)),
            (58, (1601, 2, 28)),
            (59, (1601, 3, 1)),
            (UNIX_EPOCH, (1970, 1, 1)),
            (145_790, (2000, 2, 29)),
            (146_096, (2000, 12, 31)),
            (CYCLE, (2001, 1, 1)),
            (155_370, (2026, 5, 23)),
        ] {
            assert_eq!(date(day), expected);
        }
    }
}
